//! The supervisor's one thread: what it holds, how it starts, its loop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gantry_message::ServiceNumber;
use gantry_segment::{ProcessState, Role, Segments};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use gantry_sys::epoll::{Event, Interest, Poller};
use gantry_sys::eventfd::EventFd;
use gantry_sys::limits::raise_nofile;
use gantry_sys::lock::PidFile;
use gantry_sys::process::start_ticks;
use gantry_sys::signal::{Signal, SignalFd, block};
use gantry_sys::timer::Timer;
use sd_notify::NotifyState;

use crate::admin::Admin;
use crate::children::{Place, places};
use crate::commands::{Pending, Task};
use crate::helper::{Helpers, Job, Lane};
use crate::limits::{PREPARE_LIMIT, PRUNE_PERIOD};
use crate::listeners::Listeners;
use crate::load::CpuLoad;
use crate::notify::{Watchdog, tell};
use crate::quarantine::Quarantine;
use crate::shutdown::{Drain, Stop};
use crate::snapshot::Snapshot;
use crate::time::after;
use crate::token::Token;
use crate::{SupervisorError, folder, node_row, node_segments};

/// The signals that the supervisor reads from a descriptor.
const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// How often the slow looks are taken: load, idle admin clients, segments.
const SECOND: Duration = Duration::from_secs(1);

/// What a supervisor is started with.
pub struct SupervisorOptions {
    /// The checked configuration; children are told to read the same file.
    pub settings: Settings,
    /// The program that children and helpers run: this very binary.
    pub executable: PathBuf,
    /// Called once, when the node is ready.
    pub ready: Box<dyn FnMut()>,
}

impl std::fmt::Debug for SupervisorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisorOptions").field("executable", &self.executable).finish_non_exhaustive()
    }
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every process left by itself.
    Drained,
    /// It was told to end at once.
    Now,
    /// Not everybody had left in time; so many processes were killed.
    Killed {
        /// How many.
        processes_count: usize,
    },
}

/// Where the node is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Libraries and tables are being prepared.
    Preparing,
    /// Children are started for the first time.
    Starting,
    /// Ready.
    Serving,
    /// On the way to its end.
    Stopping(Stop),
    /// Nobody is left.
    Ended,
}

/// The supervisor.
pub(crate) struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) executable: PathBuf,
    pub(crate) segments: Segments,
    pub(crate) places: Vec<Place>,
    /// `None` once the node takes no new connections.
    pub(crate) listeners: Option<Listeners>,
    /// One for each I/O thread.
    pub(crate) doorbells: Vec<EventFd>,
    pub(crate) poller: Poller,
    signals: SignalFd,
    timer: Timer,
    pub(crate) admin: Admin,
    pub(crate) helpers: Helpers<Task>,
    /// Commands that are answered when something has come about.
    pub(crate) pending: Vec<Pending>,
    pub(crate) quarantine: Quarantine,
    /// Versions that are quarantined, whether or not the registry knows yet.
    pub(crate) quarantined: BTreeMap<ServiceNumber, String>,
    /// What was published last.
    pub(crate) snapshot: Snapshot,
    pub(crate) phase: Phase,
    pub(crate) drain: Drain,
    /// How the node ended, once it has.
    pub(crate) exit: Exit,
    /// Why the node could not be started.
    pub(crate) failure: Option<SupervisorError>,
    /// Keys of the configuration that changed and wait for a restart.
    pub(crate) needs_restart: Vec<String>,
    /// Signs of life from before this moment are not missed.
    pub(crate) watch_from_ns: u64,
    last_tick_ns: u64,
    next_second_ns: u64,
    next_prune_ns: u64,
    load: CpuLoad,
    watchdog: Watchdog,
    ready: Box<dyn FnMut()>,
    /// Whether it was said that the segments were removed under us.
    is_loss_told: bool,
}

/// Holds back the signals that [`run`] reads from a descriptor. Call it before the first thread is started, or that
/// thread will be ended by them.
///
/// # Errors
/// None on Linux.
pub fn block_signals() -> Result<(), SupervisorError> {
    block(&SIGNALS).map_err(|cause| SupervisorError::System { call: "sigprocmask", cause })
}

/// Runs a node until it is told to stop. Blocks.
///
/// # Errors
/// [`SupervisorError`] when the node cannot be started; then nothing of it is left running.
pub fn run(options: SupervisorOptions) -> Result<Exit, SupervisorError> {
    let settings = &options.settings;
    folder::make_folders(settings)?;
    let path = folder::pid_file(settings);
    let pid_file = PidFile::acquire(&path)?;
    let outcome = run_locked(options);
    // While the lock is still held, so that no other supervisor's file is removed.
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "the pid file cannot be removed");
    }
    drop(pid_file);
    outcome
}

