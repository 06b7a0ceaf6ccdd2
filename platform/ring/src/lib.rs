//! Crash-safe slots, blocks and queues in a shared segment.
//!
//! A request lives in a *slot*. One 64-bit word of the slot says its state, its owner and its generation, and
//! every change of it is one compare-and-swap of the whole word ([`Slots`]). A [`Queue`] is only an index over
//! slots: an entry that is lost or stands there twice does no harm, because the word decides. [`Blocks`] hold
//! bodies and fall free by themselves when their slot does. A process may die between any two instructions;
//! `README.md` beside this crate has a row for each step: what a survivor sees, and who repairs it.
//!
//! What this crate does not do: it moves no sockets and calls no services, and it never decides that a process is
//! dead. [`recover_worker`] and [`adopt_slots`] are to be called only for an owner whose pidfd is readable.

#![forbid(unsafe_code)]

mod blocks;
mod doorbell;
#[cfg(feature = "mutants")]
pub mod mutants;
mod queue;
mod recover;
mod slots;
mod word;

pub use blocks::{BlockKind, BlockRef, Blocks};
pub use doorbell::{Doorbell, Slept};
pub use queue::{Full, Queue};
pub use recover::{Adopted, Recovered, adopt_slots, push_missing, recover_worker};
pub use slots::{Cursor, Slots};
pub use word::{ATTEMPTS_MAX, Generation, Owner, SlotRef, State, Word};
