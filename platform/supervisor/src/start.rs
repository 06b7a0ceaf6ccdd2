//! How a supervisor starts: on fresh segments, on what an earlier start left in them, or on a node that runs.

use std::collections::{BTreeMap, BTreeSet};

use gantry_message::ServiceNumber;
use gantry_segment::{Control, ProcessState, Role, Segments};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering::{Acquire, Relaxed, Release};
use gantry_sys::clock;
use gantry_sys::epoll::{Interest, Poller};
use gantry_sys::eventfd::EventFd;
use gantry_sys::limits::raise_nofile;
use gantry_sys::lock::PidFile;
use gantry_sys::process::{runs_own_program, start_ticks};
use gantry_sys::signal::{SignalFd, block};
use gantry_sys::timer::Timer;

use crate::admin::Admin;
use crate::adopt::{self, Inheritance};
use crate::children::{COMM, COMM_ROW, ChildKind, Running, Seats, places};
use crate::commands::Task;
use crate::corruption::Corruption;
use crate::helper::{Helpers, Job, Lane};
use crate::limits::{PREPARE_AGAIN, PREPARE_LIMIT};
use crate::listeners::Listeners;
use crate::living::LivingProcess;
use crate::load::CpuLoad;
use crate::notify::Watchdog;
use crate::quarantine::Quarantine;
use crate::reap::sweep_and_wake_all;
use crate::reload::log_level;
use crate::run::{End, Exit, Phase, Purpose, SIGNALS, Supervisor, SupervisorOptions};
use crate::shutdown::{Drain, HAND_OVER, LEAVE};
use crate::snapshot::Snapshot;
use crate::time::after;
use crate::token::Token;
use crate::{SupervisorError, folder, node_row, node_segments};

/// Holds back the signals that [`run`] reads from a descriptor. Call it before the first thread is started, or that
/// thread will be ended by them.
///
/// # Errors
/// None on Linux.
pub fn block_signals() -> Result<(), SupervisorError> {
    block(&SIGNALS).map_err(|cause| SupervisorError::System { call: "sigprocmask", cause })
}

/// Runs a node until it is told to stop, or another program is to take over. Blocks.
///
/// Where processes of the node live already, because an earlier supervisor died or executed this program, they are taken
/// over: they serve on and notice nothing.
///
/// # Errors
/// [`SupervisorError`] when the node cannot be started; then nothing of it is left running, unless it ran before: then it
/// runs on.
pub fn run(mut options: SupervisorOptions) -> Result<Exit, SupervisorError> {
    let settings = &options.settings;
    folder::make_folders(settings)?;
    let path = folder::pid_file(settings);
    let lock = match options.lock.take() {
        Some(lock) => lock,
        None => PidFile::acquire(&path)?,
    };
    let end = run_locked(options);
    if let Ok(End::Upgrade(executable)) = end {
        return Ok(Exit::Upgrade { executable, lock });
    }
    // While the lock is still held, so that no other supervisor's file is removed.
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "the pid file cannot be removed");
    }
    drop(lock);
    Ok(match end? {
        End::Killed { processes_count } => Exit::Killed { processes_count },
        End::Now => Exit::Now,
        _ => Exit::Drained,
    })
}

fn run_locked(options: SupervisorOptions) -> Result<End, SupervisorError> {
    raise_limits(&options.settings)?;
    adopt::end_stray_helpers(&options.settings.file);
    let mut opened = node_segments::open(&options.settings)?;
    let inheritance = adopt::inherit(&mut opened)?;
    let segments = opened.segments;
    let is_adopted = !inheritance.children.is_empty();
    let (descriptors, children) = match Descriptors::open(&options, segments.control(), inheritance) {
        Ok(opened) => opened,
        Err(error) if is_adopted => return Err(error),
        Err(error) => {
            // The first error is the one to report.
            match node_segments::remove_unless_needed(&segments) {
                Ok(true) => folder::forget_segments(&options.settings),
                Ok(false) => {}
                Err(second) => tracing::error!(error = %second, "the segments cannot be removed"),
            }
            return Err(error);
        }
    };
    let purpose = options.purpose;
    let mut supervisor = Supervisor::new(options, segments, descriptors, children)?;
    supervisor.begin(purpose);
    supervisor.serve().inspect_err(|_| supervisor.kill_without_loop())?;
    supervisor.finish()
}

