//! Helper processes: short lives that do what the supervisor itself must not, such as opening a database.
//!
//! They run beside supervision: their pipes are read when there is something in them, and one that takes too long is
//! killed with its whole group. In each lane they run one after the other: what tries libraries out, which may take long,
//! holds up neither what takes a service or a build out of force, nor does pruning hold up an operator.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_sys::epoll::{Interest, Poller};
use gantry_sys::process::{ExitState, Output, PidFd, Spawn, reap, signal_group};
use gantry_sys::signal::Signal;

use crate::limits::{
    HELPER_ERROR_BYTES_MAX, HELPER_OUTPUT_BYTES_MAX, HELPER_PIPE_LIMIT, HELPERS_WAITING_MAX,
};
use crate::time::after;
use crate::token::{HelperPart, Token};

/// Which helpers wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What changes the registry after it tried a library out.
    Registry = 0,
    /// What nobody waits for.
    Background = 1,
    /// What only looks at the registry, or takes something out of force: it must not wait for a library that hangs.
    Urgent = 2,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::Registry, Self::Background, Self::Urgent];
}

/// What a helper is to do, and for whom (`T` says what follows its answer).
#[derive(Debug)]
pub(crate) struct Job<T> {
    pub(crate) task: T,
    pub(crate) lane: Lane,
    /// The hidden sub-command with its arguments.
    pub(crate) arguments: Vec<String>,
    pub(crate) limit: Duration,
    /// The program, if it is not the node's own.
    pub(crate) program: Option<PathBuf>,
}

impl<T> Job<T> {
    /// A job for the node's own program.
    pub(crate) fn new(task: T, lane: Lane, arguments: Vec<String>, limit: Duration) -> Self {
        Self { task, lane, arguments, limit, program: None }
    }
}

/// A helper that has ended.
#[derive(Debug)]
pub(crate) struct Finished<T> {
    pub(crate) task: T,
    /// What it printed, or why it failed in words for an operator.
    pub(crate) outcome: Result<serde_json::Value, String>,
    /// What it said on standard error besides.
    pub(crate) said: String,
}

/// All helpers, waiting and running.
#[derive(Debug)]
pub(crate) struct Helpers<T> {
    waiting: VecDeque<Job<T>>,
    running: [Option<Run<T>>; 3],
}

#[derive(Debug)]
struct Run<T> {
    job: Job<T>,
    pid: i32,
    pidfd: PidFd,
    exit: Option<ExitState>,
    output: Pipe,
    error: Pipe,
    /// When it is killed, or, after its end, when its pipes are given up.
    give_up_ns: u64,
    is_killed: bool,
}

#[derive(Debug)]
struct Pipe {
    /// `None` after its end.
    file: Option<File>,
    bytes: Vec<u8>,
}

