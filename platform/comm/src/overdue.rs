//! What passes without a reply: deadlines (301, 305), and requests whose worker died (a retry, or 302).

use gantry_frame::Header;
use gantry_message::{Queue as QueueName, ServiceNumber, Status};
use gantry_ring::{SlotRef, State};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;

use crate::admission::queue_of;
use crate::answers::reply_header;
use crate::counters::Counter;
use crate::deliver::{answered_by, frame_cost, is_with_a_worker, never_started, was_answered};
use crate::filing::{NO_SERVICE, home_of, request_id_of};
use crate::io_thread::IoThread;
use crate::limits::NS_PER_MS;
use crate::outgoing::Content;
use crate::window::End;

impl IoThread<'_> {
    /// Looks at everything whose timer came up.
    pub(crate) fn pass_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now_ns, &mut due);
        let slots = self.node.slots.count();
        for id in due.drain(..) {
            match (id as usize).checked_sub(slots) {
                None => self.pass_deadline(id as u16),
                Some(number) => self.look_at_client(number as u32),
            }
        }
        self.due = due;
    }

    /// The timer of a slot came up: perhaps for an earlier use, perhaps too early, perhaps for good.
    fn pass_deadline(&mut self, index: u16) {
        let Some(row) = self.node.slots.row(index).filter(|row| home_of(row) == self.index) else { return };
        let word = self.node.slots.word(index);
        if word.state().is_none() {
            return self.pass_corrupt(index, row);
        }
        let slot = word.slot(index);
        let is_in_flight = !matches!(word.state(), Some(State::Free | State::Filling));
        if !is_in_flight || was_answered(row, slot) {
            return;
        }
        let deadline_ns = row.deadline_ns.load(Ordering::Relaxed);
        if self.now_ns < deadline_ns {
            return self.wheel.arm(usize::from(index), deadline_ns);
        }
        // A worker may take the slot between the look and the change: then it runs, which is 301.
        let is_expired = word.is(State::Queued) && self.node.slots.expire(slot).is_ok();
        let state = if is_expired { Some(State::Expired) } else { self.node.slots.word(index).state() };
        match state {
            Some(State::Expired) => self.end_expired(slot, row),
            Some(State::Done) => self.finish(slot),
            Some(State::Lost | State::Uncommitted) => self.end_lost(index),
            Some(State::Joined) => self.time_out_joined(slot, row),
            state if is_with_a_worker(state) => self.time_out(slot, row),
            _ => {}
        }
    }

    /// Somebody overwrote the word of a slot. What became of the request cannot be known here, and that is what its
    /// caller is told when its time is over; the slot stays out of use.
    fn pass_corrupt(&mut self, index: u16, row: &SlotRow) {
        let Some(slot) = self.unended(index).filter(|slot| !was_answered(row, *slot)) else { return };
        let deadline_ns = row.deadline_ns.load(Ordering::Relaxed);
        if self.now_ns < deadline_ns {
            return self.wheel.arm(usize::from(index), deadline_ns);
        }
        tracing::error!(
            slot = index,
            "the word of a slot is corrupt; its caller is told 301, the slot stays out of use"
        );
        self.time_out(slot, row);
        if was_answered(row, slot) {
            self.is_seen_before(slot);
            self.leave_service(row);
            // A repeat asks the database.
            self.settle(slot, row, End::Failed(Status::TimedOut), None);
        }
    }

    /// 301: the worker goes on, its caller does not wait. The mark keeps the later reply from being sent.
    fn time_out(&mut self, slot: SlotRef, row: &SlotRow) {
        if self.answer_slot_early(slot, row, Status::TimedOut) {
            row.answered.store(u64::from(slot.generation.bits()) + 1, Ordering::Release);
        } else {
            self.wheel.arm(usize::from(slot.index), self.now_ns + NS_PER_MS);
        }
    }

    /// 301 to a repeat that waits: its original may be running.
    fn time_out_joined(&mut self, slot: SlotRef, row: &SlotRow) {
        self.time_out(slot, row);
        let entry = row.window_entry.load(Ordering::Relaxed);
        if was_answered(row, slot) && self.node.window.cancel_join(entry, slot) {
            self.leave_service(row);
            self.claims.release(self.node, slot);
        }
    }

    /// 305: it never started, and a repeat that waits for it takes its place. 302 if an earlier attempt had started.
    fn end_expired(&mut self, slot: SlotRef, row: &SlotRow) {
        let status = never_started(slot);
        if !was_answered(row, slot) && !self.answer_slot_early(slot, row, status) {
            self.is_sweep_due = true;
            return;
        }
        let end = if status == Status::BudgetSpent { End::NeverStarted } else { End::Failed(status) };
        self.leave_service(row);
        self.settle(slot, row, end, None);
        self.claims.release(self.node, slot);
    }

    /// Looks at all slots of this thread: recovery changed some, a reply ring was full, or records were short.
    pub(crate) fn sweep_if_due(&mut self) {
        // Acquire: pairs with the Release of whoever set the flag; the words that it is about are changed.
        let is_asked =
            self.row.sweep.load(Ordering::Relaxed) != 0 && self.row.sweep.swap(0, Ordering::Acquire) != 0;
        if !is_asked && !self.is_sweep_due {
            return;
        }
        self.is_sweep_due = false;
        for index in 0..self.node.slots.count() {
            let index = index as u16;
            let Some(row) = self.node.slots.row(index) else { continue };
            if home_of(row) != self.index {
                continue;
            }
            let word = self.node.slots.word(index);
            match word.state() {
                Some(State::Done) => self.finish(word.slot(index)),
                Some(State::Expired) => self.end_expired(word.slot(index), row),
                Some(State::Lost | State::Uncommitted) => self.end_lost(index),
                _ => {}
            }
        }
    }

    /// Decides what becomes of a request whose worker died. A read runs again while somebody waits for it; a write
    /// that was executed runs again always, since only the database knows whether it was committed; a write that was
    /// running is 302. Whoever was killed for its time-out is found here when this thread was late itself: its caller is
    /// told 301 as it would have been in time, and waits no more.
    fn end_lost(&mut self, index: u16) {
        let Some(row) = self.node.slots.row(index) else { return };
        let word = self.node.slots.word(index);
        let slot = word.slot(index);
        if !matches!(word.state(), Some(State::Lost | State::Uncommitted)) {
            return;
        }
        // Asked anew: the death may be younger than this turn, and its cause is what matters.
        let is_late = clock::monotonic_ns() >= row.deadline_ns.load(Ordering::Relaxed);
        if is_late && !was_answered(row, slot) {
            if !self.answer_slot_early(slot, row, Status::TimedOut) {
                self.is_sweep_due = true;
                return;
            }
            row.answered.store(u64::from(slot.generation.bits()) + 1, Ordering::Release);
        }
        let name = queue_of(row.flags.load(Ordering::Relaxed));
        let is_query = row.service_index.load(Ordering::Relaxed) == NO_SERVICE;
        let is_wanted = self.client_of(row).is_some() && !was_answered(row, slot);
        let is_repeated = match word.state() {
            Some(State::Uncommitted) => true,
            Some(State::Lost) => is_wanted && (name == QueueName::Read || is_query),
            _ => return,
        };
        if is_repeated && let Ok(again) = self.node.slots.retry(slot) {
            self.count(Counter::Retried);
            return self.push(again, name);
        }
        if is_wanted && !self.answer_slot_early(slot, row, Status::WorkerLost) {
            self.is_sweep_due = true;
            return;
        }
        self.leave_service(row);
        self.settle(slot, row, End::Failed(Status::WorkerLost), None);
        self.claims.release(self.node, slot);
    }

    /// Records an answer without a body that names a slot but does not need it. `false`: no record was free. Nothing is
    /// to be answered when the connection is gone.
    fn answer_slot_early(&mut self, slot: SlotRef, row: &SlotRow, status: Status) -> bool {
        let Some(number) = self.client_of(row) else { return true };
        let Some(record) = self.records.claim() else {
            self.count(Counter::RecordsOut);
            return false;
        };
        // Without a body there is nothing to check, so the checksum of the reply is 0 in any case.
        let service = ServiceNumber::new(row.service.load(Ordering::Relaxed)).unwrap_or(ServiceNumber::ZERO);
        let request = Header::request(service, request_id_of(row), 0, 0, None);
        let header = reply_header(&request, status, &[]);
        self.records.fill(
            record,
            answered_by(row),
            Content::Inline { slot: Some(slot), header: &header, body: &[] },
        );
        self.append(number, record, frame_cost(row));
        self.count_slot(row, status);
        true
    }
}
