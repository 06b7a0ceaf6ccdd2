//! Wrong variants of the order of stores, each with one safeguard taken out: the test of the attack test.
//!
//! Only compiled with the feature `attack`, and even then nothing changes until one is switched on.

use std::cell::Cell;

/// One safeguard taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// `parsed` passes a frame before its slot is published.
    ParsedBeforePublish,
    /// A record is linked before it says where its bytes begin.
    LinkBeforeWhole,
    /// A slot is freed before its reply is sent.
    SlotBeforeSend,
    /// A record leaves its chain before its slot is freed.
    RecordBeforeSlot,
    /// A filled slot is freed before the refusal of its frame is recorded.
    SlotBeforeRefusal,
    /// A row does not say that it is in a transfer, so a successor does not ask the kernel.
    KernelNotAsked,
    /// A successor does not skip the frame at `parsed` that was published or answered.
    DecidedNotSkipped,
    /// A reply is recorded before the window knows of it.
    WindowAfterRecord,
    /// The window is never told how a write ended.
    WindowNotSettled,
    /// A row is freed while slots still name its generation.
    RowOfSameGeneration,
}

/// All of them; the attack must find each.
pub const ALL: [Mutant; 10] = [
    Mutant::ParsedBeforePublish,
    Mutant::LinkBeforeWhole,
    Mutant::SlotBeforeSend,
    Mutant::RecordBeforeSlot,
    Mutant::SlotBeforeRefusal,
    Mutant::KernelNotAsked,
    Mutant::DecidedNotSkipped,
    Mutant::WindowAfterRecord,
    Mutant::WindowNotSettled,
    Mutant::RowOfSameGeneration,
];

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Switches one on for this thread and the processes that it forks, or all off.
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether this one is on.
pub(crate) fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}
