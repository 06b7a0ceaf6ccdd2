//! What a new communication process does with what its predecessors left.
//!
//! First somebody must hold the sockets at every moment: the own keeper is made and written down, the sockets are taken
//! from the keepers of the dead, and only then those end. Then the connections are decided, because everything else
//! hangs on them: a record, a receive buffer, a half-received body and a finished reply are worth keeping only if their
//! connection is. Then the slots: what goes on is counted, and what has ended is left to the threads, which meet it in
//! their first sweep as they meet it on any other day.
//!
//! Every step only makes true what a row already implies, so all of it may die anywhere and be run again; `README.md`
//! has the argument.

mod chain;
mod front;
mod rows;
mod slots;
mod sockets;

use std::os::fd::{AsFd, OwnedFd};

use gantry_message::Queue as QueueName;
use gantry_ring::{SlotRef, adopt_slots, push_missing};
use gantry_segment::{ConnectionRow, Control, ProcessRow};
use gantry_sys::atomic::Ordering;
use gantry_sys::{clock, socket};

use crate::admission::queue_of;
use crate::client::Large;
use crate::connection;
use crate::filing::home_of;
use crate::keepers;
use crate::limits::ROWS_PER_BEAT;
use crate::node::{Accepted, Node};
use crate::outgoing;

pub(crate) use sockets::Listening;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenOver {
    /// Connections that go on.
    pub(crate) connections: u32,
    /// Connections that were accepted and not yet served.
    pub(crate) unopened: u32,
    /// Rows of connections that are gone.
    pub(crate) lost: u32,
    /// Requests that go on or are still to be answered.
    pub(crate) in_flight: u32,
    /// Half-filled slots that were freed.
    pub(crate) freed: u32,
    /// Requests that were queued, but in no ring.
    pub(crate) pushed: u32,
}

/// A connection that goes on.
#[derive(Debug)]
pub(crate) struct Heir {
    /// Index of its row.
    pub(crate) row: u32,
    pub(crate) socket: OwnedFd,
    /// Last out record, index + 1.
    pub(crate) out_tail: u32,
    /// Frames that are not answered, or whose answer is not sent.
    pub(crate) frames: u32,
    /// Bytes of those frames or of their replies.
    pub(crate) bytes: u64,
    /// The large body that is being received.
    pub(crate) large: Option<Large>,
    /// The kernel has something for it.
    pub(crate) is_readable: bool,
}

/// Everything that the threads are given at the start.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// By row; those of one thread stand together.
    pub(crate) heirs: Vec<Heir>,
    pub(crate) unopened: Vec<Accepted>,
    /// Out records that a connection has.
    pub(crate) records: Vec<bool>,
    /// Receive buffers that a connection has.
    pub(crate) buffers: Vec<bool>,
    /// Uses of slots whose reply is recorded: their end need not be looked at again.
    pub(crate) concluded: Vec<SlotRef>,
    pub(crate) taken: TakenOver,
}

/// Shows that the process lives while it does what takes its time.
#[derive(Debug)]
pub(crate) struct Pulse<'a> {
    control: &'a Control,
    process: &'a ProcessRow,
    steps: u32,
}

impl<'a> Pulse<'a> {
    pub(crate) fn new(node: &Node<'a>) -> Self {
        Self { control: node.control, process: node.process, steps: 0 }
    }

    /// One row, one descriptor.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(ROWS_PER_BEAT) {
            self.beat();
        }
    }

    pub(crate) fn beat(&self) {
        let now_ns = clock::monotonic_ns();
        for row in self.control.threads() {
            row.heartbeat_ns.store(now_ns, Ordering::Relaxed);
        }
        self.process.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }
}

/// Takes over sockets, rows, records and slots. The predecessors must be dead; may be run again after a death in the
/// middle.
pub(crate) fn take_over(node: &Node<'_>, listening: &Listening) -> Inheritance {
    let mut pulse = Pulse::new(node);
    pulse.beat();
    let old = keepers::living(node.control);
    let has_room = node.keepers().has_room();
    if has_room {
        node.keepers().start();
    }
    let mut sockets = sockets::take(node, &old, listening, &mut pulse);
    old.iter().for_each(keepers::OldKeeper::kill);
    let plan = decide(node, &mut sockets.by_row, &mut pulse);
    let had_keepers = !old.is_empty();
    if has_room && plan.closing.is_empty() {
        // They close thousands of descriptors, which nobody need wait for.
        node.keepers().strike_off_later(old);
    } else {
        // A socket that is closed must be closed everywhere: nobody may find it in an old keeper, without a row.
        old.iter().for_each(keepers::OldKeeper::strike_off);
    }
    // If all rows were taken, by keepers of processes that died while they took over, nobody but this process held the
    // sockets for a moment.
    node.keepers().start();
    conclude(node, plan, sockets.unopened, had_keepers, &mut pulse)
}

