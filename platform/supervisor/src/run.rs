//! The supervisor's one thread: what it is started with, what it holds, its loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use gantry_message::ServiceNumber;
use gantry_segment::{ProcessState, Segments};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use gantry_sys::epoll::{Event, Poller};
use gantry_sys::eventfd::EventFd;
use gantry_sys::lock::PidFile;
use gantry_sys::signal::{Signal, SignalFd};
use gantry_sys::timer::Timer;
use sd_notify::NotifyState;
use serde_json::Value;

use crate::admin::Admin;
use crate::canary::Trial;
use crate::children::{Place, Seats};
use crate::commands::Task;
use crate::corruption::Corruption;
use crate::helper::Helpers;
use crate::limits::PRUNE_PERIOD;
use crate::listeners::Listeners;
use crate::load::CpuLoad;
use crate::notify::{Watchdog, tell};
use crate::pending::Pending;
use crate::quarantine::Quarantine;
use crate::shutdown::{Drain, Stop};
use crate::snapshot::Snapshot;
use crate::time::after;
use crate::token::Token;
use crate::{SupervisorError, node_segments};

/// The signals that the supervisor reads from a descriptor.
pub(crate) const SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// How often the slow looks are taken: load, idle admin clients, segments.
const SECOND: Duration = Duration::from_secs(1);

/// What a supervisor is started with.
pub struct SupervisorOptions {
    /// The checked configuration; children are told to read the same file.
    pub settings: Settings,
    /// The program that children and helpers run: this very binary.
    pub executable: PathBuf,
    /// What this program is, as `helper-layout` prints it: `{"layout":…,"abi":…,"version":…}`.
    pub layout: Value,
    /// What it is started for.
    pub purpose: Purpose,
    /// The locked pid file, where this process has it already; else it is locked.
    pub lock: Option<PidFile>,
    /// Called once, when the node is ready.
    pub ready: Box<dyn FnMut()>,
}

impl std::fmt::Debug for SupervisorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SupervisorOptions");
        shown.field("executable", &self.executable).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// What a supervisor is started for. Each begins with whoever of the node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the node.
    Run,
    /// To stop what a supervisor that died left running, drained.
    Stop,
    /// To run the node, and to replace each process of an earlier program by one of this program.
    Upgrade,
}

/// How a supervisor ended.
#[derive(Debug)]
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
    /// The node runs on: this process is to execute another program, which takes over.
    Upgrade {
        /// The program.
        executable: PathBuf,
        /// The locked pid file, to be handed on.
        lock: PidFile,
    },
}

/// How the node ended, as far as the loop knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Drained,
    Now,
    Killed {
        processes_count: usize,
    },
    /// Another program takes over.
    Upgrade(PathBuf),
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
    /// How many workers of each kind there are to be.
    pub(crate) seats: Seats,
    /// `None` once the node takes no new connections.
    pub(crate) listeners: Option<Listeners>,
    /// One for each I/O thread.
    pub(crate) doorbells: Vec<EventFd>,
    pub(crate) poller: Poller,
    pub(crate) signals: SignalFd,
    pub(crate) timer: Timer,
    pub(crate) admin: Admin,
    pub(crate) helpers: Helpers<Task>,
    /// Commands that are answered when something has come about.
    pub(crate) pending: Vec<Pending>,
    pub(crate) quarantine: Quarantine,
    /// Builds that are quarantined, whether or not the registry knows yet.
    pub(crate) quarantined: BTreeMap<ServiceNumber, String>,
    /// Those of them of which no helper has settled yet which build serves instead.
    pub(crate) unsettled: BTreeSet<ServiceNumber>,
    /// A deployment may have been cut off with the supervisor that was before this one.
    pub(crate) may_be_cut_off: bool,
    /// The canaries that are being compared.
    pub(crate) trials: Vec<Trial>,
    /// What was published last.
    pub(crate) snapshot: Snapshot,
    pub(crate) phase: Phase,
    pub(crate) drain: Drain,
    /// How the node ended, once it has.
    pub(crate) end: End,
    /// Why the node could not be started.
    pub(crate) failure: Option<SupervisorError>,
    /// What this program is, for comparison with another one.
    pub(crate) layout: Value,
    /// It took over a node that was running.
    pub(crate) is_adopted: bool,
    /// The services were read and published by this supervisor.
    pub(crate) is_prepared: bool,
    /// Why the services cannot be read, and when that is tried again.
    pub(crate) registry_fault: Option<(String, u64)>,
    /// Processes of an earlier program are being replaced.
    pub(crate) is_upgrading: bool,
    /// When a process was last replaced by another one.
    pub(crate) replaced_ns: u64,
    /// Keys of the configuration that changed and wait for a restart.
    pub(crate) needs_restart: Vec<String>,
    /// Signs of life from before this moment are not missed.
    pub(crate) watch_from_ns: u64,
    pub(crate) last_tick_ns: u64,
    pub(crate) next_second_ns: u64,
    pub(crate) next_prune_ns: u64,
    pub(crate) load: CpuLoad,
    pub(crate) watchdog: Watchdog,
    pub(crate) ready: Box<dyn FnMut()>,
    /// Somebody removed the segments under us, and it was said.
    pub(crate) are_segments_removed: bool,
    pub(crate) corruption: Corruption,
}

