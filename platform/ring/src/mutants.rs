//! Wrong variants of the algorithm, each with one safeguard taken out: the tests of the attack test.
//!
//! Only compiled with the feature `mutants`, and even then nothing changes until one is switched on.

use gantry_sys::atomic::{AtomicU32, Ordering};

/// One safeguard taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mutant {
    /// `push` moves the tail first and writes the cell after it: a death in between leaves a hole.
    ReserveThenPublish = 1,
    /// `take` moves the head first and claims the slot after it: a death in between loses the request.
    HeadBeforeClaim = 2,
    /// `expire` frees the slot at once: a death before the answer is recorded loses the caller.
    ExpireStraightToFree = 3,
    /// `retry` keeps the generation: one attempt can be claimed twice.
    NoAttemptCount = 4,
    /// `submit` pushes before the slot is queued: a worker drops the entry as stale.
    PushBeforeQueued = 5,
    /// `push` does not compare laps: a producer with a stale tail overwrites a live entry.
    NoLapCheck = 6,
}

/// All of them.
pub const ALL: [Mutant; 6] = [
    Mutant::ReserveThenPublish,
    Mutant::HeadBeforeClaim,
    Mutant::ExpireStraightToFree,
    Mutant::NoAttemptCount,
    Mutant::PushBeforeQueued,
    Mutant::NoLapCheck,
];

static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// Switches one on for this process and the processes that it forks, or all off.
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.store(mutant.map_or(0, |mutant| mutant as u32), Ordering::SeqCst);
}

pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.load(Ordering::Relaxed) == mutant as u32
}