fn run_locked(options: SupervisorOptions) -> Result<Exit, SupervisorError> {
    raise_limits(&options.settings)?;
    let segments = node_segments::open(&options.settings)?;
    let descriptors = match Descriptors::open(&options.settings) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            // The first error is the one to report.
            if let Err(second) = node_segments::remove_unless_needed(&segments) {
                tracing::error!(error = %second, "the segments cannot be removed");
            }
            return Err(error);
        }
    };
    let mut supervisor = Supervisor::new(options, segments, descriptors);
    supervisor.prepare();
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
    fn new(options: SupervisorOptions, segments: Segments, descriptors: Descriptors) -> Self {
        let SupervisorOptions { settings, executable, ready } = options;
        let Descriptors { poller, signals, timer, admin, listeners, doorbells } = descriptors;
        Self {
            places: places(&settings.workers),
            settings,
            executable,
            segments,
            listeners: Some(listeners),
            doorbells,
            poller,
            signals,
            timer,
            admin,
            helpers: Helpers::new(),
            pending: Vec::new(),
            quarantine: Quarantine::default(),
            quarantined: BTreeMap::new(),
            snapshot: Snapshot::default(),
            phase: Phase::Preparing,
            drain: Drain::None,
            exit: Exit::Drained,
            failure: None,
            needs_restart: Vec::new(),
            watch_from_ns: 0,
            last_tick_ns: clock::monotonic_ns(),
            next_second_ns: 0,
            next_prune_ns: 0,
            load: CpuLoad::default(),
            watchdog: Watchdog::from_environment(),
            ready,
            is_loss_told: false,
        }
    }

    /// Writes the rows that are the supervisor's and asks the first helper for the services.
    fn prepare(&mut self) {
        let control = self.segments.control();
        node_row::begin(&self.settings, control.node());
        let row = &control.processes()[0];
        let epoch = row.epoch().wrapping_add(1);
        row.set_role(Role::Supervisor);
        row.begin_life(epoch);
        // The pid file's lock keeps every other supervisor away.
        let _taken = row.take_life(epoch, std::process::id());
        let ticks = i32::try_from(std::process::id()).ok().and_then(start_ticks);
        row.start_ticks.store(ticks.unwrap_or(0), Relaxed);
        row.heartbeat_ns.store(clock::monotonic_ns(), Relaxed);
        row.set_state(ProcessState::Starting);
        let arguments = vec!["helper-registry".to_owned(), "prepare".to_owned()];
        let job = Job { task: Task::Prepare, lane: Lane::Registry, arguments, limit: PREPARE_LIMIT };
        // The queue is empty, so there is room.
        let _taken = self.helpers.ask(job);
    }

    /// The loop. Ends when nobody is left.
    fn serve(&mut self) -> Result<(), SupervisorError> {
        while !matches!(self.phase, Phase::Ended) {
            let started = self.helpers.start_waiting(
                &self.poller,
                &self.executable,
                &self.settings.file,
                clock::monotonic_ns(),
            );
            for finished in started {
                self.follow_helper(finished);
            }
            let events = self.poller.wait(None);
            for event in events.map_err(|cause| SupervisorError::System { call: "epoll_wait", cause })? {
                self.dispatch(event);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, event: Event) {
        let now_ns = clock::monotonic_ns();
        match Token::from_bits(event.token) {
            Some(Token::Signals) => self.read_signals(),
            Some(Token::Timer) => {
                self.timer.drain();
                self.tick(now_ns);
            }
            Some(Token::Admin) => self.admin.accept(&self.poller, now_ns),
            Some(Token::Child(row)) => self.reap(row),
            Some(Token::Helper(lane, part)) => self.helpers.ready(&self.poller, lane, part, now_ns),
            Some(Token::Client(id)) => {
                if let Some(line) = self.admin.ready(id, &self.poller, now_ns) {
                    self.run_commands(id, line);
                }
            }
            None => tracing::error!(token = event.token, "an event of nobody"),
        }
    }

    fn read_signals(&mut self) {
        loop {
            match self.signals.read() {
                Ok(Some(received)) => {
                    let (signal, sender_pid) = (received.signal.as_str(), received.sender_pid);
                    tracing::debug!(signal, sender_pid, "signal received");
                    match received.signal {
                        // What is wrong with the file is in the log by then.
                        Signal::SIGHUP => drop(self.reload()),
                        _ => self.stop(false),
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "signals cannot be read");
                    return;
                }
            }
        }
    }

    fn tick(&mut self, now_ns: u64) {
        self.note_own_pause(now_ns);
        self.watch_children(now_ns);
        for finished in self.helpers.take_finished(&self.poller, now_ns) {
            self.follow_helper(finished);
        }
        self.advance_start();
        self.advance_drain(now_ns);
        self.advance_stop(now_ns);
        self.answer_pending(now_ns);
        self.watchdog.tick(now_ns);
        if now_ns >= self.next_second_ns {
            self.next_second_ns = after(now_ns, SECOND);
            self.look_around(now_ns);
        }
    }

    /// When the supervisor itself was stopped, or the whole machine, nobody else's silence proves anything.
    fn note_own_pause(&mut self, now_ns: u64) {
        let paused_ns = now_ns.saturating_sub(self.last_tick_ns);
        self.last_tick_ns = now_ns;
        if paused_ns > crate::time::ns(self.settings.supervisor.heartbeat_timeout) / 4 {
            tracing::warn!(paused_ms = paused_ns / 1_000_000, "the supervisor did not run for a while");
            self.watch_from_ns = now_ns;
        }
    }

    /// The slow looks, once a second.
    fn look_around(&mut self, now_ns: u64) {
        let control = self.segments.control();
        if let Some(ppm) = self.load.look() {
            control.node().cpu_load_ppm.store(ppm, Relaxed);
        }
        control.processes()[0].heartbeat_ns.store(now_ns, Relaxed);
        self.admin.close_idle(&self.poller, now_ns);
        self.look_at_segments();
        if matches!(self.phase, Phase::Serving) && now_ns >= self.next_prune_ns {
            self.next_prune_ns = after(now_ns, PRUNE_PERIOD);
            self.prune_requests();
        }
    }

    /// Somebody may remove the segments while we live on them (`RemoveIPC` of systemd-logind, `ipcrm`). Those who are
    /// attached go on, but nobody finds the work again after an end.
    fn look_at_segments(&mut self) {
        if self.is_loss_told {
            return;
        }
        let found = gantry_sys::shm::stat(&self.segments.handoff().control);
        let is_lost = found.as_ref().map_or(true, |stat| stat.marked_for_removal);
        if is_lost {
            self.is_loss_told = true;
            let error = found.err().map(|error| error.to_string());
            tracing::error!(
                error,
                "the segments were removed under the running node; set RemoveIPC=no in logind.conf or run as a system \
                 user, and restart the node"
            );
        }
    }

    /// Notices that the node has become ready.
    fn advance_start(&mut self) {
        if !matches!(self.phase, Phase::Starting) || !self.has_ready_workers() {
            return;
        }
        // A place whose child failed already is left to the back-off, so that one bad place does not keep the others.
        let is_settled = |place: &Place| {
            place.is_ready() || (place.kind.is_worker() && place.back_off.early_deaths_count() > 0)
        };
        if !self.places.iter().all(is_settled) {
            return;
        }
        self.phase = Phase::Serving;
        self.segments.control().processes()[0].set_state(ProcessState::Idle);
        tracing::debug!("node ready");
        (self.ready)();
        tell(&[NotifyState::Ready]);
    }

    /// Gives the start up, with the reason.
    pub(crate) fn fail(&mut self, error: SupervisorError) {
        tracing::error!(%error, "the node cannot be started");
        self.failure.get_or_insert(error);
        self.stop(true);
    }
}

/// What has to be open before the first child is started.
struct Descriptors {
    poller: Poller,
    signals: SignalFd,
    timer: Timer,
    admin: Admin,
    listeners: Listeners,
    doorbells: Vec<EventFd>,
}

impl Descriptors {
    fn open(settings: &Settings) -> Result<Self, SupervisorError> {
        let system = |call| move |cause| SupervisorError::System { call, cause };
        let poller = Poller::new().map_err(system("epoll_create"))?;
        let signals = SignalFd::new(&SIGNALS).map_err(system("signalfd"))?;
        let timer = Timer::periodic(settings.supervisor.tick).map_err(system("timerfd_create"))?;
        let add = |result: std::io::Result<()>| result.map_err(system("epoll_ctl"));
        add(poller.add(&signals, Token::Signals.bits(), Interest::READABLE))?;
        add(poller.add(&timer, Token::Timer.bits(), Interest::READABLE))?;
        let doorbells = (0..settings.comm.threads)
            .map(|_| EventFd::new())
            .collect::<Result<_, _>>()
            .map_err(system("eventfd"))?;
        let listeners = Listeners::open(settings)?;
        let admin = Admin::listen(settings.admin_socket(), &poller)?;
        Ok(Self { poller, signals, timer, admin, listeners, doorbells })
    }
}
