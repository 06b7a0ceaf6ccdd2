//! A small node in shared memory: three slots, their rings and blocks, and what its callers were told.
//!
//! The operations here are those of the real processes, cut down to slots, rings and blocks. `settle` plays the
//! survivors: it recovers the dead, lets everybody work until nothing moves, and then checks what must hold.

use std::ptr::NonNull;

use gantry_ring::{
    BlockKind, BlockRef, Blocks, Cursor, Owner, Queue, SlotRef, Slots, State, adopt_slots, push_missing,
    recover_worker,
};
use gantry_segment::{RingRow, SlotRow};
use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

const SLOTS: usize = 3;
const CELLS: usize = 8;
const TAGS: usize = 8;
/// Requests are numbered 1 to 31; the number stands in the slot's `request_bytes`.
const IDS: usize = 32;
const CLAIMS: usize = 128;

pub(crate) const COMM: Owner = Owner::new(1, 1);
pub(crate) const COMM_NEXT: Owner = Owner::new(1, 2);
pub(crate) const WORKER_A: Owner = Owner::new(2, 1);
pub(crate) const WORKER_B: Owner = Owner::new(3, 1);
/// Plays the survivors in `converge`.
const SURVIVOR: Owner = Owner::new(4, 1);

/// The shared memory. All fields are atomics; the puppets and the checker see it at the same time.
#[repr(C)]
pub(crate) struct World {
    rows: [SlotRow; SLOTS],
    request_row: RingRow,
    request_cells: [AtomicU64; CELLS],
    reply_row: RingRow,
    reply_cells: [AtomicU64; CELLS],
    tags: [AtomicU64; TAGS],
    sweep: AtomicU32,
    /// How often each request was answered.
    answers: [AtomicU32; IDS],
    /// 1 = the request was accepted before the attack began, so it must be answered whatever dies.
    owed: [AtomicU32; IDS],
    /// How often a request was started.
    starts: [AtomicU32; IDS],
    /// Which uses and attempts were claimed by a worker, in the order of the claims.
    claims: [AtomicU64; CLAIMS],
    claims_count: AtomicU32,
    faults: AtomicU32,
}

pub(crate) const WORLD_BYTES: usize = size_of::<World>();

/// What a fault was, as a bit of `faults`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Fault {
    BodyWrong = 1,
    BlockNotHeld = 2,
    FinishRefused = 4,
}

/// Who died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dead {
    Nobody,
    Comm,
    Worker(Owner),
}

