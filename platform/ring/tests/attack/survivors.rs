//! Those who go on: while somebody is stopped, and after somebody died.

use gantry_ring::{Owner, SlotRef, State};
use gantry_sys::atomic::Ordering;

use crate::world::{CELLS, COMM, IDS, Kind, Status, WORKER_A, WORKER_A_2, WORKER_B, World, is_accepted};

/// Who is stopped, and then dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    /// The communication process, the `n`-th of them.
    Comm(u32),
    WorkerA,
    /// The supervisor, in the middle of recovering worker A.
    Supervisor,
}

/// Rounds after which the survivors must have come to rest.
const ROUNDS_MAX: u32 = 64;
/// First of the ids that are used to see whether the rings still work.
const PROBE_ID: u32 = 16;
/// First of the ids that others send while somebody is stopped.
const CHURN_ID: u32 = 24;

impl Who {
    /// The communication process that works when this one is dead.
    pub(crate) fn comm_next(self) -> Owner {
        match self {
            Self::Comm(life) => Owner::new(COMM.row(), life + 1),
            _ => COMM,
        }
    }

    /// Whose death a recovery by this one is about.
    pub(crate) fn predecessor(self) -> Self {
        match self {
            Self::Comm(life) => Self::Comm(life - 1),
            other => other,
        }
    }

    fn is_dead(self, owner: Owner) -> bool {
        match self {
            Self::Comm(_) => owner.row() == COMM.row(),
            Self::WorkerA | Self::Supervisor => owner == WORKER_A,
            Self::Nobody => false,
        }
    }
}

impl World {
    /// What is done at once when somebody has died, while everybody else may be anywhere.
    pub(crate) fn recover(&self, dead: Who) {
        match dead {
            Who::Comm(_) => self.take_over(dead.comm_next()),
            Who::WorkerA | Who::Supervisor => self.recover_a(),
            Who::Nobody => {}
        }
        self.note_lost_claims();
    }

    /// Writes down what each caller is to get, from the words alone, and that it is owed. `also` are answers that a peer
    /// may give, as bits.
    pub(crate) fn expect(&self, dead: Who, also: u32) {
        for (index, word) in self.slots().words() {
            let slot = word.slot(index);
            let caller = self.caller(self.id(slot));
            if is_accepted(word.state()) {
                caller.owed.store(1, Ordering::Relaxed);
            }
            if !word.is(State::Free) && caller.answers.load(Ordering::Relaxed) == 0 {
                let expected = self.expected(slot, dead);
                // Half filled: nothing is promised yet.
                let also = if expected == 0 { 0 } else { also };
                caller.expected.store(expected | also, Ordering::Relaxed);
            }
        }
    }

    /// What the caller of a slot is to get, as bits; 0 = nothing, or not accepted.
    fn expected(&self, slot: SlotRef, dead: Who) -> u32 {
        let word = self.slots().word(slot.index);
        let is_dead = dead.is_dead(word.owner());
        let is_write = Kind::of(self.row(slot)) == Kind::Write;
        let once_more = if slot.generation.attempt() == 0 { Status::Done } else { Status::Lost };
        let status = match word.state() {
            None | Some(State::Free) => return 0,
            Some(State::Filling) => {
                let is_kept = self.body_slot.load(Ordering::Relaxed) == slot.to_bits();
                if !is_dead || !is_kept {
                    return 0;
                }
                Status::Done
            }
            Some(State::Queued) => Status::Done,
            Some(State::Running | State::Executed) if !is_dead => Status::Done,
            Some(State::Running | State::Lost) if is_write => Status::Lost,
            Some(State::Running | State::Lost | State::Executed | State::Uncommitted) => once_more,
            Some(State::Done) => Status::from_code(self.row(slot).reply_status.load(Ordering::Relaxed)),
            Some(State::Expired) if slot.generation.attempt() == 0 => Status::Expired,
            Some(State::Expired) => Status::Lost,
            Some(State::Joined) => return self.expected_of_joined(slot, dead),
        };
        status.bit()
    }

