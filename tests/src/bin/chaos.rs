//! `cargo xtask chaos`: see `gantry_tests::chaos`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gantry_tests::chaos::{self, Plan, USAGE};

fn main() -> ExitCode {
    match Plan::read(std::env::args().skip(1)) {
        Ok(plan) => match chaos::run(&plan) {
            Ok(()) => ExitCode::SUCCESS,
            Err(verdict) => {
                eprintln!("{verdict}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("chaos: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
