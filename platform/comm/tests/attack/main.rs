//! The attack on the communication process: the real I/O thread on real segments and sockets, killed after every
//! instruction of every step of a request.
//!
//! Goal: whatever instruction is the last, the stream goes on at the right byte, no frame is executed twice or dropped, every
//! reply comes once, and nothing is leaked: no slot, block, record, buffer, window entry. Method (`attack.rs`):
//!
//! - *single*: the thread runs in a process that is driven instruction by instruction (`stepper.rs`).
//!   Whenever one changed a connection's row, a record, a slot, a ring, a tag or the window, the segments are as a death at
//!   this point leaves them. The kernel is asked how far the streams are, another connection is made that is just as far,
//!   and a successor takes over rows, slots and that connection, and ends what was begun, with everything that the client
//!   and the workers were still going to do. Then the segments are put back, and the victim goes on.
//! - *nested*: at some of these points the successor is itself driven so, from its taking over on, and killed after each of
//!   its instructions.
//!
//! The test of the test: wrong variants of the order of stores (`gantry_comm::mutants`), each of which must be found by the
//! scenario that is named for it. And each row of the table in `README.md` must be named by a scenario.
//!
//! What this leaves out is in `tests/comm`: keepers, the taking of sockets, several threads, connections by the thousand,
//! real kills. A hand-over leaves what a death between two turns does.
//!
//! Run with `cargo test -p gantry-comm --release --features attack --test attack -- --nocapture`.

#![cfg(target_arch = "x86_64")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, also in the helpers outside of test functions"
)]

mod attack;
mod outside;
#[path = "../../../ring/tests/attack/processors.rs"]
mod processors;
mod run;
mod scenarios;
mod stepper;
#[path = "../../../ring/tests/attack/touch.rs"]
mod touch;
mod worker;
mod world;

/// One test, so that its parts share out the processors among themselves.
#[test]
fn every_instruction_of_the_communication_process_may_be_its_last_and_every_mutant_is_found() {
    run::attack_everything();
}
