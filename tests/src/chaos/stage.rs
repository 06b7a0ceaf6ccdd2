//! The node of a run, and how its supervisor is started again and again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::dice::Dice;
use super::hall::Hall;
use super::plan::Plan;
use super::reads::{SLEEP_TIMEOUT, VERSIONS};
use crate::etc::SLEEP;
use crate::processes::{command_line, is_running};
use crate::{Node, NodeOptions, compile_plugin, gantry_binary, repository_root};

/// The node of a run.
pub(super) struct Stage {
    pub(super) node: Node,
    /// The second library in its versions.
    pub(super) libraries: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Supervisors that were started as children of this process.
    children: Vec<Child>,
    /// Supervisors that were killed by this run.
    killed: BTreeSet<Pid>,
    /// When a supervisor was killed, stopped or started last, or nobody got a processor: commands that run then may fail.
    disturbed: Option<Instant>,
}

impl Stage {
    /// Starts the node.
    ///
    /// # Panics
    /// When it does not get ready.
    pub(super) fn set_up(plan: &Plan) -> Self {
        let mut node = Node::start(options(plan));
        node.be_quiet();
        let timeout = format!("timeout={SLEEP_TIMEOUT}");
        node.gantry(&["service", "rule", &SLEEP.to_string(), &timeout]).expect_code(0);
        let source = repository_root().join("tests/plugins/versioned.c");
        let compile = |version: &&str| {
            let define = format!("-DVERSION=\"{version}\"");
            compile_plugin(&source, &node.folder().join(version), &[&define])
        };
        let libraries = VERSIONS.iter().map(compile).collect();
        Self { node, libraries, state: Mutex::default() }
    }

    /// The supervisor that runs now, if one has got so far as to write its pid down.
    pub(super) fn supervisor(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.node.state_folder().join("gantry.pid")).ok()?;
        let pid = text.trim().parse().ok().map(Pid::from_raw)?;
        let configuration = self.node.config();
        let is_ours = || command_line(pid).iter().any(|word| *word == configuration.to_string_lossy());
        (is_running(pid) && is_ours()).then_some(pid)
    }

    pub(super) fn note_killed(&self, supervisor: Pid) {
        self.lock().killed.insert(supervisor);
        self.disturb();
    }

    /// Commands that run from now on for a while may fail.
    pub(super) fn disturb(&self) {
        self.lock().disturbed = Some(Instant::now());
    }

    /// Whether the supervisor was disturbed at or after this time.
    pub(super) fn was_disturbed_since(&self, time: Instant) -> bool {
        self.lock().disturbed.is_some_and(|disturbed| disturbed >= time)
    }

    /// Whether a child of this process is on its way to become the supervisor.
    pub(super) fn is_starting(&self) -> bool {
        let killed = &mut *self.lock();
        killed.children.iter_mut().any(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts the supervisor again when none runs. Blocks while `gantry start` does.
    pub(super) fn revive(&self, hall: &Hall, dice: &mut Dice, was: Option<Pid>) {
        self.look_at_children(hall);
        if let Some(was) = was
            && !self.lock().killed.contains(&was)
        {
            hall.chronicle.fault(&format!("supervisor {was} ended by itself"));
        }
        let begin = Instant::now();
        if dice.chance(500) {
            hall.chronicle.note("`gantry run` again");
            let child = self.spawn();
            self.lock().children.push(child);
        } else {
            hall.chronicle.note("`gantry start` again");
            let output = self.node.gantry(&["start"]);
            if output.stderr.contains(STILL_THERE) {
                return hall.count("starts refused while the killed supervisor was still ending");
            }
            // The supervisor that it started may have been killed before it was ready.
            if output.code != Some(0) && !self.was_disturbed_since(begin) {
                hall.chronicle
                    .fault(&format!("`gantry start` ended with {:?}: {}", output.code, output.stderr));
            }
        }
        hall.count("supervisors started again");
    }

    /// Children that ended by themselves are faults: a supervisor ends when it is told to, or killed.
    pub(super) fn look_at_children(&self, hall: &Hall) {
        let mut state = self.lock();
        let killed = state.killed.clone();
        state.children.retain_mut(|child| {
            let Ok(Some(status)) = child.try_wait() else { return true };
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
            let said = self.node.stderr();
            let tail: Vec<&str> = said.lines().rev().take(5).collect();
            if tail.iter().any(|line| line.contains(STILL_THERE)) && !status.success() {
                hall.count("starts refused while the killed supervisor was still ending");
            } else if !killed.contains(&pid) {
                hall.chronicle.fault(&format!("`gantry run` ended by itself, {status}: {tail:?}"));
            }
            false
        });
    }

    /// Stops the node in order, whoever started it, and waits for its supervisor's end.
    ///
    /// # Panics
    /// When the command fails.
    pub(super) fn stop(&self) {
        self.node.gantry(&["stop"]).expect_code(0);
        for mut child in std::mem::take(&mut self.lock().children) {
            let status = child.wait().expect("a child can be waited for");
            assert!(status.success(), "the supervisor ended with {status} after `gantry stop`");
        }
    }

    fn spawn(&self) -> Child {
        let stderr = File::options().append(true).open(self.node.folder().join("stderr.log"));
        let stderr = stderr.expect("the file for stderr is there");
        let mut command = Command::new(gantry_binary());
        command.arg("-c").arg(self.node.config()).arg("run");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        command.spawn().expect("gantry can be started")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for mut child in std::mem::take(&mut self.lock().children) {
            // After a failure they may still run; the node's own end looks after whatever is left.
            let _killed = child.kill();
            let _status = child.wait();
        }
    }
}

/// Pools are small, so that what leaks is missed soon; time-outs are short, so that they pass.
fn options(plan: &Plan) -> NodeOptions {
    NodeOptions::business()
        .text("ipc.backend", plan.backend.name())
        .set("ipc.slots", 1024)
        .set("ipc.read_queue", 512)
        .set("ipc.write_queue", 512)
        .blocks(1024, 192, 128)
        .set("workers.read", READERS)
        .set("workers.write", plan.writers)
        .text("workers.kill_grace", "100ms")
        .set("comm.threads", plan.threads)
        .set("comm.connections_max", CONNECTIONS_MAX)
        .set("comm.receive_buffers", RECEIVE_BUFFERS)
        .set("comm.out_records", 2048)
        .text("comm.header_timeout", "3m")
        .text("comm.body_timeout", "3m")
        .text("comm.write_timeout", "3m")
        .text("service.timeout", "5s")
        .set("service.quarantine_deaths", 1000)
        .set("idempotency.entries", 65536)
        .text("supervisor.heartbeat_timeout", "3s")
        .text("log.level", "warn")
}

/// Receive buffers of the node: more than its clients ever need at once, and few enough to be asked for all at the end.
pub(super) const RECEIVE_BUFFERS: usize = 256;

/// Connections that the node may have at once.
pub(super) const CONNECTIONS_MAX: u32 = 400;

/// Workers of the read queue.
pub(super) const READERS: u32 = 2;

/// What a start says while somebody has the lock of the node. A process that was killed keeps it until the last of its
/// threads is gone, and one that waits for a slow disk goes late, when `/proc` already shows the first as a zombie.
const STILL_THERE: &str = "is running already";

/// How long a node may be without a supervisor before it is started again, in milliseconds.
pub(super) const AWAY_MS: (u64, u64) = (0, 800);

/// How often it is looked whether there is a supervisor.
pub(super) const LOOK: Duration = Duration::from_millis(15);