    /// A repeat gets what its original gets; it runs itself if that one never started or is over.
    fn expected_of_joined(&self, joiner: SlotRef, dead: Who) -> u32 {
        let original = SlotRef::from_bits(self.row(joiner).joined.load(Ordering::Relaxed));
        let there = original.filter(|original| {
            let word = self.slots().word(original.index);
            word.slot(original.index).is_same_use(*original) && !word.is(State::Free)
        });
        let Some(original) = there else { return Status::Done.bit() };
        let now = self.slots().word(original.index).slot(original.index);
        match self.expected(now, dead) {
            expired if expired == Status::Expired.bit() => Status::Done.bit(),
            same => same,
        }
    }

    /// Lets all but the stopped one work, and gives what does not get on though it is not the stopped one's.
    pub(crate) fn go_on_beside(&self, stopped: Who) -> Result<(), String> {
        // Nobody sleeps for ever: a worker looks again when its time to sleep is over.
        for owner in [WORKER_A, WORKER_B] {
            self.bell(owner).withdraw();
        }
        if let Who::Comm(_) = stopped {
            self.finish_running(WORKER_A);
            self.serve_all(WORKER_B);
            return self.check_nothing_live_in_the_ring();
        }
        self.work(COMM, &[WORKER_B], true);
        for (index, word) in self.slots().words() {
            if !word.is(State::Free) && !self.waits_for_stopped(word.slot(index), stopped) {
                return Err(format!("slot {index} does not get on beside the stopped one: {word:?}"));
            }
        }
        Ok(())
    }

    /// Whether a slot is in the hands of the stopped one, or waits for one that is.
    fn waits_for_stopped(&self, slot: SlotRef, stopped: Who) -> bool {
        let word = self.slots().word(slot.index);
        match word.state() {
            Some(State::Running | State::Executed | State::Done) => stopped.is_dead(word.owner()),
            // Marked, and the flag is not set yet; its deadline would take it up.
            Some(State::Lost | State::Uncommitted) => stopped == Who::Supervisor,
            Some(State::Joined) => {
                let original = SlotRef::from_bits(self.row(slot).joined.load(Ordering::Relaxed));
                original.is_some_and(|original| self.waits_for_stopped(original, stopped))
            }
            _ => false,
        }
    }

    fn check_nothing_live_in_the_ring(&self) -> Result<(), String> {
        let entries = self.requests().entries();
        let live = entries.iter().find(|slot| {
            let word = self.slots().word(slot.index);
            word.is(State::Queued) && word.generation() == slot.generation
        });
        match live {
            Some(slot) => Err(format!("{slot:?} stays in the ring though workers look for work")),
            None => Ok(()),
        }
    }

    /// Lets these work until nothing moves. `is_rested`: whether workers look for work though nobody rang.
    fn work(&self, comm: Owner, workers: &[Owner], is_rested: bool) {
        for _ in 0..ROUNDS_MAX {
            let mut is_moving = false;
            if self.sweep.swap(0, Ordering::Acquire) == 1 {
                self.sweep_slots();
                is_moving = true;
            }
            is_moving |= self.end_body(comm);
            is_moving |= self.deliver();
            for worker in workers {
                if is_rested || !self.is_asleep(*worker) {
                    is_moving |= self.serve(*worker);
                }
            }
            for worker in workers {
                is_moving |= self.finish_running(*worker);
            }
            is_moving |= self.finish_held();
            if !is_moving {
                return;
            }
        }
    }

    /// Finishes what a living worker had begun before the attack.
    pub(crate) fn finish_running(&self, owner: Owner) -> bool {
        let slots = self.slots();
        let running = slots.words().find(|(_, word)| word.is(State::Running) && word.owner() == owner);
        if let Some((index, word)) = running {
            self.run(word.slot(index), owner);
        }
        running.is_some()
    }

    /// Finishes what the next life of worker A runs, whatever the words say: it does not look.
    fn finish_held(&self) -> bool {
        let held = SlotRef::from_bits(self.held.swap(0, Ordering::Relaxed));
        if let Some(slot) = held {
            self.run(slot, WORKER_A_2);
        }
        held.is_some()
    }

    /// Lets the survivors work until nothing moves, and gives what is wrong then.
    pub(crate) fn converge(&self, dead: Who) -> Result<(), String> {
        let comm = dead.comm_next();
        let workers: &[Owner] = match dead {
            Who::Comm(_) | Who::Nobody if self.is_a_absent.load(Ordering::Relaxed) == 0 => {
                &[WORKER_A, WORKER_B]
            }
            _ => &[WORKER_B],
        };
        self.work(comm, workers, false);
        self.check()?;
        self.check_rings_still_work(comm)
    }