impl World {
    /// The world in zeroed shared memory.
    pub(crate) fn at(base: NonNull<u8>) -> &'static Self {
        // SAFETY: the map is page aligned, larger than a world, zeroed or a world already, and lives as long as the
        // test; everything in a world is an atomic, for which any bytes are valid.
        unsafe { base.cast().as_ref() }
    }

    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots::new(&self.rows)
    }

    fn requests(&self) -> Queue<'_> {
        Queue::requests((&self.request_row, &self.request_cells), self.slots())
    }

    fn replies(&self) -> Queue<'_> {
        Queue::replies((&self.reply_row, &self.reply_cells), self.slots())
    }

    fn blocks(&self) -> Blocks<'_> {
        Blocks::new([(64, &self.tags[..])], self.slots())
    }

    fn row(&self, slot: SlotRef) -> &SlotRow {
        &self.rows[usize::from(slot.index) % SLOTS]
    }

    fn id(&self, slot: SlotRef) -> usize {
        self.row(slot).request_bytes.load(Ordering::Relaxed) as usize % IDS
    }

    fn claim_block(&self, slot: SlotRef, kind: BlockKind) -> Option<u32> {
        self.blocks().claim(0, slot, kind, &mut Cursor::default()).map(|block| block.to_bits())
    }

    fn fault(&self, fault: Fault) {
        self.faults.fetch_or(fault as u32, Ordering::Relaxed);
    }

    fn answer(&self, slot: SlotRef) {
        self.answers[self.id(slot)].fetch_add(1, Ordering::Relaxed);
    }

    fn is_answered(&self, slot: SlotRef) -> bool {
        self.answers[self.id(slot)].load(Ordering::Relaxed) > 0
    }

    fn note_claim(&self, slot: SlotRef) {
        let place = self.claims_count.fetch_add(1, Ordering::Relaxed) as usize;
        self.claims[place % CLAIMS].store(slot.to_bits(), Ordering::Relaxed);
    }

    // ---- operations of the processes ----

    /// The communication process accepts request `id`.
    pub(crate) fn submit(&self, owner: Owner, id: u32) -> Option<SlotRef> {
        let slot = self.slots().claim(owner, &mut Cursor::default())?;
        let row = self.row(slot);
        row.request_bytes.store(id, Ordering::Relaxed);
        row.reply_bytes.store(0, Ordering::Relaxed);
        row.reply_block.store(0, Ordering::Relaxed);
        let Some(block) = self.claim_block(slot, BlockKind::Request) else {
            let _ = self.slots().release(slot);
            return None;
        };
        row.request_block.store(block, Ordering::Relaxed);
        row.frame_offset.store(u64::from(id) * 1_000, Ordering::Relaxed);
        self.requests().submit(slot, owner).ok()?;
        Some(slot)
    }

    /// A worker takes one request, runs it and replies. Gives whether there was one.
    pub(crate) fn serve(&self, owner: Owner) -> bool {
        let Some(slot) = self.requests().take(owner) else { return false };
        self.note_claim(slot);
        self.run(slot, owner);
        true
    }

    /// A worker takes one request and gets no further.
    pub(crate) fn take_only(&self, owner: Owner) {
        if let Some(slot) = self.requests().take(owner) {
            self.note_claim(slot);
        }
    }

    fn run(&self, slot: SlotRef, owner: Owner) {
        let row = self.row(slot);
        let id = row.request_bytes.load(Ordering::Relaxed);
        if row.frame_offset.load(Ordering::Relaxed) != u64::from(id) * 1_000 {
            self.fault(Fault::BodyWrong);
        }
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed));
        if !block.is_some_and(|block| self.blocks().is_held(block, slot, BlockKind::Request)) {
            self.fault(Fault::BlockNotHeld);
        }
        self.starts[id as usize % IDS].fetch_add(1, Ordering::Relaxed);
        if let Some(reply) = self.claim_block(slot, BlockKind::Reply) {
            row.reply_block.store(reply, Ordering::Relaxed);
        }
        row.reply_bytes.store(id + 7, Ordering::Relaxed);
        let is_executed = self.slots().execute(slot, owner).is_ok();
        if !is_executed || self.slots().finish(slot, owner).is_err() {
            self.fault(Fault::FinishRefused);
        }
        if self.replies().push(slot).is_err() {
            self.sweep.store(1, Ordering::SeqCst);
        }
    }

    /// The communication process answers one reply. Gives whether there was one.
    pub(crate) fn deliver(&self) -> bool {
        let Some(slot) = self.replies().pop() else { return false };
        if self.slots().word(slot.index).is(State::Done) {
            self.finish_caller(slot);
        }
        true
    }

    /// Answers the caller of an ended request, unless that was done, and frees the slot.
    fn finish_caller(&self, slot: SlotRef) {
        let row = self.row(slot);
        let is_done = self.slots().word(slot.index).is(State::Done);
        if is_done && row.reply_bytes.load(Ordering::Relaxed) != row.request_bytes.load(Ordering::Relaxed) + 7
        {
            self.fault(Fault::BodyWrong);
        }
        if !self.is_answered(slot) {
            self.answer(slot);
        }
        let _ = self.slots().release(slot);
    }

    /// The time of the first queued request runs out.
    pub(crate) fn expire_first(&self) {
        for (index, word) in self.slots().words() {
            if word.is(State::Queued) && self.slots().expire(word.slot(index)).is_ok() {
                self.finish_caller(word.slot(index));
                return;
            }
        }
    }

    /// The communication process takes up what recovery left.
    pub(crate) fn sweep_lost(&self) {
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            match word.state() {
                Some(State::Lost | State::Uncommitted) => match self.slots().retry(slot) {
                    Ok(again) => drop(self.requests().push(again)),
                    Err(_) => self.finish_caller(slot),
                },
                Some(State::Expired) => self.finish_caller(slot),
                _ => {}
            }
        }
    }

    /// The supervisor recovers worker A.
    pub(crate) fn recover_a(&self) {
        recover_worker(self.slots(), WORKER_A);
        self.sweep.store(1, Ordering::SeqCst);
    }

    /// Everything that is accepted now must be answered in the end.
    pub(crate) fn owe_accepted(&self) {
        for (index, word) in self.slots().words() {
            if !matches!(word.state(), Some(State::Free | State::Filling) | None) {
                self.owed[self.id(word.slot(index))].store(1, Ordering::Relaxed);
            }
        }
    }

    // ---- the survivors ----

    /// What is done at once when somebody has died, while everybody else may be anywhere.
    pub(crate) fn recover(&self, dead: Dead) {
        match dead {
            Dead::Nobody => {}
            Dead::Comm => {
                adopt_slots(self.slots(), COMM_NEXT, |_| false);
                push_missing(self.slots(), &self.requests(), |_| true);
            }
            Dead::Worker(owner) => {
                recover_worker(self.slots(), owner);
                self.note_lost_claims();
            }
        }
        self.owe_accepted();
        if dead != Dead::Nobody {
            self.sweep.store(1, Ordering::SeqCst);
        }
    }

    /// Lets the survivors work until nothing moves, and gives what is wrong then.
    pub(crate) fn converge(&self) -> Result<(), String> {
        for _ in 0..64 {
            let mut is_moving = false;
            if self.sweep.swap(0, Ordering::SeqCst) == 1 {
                self.sweep_lost();
                self.sweep_done();
                is_moving = true;
            }
            is_moving |= self.deliver();
            is_moving |= self.serve(SURVIVOR);
            if !is_moving {
                break;
            }
        }
        self.check()?;
        self.check_rings_still_work()
    }

    /// Sends `count` requests all the way through, as others do while one process is stopped.
    pub(crate) fn churn(&self, count: u32) {
        for round in 0..count {
            let id = 24 + round % 8;
            self.answers[id as usize].store(0, Ordering::Relaxed);
            if self.submit(COMM, id).is_some() {
                self.serve(WORKER_B);
                self.deliver();
            }
        }
    }

    fn sweep_done(&self) {
        for (index, word) in self.slots().words() {
            if word.is(State::Done) {
                self.finish_caller(word.slot(index));
            }
        }
    }

    /// The dead worker may have claimed without having noted it.
    fn note_lost_claims(&self) {
        let noted = self.claims_noted();
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            let is_lost = word.is(State::Lost) || word.is(State::Uncommitted);
            if is_lost && !noted.contains(&slot.to_bits()) {
                self.note_claim(slot);
            }
        }
    }

    fn claims_noted(&self) -> Vec<u64> {
        let count = (self.claims_count.load(Ordering::Relaxed) as usize).min(CLAIMS);
        self.claims[..count].iter().map(|claim| claim.load(Ordering::Relaxed)).collect()
    }

    fn check(&self) -> Result<(), String> {
        for (index, word) in self.slots().words() {
            if !word.is(State::Free) {
                return Err(format!(
                    "slot {index} is stuck as {word:?} (request {})",
                    self.id(word.slot(index))
                ));
            }
        }
        let taken = self.blocks().taken_count(0);
        if taken != 0 {
            return Err(format!("{taken} blocks are held by nobody's slot"));
        }
        let mut claims = self.claims_noted();
        claims.sort_unstable();
        if let Some(pair) = claims.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("one attempt was claimed twice: {:?}", SlotRef::from_bits(pair[0])));
        }
        for id in 1..IDS {
            let answers = self.answers[id].load(Ordering::Relaxed);
            let owed = self.owed[id].load(Ordering::Relaxed);
            if answers > 1 || answers < owed {
                return Err(format!("request {id} was accepted {owed} times and answered {answers} times"));
            }
        }
        match self.faults.load(Ordering::Relaxed) {
            0 => Ok(()),
            faults => Err(format!("faults {faults:#b} (1 body wrong, 2 block not held, 4 finish refused)")),
        }
    }

    /// Sends requests through every cell twice: a hole or an overwritten entry shows here at the latest.
    fn check_rings_still_work(&self) -> Result<(), String> {
        for round in 0..2 * CELLS {
            let id = 16 + (round % 8) as u32;
            self.answers[id as usize].store(0, Ordering::Relaxed);
            self.claims_count.store(0, Ordering::Relaxed);
            if self.submit(COMM_NEXT, id).is_none() {
                return Err(format!("round {round} after the attack found no free slot or block"));
            }
            if !self.serve(SURVIVOR) || !self.deliver() {
                return Err(format!("round {round} after the attack: the rings lost a request"));
            }
            if self.answers[id as usize].load(Ordering::Relaxed) != 1 {
                return Err(format!("round {round} after the attack was not answered"));
            }
        }
        self.check()
    }
}
