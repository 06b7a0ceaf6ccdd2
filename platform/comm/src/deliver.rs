//! Replies from the reply ring to their connections.

use gantry_frame::HEADER_BYTES;
use gantry_message::{Queue as QueueName, REQUEST_ID_BYTES, ServiceNumber, Status};
use gantry_ring::{BlockKind, BlockRef, Cursor, SlotRef, State};
use gantry_segment::{ServiceStatistics, SlotRow};
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;

use crate::admission::queue_of;
use crate::canary;
use crate::counters::{Counter, bump};
use crate::filing::{NO_SERVICE, block_bytes, home_of};
use crate::io_thread::IoThread;
use crate::limits::REPLIES_PER_TURN;
#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};
use crate::node::Node;
use crate::outgoing::{Answered, Content};
use crate::refusal::Refusal;
use crate::rules;
use crate::window::End;

/// A reply as its slot tells it, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    pub(crate) status: Status,
    pub(crate) body: SharedBytes<'a>,
}

impl<'a> Reply<'a> {
    /// Reads the reply of a done slot. What a worker left damaged becomes 500 without a body, also in the row, so that
    /// the sender need not check again.
    pub(crate) fn read(node: &Node<'a>, slot: SlotRef, row: &SlotRow) -> Self {
        let status = u16::try_from(row.reply_status.load(Ordering::Relaxed)).ok().and_then(Status::from_code);
        if let (Some(status), Some(body)) = (status, reply_body(node, slot, row)) {
            let told = if status == Status::BudgetSpent { never_started(slot) } else { status };
            row.reply_status.store(u32::from(told.code()), Ordering::Relaxed);
            return Self { status: told, body };
        }
        tracing::error!(slot = slot.index, "the reply in a slot is damaged; answered 500");
        row.reply_status.store(u32::from(Status::PlatformFault.code()), Ordering::Relaxed);
        row.reply_block.store(0, Ordering::Relaxed);
        row.reply_bytes.store(0, Ordering::Relaxed);
        Self { status: Status::PlatformFault, body: SharedBytes::from_private(&mut []) }
    }

    /// How the window is to remember it.
    pub(crate) fn end(&self) -> End<'a> {
        match self.status {
            Status::Done | Status::BusinessError => End::Done(self.status, self.body),
            Status::ServiceFailed | Status::WorkerLost | Status::PlatformFault => End::Failed(self.status),
            Status::BudgetSpent => End::NeverStarted,
            _ => End::Forget,
        }
    }
}

/// The operator's decision or the node's limits, not a fault of the service. 303 is its fault.
fn is_refusal(status: Status) -> bool {
    matches!(
        status,
        Status::ServiceStopped
            | Status::ReadQueueOverThreshold
            | Status::Full
            | Status::RefusedByRule
            | Status::Draining
    )
}

fn is_error(status: Status) -> bool {
    !matches!(status, Status::Done | Status::BusinessError) && !is_refusal(status)
}

/// The body of a slot's reply, if its block is the slot's and long enough.
pub(crate) fn reply_body<'a>(node: &Node<'a>, slot: SlotRef, row: &SlotRow) -> Option<SharedBytes<'a>> {
    let bytes = row.reply_bytes.load(Ordering::Relaxed);
    let Some(block) = BlockRef::from_bits(row.reply_block.load(Ordering::Relaxed)) else {
        return (bytes == 0).then(|| SharedBytes::from_private(&mut []));
    };
    // An answer that this process makes itself lies in the request's block.
    let is_held = node.blocks.is_held(block, slot, BlockKind::Reply)
        || node.blocks.is_held(block, slot, BlockKind::Request);
    block_bytes(node, block, bytes).filter(|_| is_held)
}

impl<'a> IoThread<'a> {
    /// Takes what the workers have done.
    pub(crate) fn take_replies(&mut self) {
        for _ in 0..REPLIES_PER_TURN {
            let Some(slot) = self.node.replies[self.index].pop() else { return };
            self.finish(slot);
        }
    }

