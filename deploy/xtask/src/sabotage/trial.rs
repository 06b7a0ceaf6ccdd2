//! Building the copy, and running one of its tests with a time limit.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::list::NamedTest;
use crate::steps::{Failure, command_line};

/// How long a test may take before it counts as failed. The tests' own watchdogs end them long before.
const LIMIT: Duration = Duration::from_secs(180);
/// How long the whole-system tests wait for a condition that does not come: many times what it takes.
const WATCHDOG_SECONDS: &str = "30";
/// Pause between two looks at a running test.
const POLL: Duration = Duration::from_millis(20);

/// How a test ended.
pub(super) enum Ended {
    Passed,
    /// Why, in a line.
    Failed(String),
}

/// Where the copy is built, and where its tests run.
pub(super) struct Trial {
    tree: PathBuf,
    target: PathBuf,
    /// What the tests write goes below it, and by its path their processes are known.
    scratch: PathBuf,
    log: PathBuf,
    /// The documents' server that `setup` installed.
    secantusd: PathBuf,
}

impl Trial {
    pub(super) fn new(tree: &Path, folder: &Path, secantusd: PathBuf) -> Result<Self, Failure> {
        let trial = Self {
            tree: tree.to_owned(),
            target: folder.join("target"),
            // Short: paths of Unix sockets below it have a limit of about 100 bytes.
            scratch: std::env::temp_dir().join(format!("sab{}", std::process::id())),
            log: folder.join("sabotage.log"),
            secantusd,
        };
        let made = fs::create_dir_all(&trial.scratch).and_then(|()| fs::write(&trial.log, ""));
        made.map_err(|cause| Failure::Wrong(format!("{}: {cause}", folder.display())))?;
        Ok(trial)
    }

    /// Where everything is that compiler and tests say.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Adds to the log.
    pub(super) fn record(&self, bytes: &[u8]) {
        let written = File::options().append(true).open(&self.log).and_then(|mut log| log.write_all(bytes));
        if let Err(cause) = written {
            eprintln!("xtask: {}: {cause}", self.log.display());
        }
    }

    /// The binary and the services that ship with it. What a test of the whole system needs of the binary has the
    /// names of the test's own features.
    fn build_platform(&self, test: &NamedTest) -> Result<(), String> {
        let features: Vec<String> =
            test.features.iter().map(|feature| format!("gantry-cli/{feature}")).collect();
        self.build(&["build", "--quiet", "--features", &features.join(",")]).map(drop)
    }

    /// Builds with cargo, and gives what it says of the artefacts.
    fn build(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.tree);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
        let line = command_line(&command);
        let output = command.output().map_err(|cause| format!("{line}: {cause}"))?;
        self.record(&output.stderr);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).take(3).collect();
        Err(format!("does not build: {line}: {}", errors.join("; ")))
    }

    /// The program of a test's target.
    fn build_test(&self, test: &NamedTest) -> Result<PathBuf, String> {
        let mut arguments =
            vec!["test", "--no-run", "--quiet", "--message-format=json", "--package", &test.package];
        match test.binary.as_str() {
            "lib" => arguments.push("--lib"),
            "bin" => arguments.push("--bins"),
            binary => arguments.extend(["--test", binary]),
        }
        let features = test.features.join(",");
        arguments.extend(["--features", &features]);
        let said = self.build(&arguments)?;
        let mut programs = said.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let is_test = message["profile"]["test"].as_bool()?;
            message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
        });
        programs.next_back().ok_or_else(|| format!("cargo built no program for {test}"))
    }

    /// Builds and runs one test.
    pub(super) fn run(&self, test: &NamedTest) -> Result<Ended, String> {
        if test.needs_platform() {
            self.build_platform(test)?;
        }
        let program = self.build_test(test)?;
        let output = self.scratch.join("output");
        let opened = File::create(&output).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = opened.map_err(|cause| format!("{}: {cause}", output.display()))?;
        let mut command = Command::new(&program);
        command.args([&test.filter, "--exact", "--nocapture"]).envs(&test.env);
        command.env("GANTRY_BIN", self.target.join("debug/gantry")).env("TMPDIR", &self.scratch);
        command.env("GANTRY_WATCHDOG_SECONDS", WATCHDOG_SECONDS).env("RUST_BACKTRACE", "0");
        command.env("GANTRY_SECANTUSD", &self.secantusd).current_dir(self.tree.join("tests"));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().map_err(|cause| format!("{}: {cause}", program.display()))?;
        let is_passed = wait(&mut child);
        if is_passed != Some(true) {
            self.clean_up(child.id());
        }
        let said = String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned();
        self.record(said.as_bytes());
        match is_passed {
            None => Ok(Ended::Failed(format!("it hangs; ended after {LIMIT:?}"))),
            Some(false) => Ok(Ended::Failed(first_panic(&said))),
            Some(true) if said.contains("1 passed") => Ok(Ended::Passed),
            Some(true) => Err(format!("there is no test {test}")),
        }
    }

    /// Ends every process that is left of a test that failed or hangs, keepers too, and removes the segments that they
    /// and the test itself made.
    fn clean_up(&self, test: u32) {
        let mut ended = vec![test];
        for pid in self.processes() {
            ended.push(pid);
            quietly(Command::new("kill").args(["-KILL", &pid.to_string()]));
        }
        let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        for line in segments.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(id), Some(maker)) = (fields.get(1), fields.get(4)) else { continue };
            if maker.parse().is_ok_and(|maker: u32| ended.contains(&maker)) {
                quietly(Command::new("ipcrm").args(["-m", id]));
            }
        }
    }

    /// Whoever has our scratch folder in its environment.
    fn processes(&self) -> Vec<u32> {
        let needle = format!("TMPDIR={}\0", self.scratch.display());
        let has = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(needle.len()).any(|window| window == needle.as_bytes())
        };
        let entries = fs::read_dir("/proc").map(|entries| entries.flatten().collect::<Vec<_>>());
        let names = entries.unwrap_or_default().into_iter().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).filter(has).collect()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // What a killed test left; it is in the machine's folder for such things.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Waits for the end: whether it succeeded, `None` when it did not come in time and was killed.
fn wait(child: &mut Child) -> Option<bool> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => thread::sleep(POLL),
            Err(_) => return Some(false),
        }
    }
    let killed = child.kill().and_then(|()| child.wait());
    if let Err(cause) = killed {
        eprintln!("xtask: a test that hangs cannot be ended: {cause}");
    }
    None
}

fn quietly(command: &mut Command) {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(cause) = quiet.status() {
        eprintln!("xtask: {}: {cause}", command_line(command));
    }
}

/// What the first panic said, in a line.
fn first_panic(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let words: Vec<&str> = lines.by_ref().skip(1).take(2).map(str::trim).collect();
    let words = words.join(" ");
    if words.is_empty() { "it failed".to_owned() } else { words.chars().take(160).collect() }
}
