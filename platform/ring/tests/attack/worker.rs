//! The workers and the supervisor of the small node.

use gantry_ring::mutants::{self, Mutant};
use gantry_ring::{BlockKind, Owner, SlotRef, recover_worker};
use gantry_sys::atomic::Ordering;

use crate::world::{Fault, Kind, Status, WORKER_A, World, reply_body, request_body};

impl World {
    /// A worker takes one request, runs it and replies. Gives whether there was one.
    pub(crate) fn serve(&self, owner: Owner) -> bool {
        let Some(slot) = self.take(owner) else { return false };
        self.run(slot, owner);
        true
    }

    /// A worker takes one request.
    pub(crate) fn take(&self, owner: Owner) -> Option<SlotRef> {
        let slot = self.requests().take(owner)?;
        self.note_claim(slot);
        Some(slot)
    }

    /// A worker runs what it took, and replies.
    pub(crate) fn run(&self, slot: SlotRef, owner: Owner) {
        let row = self.row(slot);
        let id = self.id(slot);
        self.check_body(
            row.request_block.load(Ordering::Relaxed),
            slot,
            BlockKind::Request,
            request_body(id),
        );
        let key = row.service.load(Ordering::Relaxed);
        self.caller(id).starts.fetch_add(1, Ordering::Relaxed);
        self.write_reply(slot, key);
        if Kind::of(row) == Kind::Write && !self.is_recorded(key) && !self.commit(slot, owner, key) {
            return;
        }
        if self.slots().finish(slot, owner).is_err() {
            return self.fault(Fault::FinishRefused);
        }
        self.push_reply(slot);
    }

    /// A write that was executed is committed: one atomic act of the database, together with its request row.
    fn commit(&self, slot: SlotRef, owner: Owner, key: u32) -> bool {
        if self.slots().execute(slot, owner).is_err() {
            self.fault(Fault::FinishRefused);
            return false;
        }
        if mutants::is(Mutant::RunsTwice) {
            self.caller(key).effects.fetch_add(1, Ordering::AcqRel);
        }
        // Where another has committed the same request meanwhile, the database refuses, and its reply is that one's.
        let _ = self.caller(key).effects.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
        true
    }

    fn is_recorded(&self, key: u32) -> bool {
        self.caller(key).effects.load(Ordering::Acquire) > 0 && !mutants::is(Mutant::RunsTwice)
    }

    /// The reply goes into a small block, and moves into a large one if it outgrows that.
    fn write_reply(&self, slot: SlotRef, key: u32) {
        let row = self.row(slot);
        let claim = |class| self.claim_body(slot, BlockKind::Reply, class, reply_body(key));
        // A full class is no reason to fail while a larger one has room.
        let Some(mut block) = claim(0).or_else(|| claim(1)) else { return self.fault(Fault::NoBlock) };
        if Kind::of(row) == Kind::LongRead && block.class == 0 {
            let Some(large) = claim(1) else { return self.fault(Fault::NoBlock) };
            self.blocks().release(block, slot, BlockKind::Reply);
            block = large;
        }
        row.reply_status.store(Status::Done as u32, Ordering::Relaxed);
        row.reply_block.store(block.to_bits(), Ordering::Relaxed);
        row.reply_bytes.store(key + 7, Ordering::Relaxed);
    }

    /// A worker that finds nothing to do goes to sleep: afterwards its bell is set, or it served one request.
    pub(crate) fn doze(&self, owner: Owner) {
        let is_seen = mutants::is(Mutant::LookBeforeSleep) && !self.requests().is_empty();
        self.bell(owner).announce();
        if is_seen || !mutants::is(Mutant::LookBeforeSleep) && !self.requests().is_empty() {
            self.bell(owner).withdraw();
            self.serve(owner);
        }
    }

    /// A worker does all that there is, and goes to sleep.
    pub(crate) fn serve_all(&self, owner: Owner) {
        while self.serve(owner) {}
    }

    /// The supervisor recovers worker A.
    pub(crate) fn recover_a(&self) {
        recover_worker(self.slots(), WORKER_A);
        self.sweep_and_wake_all();
    }
}