impl Supervisor {
    /// The loop. Ends when nobody is left.
    pub(crate) fn serve(&mut self) -> Result<(), SupervisorError> {
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
        self.reap_strangers();
        for finished in self.helpers.take_finished(&self.poller, now_ns) {
            self.follow_helper(finished);
        }
        self.prepare_again(now_ns);
        self.advance_start();
        self.advance_replacements(now_ns);
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
        self.corruption.look(self.segments.control());
        self.judge_canaries();
        self.settle_quarantines();
        self.finish_deployments();
        if matches!(self.phase, Phase::Serving) && now_ns >= self.next_prune_ns {
            self.next_prune_ns = after(now_ns, PRUNE_PERIOD);
            self.prune_requests();
        }
    }

    /// Somebody may remove the segments while we live on them (`RemoveIPC` of systemd-logind, `ipcrm`). Those who are
    /// attached go on, and children join them by their ids; but the work in them goes with the last process.
    fn look_at_segments(&mut self) {
        if self.are_segments_removed || !node_segments::are_removed(&self.segments) {
            return;
        }
        self.are_segments_removed = true;
        let can_be_joined = gantry_sys::shm::stat(&self.segments.handoff().control).is_ok();
        tracing::error!(
            can_be_joined,
            "the segments were removed under the running node, which serves on; set RemoveIPC=no in logind.conf or run as a \
             system user, and restart the node at a quiet time (at once if they cannot be joined any more: then nobody who \
             dies can be replaced)"
        );
    }

    /// Notices that the node has become ready.
    fn advance_start(&mut self) {
        let are_services_known = self.is_prepared || self.registry_fault.is_some();
        if !matches!(self.phase, Phase::Starting) || !are_services_known || !self.has_ready_workers() {
            return;
        }
        // A place whose child failed already is left to the back-off, so that one bad place does not keep the others. A
        // node that was taken over serves with what it has.
        let is_settled = |place: &Place| {
            let has_failed = place.back_off.early_deaths_count() > 0;
            place.is_ready()
                || place.kind.is_spare()
                || (has_failed && (place.kind.is_worker() || self.is_adopted))
        };
        if !self.places.iter().all(is_settled) {
            return;
        }
        self.phase = Phase::Serving;
        let state = if self.drain == Drain::None { ProcessState::Idle } else { ProcessState::Draining };
        self.segments.control().processes()[0].set_state(state);
        tracing::debug!("node ready");
        (self.ready)();
        tell(&[NotifyState::Ready]);
    }

    /// Gives the start up, with the reason. A node that was running is never given up.
    pub(crate) fn fail(&mut self, error: SupervisorError) {
        if self.is_adopted {
            tracing::error!(%error, "the node serves on with what it has");
            return;
        }
        tracing::error!(%error, "the node cannot be started");
        self.failure.get_or_insert(error);
        self.stop(true);
    }
}