    /// A slot is done: counts it, settles the window, and answers. The second time that a slot is met (in the ring
    /// and in a sweep) nothing happens.
    pub(crate) fn finish(&mut self, slot: SlotRef) {
        let Some(row) = self.node.slots.row(slot.index).filter(|row| home_of(row) == self.index) else {
            return;
        };
        if self.is_seen_before(slot) {
            return;
        }
        let reply = Reply::read(self.node, slot, row);
        self.leave_service(row);
        #[cfg(feature = "attack")]
        if mutants::is(Mutant::WindowAfterRecord) {
            self.deliver(slot);
            return self.settle(slot, row, reply.end(), Some(&reply));
        }
        self.settle(slot, row, reply.end(), Some(&reply));
        if was_answered(row, slot) {
            return self.claims.release(self.node, slot);
        }
        self.count_slot(row, reply.status);
        self.deliver(slot);
    }

    /// Records the reply of a done slot for its connection, or drops it when the connection is gone.
    pub(crate) fn deliver(&mut self, slot: SlotRef) {
        let Some(row) = self.node.slots.row(slot.index) else { return };
        let Some(number) = self.client_of(row) else {
            self.count(Counter::Dropped);
            return self.claims.release(self.node, slot);
        };
        let Some(record) = self.records.claim() else {
            self.count(Counter::RecordsOut);
            return self.slot_waiters.push_back(slot);
        };
        let body_bytes = row.reply_bytes.load(Ordering::Relaxed);
        self.records.fill(record, answered_by(row), Content::Slot { slot, body_bytes });
        self.append(number, record, frame_cost(row));
    }

    /// The open connection that a slot's reply goes to.
    pub(crate) fn client_of(&self, row: &SlotRow) -> Option<u32> {
        let index = row.connection.load(Ordering::Relaxed);
        self.clients.find(index, row.connection_generation.load(Ordering::Relaxed))
    }

    /// Counts a request out of its service and its queue.
    pub(crate) fn leave_service(&self, row: &SlotRow) {
        let index = row.service_index.load(Ordering::Relaxed);
        // A joined repeat waits in no queue, but it is one of those in flight.
        if row.joined.load(Ordering::Relaxed) == 0 {
            self.node.admission.finished(queue_of(row.flags.load(Ordering::Relaxed)));
        }
        if let Some(service) = self.node.control.services().get(index as usize) {
            rules::leave(service);
        }
    }

    /// Tells the window how a write ended, and answers those who waited for it. `reply` is what they get.
    pub(crate) fn settle(&mut self, slot: SlotRef, row: &SlotRow, end: End<'_>, reply: Option<&Reply<'_>>) {
        let entry = row.window_entry.load(Ordering::Relaxed);
        // A joined repeat names the entry of its original, which is not its own to settle.
        if entry == 0 || row.joined.load(Ordering::Relaxed) != 0 {
            return;
        }
        let settled = self.node.window.settle(entry, slot, end, self.now_ns);
        if let Some(promoted) = settled.promoted {
            self.push(promoted, QueueName::Write);
        }
        for joiner in settled.joiners {
            self.resolve(joiner, end, reply);
        }
    }