impl<T> Helpers<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new(), running: [None, None, None] }
    }

    /// Takes a job for later; gives it back when too many wait.
    pub(crate) fn ask(&mut self, job: Job<T>) -> Result<(), Job<T>> {
        if self.waiting.len() >= HELPERS_WAITING_MAX {
            return Err(job);
        }
        self.waiting.push_back(job);
        Ok(())
    }

    /// Whether this is the process of a helper.
    pub(crate) fn has(&self, pid: i32) -> bool {
        self.running.iter().flatten().any(|run| run.pid == pid && run.exit.is_none())
    }

    /// Jobs that wait or run in a lane.
    pub(crate) fn jobs(&self, lane: Lane) -> impl Iterator<Item = &Job<T>> {
        let running = self.running[lane as usize].iter().map(|run| &run.job);
        running.chain(self.waiting.iter().filter(move |job| job.lane == lane))
    }

    /// Starts what waits for a lane that is free. A job that cannot be started comes back as finished.
    pub(crate) fn start_waiting(
        &mut self,
        poller: &Poller,
        executable: &Path,
        configuration: &Path,
        now_ns: u64,
    ) -> Vec<Finished<T>> {
        let mut failed = Vec::new();
        for lane in Lane::ALL {
            while self.running[lane as usize].is_none() {
                let Some(position) = self.waiting.iter().position(|job| job.lane == lane) else { break };
                let Some(job) = self.waiting.remove(position) else { break };
                match Run::start(job, poller, executable, configuration, now_ns) {
                    Ok(run) => self.running[lane as usize] = Some(run),
                    Err((job, reason)) => {
                        failed.push(Finished { task: job.task, outcome: Err(reason), said: String::new() });
                    }
                }
            }
        }
        failed
    }

    /// Reads what an event announced. Only for descriptors that are ready: the pipes would block otherwise.
    pub(crate) fn ready(&mut self, poller: &Poller, lane: Lane, part: HelperPart, now_ns: u64) {
        let Some(run) = &mut self.running[lane as usize] else { return };
        match part {
            HelperPart::End => run.end(poller, now_ns),
            HelperPart::Output => {
                run.output.read(poller);
                if run.output.bytes.len() > HELPER_OUTPUT_BYTES_MAX {
                    run.kill(now_ns);
                }
            }
            HelperPart::Error => {
                run.error.read(poller);
                let excess = run.error.bytes.len().saturating_sub(HELPER_ERROR_BYTES_MAX);
                run.error.bytes.drain(..excess);
            }
        }
    }

    /// Kills what takes too long, and gives the helpers that have ended and said all.
    pub(crate) fn take_finished(&mut self, poller: &Poller, now_ns: u64) -> Vec<Finished<T>> {
        let mut finished = Vec::new();
        for place in &mut self.running {
            let Some(run) = place else { continue };
            let is_late = now_ns >= run.give_up_ns;
            if run.exit.is_none() {
                if is_late {
                    run.kill(now_ns);
                }
                continue;
            }
            let is_read = run.output.file.is_none() && run.error.file.is_none();
            if (is_read || is_late)
                && let Some(run) = place.take()
            {
                finished.push(run.finish(poller));
            }
        }
        finished
    }

    /// Kills every helper and forgets those that wait. Blocks until the killed are gone, for a moment each.
    pub(crate) fn end_all(&mut self, poller: &Poller, now_ns: u64) -> Vec<T> {
        let mut tasks: Vec<T> = self.waiting.drain(..).map(|job| job.task).collect();
        for run in self.running.iter_mut().filter_map(Option::take) {
            let mut run = run;
            run.kill(now_ns);
            if run.pidfd.wait(Some(HELPER_PIPE_LIMIT)) {
                run.end(poller, now_ns);
            }
            tasks.push(run.finish(poller).task);
        }
        tasks
    }
}

impl<T> Run<T> {
    fn start(
        job: Job<T>,
        poller: &Poller,
        executable: &Path,
        configuration: &Path,
        now_ns: u64,
    ) -> Result<Self, (Job<T>, String)> {
        let mut spawn = Spawn::new(job.program.as_deref().unwrap_or(executable));
        spawn.arg("-c").arg(configuration).args(&job.arguments).own_group();
        let child = match spawn.stdout(Output::Pipe).stderr(Output::Pipe).spawn() {
            Ok(child) => child,
            Err(error) => return Err((job, error.to_string())),
        };
        let lane = job.lane;
        let mut run = Self {
            pid: child.pid,
            pidfd: PidFd::from(child.pidfd),
            exit: None,
            output: Pipe::new(child.stdout),
            error: Pipe::new(child.stderr),
            give_up_ns: after(now_ns, job.limit),
            is_killed: false,
            job,
        };
        let add = |part| Token::Helper(lane, part).bits();
        let watched = poller
            .add(&run.pidfd, add(HelperPart::End), Interest::READABLE)
            .and_then(|()| run.output.watch(poller, add(HelperPart::Output)))
            .and_then(|()| run.error.watch(poller, add(HelperPart::Error)));
        match watched {
            Ok(()) => Ok(run),
            Err(error) => {
                run.kill(now_ns);
                if run.pidfd.wait(Some(HELPER_PIPE_LIMIT)) {
                    run.end(poller, now_ns);
                }
                Err((run.job, format!("the helper cannot be watched: {error}")))
            }
        }
    }

    fn kill(&mut self, now_ns: u64) {
        if self.exit.is_none() && !self.is_killed {
            self.is_killed = true;
            // A group that is gone already has nothing left to kill.
            let _gone = signal_group(self.pid, Signal::SIGKILL);
        }
        self.give_up_ns = after(now_ns, HELPER_PIPE_LIMIT);
    }

