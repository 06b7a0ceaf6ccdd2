//! The slots: what goes on is counted, what is over is left to its thread, and who waited for whom is found again.

use std::collections::HashSet;

use gantry_message::{CallerName, Queue as QueueName, ServiceNumber, Status};
use gantry_ring::{BlockRef, SlotRef, State};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;
use gantry_sys::clock;

use super::rows::Plan;
use crate::admission::queue_of;
use crate::deliver::{copy_reply, frame_cost, was_answered};
use crate::filing::{ASK_FIRST, home_of, request_id_of};
use crate::node::Node;
use crate::window::{Key, Rejoined};

/// Looks at every slot once. A worker may end one right after the look; then its home thread meets it in the reply ring,
/// counted.
pub(super) fn take(node: &Node<'_>, plan: &mut Plan) {
    for service in node.control.services() {
        if service.in_flight.load(Ordering::Relaxed) != 0 {
            service.in_flight.store(0, Ordering::Relaxed);
        }
    }
    let concluded: HashSet<u64> = plan.inherited.concluded.iter().map(|slot| slot.to_bits()).collect();
    let mut taking = Taking { node, plan, concluded, reply: Vec::new(), now_ns: clock::monotonic_ns() };
    for (index, word) in node.slots.words() {
        let Some(row) = node.slots.row(index) else { continue };
        match word.state() {
            None | Some(State::Free) => {}
            Some(_) if home_of(row) >= node.threads_count() => taking.give_up(word.slot(index)),
            Some(State::Joined) => taking.take_joined(word.slot(index), row),
            Some(state) => taking.take(word.slot(index), row, state),
        }
    }
}

struct Taking<'a, 'n> {
    node: &'n Node<'a>,
    plan: &'n mut Plan,
    /// Uses of slots whose reply is recorded for a connection that goes on.
    concluded: HashSet<u64>,
    reply: Vec<u8>,
    now_ns: u64,
}

impl Taking<'_, '_> {
    fn take(&mut self, slot: SlotRef, row: &SlotRow, state: State) {
        self.hold(row);
        if self.is_concluded(slot) {
            // It left its service when its reply was recorded.
            return;
        }
        self.enter_service(row);
        self.plan.inherited.taken.in_flight += 1;
        // A body that is being received was counted with its connection.
        if state != State::Filling && !was_answered(row, slot) {
            self.owe(row);
        }
    }

    fn is_concluded(&self, slot: SlotRef) -> bool {
        self.concluded.contains(&slot.to_bits())
    }

    /// Counts slot and block, as whoever releases them will count them out.
    fn hold(&self, row: &SlotRow) {
        let is_read = queue_of(row.flags.load(Ordering::Relaxed)) == QueueName::Read;
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed));
        self.node.admission.adopt(block.map(|block| block.class), is_read);
    }

    /// Counts a request that goes on, as its home thread will count it out.
    fn enter_service(&self, row: &SlotRow) {
        let index = row.service_index.load(Ordering::Relaxed) as usize;
        if let Some(service) = self.node.control.services().get(index) {
            service.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a frame that its connection waits for.
    fn owe(&mut self, row: &SlotRow) {
        let connection = row.connection.load(Ordering::Relaxed);
        let generation = row.connection_generation.load(Ordering::Relaxed);
        if let Some(heir) = self.plan.heir(self.node, connection, generation) {
            heir.frames += 1;
            heir.bytes += frame_cost(row);
        }
    }

    /// A slot that no thread is at home for: its row is damaged.
    fn give_up(&self, slot: SlotRef) {
        tracing::error!(slot = slot.index, "a slot belongs to no I/O thread; it is given up");
        if let Err(word) = self.node.slots.release(slot) {
            tracing::error!(slot = slot.index, ?word, "it is with a worker and stays out of use");
        }
    }

    /// A repeat that was parked.
    fn take_joined(&mut self, slot: SlotRef, row: &SlotRow) {
        let connection = row.connection.load(Ordering::Relaxed);
        let generation = row.connection_generation.load(Ordering::Relaxed);
        let is_wanted =
            !was_answered(row, slot) && self.plan.heir(self.node, connection, generation).is_some();
        if !is_wanted && !self.node.window.is_run_by(row.window_entry.load(Ordering::Relaxed), slot) {
            return self.give_back(slot);
        }
        let mut name = [0_u8; 32];
        let length = row.caller.copy_to(&mut name);
        let caller = CallerName::new(&name[..length]).unwrap_or(CallerName::ANONYMOUS);
        let key = Key::new(caller, request_id_of(row));
        let concluded = &self.concluded;
        let is_concluded = |slot: SlotRef| concluded.contains(&slot.to_bits());
        match self.node.window.rejoin(&key, slot, is_concluded, self.now_ns, &mut self.reply) {
            Rejoined::Waits | Rejoined::Runs => {}
            Rejoined::Answered { status } => self.answer(slot, row, status),
            Rejoined::Asks => {
                row.flags.fetch_or(ASK_FIRST, Ordering::Relaxed);
                row.window_entry.store(0, Ordering::Relaxed);
                row.joined.store(0, Ordering::Relaxed);
                if let Err(word) = self.node.slots.unjoin(slot) {
                    tracing::error!(slot = slot.index, ?word, "a parked repeat cannot be queued");
                }
            }
        }
        self.take(slot, row, State::Joined);
    }

    /// Gives a parked repeat the recorded reply; its thread finds it done.
    fn answer(&mut self, slot: SlotRef, row: &SlotRow, status: u16) {
        let bytes = self.reply.len() as u32;
        let block =
            (bytes > 0).then(|| copy_reply(self.node, slot, SharedBytes::from_private(&mut self.reply)));
        // Without room nothing certain can be said: 500, and the next repeat finds the reply.
        let (status, block, bytes) = match block {
            None => (status, None, 0),
            Some(Some(block)) => (status, Some(block), bytes),
            Some(None) => (Status::PlatformFault.code(), None, 0),
        };
        row.reply_block.store(block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
        row.reply_bytes.store(bytes, Ordering::Relaxed);
        row.reply_status.store(u32::from(status), Ordering::Relaxed);
        if let Err(word) = self.node.slots.resolve(slot) {
            let service = ServiceNumber::new(row.service.load(Ordering::Relaxed)).ok();
            tracing::error!(slot = slot.index, ?word, ?service, "a parked repeat cannot be answered");
        }
    }

    fn give_back(&self, slot: SlotRef) {
        if let Err(word) = self.node.slots.release(slot) {
            tracing::error!(slot = slot.index, ?word, "a parked repeat cannot be given up");
        }
    }
}
