//! Build, demo and test commands of the repository: `cargo xtask build | demo | test | soak | chaos | sabotage |
//! bench | setup`.
//!
//! Everything here is a list of ordinary command lines, each printed before it runs; the first that fails
//! ends the list and is printed again.
#![forbid(unsafe_code)]

mod build;
mod check;
mod demo;
mod sabotage;
mod setup;
mod steps;
mod workspace;

use std::process::ExitCode;

use steps::{Failure, Steps};
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  build   the release build: target/release/gantry and target/release/libgantry_*.so
  demo    build, start the platform on config/embedded.toml and tell the story of a card
  test    everything CI runs: format, lints, build, documentation, models, attacks, tests
  soak    the long versions of the attacks and of the whole-system tests
  chaos   kill and stop the processes of a node under load, and check that nothing was lost or done twice:
          --minutes N (1), --seed S, --roles worker,comm,keeper,supervisor, --backend sysv|posix, --threads N,
          --spoil WHAT (break one thing, and succeed only when that is noticed)
  sabotage [NAME...]
          take safeguards out of a copy, all of tests/sabotage.toml or these, and name the test that then fails
  bench   the benchmarks of benches/
  setup   install what the tests need beside Rust (Debian; as root, or it prints the command)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let workspace = match Workspace::enter() {
        Ok(workspace) => workspace,
        Err(error) => {
            eprintln!("xtask: the repository cannot be entered: {error}");
            return ExitCode::FAILURE;
        }
    };
    let steps = Steps::begin();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => build::build(&workspace, &steps),
        ["demo"] => demo::demo(&workspace, &steps),
        ["test"] => check::test(&workspace, &steps),
        ["soak"] => check::soak(&workspace, &steps),
        ["chaos", ref arguments @ ..] => check::chaos(&workspace, &steps, arguments),
        ["sabotage", ref names @ ..] => sabotage::sabotage(&workspace, &steps, names),
        ["bench"] => build::bench(&workspace, &steps),
        ["setup"] => setup::setup(&workspace, &steps),
        ["--help" | "-h" | "help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    report(result, &steps)
}

fn report(result: Result<(), Failure>, steps: &Steps) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: failed after {}: {failure}", steps.elapsed());
            ExitCode::FAILURE
        }
    }
}
