//! What an operator does meanwhile: status, deploys, log levels, SIGHUP, upgrades.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::cast;
use super::dice::Dice;
use super::hall::{Hall, Phase};
use super::plan::Role;
use super::stage::Stage;
use crate::processes::{command_line, is_running, send_signal, start_ticks};
use crate::{Output, Status};

/// How long a process of the node may look like none.
const RECOGNISED_WITHIN: Duration = Duration::from_secs(15);

/// Gives commands until the phase changes.
///
/// Each must end, and end well unless the supervisor was killed or stopped meanwhile; then it may say that nobody
/// answers (3) or that it failed (1).
pub(super) fn run(hall: &Hall, stage: &Stage) {
    let mut dice = Dice::new(hall.plan.seed, 3);
    let mut deploys = 0_usize;
    while hall.phase() == Phase::Chaos {
        let pause = Instant::now() + Duration::from_millis(dice.between(200, 2500));
        while Instant::now() < pause && hall.phase() == Phase::Chaos {
            thread::sleep(Duration::from_millis(50));
        }
        match dice.below(21) {
            0 => upgrade(hall, stage),
            1..3 => try_a_canary(hall, stage, &mut dice),
            3..7 => {
                // A deploy of what is in force already is refused, so the versions take turns.
                let library = stage.libraries[deploys % stage.libraries.len()].clone();
                let path = library.to_string_lossy().into_owned();
                if command(hall, stage, &["service", "deploy", &path]) {
                    hall.set_versioned();
                    hall.count("libraries deployed");
                    deploys += 1;
                } else {
                    // It may have come into force before its command failed.
                    deploys += usize::from(dice.chance(500));
                }
            }
            7..10 => {
                let level = ["debug", "warn", "error"][dice.below(3)];
                command(hall, stage, &["log", "level", level]);
            }
            10..12 => {
                if let Some(supervisor) = stage.supervisor() {
                    hall.chronicle.note("SIGHUP");
                    send_signal(supervisor, Signal::SIGHUP);
                    hall.count("SIGHUPs");
                }
            }
            12..14 => {
                command(hall, stage, &["service", "list"]);
            }
            _ => {
                if let Some(output) = ask(hall, stage, &["status", "--json"]) {
                    expect_known_cast(hall, &Status(output.json()));
                }
            }
        }
    }
}

/// Tries a version on a share of the requests, or ends such a trial, or goes back: what comes next is drawn, whatever the
/// state of the node, so that many of these are refused.
fn try_a_canary(hall: &Hall, stage: &Stage, dice: &mut Dice) {
    let library = stage.libraries[dice.below(stage.libraries.len())].to_string_lossy().into_owned();
    let arguments: &[&str] = match dice.below(6) {
        0..3 => &["service", "deploy", &library, "--canary", "30%"],
        3 => &["service", "promote", "versioned"],
        4 => &["service", "abort", "versioned"],
        _ => &["service", "rollback", "versioned"],
    };
    if command(hall, stage, arguments) {
        hall.count("canaries begun or ended, roll-backs");
    }
}

/// What the registry says where a canary, or a build to go back to, is not there or stands in the way.
const NOT_NOW: [&str; 4] = ["is being tried", "in force", "no such build", "already"];

/// Every process that the node names must be one that would be killed: a role that is not recognised is spared for ever.
fn expect_known_cast(hall: &Hall, status: &Status) {
    for process in status.processes() {
        let role = match process.role.as_str() {
            "supervisor" => Role::Supervisor,
            "comm" => Role::Comm,
            "keeper" => Role::Keeper,
            "worker" | "spare" => Role::Worker,
            other => {
                return hall
                    .chronicle
                    .fault(&format!("a process has the role {other:?}, which nobody kills"));
            }
        };
        let Some(started) = start_ticks(process.pid) else { continue };
        let is_there = || is_running(process.pid) && start_ticks(process.pid) == Some(started);
        // A child between fork and exec looks like its parent; and it may be stopped there, or wait for a processor.
        let begin = Instant::now();
        while is_there() && cast::recognised(process.pid) != Some(role) {
            if begin.elapsed() > RECOGNISED_WITHIN {
                let (pid, words) = (process.pid, command_line(process.pid));
                hall.chronicle.fault(&format!("{role} {pid} is not recognised as one: {words:?}"));
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Replaces every process one by one. The communication process then leaves by itself, with nobody but its keeper to hold
/// its sockets for a moment, so keepers are spared until that is certainly over.
fn upgrade(hall: &Hall, stage: &Stage) {
    hall.spare_keepers(true);
    let was_whole = command(hall, stage, &["upgrade"]);
    hall.count("upgrades");
    if !was_whole {
        // The next supervisor may go on with it.
        thread::sleep(Duration::from_secs(5));
    }
    hall.spare_keepers(false);
}

/// Runs a command; whether it ended well.
fn command(hall: &Hall, stage: &Stage, arguments: &[&str]) -> bool {
    ask(hall, stage, arguments).is_some()
}

/// Runs a command; what it printed if it ended well.
fn ask(hall: &Hall, stage: &Stage, arguments: &[&str]) -> Option<Output> {
    let begin = Instant::now();
    let was_away = stage.supervisor().is_none();
    // A command that hangs ends the run: its watchdog panics.
    let output = stage.node.gantry(arguments);
    let words = arguments.join(" ");
    hall.chronicle.note(&format!("`{words}` ended with {:?} after {:?}", output.code, begin.elapsed()));
    hall.count("commands");
    // Shortly before counts too: a supervisor that has just come back is still getting ready.
    let is_excused = was_away
        || stage.was_disturbed_since(begin - Duration::from_secs(5))
        || output.stderr.contains("is starting");
    match output.code {
        Some(0) => Some(output),
        Some(1 | 3) if is_excused => {
            hall.count("commands that failed while the supervisor was away");
            None
        }
        // Nothing was replaced, or not everything: who was to be replaced next has just been killed.
        Some(1) if words == "upgrade" => {
            hall.chronicle.note(output.stderr.trim());
            hall.count("upgrades that were given up");
            None
        }
        // The same version again, another one under trial, nothing to go back to.
        Some(1)
            if words.starts_with("service") && NOT_NOW.iter().any(|words| output.stderr.contains(words)) =>
        {
            None
        }
        code => {
            hall.chronicle.fault(&format!("`{words}` ended with {code:?}: {}", output.stderr.trim()));
            None
        }
    }
}
