//! A door for the attack test: one I/O thread on memory and sockets that the test gives it, turn by turn.
//!
//! Only compiled with the feature `attack`, which no shipped binary has. What is behind the door is the real thing, but
//! for the keepers: the test itself holds the sockets over a death.

use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use gantry_ring::Owner;
use gantry_segment::Segments;
use gantry_settings::Settings;
use gantry_sys::atomic::{AtomicBool, Ordering};
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;

use crate::CommError;
use crate::connection::{self, Family};
use crate::event_loop::watch;
use crate::io_thread::IoThread;
use crate::mutants::{self, Mutant};
use crate::node::{Accepted, Node};
use crate::recover;

/// The sockets that a communication process begins with.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those of connections that a row speaks of, with the row's index.
    pub by_row: Vec<(u32, OwnedFd)>,
}

/// The first I/O thread of a communication process.
pub struct Turns<'t, 'a> {
    thread: &'t mut IoThread<'a>,
}

impl Turns<'_, '_> {
    /// One turn: receive, dispatch, deliver, send. Sleeps if there is nothing to do and its doorbell is silent.
    ///
    /// # Errors
    /// As of [`run`](crate::run).
    pub fn turn(&mut self) -> Result<(), CommError> {
        self.thread.turn()
    }

    /// Takes an accepted socket into service.
    pub fn accept(&mut self, socket: OwnedFd) {
        self.thread.place(Accepted { socket, family: Family::Tcp });
    }
}

/// Begins the life `epoch` of the communication process in row `row` of the process table, with one I/O thread: takes over
/// what its predecessor left, and lets `act` have its turns. What is open afterwards is left open, as by a death. `pause`
/// is called before and after the taking over: nothing else of the beginning touches what processes share.
///
/// # Errors
/// No descriptor or no memory is left.
pub fn begin<R>(
    segments: &Segments,
    settings: &Settings,
    (row, epoch): (u8, u32),
    doorbells: &[EventFd],
    sockets: Sockets,
    pause: impl Fn(),
    act: impl FnOnce(&mut Turns<'_, '_>) -> R,
) -> Result<R, CommError> {
    let terminate = AtomicBool::new(false);
    let node = Node::new(segments, settings, Owner::new(row, epoch), doorbells, &terminate);
    let poll = watch(&doorbells[0], None)?;
    let mut by_row: Vec<Option<OwnedFd>> = Vec::new();
    by_row.resize_with(segments.control().connections().len(), || None);
    for (index, socket) in sockets.by_row {
        by_row[index as usize] = Some(socket);
    }
    let before = parsed(&node);
    pause();
    let mut inherited = recover::take_over_from(&node, &mut by_row);
    pause();
    if mutants::is(Mutant::DecidedNotSkipped) {
        for (row, parsed) in node.control.connections().iter().zip(before) {
            connection::parsed(row, parsed);
        }
    }
    let heirs = std::mem::take(&mut inherited.heirs);
    let thread = IoThread::new(&node, 0, poll, None, &inherited, clock::monotonic_ns());
    let mut thread = ManuallyDrop::new(thread);
    heirs.into_iter().for_each(|heir| thread.adopt(heir));
    let result = act(&mut Turns { thread: &mut thread });
    drop(ManuallyDrop::into_inner(thread));
    Ok(result)
}

fn parsed(node: &Node<'_>) -> Vec<u64> {
    node.control.connections().iter().map(|row| row.parsed.load(Ordering::Relaxed)).collect()
}
