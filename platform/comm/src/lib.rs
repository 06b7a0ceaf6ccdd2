//! The communication process: sockets on one side, shared memory on the other.
//!
//! N I/O threads, each with its own `epoll`, its own share of the connection rows, receive buffers and out records, and
//! its own reply ring, so that every row has one writer. A turn of a thread reads what its sockets have, puts whole
//! frames into its communication queue, drains that queue (checks, admission, window, slot, ring), wakes workers once,
//! and sends the replies that have come back, many in one call. A request's bytes are copied once at most: from the
//! receive buffer into its block; large bodies are received into their block.
//!
//! Everything that a successor needs to go on with the connections lies in shared memory and is stored in an order
//! in which a death at any point leaves something that can be gone on with; `README.md` beside this crate has the
//! argument. What this crate does not do: it runs no service, opens no database, and never decides that a process
//! is dead.
//!
//! ```no_run
//! use gantry_comm::{CommOptions, ListenerKind, run};
//! # fn example(segments: gantry_segment::Segments, settings: gantry_settings::Settings,
//! #            listener: std::os::fd::OwnedFd, doorbell: gantry_sys::eventfd::EventFd)
//! # -> Result<(), gantry_comm::CommError> {
//! run(CommOptions {
//!     segments,
//!     row: 1,
//!     epoch: 1,
//!     settings,
//!     listeners: vec![(ListenerKind::Tcp, listener)],
//!     doorbells: vec![doorbell],
//! })
//! # }
//! ```
#![forbid(unsafe_code)]

mod admission;
mod adopt;
mod age_list;
mod answers;
#[cfg(feature = "attack")]
pub mod attack;
mod canary;
mod claims;
mod client;
mod connection;
mod counters;
mod deadlines;
mod deliver;
mod dispatch;
mod error;
mod event_loop;
mod filing;
mod io_thread;
mod keepers;
mod limits;
mod listener;
#[cfg(feature = "attack")]
pub mod mutants;
mod node;
mod outgoing;
mod overdue;
mod platform_numbers;
mod receive;
mod recover;
mod refusal;
mod rules;
mod run;
mod send;
mod shortages;
mod small_body;
mod submit;
#[cfg(test)]
mod testing;
mod window;

pub use counters::{Counter, total};
pub use error::CommError;
pub use run::{CommOptions, ListenerKind, run};
