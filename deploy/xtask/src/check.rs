//! What CI runs, and its long version.
//!
//! One profile for everything. The whole-system tests need the release build of the platform; were the
//! other tests, clippy and the documentation to use the dev profile, every dependency would be compiled
//! twice, and SQLite's C code as well (its build script runs once for each profile). With `--release`
//! everywhere, build scripts and macros run once, clippy and rustdoc share what they know of the
//! dependencies, and the tests link what the build step has compiled.

use std::process::Command;

use crate::build::expect_artefacts;
use crate::setup::succeeds;
use crate::steps::{Failure, Steps};
use crate::workspace::Workspace;

/// What the default build does without: data sources over ODBC, which need packages of the system, and on MongoDB. The
/// tests of each crate that has them, and of the whole system on real servers, come with it.
const FEATURES: &str = "gantry-cli/odbc,gantry-cli/mongodb,gantry-datasource/odbc,gantry-document/mongodb,\
    gantry-tests/odbc,gantry-tests/mongodb";

/// Everything CI runs. The whole-system tests come last, so that the runner's count is the last thing
/// printed.
pub(crate) fn test(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    steps.run("format", &mut workspace.cargo(["fmt", "--all", "--check"]))?;
    let mut clippy = workspace.cargo(["clippy", "--release", "--workspace", "--all-targets"]);
    steps.run("lints", clippy.args(["--features", FEATURES, "--", "--deny", "warnings"]))?;
    build_all(workspace, steps)?;
    let mut doc = workspace.cargo(["doc", "--release", "--workspace", "--no-deps", "--features", FEATURES]);
    steps.run("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    models_and_attacks(workspace, steps, false)?;
    let doc_tests = ["test", "--release", "--workspace", "--doc", "--quiet", "--features", FEATURES];
    steps.run("examples in the documentation", &mut workspace.cargo(doc_tests))?;
    let mut posix = runner(workspace, Some("journey::"), &[]);
    steps.run("journeys on the posix backend", posix.env("GANTRY_TEST_BACKEND", "posix"))?;
    // Clearing and bank files are made from passages in tables, and refuse where those are documents.
    let tables = ["journey::bank", "journey::clearing", "journey::data"];
    for (server, without) in [("postgres", &[][..]), ("mariadb", &[]), ("mongo", &tables)] {
        let journeys = runner(workspace, Some("journey::"), without);
        let mut beside = Command::new(workspace.target("release/with-server"));
        beside.arg(server).arg(journeys.get_program()).args(journeys.get_args());
        beside.envs(journeys.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = journeys.get_current_dir() {
            beside.current_dir(folder);
        }
        steps.run(&format!("journeys on {server}"), &mut beside)?;
    }
    steps.run("tests", &mut runner(workspace, None, &[]))
}

/// The long versions: more requests, more kills, more attacks.
pub(crate) fn soak(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    /// How often the tests of death, overload and reload are repeated on each backend.
    const ROUNDS: u32 = 5;
    build_all(workspace, steps)?;
    models_and_attacks(workspace, steps, true)?;
    for backend in ["sysv", "posix"] {
        for round in 1..=ROUNDS {
            for part in ["crash::", "overload::", "reload::", "conformance::"] {
                let mut command = runner(workspace, Some(part), &[]);
                command.env("GANTRY_SOAK", "1").env("GANTRY_TEST_BACKEND", backend);
                steps.run(&format!("round {round} of {ROUNDS} on {backend}: {part}"), &mut command)?;
            }
            chaos(workspace, steps, &["--minutes", "3", "--backend", backend])?;
        }
    }
    let databases = ["test", "--release", "--workspace", "--test", "databases", "--test", "fencing"];
    let mut command = workspace.cargo(databases);
    command.args(["--features", FEATURES, "--", "--test-threads", "2"]).env("GANTRY_SOAK", "1");
    steps.run("databases that are away for long, and every border of a write on each", &mut command)?;
    let uniqueness = ["test", "--release", "--package", "gantry-serials", "--test", "uniqueness"];
    let mut command = workspace.cargo(uniqueness);
    command.args(["--", "--nocapture", "--test-threads", "1"]).env("GANTRY_SOAK", "1");
    steps.run("ten million serial numbers on each form of Redis", &mut command)
}

/// A run of chaos with the arguments of its own command line. The seed that it prints makes it draw the same again.
pub(crate) fn chaos(workspace: &Workspace, steps: &Steps, arguments: &[&str]) -> Result<(), Failure> {
    build_all(workspace, steps)?;
    let mut command = Command::new(workspace.target("release/chaos"));
    command.env("GANTRY_BIN", workspace.gantry()).args(arguments);
    steps.run("chaos", &mut command)
}

/// The platform and every test in one invocation. Tests have dependencies of their own, which switch on
/// features of shared ones; built apart from the tests, the platform would be compiled once without and
/// once with them.
fn build_all(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    let build = ["build", "--release", "--workspace", "--bins", "--lib", "--tests", "--features", FEATURES];
    steps.run("release build of the platform, its services and the tests", &mut workspace.cargo(build))?;
    expect_artefacts(workspace)
}

/// The models of the ring and of the serial numbers' cells under loom, in a target folder of its own since
/// `--cfg loom` changes every crate; and the attacks that must catch every mutant.
fn models_and_attacks(workspace: &Workspace, steps: &Steps, is_soak: bool) -> Result<(), Failure> {
    for (package, title) in [
        ("gantry-ring", "model of the ring under loom"),
        ("gantry-serials", "model of the serial numbers' cells under loom"),
    ] {
        let mut command = workspace.cargo(["test", "--package", package, "--release", "--test", "loom"]);
        command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", workspace.target("loom"));
        steps.run(title, with_soak(&mut command, is_soak))?;
    }
    for (package, feature, title) in [
        ("gantry-ring", "mutants", "attack on the ring and its mutants"),
        ("gantry-comm", "attack", "attack on the communication process and its mutants"),
    ] {
        let mut command = workspace.cargo(["test", "--release", "--test", "attack"]);
        command.args(["--package", package, "--features", feature, "--", "--nocapture"]);
        steps.run(title, with_soak(&mut command, is_soak))?;
    }
    Ok(())
}

fn with_soak(command: &mut Command, is_soak: bool) -> &mut Command {
    if is_soak { command.env("GANTRY_SOAK", "1") } else { command }
}

/// The test runner over the workspace, or over the whole-system tests of one part `without` some: nextest where it is
/// installed, since it runs each test in a process of its own with a time limit, otherwise cargo's own.
fn runner(workspace: &Workspace, part: Option<&str>, without: &[&str]) -> Command {
    let has_nextest = succeeds(Command::new("cargo").args(["nextest", "--version"]));
    let mut command = if has_nextest {
        workspace.cargo(["nextest", "run", "--release", "--no-fail-fast", "--workspace"])
    } else {
        workspace.cargo(["test", "--release", "--no-fail-fast", "--workspace"])
    };
    command.args(["--features", FEATURES]);
    match part {
        // The whole workspace also here, for the same features and so the same build; the filter does the
        // choosing.
        Some(part) if has_nextest => {
            command.arg("--filterset");
            let without = without.iter().map(|part| format!(" and not test(/^{part}::/)"));
            let without = without.collect::<String>();
            command.arg(format!("binary_id(gantry-tests::system) and test(/^{part}/){without}"))
        }
        Some(part) => {
            command.args(["--test", "system", "--", part]);
            command.args(without.iter().flat_map(|part| ["--skip", part]))
        }
        None if has_nextest => &mut command,
        // Examples in the documentation have a step of their own.
        None => command.args(["--bins", "--lib", "--tests"]),
    };
    command
}