/// Raises the limit of open files, which children inherit, as far as it is needed or allowed.
fn raise_limits(settings: &Settings) -> Result<(), SupervisorError> {
    let (needed, least) = (settings.descriptors_needed(), settings.descriptors_least());
    let allowed = raise_nofile(needed, least)?;
    if allowed < needed {
        tracing::warn!(
            needed,
            allowed,
            connections_max = allowed - (needed - u64::from(settings.comm.connections_max)),
            "fewer open files are allowed than connections_max needs, so fewer connections are taken; raise LimitNOFILE \
             (systemd) or `ulimit -Hn`, or lower [comm] connections_max"
        );
    }
    Ok(())
}

impl Supervisor {
    fn new(
        options: SupervisorOptions,
        segments: Segments,
        descriptors: Descriptors,
        children: Vec<LivingProcess>,
    ) -> Result<Self, SupervisorError> {
        let SupervisorOptions { settings, executable, layout, purpose, ready, .. } = options;
        let Descriptors { poller, signals, timer, admin, listeners, doorbells } = descriptors;
        let is_adopted = !children.is_empty();
        let now_ns = clock::monotonic_ns();
        let living =
            children.into_iter().filter_map(|process| taken_over(process, segments.control(), now_ns));
        let living: Vec<_> = living.collect();
        let seats = match purpose {
            // Nobody new is started, and nobody is one too many.
            Purpose::Stop => seats_of(&living),
            Purpose::Run | Purpose::Upgrade => Seats::of(&settings.workers),
        };
        let rows = segments.control().processes().len();
        let seats = seats.within(segments.control().dimensions().processes);
        let places = places(seats, living, rows);
        for place in &places {
            if let Some(running) = place.running() {
                poller
                    .add(&running.pidfd, Token::Child(place.row).bits(), Interest::READABLE)
                    .map_err(|cause| SupervisorError::System { call: "epoll_ctl", cause })?;
            }
        }
        Ok(Self {
            places,
            seats,
            needs_restart: node_segments::waiting_keys(segments.control(), &settings),
            settings,
            executable,
            segments,
            listeners,
            doorbells,
            poller,
            signals,
            timer,
            admin,
            helpers: Helpers::new(),
            pending: Vec::new(),
            quarantine: Quarantine::default(),
            quarantined: BTreeMap::new(),
            may_be_cut_off: is_adopted,
            unsettled: BTreeSet::new(),
            trials: Vec::new(),
            snapshot: Snapshot::default(),
            phase: Phase::Preparing,
            drain: Drain::None,
            end: End::Drained,
            failure: None,
            layout,
            is_adopted,
            is_prepared: false,
            registry_fault: None,
            is_upgrading: purpose == Purpose::Upgrade,
            replaced_ns: clock::monotonic_ns(),
            watch_from_ns: now_ns,
            last_tick_ns: now_ns,
            next_second_ns: 0,
            next_prune_ns: 0,
            load: CpuLoad::default(),
            watchdog: Watchdog::from_environment(),
            ready,
            are_segments_removed: false,
            corruption: Corruption::default(),
        })
    }

    /// Writes the rows that are the supervisor's, and asks the first helper for the services.
    fn begin(&mut self, purpose: Purpose) {
        let was_stopping = self.segments.control().processes()[0].state() == ProcessState::Stopping;
        if self.is_adopted {
            node_row::go_on(&self.settings, self.segments.control().node());
            follow_level(self.segments.control());
            self.go_on_with_drain(was_stopping);
            self.go_on_with_children();
        } else {
            node_row::begin(&self.settings, self.segments.control().node());
        }
        self.take_own_row();
        sweep_and_wake_all(self.segments.control(), &self.doorbells);
        if purpose == Purpose::Stop {
            self.phase = Phase::Serving;
            self.stop(false);
            return;
        }
        // The tables that the children serve from are there already.
        if self.is_adopted && self.segments.control().node().directory_generation.load(Acquire) > 0 {
            self.phase = Phase::Starting;
            self.fill_places(clock::monotonic_ns());
        }
        self.ask_for_services();
    }

