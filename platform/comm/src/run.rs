//! The life of the communication process: take over, start the threads, wait for their end.

use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::thread;

use gantry_ring::Owner;
use gantry_segment::{Dimensions, ProcessRow, ProcessState, Segments};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering;
use gantry_sys::eventfd::EventFd;
use gantry_sys::{clock, process, signal};

use crate::CommError;
use crate::event_loop::{Ended, watch};
use crate::io_thread::IoThread;
use crate::listener::Listeners;
use crate::node::{Node, Share};
use crate::recover::{self, Pulse};

/// What kind of socket listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// TCP, `tcp` in the hand-over.
    Tcp,
    /// Unix stream, `unix` in the hand-over.
    Unix,
}

/// A word that names no kind of listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{word}\" is no kind of listener; write tcp or unix")]
pub struct ListenerKindError {
    /// The word.
    pub word: String,
}

impl FromStr for ListenerKind {
    type Err = ListenerKindError;

    fn from_str(word: &str) -> Result<Self, ListenerKindError> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "unix" => Ok(Self::Unix),
            _ => Err(ListenerKindError { word: word.to_owned() }),
        }
    }
}

/// What a communication process is started with.
#[derive(Debug)]
pub struct CommOptions {
    /// The node's segments, attached.
    pub segments: Segments,
    /// Its row of the process table.
    pub row: u8,
    /// The life number of that row which is this process's.
    pub epoch: u32,
    /// The configuration.
    pub settings: Settings,
    /// The listening sockets, inherited from the supervisor, which holds them too.
    pub listeners: Vec<(ListenerKind, OwnedFd)>,
    /// The eventfd of each I/O thread, held by the supervisor and all workers.
    pub doorbells: Vec<EventFd>,
}

/// Runs the communication process until it is told to leave (SIGTERM, its row's `leave` = 1, or the node's `stopping`)
/// and owes nothing any more, or is told to hand over at once (`leave` = 2). Blocks until then; the calling thread is the
/// first I/O thread.
///
/// What earlier communication processes left in the segments and in their keepers is taken over first: they must be
/// dead. After a hand-over or an error the sockets are left open, so the caller should end the process: the keeper
/// holds them for the next one.
///
/// # Errors
/// [`CommError`]: the process should end with code 1 then, and the supervisor starts another.
pub fn run(options: CommOptions) -> Result<(), CommError> {
    let CommOptions { segments, row, epoch, settings, listeners, doorbells } = options;
    let control = segments.control();
    let pid = std::process::id();
    let process = own_row(control.processes(), row, epoch, pid)?;
    check(control.dimensions(), doorbells.len())?;
    let terminate = signal::terminate_flag();
    // Dropping it closes accepted sockets, which nobody but a clean end may do.
    let node =
        ManuallyDrop::new(Node::new(&segments, &settings, Owner::new(row, epoch), &doorbells, terminate));
    process.set_state(ProcessState::Starting);
    if let Some(ticks) = process::start_ticks(pid.cast_signed()) {
        process.start_ticks.store(ticks, Ordering::Relaxed);
    }
    let ended = begin(&node, listeners).and_then(|threads| {
        process.set_state(ProcessState::Idle);
        run_all(&node, threads)
    });
    process.set_state(ProcessState::Stopping);
    if let Ok(Ended::Closed) = ended {
        node.keepers().end();
    }
    node.leave_inboxes();
    ended.map(|_| ())
}

