//! Chaos as CI runs it: a minute of kills and stops of every process of a node under load. `cargo xtask chaos` runs it
//! longer.
#![forbid(unsafe_code)]

use std::time::Duration;

use gantry_tests::chaos::{self, Plan};
use gantry_tests::soak;

/// The seed is new each time, and printed; `GANTRY_CHAOS_SEED` takes one from an earlier run.
#[test]
fn node_under_load_survives_a_minute_of_kills_of_all_its_processes() {
    let seed = match std::env::var("GANTRY_CHAOS_SEED") {
        Ok(text) => text.parse().expect("GANTRY_CHAOS_SEED is a number"),
        Err(_) => Plan::seed_of_now(),
    };
    let minutes = if soak() { 3 } else { 1 };
    let mut plan = Plan::new(Duration::from_secs(60 * minutes), seed);
    // Machines of CI are small and shared: what counts is that nothing goes wrong, not how often it might have.
    plan.kills_percent = 50;
    if let Err(verdict) = chaos::run(&plan) {
        panic!("{verdict}");
    }
}
