//! References that come late: to an earlier use of a slot, to another attempt, or by somebody else than its owner. Each
//! operation refuses them in each state, and changes nothing.

use gantry_ring::{Generation, Owner, SlotRef, Slots, State, Word, recover_worker};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;

const OWNER: Owner = Owner::new(2, 7);
const OTHER_LIFE: Owner = Owner::new(2, 8);
const OTHER_ROW: Owner = Owner::new(3, 7);
/// Use 5, attempt 0.
const GENERATION: u32 = 5 << 2;

const STATES: [State; 10] = [
    State::Free,
    State::Filling,
    State::Queued,
    State::Running,
    State::Executed,
    State::Done,
    State::Lost,
    State::Expired,
    State::Joined,
    State::Uncommitted,
];

type Change = fn(Slots<'_>, SlotRef, Owner) -> bool;

/// What changes a slot, and whether it looks at the attempt and at the owner.
const CHANGES: &[(&str, bool, bool, Change)] = &[
    ("publish", true, true, |slots, slot, owner| slots.publish(slot, owner).is_ok()),
    ("answer", true, true, |slots, slot, owner| slots.answer(slot, owner).is_ok()),
    ("join", true, true, |slots, slot, owner| slots.join(slot, owner).is_ok()),
    ("take", true, false, |slots, slot, owner| slots.take(slot, owner).is_ok()),
    ("execute", true, true, |slots, slot, owner| slots.execute(slot, owner).is_ok()),
    ("finish", true, true, |slots, slot, owner| slots.finish(slot, owner).is_ok()),
    ("expire", true, false, |slots, slot, _| slots.expire(slot).is_ok()),
    ("unjoin", true, false, |slots, slot, _| slots.unjoin(slot).is_ok()),
    ("resolve", true, false, |slots, slot, _| slots.resolve(slot).is_ok()),
    ("retry", true, false, |slots, slot, _| slots.retry(slot).is_ok()),
    ("release", false, false, |slots, slot, _| slots.release(slot).is_ok()),
];

/// Tries them all; gives the first that was not refused.
pub(crate) fn attack() -> Result<(), String> {
    let rows = [SlotRow::default()];
    let slots = Slots::new(&rows);
    for state in STATES {
        let word = Word::new(state, OWNER, Generation::from_bits(GENERATION));
        let is_untouched = || slots.word(0) == word;
        rows[0].word.store(word.bits(), Ordering::Relaxed);
        for (name, is_attempt_known, is_owner_known, change) in CHANGES {
            let refused = |what: &str, generation: u32, owner: Owner| {
                let slot = SlotRef { index: 0, generation: Generation::from_bits(generation) };
                if change(slots, slot, owner) || !is_untouched() {
                    return Err(format!("{name} of {what} was not refused in {state:?}"));
                }
                Ok(())
            };
            refused("an earlier use", GENERATION - 4, OWNER)?;
            refused("a later use", GENERATION + 4, OWNER)?;
            if *is_attempt_known {
                refused("another attempt", GENERATION + 1, OWNER)?;
            }
            if *is_owner_known {
                refused("another life", GENERATION, OTHER_LIFE)?;
                refused("another row", GENERATION, OTHER_ROW)?;
            }
        }
        for other in [OTHER_LIFE, OTHER_ROW] {
            recover_worker(slots, other);
            if !is_untouched() {
                return Err(format!("the recovery of {other:?} changed {word:?}"));
            }
        }
    }
    Ok(())
}