    /// Gives a joined repeat the reply of its original, and hands it to its home thread as a worker does.
    fn resolve(&self, joiner: SlotRef, end: End<'_>, reply: Option<&Reply<'_>>) {
        let Some(row) = self.node.slots.row(joiner.index) else { return };
        let (mut status, mut block) = (Status::PlatformFault, None);
        let mut bytes = 0;
        match (reply, end) {
            (Some(reply), _) if reply.body.is_empty() => status = reply.status,
            (Some(reply), _) => {
                // Without room for a copy nothing certain can be said: 500, and the next repeat finds the reply.
                block = copy_reply(self.node, joiner, reply.body);
                if block.is_some() {
                    (status, bytes) = (reply.status, reply.body.len() as u32);
                }
            }
            (None, End::Failed(failed)) => status = failed,
            (None, _) => {}
        }
        row.reply_block.store(block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
        row.reply_bytes.store(bytes, Ordering::Relaxed);
        row.reply_status.store(u32::from(status.code()), Ordering::Relaxed);
        let home = home_of(row);
        if self.node.slots.resolve(joiner).is_ok() && home < self.node.threads_count() {
            self.node.hand_over(joiner, home);
        }
    }

    /// Counts the answer to a slot's request.
    pub(crate) fn count_slot(&self, row: &SlotRow, status: Status) {
        let index = row.service_index.load(Ordering::Relaxed);
        let arrival_ns = row.arrival_ns.load(Ordering::Relaxed);
        let flags = row.flags.load(Ordering::Relaxed);
        let service = self.node.control.services().get(index as usize);
        let is_for_canary = service.is_some_and(|service| canary::counts(service, flags));
        let statistics = if is_for_canary { self.canary_statistics } else { self.statistics };
        let statistics = self.count_in(statistics, (index != NO_SERVICE).then_some(index), status);
        if let Some(statistics) = statistics.filter(|_| !is_refusal(status)) {
            statistics.record_latency(self.now_ns.saturating_sub(arrival_ns));
        }
    }

    /// Counts an answer of this process itself: for its service, and for what is refused.
    pub(crate) fn count_answer(&self, service_index: Option<u32>, status: Status) {
        let statistics = self.count_in(self.statistics, service_index, status);
        if let Some(statistics) = statistics.filter(|_| !is_refusal(status)) {
            // No build was asked, so it says nothing about one, nor about its speed.
            bump(&statistics.own_answers, 1);
            bump(&statistics.own_errors, u64::from(is_error(status)));
        }
    }

    fn count_in<'s>(
        &self,
        statistics: &'s [ServiceStatistics],
        service_index: Option<u32>,
        status: Status,
    ) -> Option<&'s ServiceStatistics> {
        if let Some(counter) = Refusal::counter(status) {
            self.count(counter);
        }
        let row = service_index.and_then(|index| statistics.get(index as usize))?;
        bump(&row.calls, 1);
        bump(&row.refusals, u64::from(is_refusal(status)));
        bump(&row.errors, u64::from(is_error(status)));
        bump(&row.business_errors, u64::from(status == Status::BusinessError));
        bump(&row.timeouts, u64::from(matches!(status, Status::TimedOut | Status::BudgetSpent)));
        Some(row)
    }

    /// Drops what a connection that is being closed was owed.
    pub(crate) fn forget_replies(&mut self, number: u32) {
        let row = self.clients.row(number);
        while let Some(first) = self.records.first(row) {
            let tail = &mut self.clients.at(number).out_tail;
            self.records.pop(row, tail, &first);
            self.count(Counter::Dropped);
            if let Some(slot) = first.slot {
                self.claims.release(self.node, slot);
            }
        }
    }
}

/// Copies a reply into a block for `slot`; `None` when there is no room.
pub(crate) fn copy_reply(node: &Node<'_>, slot: SlotRef, body: SharedBytes<'_>) -> Option<BlockRef> {
    let blocks = &node.blocks;
    let bytes = body.len() as u32;
    for class in blocks.class_for(bytes)?..blocks.classes_count() as u8 {
        if let Some(block) = blocks.claim(class, slot, BlockKind::Reply, &mut Cursor::default()) {
            block_bytes(node, block, bytes)?.copy_from_shared(body);
            return Some(block);
        }
    }
    None
}

/// The status of a request whose time ran out while it was queued. Only a first attempt never started; a later one
/// was queued because the worker of the earlier died, and what that one did is not known.
pub(crate) fn never_started(slot: SlotRef) -> Status {
    if slot.generation.attempt() == 0 { Status::BudgetSpent } else { Status::WorkerLost }
}

/// Whom a record about this slot answers.
pub(crate) fn answered_by(row: &SlotRow) -> Answered {
    Answered {
        connection: row.connection.load(Ordering::Relaxed),
        generation: row.connection_generation.load(Ordering::Relaxed),
        frame_offset: row.frame_offset.load(Ordering::Relaxed),
    }
}

/// What the frame of a slot counts against its connection's limit until it is answered: its length.
pub(crate) fn frame_cost(row: &SlotRow) -> u64 {
    let body_bytes = match row.service.load(Ordering::Relaxed) {
        // An outcome query: its body in the block may be a byte longer than in the frame.
        number if number == ServiceNumber::OUTCOME.get() => REQUEST_ID_BYTES as u64,
        _ => u64::from(row.request_bytes.load(Ordering::Relaxed)),
    };
    HEADER_BYTES as u64 + body_bytes
}

/// Whether the caller of this use of a slot has its answer already, whatever the attempt.
pub(crate) fn was_answered(row: &SlotRow, slot: SlotRef) -> bool {
    let mark = row.answered.load(Ordering::Relaxed);
    mark != 0 && ((mark - 1) >> 2) as u32 == slot.generation.base()
}

/// Whether a slot's use may still be running somewhere.
pub(crate) fn is_with_a_worker(state: Option<State>) -> bool {
    matches!(state, Some(State::Running | State::Executed))
}
