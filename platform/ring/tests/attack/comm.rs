//! The communication process of the small node: what `gantry-comm` does, cut down to slots, rings and blocks, in the
//! same order of stores.

use gantry_ring::mutants::{self, Mutant};
use gantry_ring::{BlockKind, Cursor, Owner, SlotRef, State, adopt_slots, push_missing};
use gantry_sys::atomic::Ordering;

use crate::world::{Fault, Kind, Status, World, reply_body, request_body};

/// How an attempt ended, for those who wait for it.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It has a reply, in its slot.
    Replied,
    /// It is lost.
    Lost,
    /// It was never started.
    NeverStarted,
}

impl World {
    /// Accepts request `id`, if there is room.
    pub(crate) fn submit(&self, owner: Owner, id: u32, kind: Kind) -> Option<SlotRef> {
        let slot = self.fill(owner, id, kind, 0)?;
        self.requests().submit(slot, owner).ok()?;
        self.wake_one();
        Some(slot)
    }

    /// Claims slot and block and writes the fields. Gives both back when there is no room.
    pub(crate) fn fill(&self, owner: Owner, id: u32, kind: Kind, class: u8) -> Option<SlotRef> {
        let slot = self.slots().claim(owner, &mut Cursor::default())?;
        let row = self.row(slot);
        row.request_bytes.store(id, Ordering::Relaxed);
        row.service.store(id, Ordering::Relaxed);
        row.flags.store(kind.flags(), Ordering::Relaxed);
        row.answered.store(0, Ordering::Relaxed);
        row.joined.store(0, Ordering::Relaxed);
        row.reply_bytes.store(0, Ordering::Relaxed);
        row.reply_block.store(0, Ordering::Relaxed);
        let caller = self.caller(id);
        caller.key.store(id, Ordering::Relaxed);
        caller.is_write.store(u32::from(kind == Kind::Write), Ordering::Relaxed);
        let Some(block) = self.claim_body(slot, BlockKind::Request, class, request_body(id)) else {
            let _ = self.slots().release(slot);
            return None;
        };
        row.request_block.store(block.to_bits(), Ordering::Relaxed);
        Some(slot)
    }

    /// A large body begins: its slot is claimed and the connection's row names it.
    pub(crate) fn begin_body(&self, owner: Owner, id: u32) {
        if let Some(slot) = self.fill(owner, id, Kind::Read, 1) {
            self.body_slot.store(slot.to_bits(), Ordering::Release);
        }
    }

    /// The large body is whole. Gives whether there was one.
    pub(crate) fn end_body(&self, owner: Owner) -> bool {
        let Some(slot) = SlotRef::from_bits(self.body_slot.load(Ordering::Acquire)) else { return false };
        if self.requests().submit(slot, owner).is_ok() {
            self.wake_one();
        }
        self.body_slot.store(0, Ordering::Release);
        true
    }

    /// The connection of a half-received body goes away.
    pub(crate) fn withdraw(&self) {
        if let Some(slot) = SlotRef::from_bits(self.body_slot.swap(0, Ordering::AcqRel)) {
            let _ = self.slots().release(slot);
        }
    }

    /// Answers by itself, as it does a ping: the reply lies in the request's block.
    pub(crate) fn answer_alone(&self, owner: Owner, id: u32) {
        let Some(slot) = self.fill(owner, id, Kind::Read, 0) else { return };
        let row = self.row(slot);
        row.reply_block.store(row.request_block.load(Ordering::Relaxed), Ordering::Relaxed);
        row.reply_bytes.store(id + 7, Ordering::Relaxed);
        row.reply_status.store(Status::Done as u32, Ordering::Relaxed);
        if self.slots().answer(slot, owner).is_ok() {
            self.finish_caller(slot);
        }
    }

    /// Accepts a repeat of `original` and parks it.
    pub(crate) fn join(&self, owner: Owner, id: u32, original: u32) {
        let Some(first) = self.slot_of(original) else { return };
        let Some(slot) = self.fill(owner, id, Kind::Write, 0) else { return };
        self.row(slot).service.store(original, Ordering::Relaxed);
        self.caller(id).key.store(original, Ordering::Relaxed);
        self.row(slot).joined.store(first.to_bits(), Ordering::Relaxed);
        let _ = self.slots().join(slot, owner);
    }

    /// Answers one reply. Gives whether there was one.
    pub(crate) fn deliver(&self) -> bool {
        let Some(slot) = self.replies().pop() else { return false };
        if self.slots().word(slot.index).is(State::Done) {
            self.finish_caller(slot);
        }
        true
    }

