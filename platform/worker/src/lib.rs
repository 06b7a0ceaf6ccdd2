//! The worker process: takes a request, runs its service, replies.
//!
//! One request at a time, on one thread. `run.rs` is the loop; `dispatch.rs` turns a taken slot into a call;
//! `call.rs` is what the call is lent (data, serials, the reply's block); `document.rs` adds document sources; `write.rs` owns the transaction that makes
//! a write take effect once; `retry.rs` runs
//! again what the database took back; `outcome.rs` answers what became of an earlier one; `libraries.rs` follows the
//! service table; `death_note.rs` lets a dying worker say of what, and `modules.rs` where in whose code.
//!
//! What it does not do: it admits nothing, keeps no deadline but its own, and answers no caller: replies go to the
//! ring of the caller's I/O thread.

#![forbid(unsafe_code)]

mod call;
mod death_note;
mod dispatch;
mod document;
mod error;
mod inner;
mod libraries;
mod modules;
mod outcome;
mod reply;
mod retry;
mod run;
mod serial;
mod sources;
mod sql;
mod write;

pub use error::WorkerError;
pub use libraries::Equipment;
pub use run::{WorkerOptions, run};