    /// The process has ended: whatever it started ends too, while the unreaped process still keeps the group's number.
    fn end(&mut self, poller: &Poller, now_ns: u64) {
        if self.exit.is_some() {
            return;
        }
        let _gone = signal_group(self.pid, Signal::SIGKILL);
        self.exit = Some(reap(self.pid));
        // Not watched is what is wanted.
        let _unwatched = poller.remove(&self.pidfd);
        self.give_up_ns = after(now_ns, HELPER_PIPE_LIMIT);
    }

    fn finish(mut self, poller: &Poller) -> Finished<T> {
        self.output.close(poller);
        self.error.close(poller);
        let said = String::from_utf8_lossy(&self.error.bytes).trim().to_owned();
        let outcome = match self.exit {
            _ if self.output.bytes.len() > HELPER_OUTPUT_BYTES_MAX => {
                Err(format!("its answer is longer than {HELPER_OUTPUT_BYTES_MAX} bytes"))
            }
            _ if self.is_killed => {
                Err(format!("it gave no answer within {} s and was killed", self.job.limit.as_secs()))
            }
            Some(ExitState::Exited { code: 0 }) => serde_json::from_slice(&self.output.bytes)
                .map_err(|error| format!("its answer cannot be understood: {error}")),
            Some(ExitState::Exited { .. }) if !said.is_empty() => Err(reason(&said).to_owned()),
            Some(exit) if said.is_empty() => Err(format!("the helper {exit}")),
            Some(exit) => Err(format!("the helper {exit}: {said}")),
            None => Err("the helper did not end".to_owned()),
        };
        Finished { task: self.job.task, outcome, said }
    }
}

/// What a helper said last, without the name that every command puts before its errors; records of its log may stand
/// before it.
fn reason(said: &str) -> &str {
    let begin = said.rfind("\ngantry: ").map_or(0, |position| position + 1);
    let last = &said[begin..];
    last.strip_prefix("gantry: ").unwrap_or(said)
}

impl Pipe {
    fn new(descriptor: Option<OwnedFd>) -> Self {
        Self { file: descriptor.map(File::from), bytes: Vec::new() }
    }