    /// Settles an ended request, answers its caller unless that was done, and frees the slot.
    pub(crate) fn finish_caller(&self, slot: SlotRef) {
        let row = self.row(slot);
        let word = self.slots().word(slot.index);
        if !word.slot(slot.index).is_same_use(slot) {
            // It was met twice, in the ring and in a sweep, and is over.
            return;
        }
        let (status, end) = match word.state() {
            Some(State::Done) => {
                self.check_reply(slot);
                (Status::from_code(row.reply_status.load(Ordering::Relaxed)), End::Replied)
            }
            // Only a first attempt was never started.
            Some(State::Expired) if slot.generation.attempt() == 0 => (Status::Expired, End::NeverStarted),
            _ => (Status::Lost, End::Lost),
        };
        if mutants::is(Mutant::ReleaseBeforeAnswer) {
            let _ = self.slots().release(slot);
        }
        if matches!(end, End::Replied) {
            self.settle(slot, end);
            self.record(slot, status);
        } else {
            self.record(slot, status);
            self.settle(slot, end);
        }
        let _ = self.slots().release(slot);
    }

    /// The answer to a slot's caller, once.
    fn record(&self, slot: SlotRef, status: Status) {
        let caller = self.caller(self.id(slot));
        let is_answered = self.has_answer(slot) || self.was_timed_out(slot);
        if !is_answered || mutants::is(Mutant::AnswersBlindly) {
            caller.status.store(status as u32, Ordering::Relaxed);
            // This one store is the record in the connection's chain: everything before it is invisible.
            caller.answers.store(caller.answers.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    /// Whether the connection has a record for this slot's frame.
    fn has_answer(&self, slot: SlotRef) -> bool {
        self.caller(self.id(slot)).answers.load(Ordering::Acquire) > 0
    }

    fn mark_timed_out(&self, slot: SlotRef) {
        self.row(slot).answered.store(u64::from(slot.generation.bits()) + 1, Ordering::Release);
    }

    fn was_timed_out(&self, slot: SlotRef) -> bool {
        let mark = self.row(slot).answered.load(Ordering::Relaxed);
        mark != 0 && ((mark - 1) >> 2) as u32 == slot.generation.base()
    }

    fn check_reply(&self, slot: SlotRef) {
        let row = self.row(slot);
        if row.reply_status.load(Ordering::Relaxed) != Status::Done as u32 {
            return;
        }
        let (id, key) = (self.id(slot), row.service.load(Ordering::Relaxed));
        let block = row.reply_block.load(Ordering::Relaxed);
        if row.reply_bytes.load(Ordering::Relaxed) != key + 7 {
            self.fault(Fault::BodyWrong);
        } else if block == row.request_block.load(Ordering::Relaxed) {
            self.check_body(block, slot, BlockKind::Request, request_body(id));
        } else {
            self.check_body(block, slot, BlockKind::Reply, reply_body(key));
        }
    }

    /// Tells those who wait for a request how it ended.
    fn settle(&self, original: SlotRef, end: End) {
        for (index, word) in self.slots().words() {
            let joiner = word.slot(index);
            let waits_for = SlotRef::from_bits(self.row(joiner).joined.load(Ordering::Relaxed));
            if !word.is(State::Joined) || !waits_for.is_some_and(|slot| slot.is_same_use(original)) {
                continue;
            }
            match end {
                End::NeverStarted => return self.promote(original, joiner),
                End::Replied => self.resolve(joiner, Some(original)),
                End::Lost => self.resolve(joiner, None),
            }
        }
    }

    /// A joined repeat gets its original's reply, or its end.
    fn resolve(&self, joiner: SlotRef, original: Option<SlotRef>) {
        let row = self.row(joiner);
        if mutants::is(Mutant::ResolveBeforeReply) && self.slots().resolve(joiner).is_ok() {
            self.push_reply(joiner);
        }
        let (mut block, mut bytes, mut status) = (0, 0, Status::Lost as u32);
        if let Some(original) = original {
            let first = self.row(original);
            status = first.reply_status.load(Ordering::Relaxed);
            bytes = first.reply_bytes.load(Ordering::Relaxed);
            let body = reply_body(row.service.load(Ordering::Relaxed));
            match self.claim_body(joiner, BlockKind::Reply, 0, body) {
                Some(claimed) => block = claimed.to_bits(),
                None => self.fault(Fault::NoBlock),
            }
        }
        row.reply_block.store(block, Ordering::Relaxed);
        row.reply_bytes.store(bytes, Ordering::Relaxed);
        row.reply_status.store(status, Ordering::Relaxed);
        if self.slots().resolve(joiner).is_ok() {
            self.push_reply(joiner);
        }
    }

    /// A repeat takes the place of an original that never started; the others wait for it.
    fn promote(&self, original: SlotRef, joiner: SlotRef) {
        self.row(joiner).joined.store(0, Ordering::Relaxed);
        if self.slots().unjoin(joiner).is_err() {
            return;
        }
        for (index, word) in self.slots().words() {
            let row = self.row(word.slot(index));
            let waits_for = SlotRef::from_bits(row.joined.load(Ordering::Relaxed));
            if word.is(State::Joined) && waits_for.is_some_and(|slot| slot.is_same_use(original)) {
                row.joined.store(joiner.to_bits(), Ordering::Relaxed);
            }
        }
        let _ = self.requests().push(joiner);
        self.wake_one();
    }

    /// The time of the first queued request runs out.
    pub(crate) fn expire_first(&self) {
        for (index, word) in self.slots().words() {
            if word.is(State::Queued) && self.slots().expire(word.slot(index)).is_ok() {
                return self.finish_caller(word.slot(index));
            }
        }
    }

    /// The time of the first running request runs out: its caller is told, its slot is left alone.
    pub(crate) fn time_out_first(&self) {
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            if matches!(word.state(), Some(State::Running | State::Executed)) {
                self.record(slot, Status::TimedOut);
                return self.mark_timed_out(slot);
            }
        }
    }

    /// The time of the first joined repeat runs out: it is told so and leaves.
    pub(crate) fn cancel_join(&self) {
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            if word.is(State::Joined) {
                self.record(slot, Status::TimedOut);
                self.mark_timed_out(slot);
                let _ = self.slots().release(slot);
                return;
            }
        }
    }

    /// Looks at all slots, as an I/O thread does whose sweep flag is set.
    pub(crate) fn sweep_slots(&self) {
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            match word.state() {
                Some(State::Lost | State::Uncommitted) => self.end_lost(slot),
                Some(State::Expired | State::Done) => self.finish_caller(slot),
                _ => {}
            }
        }
    }