/// Decides rows and slots.
fn decide(node: &Node<'_>, sockets: &mut [Option<OwnedFd>], pulse: &mut Pulse<'_>) -> rows::Plan {
    let mut plan = rows::decide(node, sockets, pulse);
    take_slots(node, &mut plan, pulse);
    plan
}

/// Closes and frees what does not go on, now that nobody else holds it.
fn conclude(
    node: &Node<'_>,
    mut plan: rows::Plan,
    unopened: Vec<Accepted>,
    had_keepers: bool,
    pulse: &mut Pulse<'_>,
) -> Inheritance {
    for (index, socket) in std::mem::take(&mut plan.closing) {
        pulse.step();
        close(&node.control.connections()[index as usize], socket);
    }
    outgoing::clear(node.control.out_records(), |record| plan.inherited.records[record]);
    let mut inherited = plan.inherited;
    inherited.unopened = unopened;
    ask_readable(&mut inherited.heirs);
    finish(node, &mut inherited, had_keepers);
    inherited
}

/// Taking over with sockets that need no keeper to be found.
#[cfg(feature = "attack")]
pub(crate) fn take_over_from(node: &Node<'_>, sockets: &mut [Option<OwnedFd>]) -> Inheritance {
    let mut pulse = Pulse::new(node);
    let plan = decide(node, sockets, &mut pulse);
    conclude(node, plan, Vec::new(), true, &mut pulse)
}

/// Asks which connections were sent something meanwhile: they are served first.
fn ask_readable(heirs: &mut [Heir]) {
    let sockets: Vec<_> = heirs.iter().map(|heir| heir.socket.as_fd()).collect();
    match socket::readable(&sockets) {
        Ok(readable) => {
            for (heir, is_readable) in heirs.iter_mut().zip(readable) {
                heir.is_readable = is_readable;
            }
        }
        // They are all announced when they are watched.
        Err(cause) => tracing::warn!(%cause, "cannot ask which connections are readable"),
    }
}

/// Closes what is left of a connection, and frees its row.
fn close(row: &ConnectionRow, socket: Option<OwnedFd>) {
    connection::closing(row);
    if let Some(socket) = socket {
        // The other side may have been quicker, which is what is wanted.
        let _ = socket::shutdown(&socket, std::net::Shutdown::Both);
    }
    connection::free(row);
}

/// Frees what was being filled, counts what goes on, and sees to it that everything queued is in its ring.
fn take_slots(node: &Node<'_>, plan: &mut rows::Plan, pulse: &mut Pulse<'_>) {
    let adopted = adopt_slots(node.slots, node.owner, |slot| plan.bodies.contains(&slot));
    for index in adopted.corrupt {
        tracing::error!(slot = index, word = ?node.slots.word(index), "the word of a slot is corrupt; it stays out of use");
    }
    plan.inherited.taken.freed = adopted.freed_count;
    pulse.beat();
    slots::take(node, plan);
    for name in [QueueName::Read, QueueName::Write] {
        plan.inherited.taken.pushed +=
            push_missing(node.slots, node.queue(name), |index| belongs(node, index, name));
        // Whoever sleeps may have been promised a wake-up by the dead.
        node.wake_workers(name, u32::MAX);
    }
    for row in node.control.threads() {
        row.sleeping.store(0, Ordering::Relaxed);
    }
}

fn belongs(node: &Node<'_>, index: u16, name: QueueName) -> bool {
    let row = node.slots.row(index);
    row.is_some_and(|row| {
        queue_of(row.flags.load(Ordering::Relaxed)) == name && home_of(row) < node.threads_count()
    })
}

fn finish(node: &Node<'_>, inherited: &mut Inheritance, had_keepers: bool) {
    let taken = &mut inherited.taken;
    taken.connections = inherited.heirs.len() as u32;
    taken.unopened = inherited.unopened.len() as u32;
    node.control.node().connections_open.store(taken.connections, Ordering::Relaxed);
    if *taken != TakenOver::default() || had_keepers {
        let TakenOver { connections, unopened, lost, in_flight, freed, pushed } = *taken;
        tracing::warn!(
            connections,
            unopened,
            lost,
            in_flight,
            freed,
            pushed,
            "taken over from a predecessor"
        );
    }
}
