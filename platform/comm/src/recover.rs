//! What a new communication process does with what its predecessors left.
//!
//! Connections are decided first, because everything else hangs on them: a record, a receive buffer, a half-received
//! body and a finished reply are worth keeping only if their connection is. Sockets end with their process, so every
//! row is freed here; what could be told from a row whose socket had lived on is in `README.md`.

use gantry_message::{Queue as QueueName, Status};
use gantry_ring::{Adopted, BlockRef, SlotRef, State, adopt_slots, push_missing};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;

use crate::admission::queue_of;
use crate::connection;
use crate::deliver::{is_with_a_worker, never_started};
use crate::filing::home_of;
use crate::node::Node;
use crate::outgoing;
use crate::window::End;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakenOver {
    /// Rows of connections that are gone.
    pub(crate) connections: u32,
    /// Requests that go on: queued, running, or queued again.
    pub(crate) in_flight: u32,
    /// Requests that had come to their end, whose callers are gone.
    pub(crate) dropped: u32,
    /// Requests that were queued, but in no ring.
    pub(crate) pushed: u32,
}

/// Takes over slots, rows and records. The predecessors must be dead; may be run again after a death in the middle.
pub(crate) fn take_over(node: &Node<'_>) -> TakenOver {
    let mut taken = TakenOver { connections: free_connections(node), ..TakenOver::default() };
    let Adopted { freed_count, corrupt, .. } = adopt_slots(node.slots, node.owner, |_| false);
    for index in corrupt {
        tracing::error!(slot = index, word = ?node.slots.word(index), "the word of a slot is corrupt; it stays out of use");
    }
    for service in node.control.services() {
        if service.in_flight.load(Ordering::Relaxed) != 0 {
            service.in_flight.store(0, Ordering::Relaxed);
        }
    }
    let now_ns = clock::monotonic_ns();
    for index in 0..node.slots.count() {
        take_slot(node, index as u16, now_ns, &mut taken);
    }
    for name in [QueueName::Read, QueueName::Write] {
        taken.pushed += push_missing(node.slots, node.queue(name), |index| belongs(node, index, name));
        // Whoever sleeps may have been promised a wake-up by the dead.
        node.wake_workers(name, u32::MAX);
    }
    for row in node.control.threads() {
        row.sleeping.store(0, Ordering::Relaxed);
    }
    if taken != TakenOver::default() || freed_count > 0 {
        let TakenOver { connections, in_flight, dropped, pushed } = taken;
        tracing::warn!(
            connections,
            in_flight,
            dropped,
            pushed,
            freed_count,
            "taken over from a dead predecessor"
        );
    }
    taken
}

/// Frees the rows of all connections, and with them their receive buffers and records.
fn free_connections(node: &Node<'_>) -> u32 {
    let mut freed_count = 0;
    for row in node.control.connections() {
        if !connection::is_free(row) {
            connection::free(row);
            freed_count += 1;
        }
    }
    outgoing::clear(node.control.out_records());
    node.control.node().connections_open.store(0, Ordering::Relaxed);
    freed_count
}

/// One look at one slot decides: what has ended is settled and freed, what goes on is counted. A worker may end it
/// right after the look; then its home thread meets it in the reply ring, counted.
fn take_slot(node: &Node<'_>, index: u16, now_ns: u64, taken: &mut TakenOver) {
    let Some(row) = node.slots.row(index) else { return };
    let word = node.slots.word(index);
    let slot = word.slot(index);
    let state = word.state();
    let end = match state {
        None | Some(State::Free | State::Filling) => return,
        Some(State::Uncommitted) => match node.slots.retry(slot) {
            Ok(_) => return count_in(node, row, taken),
            Err(_) => End::Failed(Status::WorkerLost),
        },
        Some(State::Done) => return end_done(node, slot, row, now_ns, taken),
        Some(State::Expired) if never_started(slot) == Status::BudgetSpent => End::NeverStarted,
        Some(State::Expired | State::Lost) => End::Failed(Status::WorkerLost),
        Some(State::Joined) => End::Forget,
        Some(State::Queued) => return count_in(node, row, taken),
        state if is_with_a_worker(state) => return count_in(node, row, taken),
        Some(_) => return,
    };
    let _ = node.window.settle(own_entry(row), slot, end, now_ns);
    drop_slot(node, slot, taken);
}

/// A reply whose caller is gone: the window keeps it for a repeat.
fn end_done(node: &Node<'_>, slot: SlotRef, row: &SlotRow, now_ns: u64, taken: &mut TakenOver) {
    let reply = crate::deliver::Reply::read(node, slot, row);
    let _ = node.window.settle(own_entry(row), slot, reply.end(), now_ns);
    drop_slot(node, slot, taken);
}

/// The entry that a slot settles: a joined repeat names one that is not its own.
fn own_entry(row: &SlotRow) -> u32 {
    if row.joined.load(Ordering::Relaxed) == 0 { row.window_entry.load(Ordering::Relaxed) } else { 0 }
}

fn drop_slot(node: &Node<'_>, slot: SlotRef, taken: &mut TakenOver) {
    match node.slots.release(slot) {
        Ok(()) => taken.dropped += 1,
        Err(word) => tracing::error!(slot = slot.index, ?word, "a slot that has ended cannot be freed"),
    }
}

/// Counts a request that goes on, as its home thread will count it out.
fn count_in(node: &Node<'_>, row: &SlotRow, taken: &mut TakenOver) {
    let is_read = queue_of(row.flags.load(Ordering::Relaxed)) == QueueName::Read;
    let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed));
    node.admission.adopt(block.map(|block| block.class), is_read);
    let service = node.control.services().get(row.service_index.load(Ordering::Relaxed) as usize);
    if let Some(service) = service {
        service.in_flight.fetch_add(1, Ordering::Relaxed);
    }
    taken.in_flight += 1;
}

fn belongs(node: &Node<'_>, index: u16, name: QueueName) -> bool {
    let row = node.slots.row(index);
    row.is_some_and(|row| {
        queue_of(row.flags.load(Ordering::Relaxed)) == name && home_of(row) < node.threads_count()
    })
}
