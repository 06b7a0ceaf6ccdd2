//! The attack on the ring: real processes, stopped and killed at every instruction.
//!
//! Goal: no slot lost or handed out twice, no block leaked, the rings usable, every accepted request answered exactly
//! once and with what `README.md` says, whatever dies where. Method, on the compiled code, instruction by instruction
//! (`puppet.rs`):
//!
//! - *single*: the victim is stopped after its k-th instruction, for every k. First it is killed at once; then, from the
//!   same instant, all others go on beside the stopped one for as long as they find something to do, and only then is it
//!   killed. Recovery runs, the survivors go on, and everything is checked.
//! - *resumed*: nobody dies; the victim is stopped after its k-th instruction, the others send requests through the rings
//!   for up to two laps, then it goes on.
//! - *fenced*: a worker that was only stopped is given up all the same, and goes on beside its successor.
//! - *pair*: as single, while a live peer was stopped after its j-th instruction, for every j and k; the peer goes on
//!   after the recovery, or before it. A peer that is another thread of the same process dies with it.
//! - *nested*: the recovery of each single death is killed after its m-th instruction, for every m, and run again.
//! - *overlap*: a recovery is stopped after its j-th instruction while a successor's passes, whole or killed after its
//!   k-th; then it goes on.
//! - *literal*: the same deaths once more without any putting back: a new process, k steps, `SIGKILL`, recovery by
//!   another process. The memory must be the same to the byte as the single attack saw it.
//! - *stale*: each operation with each reference that is not, or no more, the slot's, in each state: refused.
//!
//! A kill leaves nothing but the memory, so where an instruction changed no shared byte the outcome of its
//! predecessor holds and is not computed again; a peer's stop before an instruction that touches nothing shared is its
//! stop before the next that does. The test of the test: wrong variants of the algorithm (`gantry_ring::mutants`), each of
//! which must be found.
//!
//! Run with `cargo test -p gantry-ring --release --features mutants --test attack -- --nocapture`.

#![cfg(target_arch = "x86_64")]

mod attacks;
mod comm;
mod memory;
mod methods;
mod processors;
mod puppet;
mod rows;
mod run;
mod scenes;
mod stale;
mod survivors;
mod touch;
mod worker;
mod world;

/// One test, so that its parts share out the processors among themselves.
#[test]
fn every_death_and_every_stop_is_survived_and_every_mutant_is_found() {
    run::attack_everything();
}
