//! Repeats that were waiting when their process died: who waits for whom was that process's own knowledge, and is found
//! again from the slots and the entries.

use gantry_message::Status;
use gantry_ring::{SlotRef, State};
use gantry_segment::WindowEntry;
use gantry_sys::atomic::Ordering;

use super::{DONE, FAILED, Joiner, Key, RUNNING, Window, copy_reply, is_for, state};
use crate::limits::WINDOW_BUCKET;

/// How a parked repeat goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejoined {
    /// It waits for a request that is still on its way.
    Waits,
    /// It takes the place of one that never came to anything; it is queued, and perhaps not in the ring.
    Runs,
    /// Its original is done: the reply was copied out.
    Answered {
        /// The recorded status code.
        status: u16,
    },
    /// Nothing is known here: it is to be run against the database, which knows.
    Asks,
}

impl Window<'_> {
    /// Finds again what the parked repeat `joiner` waits for. `is_concluded` says of a slot whether its end was told to
    /// everybody who waited for it. Nothing is changed that a second call would not find as it wants it.
    pub(crate) fn rejoin(
        &self,
        key: &Key,
        joiner: SlotRef,
        is_concluded: impl Fn(SlotRef) -> bool,
        now_ns: u64,
        reply: &mut Vec<u8>,
    ) -> Rejoined {
        let Some(row) = self.slots.row(joiner.index) else { return Rejoined::Asks };
        let index = row.window_entry.load(Ordering::Relaxed).wrapping_sub(1);
        let Some(entry) = self.entries.get(index as usize) else { return Rejoined::Asks };
        let mut stripe = self.lock(index as usize / WINDOW_BUCKET);
        // One that will be concluded (again) takes this repeat along, with its whole reply.
        let named = SlotRef::from_bits(row.joined.load(Ordering::Relaxed));
        if let Some(original) = named.filter(|slot| self.will_conclude(*slot, &is_concluded)) {
            stripe.push(Joiner { entry: index, original, joiner });
            return Rejoined::Waits;
        }
        if !is_for(entry, key) {
            return Rejoined::Asks;
        }
        match state(entry) {
            RUNNING => {
                let runner = SlotRef::from_bits(entry.slot.load(Ordering::Relaxed));
                let others = runner.filter(|slot| !slot.is_same_use(joiner));
                match others.filter(|slot| self.will_run(*slot)) {
                    Some(original) => {
                        row.joined.store(original.to_bits(), Ordering::Relaxed);
                        stripe.push(Joiner { entry: index, original, joiner });
                        Rejoined::Waits
                    }
                    None => self.take_place(index, joiner, now_ns),
                }
            }
            DONE => Rejoined::Answered { status: copy_reply(entry, reply) },
            FAILED => self.share_failure(entry, index, joiner, now_ns, reply),
            _ => Rejoined::Asks,
        }
    }

    /// Whether the entry (index + 1) says that this use of a slot runs its write.
    pub(crate) fn is_run_by(&self, entry: u32, slot: SlotRef) -> bool {
        let entry = entry.checked_sub(1).and_then(|index| self.entries.get(index as usize));
        let runner = |entry: &WindowEntry| SlotRef::from_bits(entry.slot.load(Ordering::Relaxed));
        entry.is_some_and(|entry| {
            state(entry) == RUNNING && runner(entry).is_some_and(|runner| runner.is_same_use(slot))
        })
    }

    /// Whether this use of a slot will come to an end that is told to those who wait for it.
    fn will_conclude(&self, slot: SlotRef, is_concluded: impl Fn(SlotRef) -> bool) -> bool {
        let word = self.slots.word(slot.index);
        let is_on_its_way = matches!(
            word.state(),
            Some(State::Queued | State::Running | State::Executed | State::Lost | State::Uncommitted)
        );
        let is_in_use = word.slot(slot.index).is_same_use(slot);
        is_in_use && (is_on_its_way || word.is(State::Done) && !is_concluded(slot))
    }

    /// Whether the slot that an entry names runs, or waits to: also one that took another's place and is parked yet.
    fn will_run(&self, slot: SlotRef) -> bool {
        let word = self.slots.word(slot.index);
        let is_parked_runner = word.is(State::Joined) && word.slot(slot.index).is_same_use(slot);
        is_parked_runner || self.will_conclude(slot, |_| true)
    }

    /// As in `promote`: the entry first, then the slot.
    fn take_place(&self, index: u32, joiner: SlotRef, now_ns: u64) -> Rejoined {
        let Some(row) = self.slots.row(joiner.index) else { return Rejoined::Asks };
        row.joined.store(0, Ordering::Relaxed);
        self.run_again(index, joiner, now_ns);
        match self.slots.unjoin(joiner) {
            Ok(()) => Rejoined::Runs,
            Err(_) => Rejoined::Asks,
        }
    }

    /// What a failed original leaves to its repeats: its status, or its place if it never started.
    fn share_failure(
        &self,
        entry: &WindowEntry,
        index: u32,
        joiner: SlotRef,
        now_ns: u64,
        reply: &mut Vec<u8>,
    ) -> Rejoined {
        let status = entry.status.load(Ordering::Relaxed) as u16;
        if status == Status::BudgetSpent.code() {
            return self.take_place(index, joiner, now_ns);
        }
        reply.clear();
        Rejoined::Answered { status }
    }
}