    fn take_own_row(&self) {
        let row = &self.segments.control().processes()[0];
        let epoch = row.epoch().wrapping_add(1);
        row.set_role(Role::Supervisor);
        row.start_ticks.store(0, Relaxed);
        row.begin_life(epoch);
        let ticks = i32::try_from(std::process::id()).ok().and_then(start_ticks);
        row.start_ticks.store(ticks.unwrap_or(0), Relaxed);
        // The pid file's lock keeps every other supervisor away.
        let _taken = row.take_life(epoch, std::process::id());
        if self.is_adopted {
            row.restarts.fetch_add(1, Relaxed);
        } else {
            row.restarts.store(0, Relaxed);
        }
        row.heartbeat_ns.store(clock::monotonic_ns(), Relaxed);
        row.set_state(ProcessState::Starting);
    }

    /// A drain that an operator asked for goes on; one that belonged to a stop ends with it, since the node is to run.
    fn go_on_with_drain(&mut self, was_stopping: bool) {
        let node = self.segments.control().node();
        let was_stopping = was_stopping || node.stopping.swap(0, Release) != 0;
        match node.draining.load(Acquire) {
            _ if was_stopping => node.draining.store(0, Release),
            0 => {}
            1 => {
                let until_ns = after(clock::monotonic_ns(), self.settings.node.drain_grace);
                self.drain = Drain::Grace { until_ns };
            }
            _ => self.drain = Drain::Drained,
        }
    }

    fn go_on_with_children(&mut self) {
        let control = self.segments.control();
        // What was quarantined stays so, also where the registry was not told any more.
        for row in control.services().iter().filter(|row| row.quarantined.load(Relaxed) != 0) {
            let library = control.libraries().get(row.library.load(Relaxed) as usize);
            let facts = library.and_then(|library| library.read());
            if let (Ok(number), Some(facts)) = (ServiceNumber::new(row.number.load(Acquire)), facts) {
                self.quarantined.insert(number, facts.build);
                self.unsettled.insert(number);
            }
        }
        let mut are_old = false;
        for place in &mut self.places {
            let row = &control.processes()[usize::from(place.row)];
            let is_surplus = place.is_surplus;
            let (child, is_upgrading) = (place.kind.name, self.is_upgrading);
            if let crate::children::Life::Running(running) = &mut place.life {
                // Also when the supervisor died in the middle of an upgrade, or was started as another program.
                running.is_old = is_upgrading || runs_own_program(running.pid).is_ok_and(|is_same| !is_same);
                are_old |= running.is_old;
                running.is_leaving = row.leave.load(Acquire) != 0;
                if is_surplus {
                    running.is_leaving = true;
                    row.leave.store(LEAVE, Release);
                }
                tracing::warn!(child, row = place.row, pid = running.pid, is_surplus, "child taken over");
            } else {
                // Its row had an earlier life, so whoever comes next is a restart.
                place.was_started = row.epoch() > 0;
            }
        }
        self.is_upgrading |= are_old;
    }

    fn ask_for_services(&mut self) {
        let arguments = vec!["helper-registry".to_owned(), "prepare".to_owned()];
        let job = Job::new(Task::Prepare, Lane::Registry, arguments, PREPARE_LIMIT);
        if self.helpers.ask(job).is_err() {
            // Too many others wait; this one is asked again.
            self.note_registry_fault("too many changes are waiting".to_owned());
        }
    }

    /// The services cannot be read. A node that was taken over serves on with the tables it has, and they are asked for
    /// again.
    pub(crate) fn note_registry_fault(&mut self, reason: String) {
        tracing::error!(
            reason,
            "the services cannot be read; the node serves on with those it has, and tries again"
        );
        self.registry_fault = Some((reason, after(clock::monotonic_ns(), PREPARE_AGAIN)));
    }