    /// A read, and a write that only the database knows of, runs again; any other write is lost.
    fn end_lost(&self, slot: SlotRef) {
        let word = self.slots().word(slot.index);
        let is_wanted = !self.was_timed_out(slot);
        let is_read = Kind::of(self.row(slot)) != Kind::Write;
        let is_repeated = word.is(State::Uncommitted) || is_read && is_wanted;
        if is_repeated && let Ok(again) = self.slots().retry(slot) {
            let _ = self.requests().push(again);
            return self.wake_one();
        }
        self.finish_caller(slot);
    }

    /// A new communication process takes over what its predecessors left.
    pub(crate) fn take_over(&self, me: Owner) {
        let body = SlotRef::from_bits(self.body_slot.load(Ordering::Acquire));
        adopt_slots(self.slots(), me, |slot| body == Some(slot));
        // A name that was left behind after its slot was queued.
        let is_received = body.is_some_and(|slot| {
            let word = self.slots().word(slot.index);
            !word.is(State::Filling) || word.generation() != slot.generation
        });
        if let Some(slot) = body.filter(|_| is_received) {
            let _ = self.body_slot.compare_exchange(slot.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            match word.state() {
                Some(State::Joined) if !mutants::is(Mutant::JoinedForgotten) => self.take_joined(slot),
                Some(State::Running | State::Executed) if self.has_answer(slot) => self.mark_timed_out(slot),
                _ => {}
            }
        }
        push_missing(self.slots(), &self.requests(), |_| true);
        self.sweep_and_wake_all();
    }

    /// A parked repeat goes on waiting if its original is still there; else it is queued, and the database decides.
    fn take_joined(&self, joiner: SlotRef) {
        if self.was_timed_out(joiner) || self.has_answer(joiner) {
            let _ = self.slots().release(joiner);
            return;
        }
        let original = SlotRef::from_bits(self.row(joiner).joined.load(Ordering::Relaxed));
        let is_there = original.is_some_and(|original| {
            let word = self.slots().word(original.index);
            word.slot(original.index).is_same_use(original) && !word.is(State::Free)
        });
        if !is_there {
            self.row(joiner).joined.store(0, Ordering::Relaxed);
            let _ = self.slots().unjoin(joiner);
        }
    }

    /// The slot that request `id` is in.
    pub(crate) fn slot_of(&self, id: u32) -> Option<SlotRef> {
        let slots = self.slots();
        let found =
            slots.words().find(|(index, word)| !word.is(State::Free) && self.id(word.slot(*index)) == id);
        found.map(|(index, word)| word.slot(index))
    }
}