    /// Sends `count` requests all the way through, as others do while one process is stopped. Another thread of a stopped
    /// communication process answers its own requests only (`is_home`: the stopped one's are others'). `also` are answers
    /// that the stopped one may give, as bits.
    pub(crate) fn churn(&self, count: u32, is_home: bool, also: u32) {
        for round in 0..count {
            let id = CHURN_ID + round % 8;
            self.forget_caller(id);
            if self.submit(COMM, id, Kind::Read).is_some() {
                self.caller(id).expected.store(Status::Done.bit() | also, Ordering::Relaxed);
                self.serve(WORKER_B);
                if is_home {
                    self.finish_own(id);
                } else {
                    self.deliver();
                }
            }
        }
    }

    fn finish_own(&self, id: u32) {
        let done = self.slot_of(id).filter(|slot| self.slots().word(slot.index).is(State::Done));
        if let Some(slot) = done {
            self.finish_caller(slot);
        }
    }

    fn forget_caller(&self, id: u32) {
        let caller = self.caller(id);
        for field in [&caller.answers, &caller.owed, &caller.effects, &caller.starts, &caller.expected] {
            field.store(0, Ordering::Relaxed);
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

    fn check(&self) -> Result<(), String> {
        for (index, word) in self.slots().words() {
            if !word.is(State::Free) {
                let id = self.id(word.slot(index));
                return Err(format!("slot {index} is stuck as {word:?} (request {id})"));
            }
        }
        for class in 0..2 {
            let taken = self.blocks().taken_count(class);
            if taken != 0 {
                return Err(format!("{taken} blocks of class {class} are held by nobody's slot"));
            }
        }
        let mut claims = self.claims_noted();
        claims.sort_unstable();
        if let Some(pair) = claims.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("one attempt was claimed twice: {:?}", SlotRef::from_bits(pair[0])));
        }
        (1..IDS as u32).try_for_each(|id| self.check_caller(id))?;
        match self.faults() {
            0 => Ok(()),
            faults => Err(format!(
                "faults {faults:#b} (1 body wrong, 2 block not held, 4 finish refused, 8 no block for a reply)"
            )),
        }
    }

    fn check_caller(&self, id: u32) -> Result<(), String> {
        let caller = self.caller(id);
        let load = |field: &gantry_sys::atomic::AtomicU32| field.load(Ordering::Relaxed);
        let (answers, owed, expected) = (load(&caller.answers), load(&caller.owed), load(&caller.expected));
        if answers > 1 || answers < owed {
            return Err(format!("request {id} was accepted {owed} times and answered {answers} times"));
        }
        let status = Status::from_code(load(&caller.status));
        if answers == 1 && expected != 0 && status.bit() & expected == 0 {
            return Err(format!("request {id} was answered {status:?}, the states allow bits {expected:#b}"));
        }
        let effects = load(&self.caller(load(&caller.key)).effects);
        let is_write = load(&caller.is_write) == 1;
        if effects > 1 || !is_write && effects > 0 {
            return Err(format!("request {id} took effect {effects} times"));
        }
        if answers == 1 && is_write && status == Status::Done && effects != 1 {
            return Err(format!("the write {id} was answered done and took no effect"));
        }
        if answers == 1 && status == Status::Expired && load(&caller.starts) > 0 {
            return Err(format!("request {id} was answered 305 and was started"));
        }
        Ok(())
    }

    /// Sends requests through every cell twice: a hole or an overwritten entry shows here at the latest.
    fn check_rings_still_work(&self, comm: Owner) -> Result<(), String> {
        for round in 0..2 * CELLS {
            let id = PROBE_ID + (round % 8) as u32;
            self.forget_caller(id);
            self.claims_count.store(0, Ordering::Relaxed);
            if self.submit(comm, id, Kind::Read).is_none() {
                return Err(format!("round {round} after the attack found no free slot or block"));
            }
            if !self.serve(WORKER_B) || !self.deliver() {
                return Err(format!("round {round} after the attack: the rings lost a request"));
            }
            if self.caller(id).answers.load(Ordering::Relaxed) != 1 {
                return Err(format!("round {round} after the attack was not answered"));
            }
        }
        self.check()
    }
}