    fn watch(&self, poller: &Poller, token: u64) -> std::io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| poller.add(file, token, Interest::READABLE))
    }

    /// Reads once, which does not block since there is something or the end.
    fn read(&mut self, poller: &Poller) {
        let Some(mut file) = self.file.as_ref() else { return };
        let mut buffer = [0; 16 << 10];
        match file.read(&mut buffer) {
            Ok(0) | Err(_) => self.close(poller),
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
        }
    }

    fn close(&mut self, poller: &Poller) {
        if let Some(file) = self.file.take() {
            // Not watched is what is wanted.
            let _unwatched = poller.remove(&file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Instant;

    const WATCHDOG: Duration = Duration::from_secs(60);

    /// Helpers whose program is the shell: it takes the place of `-c CONFIGURATION` for its own `-c SCRIPT`.
    struct Rig {
        poller: Poller,
        helpers: Helpers<&'static str>,
        script: String,
        finished: VecDeque<Finished<&'static str>>,
    }

    impl Rig {
        fn new(script: &str) -> Self {
            let (poller, helpers) = (Poller::new().unwrap(), Helpers::new());
            Self { poller, helpers, script: script.to_owned(), finished: VecDeque::new() }
        }

        fn ask(&mut self, task: &'static str, lane: Lane, limit: Duration) {
            let arguments = vec!["sh".to_owned(), task.to_owned()];
            self.helpers.ask(Job::new(task, lane, arguments, limit)).unwrap();
        }

        fn start(&mut self) {
            let (shell, script) = (Path::new("/bin/sh"), Path::new(&self.script));
            let now_ns = gantry_sys::clock::monotonic_ns();
            self.finished.extend(self.helpers.start_waiting(&self.poller, shell, script, now_ns));
        }

        fn next(&mut self) -> Finished<&'static str> {
            let begin = Instant::now();
            loop {
                assert!(begin.elapsed() < WATCHDOG, "no helper has finished");
                self.start();
                for event in self.poller.wait(Some(Duration::from_millis(10))).unwrap() {
                    let now_ns = gantry_sys::clock::monotonic_ns();
                    match Token::from_bits(event.token) {
                        Some(Token::Helper(lane, part)) => {
                            self.helpers.ready(&self.poller, lane, part, now_ns)
                        }
                        other => panic!("{other:?}"),
                    }
                }
                let now_ns = gantry_sys::clock::monotonic_ns();
                self.finished.extend(self.helpers.take_finished(&self.poller, now_ns));
                if let Some(finished) = self.finished.pop_front() {
                    return finished;
                }
            }
        }
    }

    #[test]
    fn a_helpers_answer_comes_with_what_it_said_besides() {
        let mut rig = Rig::new("echo \"{\\\"task\\\": \\\"$1\\\"}\"; echo by the way >&2");
        rig.ask("one", Lane::Registry, WATCHDOG);
        let finished = rig.next();
        assert_eq!((finished.task, finished.outcome), ("one", Ok(json!({"task": "one"}))));
        assert_eq!(finished.said, "by the way");
    }

    #[test]
    fn a_failure_is_what_the_helper_said_or_how_it_ended() {
        for (script, expected) in [
            ("echo no such file >&2; exit 1", "no such file"),
            ("echo WARN by the way >&2; echo gantry: no such file >&2; exit 1", "no such file"),
            ("exit 7", "the helper exited with status 7"),
            ("kill -9 $$", "the helper killed by SIGKILL"),
            ("echo hello", "its answer cannot be understood"),
        ] {
            let mut rig = Rig::new(script);
            rig.ask("one", Lane::Registry, WATCHDOG);
            let reason = rig.next().outcome.unwrap_err();
            assert!(reason.starts_with(expected), "{script}: {reason}");
        }
    }

    #[test]
    fn a_helper_that_takes_too_long_is_killed_with_what_it_started() {
        let mut rig = Rig::new("sleep 600 & sleep 600");
        rig.ask("one", Lane::Registry, Duration::from_millis(50));
        let finished = rig.next();
        assert_eq!(finished.outcome, Err("it gave no answer within 0 s and was killed".to_owned()));
        // Its pipes ended, so nobody of the group is left to hold them.
        assert!(rig.helpers.running.iter().all(Option::is_none));
    }

    #[test]
    fn a_pipe_held_by_something_that_escaped_is_given_up() {
        let mut rig = Rig::new("echo 5; setsid sleep 5 &");
        rig.ask("one", Lane::Registry, WATCHDOG);
        assert_eq!(rig.next().outcome, Ok(json!(5)));
    }

    #[test]
    fn work_in_a_lane_goes_one_by_one_and_lanes_beside_each_other() {
        let mut rig = Rig::new("read line; echo 1");
        // Standard input is empty, so each ends by itself; what matters is who is let run at a time.
        for task in ["one", "two"] {
            rig.ask(task, Lane::Registry, WATCHDOG);
        }
        rig.ask("prune", Lane::Background, WATCHDOG);
        rig.ask("stop", Lane::Urgent, WATCHDOG);
        rig.start();
        let running: Vec<_> = rig.helpers.running.iter().flatten().map(|run| run.job.task).collect();
        assert_eq!(running, ["one", "prune", "stop"]);
        assert_eq!(rig.helpers.jobs(Lane::Registry).map(|job| job.task).collect::<Vec<_>>(), ["one", "two"]);
        let mut tasks: Vec<_> = (0..4).map(|_| rig.next().task).collect();
        tasks.retain(|task| !["prune", "stop"].contains(task));
        assert_eq!(tasks, ["one", "two"]);
    }

    #[test]
    fn all_are_ended_at_once_and_their_tasks_given_back() {
        let mut rig = Rig::new("sleep 600");
        rig.ask("one", Lane::Registry, WATCHDOG);
        rig.ask("two", Lane::Registry, WATCHDOG);
        rig.start();
        let mut tasks = rig.helpers.end_all(&rig.poller, gantry_sys::clock::monotonic_ns());
        tasks.sort_unstable();
        assert_eq!(tasks, ["one", "two"]);
        assert!(rig.helpers.jobs(Lane::Registry).next().is_none());
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure_with_its_name() {
        let mut rig = Rig::new("");
        rig.ask("one", Lane::Registry, WATCHDOG);
        let nobody = Path::new("/nonexistent/gantry");
        let failed = rig.helpers.start_waiting(&rig.poller, nobody, Path::new(""), 0).pop().unwrap();
        assert!(failed.outcome.unwrap_err().contains("/nonexistent/gantry"));
    }
}
