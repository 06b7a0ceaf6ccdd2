//! Wrong variants of the algorithm, each with one safeguard taken out: the tests of the attack test.
//!
//! Only compiled with the feature `mutants`, and even then nothing changes until one is switched on. The first group is
//! built into this crate; the second is built into the attack's world, since the safeguard is one that the callers of
//! this crate must have; the third is for the models.

use std::cell::Cell;

/// One safeguard taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mutant {
    /// `push` moves the tail first and writes the cell after it: a death in between leaves a hole.
    ReserveThenPublish = 1,
    /// `take` moves the head first and claims the slot after it: a death in between loses the request.
    HeadBeforeClaim,
    /// `expire` frees the slot at once: a death before the answer is recorded loses the caller.
    ExpireStraightToFree,
    /// `retry` keeps the generation: one attempt can be claimed twice.
    NoAttemptCount,
    /// `submit` pushes before the slot is queued: a worker drops the entry as stale.
    PushBeforeQueued,
    /// `push` does not compare laps: a producer with a stale tail overwrites a live entry.
    NoLapCheck,
    /// `make_room` drops a live entry instead of rotating it.
    RotateDropsLive,
    /// `take` does not compare generations: a stale entry takes a later use.
    TakeAnyUse,
    /// `expire` and its like do not compare generations: a late look ends a later use.
    StepAnyUse,
    /// `release` does not compare generations: a late release frees a later use.
    ReleaseAnyUse,
    /// `finish` does not compare owners: a process that was given up answers for its successor.
    FinishAnyOwner,
    /// `recover_worker` recovers the row whatever the life: its successor loses what it runs.
    RecoverAnyLife,
    /// `recover_worker` marks what was executed as lost: a write is given up though it may have committed.
    RecoverForgetsExecuted,
    /// `adopt_slots` frees the half-received body that a connection still names.
    AdoptFreesKept,
    /// `adopt_slots` frees what a younger process fills: a predecessor that comes late harms its successor.
    AdoptYoungerToo,
    /// `push_missing` takes a stale entry of the same slot for the missing one.
    PushMissingByIndex,
    /// A block is claimed by a store: two claimers can hold it.
    BlockClaimByStore,
    /// A block's tag is free only when it is 0: blocks of freed slots leak.
    BlockNeverStale,

    /// Whoever finds the reply ring full does not set the sweep flag.
    FullUnnoticed = 100,
    /// Recovery wakes nobody: a wake-up that was given to the dead is lost.
    WakesNobody,
    /// Recovery does not set the sweep flag.
    SweepsNothing,
    /// A slot is freed before its answer is recorded.
    ReleaseBeforeAnswer,
    /// Whether an answer was recorded already is not looked at.
    AnswersBlindly,
    /// A joined repeat is resolved before its reply is written.
    ResolveBeforeReply,
    /// A joined repeat whose original is over is left waiting by the successor.
    JoinedForgotten,
    /// A worker looks for work first and announces its sleep after that.
    LookBeforeSleep,
    /// What is already in the database is run once more.
    RunsTwice,

    /// A slot's word hands over nothing of what was written before it.
    RelaxedWord = 200,
    /// A cell hands over nothing: its slot may not look queued yet.
    RelaxedCell,
    /// A block's tag, given back, hands over nothing.
    RelaxedTag,
    /// A sleeper does not order its announcement before its second look.
    UnfencedSleep,
    /// A ringer does not order its work before its look at the bell.
    UnfencedRing,
}

/// Those that the attack must find.
pub const ALL: [Mutant; 27] = [
    Mutant::ReserveThenPublish,
    Mutant::HeadBeforeClaim,
    Mutant::ExpireStraightToFree,
    Mutant::NoAttemptCount,
    Mutant::PushBeforeQueued,
    Mutant::NoLapCheck,
    Mutant::RotateDropsLive,
    Mutant::TakeAnyUse,
    Mutant::StepAnyUse,
    Mutant::ReleaseAnyUse,
    Mutant::FinishAnyOwner,
    Mutant::RecoverAnyLife,
    Mutant::RecoverForgetsExecuted,
    Mutant::AdoptFreesKept,
    Mutant::AdoptYoungerToo,
    Mutant::PushMissingByIndex,
    Mutant::BlockClaimByStore,
    Mutant::BlockNeverStale,
    Mutant::FullUnnoticed,
    Mutant::WakesNobody,
    Mutant::SweepsNothing,
    Mutant::ReleaseBeforeAnswer,
    Mutant::AnswersBlindly,
    Mutant::ResolveBeforeReply,
    Mutant::JoinedForgotten,
    Mutant::LookBeforeSleep,
    Mutant::RunsTwice,
];

/// Wrong memory orderings. A processor of the x86 kind hides most of them, so they are for the models (`tests/loom.rs`).
pub const ORDERINGS: [Mutant; 5] = [
    Mutant::RelaxedWord,
    Mutant::RelaxedCell,
    Mutant::RelaxedTag,
    Mutant::UnfencedSleep,
    Mutant::UnfencedRing,
];

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Switches one on for this thread and the processes that it forks, or all off, and gives which was on before.
pub fn activate(mutant: Option<Mutant>) -> Option<Mutant> {
    ACTIVE.replace(mutant)
}

/// Whether this one is on.
pub fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}