/// Makes the threads ready and gives them what was taken over. What can fail comes before that: no socket may be dropped
/// once it was taken.
fn begin<'a>(
    node: &'a Node<'a>,
    listeners: Vec<(ListenerKind, OwnedFd)>,
) -> Result<Vec<ManuallyDrop<IoThread<'a>>>, CommError> {
    let listeners = Listeners::new(listeners)?;
    let mut polls = Vec::new();
    for (index, doorbell) in node.doorbells.iter().enumerate() {
        polls.push(watch(doorbell, (index == 0).then_some(&listeners))?);
    }
    let mut inherited = recover::take_over(node, &listeners.addresses());
    let mut pulse = Pulse::new(node);
    pulse.beat();
    let now_ns = clock::monotonic_ns();
    let heirs = std::mem::take(&mut inherited.heirs);
    let mut listeners = Some(listeners);
    let mut threads = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let thread = IoThread::new(node, index, poll, listeners.take(), &inherited, now_ns);
        threads.push(ManuallyDrop::new(thread));
    }
    let rows = node.control.connections().len() as u32;
    for heir in heirs {
        pulse.step();
        let owner = (0..threads.len()).find(|thread| Share::new(rows, *thread, threads.len()).has(heir.row));
        match owner.and_then(|thread| threads.get_mut(thread)) {
            Some(thread) => thread.adopt(heir),
            None => std::mem::forget(heir),
        }
    }
    if let Some(first) = threads.first_mut() {
        inherited.unopened.into_iter().for_each(|accepted| first.place(accepted));
    }
    Ok(threads)
}

/// Runs the first thread here and the others beside it. When one fails, all end.
fn run_all<'a>(node: &'a Node<'a>, threads: Vec<ManuallyDrop<IoThread<'a>>>) -> Result<Ended, CommError> {
    let mut threads = threads.into_iter();
    let first = threads.next();
    thread::scope(|scope| {
        let others: Vec<_> = threads.map(|thread| scope.spawn(move || run_guarded(node, thread))).collect();
        let mut ended = first.map_or(Ok(Ended::Closed), |thread| run_guarded(node, thread));
        for (index, other) in others.into_iter().enumerate() {
            let result = other.join().unwrap_or(Err(CommError::Panicked { thread: index + 1 }));
            ended = match (ended, result) {
                (Ok(Ended::Closed), Ok(Ended::Closed)) => Ok(Ended::Closed),
                (Ok(_), Ok(_)) => Ok(Ended::HandedOver),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        ended
    })
}

/// Runs one thread. Its sockets are dropped only after a clean end, when it has none left: a panic is like a death at
/// that very instruction.
fn run_guarded<'a>(node: &Node<'_>, mut thread: ManuallyDrop<IoThread<'a>>) -> Result<Ended, CommError> {
    /// Ends the other threads when this one ends by a panic.
    struct Guard<'a, 'b>(&'b Node<'a>);
    impl Drop for Guard<'_, '_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail();
            }
        }
    }
    let _guard = Guard(node);
    if thread.index > 0 {
        process::set_name(&format!("comm-io-{}", thread.index));
    }
    let ended = thread.run();
    match ended {
        Ok(Ended::Closed) => drop(ManuallyDrop::into_inner(thread)),
        Ok(Ended::HandedOver) => {}
        Err(_) => node.fail(),
    }
    ended
}

fn own_row(rows: &[ProcessRow], row: u8, epoch: u32, pid: u32) -> Result<&ProcessRow, CommError> {
    let Some(process) = rows.get(usize::from(row)) else {
        return Err(CommError::NotOurRow { row, epoch, found: u32::MAX });
    };
    match process.take_life(epoch, pid) {
        Ok(()) => Ok(process),
        Err(found) => Err(CommError::NotOurRow { row, epoch, found: found.epoch }),
    }
}

/// Each thread needs a doorbell, and one of everything that is shared out among them.
fn check(dimensions: &Dimensions, doorbells: usize) -> Result<(), CommError> {
    let io_threads = dimensions.io_threads;
    if doorbells != io_threads as usize {
        return Err(CommError::Doorbells { given: doorbells, io_threads });
    }
    let enough = |count: u32, what, key| {
        if count >= io_threads {
            return Ok(());
        }
        Err(CommError::TooFew { what, count, io_threads, key })
    };
    enough(dimensions.connections, "connection rows", "comm.connections_max")?;
    enough(dimensions.receive_buffers, "receive buffers", "comm.receive_buffers")?;
    enough(dimensions.out_records, "out records", "comm.out_records")
}
