//! What is done when an owner has died.
//!
//! Recovery only changes words; its caller sets the sweep flags and wakes everybody. It may be killed at any point
//! and run again, also while an earlier run is still paused somewhere: each step is one compare-and-swap from the
//! dead owner's word, so the second finds nothing to do.

#[cfg(feature = "mutants")]
use crate::mutants::{self, Mutant};
use crate::queue::Queue;
use crate::slots::Slots;
use crate::word::{Owner, SlotRef, State, Word};

/// What recovery of a worker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Requests that it was running.
    pub lost_count: u32,
    /// Requests whose service had returned, but whose commit is not known.
    pub uncommitted_count: u32,
}

/// Marks what a dead worker held: Running becomes Lost, Executed becomes Uncommitted. The communication process
/// decides what follows.
///
/// Only for an owner whose pidfd is readable: a process that is merely stopped would go on writing.
pub fn recover_worker(slots: Slots<'_>, dead: Owner) -> Recovered {
    let mut recovered = Recovered::default();
    for (index, word) in slots.words() {
        let is_dead = word.owner() == dead;
        #[cfg(feature = "mutants")]
        let is_dead = is_dead || mutants::is(Mutant::RecoverAnyLife) && word.owner().row() == dead.row();
        if !is_dead {
            continue;
        }
        let (to, count) = match word.state() {
            Some(State::Running) => (State::Lost, &mut recovered.lost_count),
            #[cfg(feature = "mutants")]
            Some(State::Executed) if mutants::is(Mutant::RecoverForgetsExecuted) => {
                (State::Lost, &mut recovered.lost_count)
            }
            Some(State::Executed) => (State::Uncommitted, &mut recovered.uncommitted_count),
            _ => continue,
        };
        if slots.change(index, word, word.with_state(to)).is_ok() {
            *count += 1;
        }
    }
    recovered
}

/// What a new communication process found.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Half-filled slots of the dead process that were freed.
    pub freed_count: u32,
    /// Half-filled slots that were kept and are now ours.
    pub kept: Vec<SlotRef>,
    /// Slots whose word is corrupt: not touched, to be reported.
    pub corrupt: Vec<u16>,
}

/// Goes over all slots for a new communication process `me`: what its dead predecessors were filling is freed, or
/// taken over where `keep` says that the rest of the body can still come. What a successor of `me` fills is left alone,
/// so that a run that was paused and comes late harms nobody.
pub fn adopt_slots(slots: Slots<'_>, me: Owner, mut keep: impl FnMut(SlotRef) -> bool) -> Adopted {
    let mut adopted = Adopted::default();
    for (index, word) in slots.words() {
        match word.state() {
            None => adopted.corrupt.push(index),
            Some(State::Filling) if is_predecessor(word.owner(), me) => {
                let slot = word.slot(index);
                let is_kept = keep(slot);
                #[cfg(feature = "mutants")]
                let is_kept = is_kept && !mutants::is(Mutant::AdoptFreesKept);
                let to = if is_kept { Word::new(State::Filling, me, slot.generation) } else { word.freed() };
                if slots.change(index, word, to).is_ok() {
                    if is_kept {
                        adopted.kept.push(slot);
                    } else {
                        adopted.freed_count += 1;
                    }
                }
            }
            Some(_) => {}
        }
    }
    adopted
}

/// Whether a slot's filler is an earlier communication process than `me`. Another row cannot fill, so what names one is
/// nobody's either.
fn is_predecessor(filler: Owner, me: Owner) -> bool {
    #[cfg(feature = "mutants")]
    if mutants::is(Mutant::AdoptYoungerToo) {
        return filler != me;
    }
    filler.row() != me.row() || filler.is_earlier_life(me)
}

/// Pushes every queued slot of this ring that has no entry in it, and gives how many there were. `belongs` says
/// whether a slot is of this ring's queue. An entry that is pushed twice does no harm.
pub fn push_missing(slots: Slots<'_>, queue: &Queue<'_>, mut belongs: impl FnMut(u16) -> bool) -> u32 {
    let mut is_there = vec![None; slots.count()];
    for entry in queue.entries() {
        if let Some(place) = is_there.get_mut(usize::from(entry.index)) {
            *place = Some(entry.generation);
        }
    }
    let mut pushed_count = 0;
    for (index, word) in slots.words() {
        let is_missing = is_there[usize::from(index)] != Some(word.generation());
        #[cfg(feature = "mutants")]
        let is_missing = is_missing
            && !(mutants::is(Mutant::PushMissingByIndex) && is_there[usize::from(index)].is_some());
        // Full cannot be: a request ring has twice as many cells as slots.
        if word.is(State::Queued) && is_missing && belongs(index) && queue.push(word.slot(index)).is_ok() {
            pushed_count += 1;
        }
    }
    pushed_count
}
