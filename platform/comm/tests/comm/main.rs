//! The communication process over real sockets and real (POSIX) segments, with workers that are threads of the test.
//!
//! | file | is about |
//! |---|---|
//! | `world.rs`, `worker.rs`, `client.rs` | the node around it |
//! | `frames.rs` | frames of all sizes, in all pieces, right and wrong |
//! | `refusals.rs` | every refusal, with its reason |
//! | `deadlines.rs` | 301 and 305 |
//! | `repeats.rs` | the idempotency window and outcome queries |
//! | `slow.rs` | clients that do not read, do not write, or go half away |
//! | `deaths.rs` | dead workers, and what a dead predecessor left |

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, also in the helpers outside of test functions"
)]

mod client;
mod deadlines;
mod deaths;
mod frames;
mod refusals;
mod repeats;
mod slow;
mod worker;
mod world;
