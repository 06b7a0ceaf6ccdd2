//! The communication process as a process of its own, which can be killed: a copy of this test program.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use gantry_comm::{CommOptions, ListenerKind, run};
use gantry_segment::{Control, ProcessState, Segments};
use gantry_settings::Settings;
use gantry_sys::eventfd::EventFd;
use gantry_sys::process::{
    Child, ExitState, Output, PidFd, Spawn, ended_child, own_executable, reap, take_inherited,
};
use gantry_sys::signal::Signal;

use crate::client::{WATCHDOG, wait_until};
use crate::world::{COMM_ROW, World};

/// What a copy is told by: hand-off, epoch, number of doorbells, settings.
const COPY: &str = "GANTRY_COMM_TEST_COPY";
/// The test that a copy runs, which is the communication process then.
const ENTRY: &str = "process::the_communication_process_of_other_tests";
/// Descriptors of a copy: two listeners, then the doorbells.
const FIRST_NUMBER: i32 = 3;

/// Says what of the log is a mistake of the program, whatever was killed.
const NEVER_LOGGED: [&str; 6] = [
    "contradicts itself",
    "corrupt",
    "damaged",
    "panicked",
    "cannot be freed",
    "was taken from this process",
];

#[test]
fn the_communication_process_of_other_tests() {
    let Ok(told) = std::env::var(COPY) else {
        // As a test of its own: what a copy is told comes back as it was said.
        let told = Told {
            handoff: "x".to_owned(),
            epoch: 7,
            doorbells: 2,
            is_held: true,
            settings: "a = 1\n[b]".to_owned(),
        };
        assert_eq!(Told::from_text(&told.to_text()), told);
        return;
    };
    // A test that is ended from outside ends this process too.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    let Told { handoff, epoch, doorbells, is_held, settings } = Told::from_text(&told);
    if is_held {
        wait_until("it is traced", || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            !status.contains("TracerPid:\t0\n")
        });
    }
    let _log = gantry_telemetry::init_stderr("comm", gantry_telemetry::Level::Warn).unwrap();
    let listener = |kind, number| (kind, take_inherited(number).unwrap());
    let doorbell = |index: i32| EventFd::adopt(take_inherited(FIRST_NUMBER + 2 + index).unwrap()).unwrap();
    run(CommOptions {
        segments: Segments::attach(&handoff.parse().unwrap()).unwrap(),
        row: COMM_ROW,
        epoch,
        settings: Settings::from_text(&settings, Path::new("/tmp/gantry.toml")).unwrap(),
        listeners: vec![
            listener(ListenerKind::Tcp, FIRST_NUMBER),
            listener(ListenerKind::Unix, FIRST_NUMBER + 1),
        ],
        doorbells: (0..doorbells).map(doorbell).collect(),
    })
    .unwrap();
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    handoff: String,
    epoch: u32,
    doorbells: i32,
    /// It waits until it is traced.
    is_held: bool,
    settings: String,
}

impl Told {
    fn to_text(&self) -> String {
        let Self { handoff, epoch, doorbells, is_held, settings } = self;
        format!("{handoff}\n{epoch}\n{doorbells}\n{is_held}\n{settings}")
    }

    fn from_text(text: &str) -> Self {
        let mut parts = text.splitn(5, '\n');
        let mut next = || parts.next().unwrap().to_owned();
        Self {
            handoff: next(),
            epoch: next().parse().unwrap(),
            doorbells: next().parse().unwrap(),
            is_held: next().parse().unwrap(),
            settings: next(),
        }
    }
}

/// A communication process that is a process.
pub(crate) struct CommProcess {
    child: Child,
    log: File,
}

impl CommProcess {
    /// Starts the next life of the communication process. Does not wait until it is ready.
    pub(crate) fn start(world: &World, epoch: u32) -> Self {
        Self::begin(world, epoch, false)
    }

    /// The same, but it does nothing before it is traced.
    pub(crate) fn start_held(world: &World, epoch: u32) -> Self {
        Self::begin(world, epoch, true)
    }

    fn begin(world: &World, epoch: u32, is_held: bool) -> Self {
        let process = &world.control().processes()[usize::from(COMM_ROW)];
        process.set_state(ProcessState::Starting);
        process.leave.store(0, gantry_sys::atomic::Ordering::Relaxed);
        process.begin_life(epoch);
        let doorbells = world.doorbells();
        let told = Told {
            handoff: world.segments().handoff().to_string(),
            epoch,
            doorbells: doorbells.len() as i32,
            is_held,
            settings: world.settings_text.clone(),
        };
        let log = tempfile::tempfile().unwrap();
        let mut spawn = Spawn::new(own_executable().unwrap());
        spawn.args([ENTRY, "--exact", "--nocapture"]).env(COPY, told.to_text());
        let (tcp, unix) = world.listeners();
        spawn.inherit_as(tcp, FIRST_NUMBER).inherit_as(unix, FIRST_NUMBER + 1);
        for (index, doorbell) in doorbells.iter().enumerate() {
            spawn.inherit_as(doorbell, FIRST_NUMBER + 2 + index as i32);
        }
        let child = spawn.stdout(Output::Null).stderr(Output::File(log.as_fd())).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.pid
    }

