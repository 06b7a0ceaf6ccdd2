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
//! | `process.rs`, `traffic.rs` | the communication process as a process that can be killed, and clients that check every byte |
//! | `steps.rs` | kills at chosen system calls and instructions |
//! | `takeover.rs` | connections that outlive it, each row of the table of stores |
//! | `stores.rs` | killed behind every single store to a connection, its slots and its records |
//! | `kills.rs` | the same under traffic, killed again and again |
//! | `strangers.rs` | processes, sockets and blocks that are not what a row or a slot says |
//! | `deaths.rs` | dead workers, and what a dead predecessor left |

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, also in the helpers outside of test functions"
)]

mod client;
mod deadlines;
mod deaths;
mod frames;
mod kills;
mod process;
mod refusals;
mod repeats;
mod slow;
mod steps;
mod stores;
mod strangers;
mod takeover;
mod traffic;
mod worker;
mod world;