    /// Asks for the services again when the time has come.
    pub(crate) fn prepare_again(&mut self, now_ns: u64) {
        if self.is_prepared || self.is_stopping() {
            return;
        }
        let is_due = self.registry_fault.as_ref().is_some_and(|(_, at_ns)| now_ns >= *at_ns);
        if is_due && self.helpers.jobs(Lane::Registry).next().is_none() {
            self.ask_for_services();
        }
    }
}

/// A living process as the child that it was. Its exit status will not be known; its row tells.
fn taken_over(
    process: LivingProcess,
    control: &Control,
    now_ns: u64,
) -> Option<(u8, &'static ChildKind, Running)> {
    let LivingProcess { row, epoch, role, pid, pidfd, .. } = process;
    let kind = match role {
        Role::Comm if row == COMM_ROW => &COMM,
        role => ChildKind::of_worker(role).filter(|_| row > COMM_ROW)?,
    };
    let mut running = Running::new(pid, pidfd, epoch, now_ns);
    let has_been_ready = crate::reap::has_been_ready(control.processes()[usize::from(row)].state());
    running.ready_ns = has_been_ready.then_some(now_ns);
    Some((row, kind, running))
}

/// As many seats as there are workers.
fn seats_of(living: &[(u8, &'static ChildKind, Running)]) -> Seats {
    let mut seats = Seats { read: 0, write: 0, spare: 0 };
    for (_, kind, _) in living.iter().filter(|(_, kind, _)| kind.is_worker()) {
        *seats.count_mut(kind) += 1;
    }
    seats
}

/// What has to be open before the first child is started.
struct Descriptors {
    poller: Poller,
    signals: SignalFd,
    timer: Timer,
    admin: Admin,
    listeners: Option<Listeners>,
    doorbells: Vec<EventFd>,
}

impl Descriptors {
    fn open(
        options: &SupervisorOptions,
        control: &Control,
        inheritance: Inheritance,
    ) -> Result<(Self, Vec<LivingProcess>), SupervisorError> {
        let settings = &options.settings;
        let system = |call| move |cause| SupervisorError::System { call, cause };
        let poller = Poller::new().map_err(system("epoll_create"))?;
        let signals = SignalFd::new(&SIGNALS).map_err(system("signalfd"))?;
        let timer = Timer::periodic(settings.supervisor.tick).map_err(system("timerfd_create"))?;
        let add = |result: std::io::Result<()>| result.map_err(system("epoll_ctl"));
        add(poller.add(&signals, Token::Signals.bits(), Interest::READABLE))?;
        add(poller.add(&timer, Token::Timer.bits(), Interest::READABLE))?;
        let Inheritance { children, doorbells, listeners } = inheritance;
        let doorbells = match doorbells {
            Some(doorbells) => doorbells,
            None => {
                let fresh = control.threads().iter().map(|_| EventFd::new()).collect::<Result<_, _>>();
                fresh.map_err(system("eventfd"))?
            }
        };
        let listeners = match options.purpose {
            Purpose::Stop => None,
            Purpose::Run | Purpose::Upgrade => {
                let (listeners, change) = Listeners::open(settings, listeners, !children.is_empty())?;
                let is_comm_alive = children.iter().any(|process| process.role == Role::Comm);
                if change.is_any && is_comm_alive {
                    tracing::warn!("the addresses have changed; the communication process is replaced");
                    control.processes()[usize::from(COMM_ROW)].leave.store(HAND_OVER, Release);
                }
                Some(listeners)
            }
        };
        let admin = Admin::listen(settings.admin_socket(), &poller)?;
        Ok((Self { poller, signals, timer, admin, listeners, doorbells }, children))
    }
}

/// The level of the log that was in force, for the supervisor's own.
fn follow_level(control: &Control) {
    let Some(level) = node_row::level_of(control.node().log_level.load(Relaxed)) else { return };
    if let Err(error) = gantry_telemetry::set_level(log_level(level)) {
        tracing::error!(%error, "the log level of the supervisor cannot be changed");
    }
}