    pub(crate) fn pidfd(&self) -> PidFd {
        PidFd::from(self.child.pidfd.as_fd().try_clone_to_owned().unwrap())
    }

    /// How long its threads were on a processor so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.pid)).unwrap();
        let spent =
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap());
        Duration::from_nanos(spent.map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap()).sum())
    }

    /// Kills it and waits until it is dead.
    pub(crate) fn kill(self) {
        self.pidfd().signal(Signal::SIGKILL).unwrap();
        assert_eq!(self.ended(), ExitState::Killed { signal: 9, core_dumped: false });
    }

    /// Waits for its end, and checks what it said.
    pub(crate) fn ended(mut self) -> ExitState {
        assert!(self.pidfd().wait(Some(WATCHDOG)), "the communication process does not end: {}", self.said());
        let ended = reap(self.child.pid);
        self.check_log();
        ended
    }

    /// What it wrote to its log.
    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        self.log.rewind().unwrap();
        self.log.read_to_string(&mut text).unwrap();
        text
    }

    fn check_log(&mut self) {
        let said = self.said();
        for never in NEVER_LOGGED {
            assert!(!said.contains(never), "{said}");
        }
    }
}

impl Drop for CommProcess {
    /// Also when the test fails. Most were reaped before, and the signal goes nowhere.
    fn drop(&mut self) {
        let _ = self.pidfd().signal(Signal::SIGKILL);
    }
}

/// The keepers that are written down and live, with their pids.
pub(crate) fn keepers(control: &Control) -> Vec<(i32, PidFd)> {
    let written = control.keepers().iter().filter_map(|row| row.keeper());
    let living = written.filter_map(|(pid, ticks)| {
        let pid = pid.cast_signed();
        let pidfd = PidFd::open(pid).ok()?;
        (gantry_sys::process::start_ticks(pid) == Some(ticks) && !pidfd.is_dead()).then_some((pid, pidfd))
    });
    living.collect()
}

/// Takes the exit status of keepers that ended, as the supervisor does, whose children they are.
pub(crate) fn reap_keepers(except: Option<i32>) {
    while let Some(pid) = ended_child().filter(|pid| Some(*pid) != except) {
        let _ = reap(pid);
    }
}

/// Ends whatever keepers a world left behind.
pub(crate) fn kill_keepers(control: &Control) {
    for (_, pidfd) in keepers(control) {
        let _ = pidfd.signal(Signal::SIGKILL);
        assert!(pidfd.wait(Some(WATCHDOG)));
    }
}

impl World {
    /// A running node with these settings (TOML) whose communication process is a process.
    pub(crate) fn of_processes(settings: &str) -> Self {
        let mut world = Self::without_workers(settings);
        world.start_process();
        world.start_workers();
        world
    }

    /// Starts the communication process as a process, and waits until it serves.
    pub(crate) fn start_process(&mut self) -> i32 {
        let process = CommProcess::start(self, self.next_epoch());
        let pid = process.pid();
        self.process = Some(process);
        self.wait_for_process();
        pid
    }

    /// Waits until the communication process serves.
    pub(crate) fn wait_for_process(&self) {
        let row = &self.control().processes()[usize::from(COMM_ROW)];
        let pidfd = self.process.as_ref().unwrap().pidfd();
        wait_until("the communication process is ready", || {
            row.state() == ProcessState::Idle || pidfd.is_dead()
        });
    }

    /// Kills the communication process and starts the next one.
    pub(crate) fn kill_and_replace(&mut self) {
        self.process.take().unwrap().kill();
        self.start_process();
    }

    /// Tells the communication process to leave everything to the next one, and waits for its end.
    pub(crate) fn hand_over(&mut self) {
        let row = &self.control().processes()[usize::from(COMM_ROW)];
        row.leave.store(2, gantry_sys::atomic::Ordering::Relaxed);
        self.doorbells().iter().for_each(EventFd::signal);
        assert_eq!(self.process.take().unwrap().ended(), ExitState::Exited { code: 0 });
        self.start_process();
    }

    /// Lets the communication process come to a clean end.
    pub(crate) fn stop_process(&mut self) {
        let row = &self.control().processes()[usize::from(COMM_ROW)];
        row.leave.store(1, gantry_sys::atomic::Ordering::Relaxed);
        assert_eq!(self.process.take().unwrap().ended(), ExitState::Exited { code: 0 });
        assert!(keepers(self.control()).is_empty(), "a clean end leaves no keeper");
        assert!(self.control().keepers().iter().all(gantry_segment::KeeperRow::is_free));
        reap_keepers(None);
    }
}
