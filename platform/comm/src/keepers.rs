//! Keepers: processes that hold this one's descriptors, so that connections outlive it.
//!
//! A keeper shares the table of descriptors with the process that made it. When that dies, the table lives on in the
//! keeper, and the next communication process takes the sockets from there. Keepers are written down in the control
//! segment; a process writes its own down before it takes anything, and ends those of its predecessors after it has
//! taken everything, so at each moment somebody holds every socket.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use gantry_segment::{Control, KeeperRow};
use gantry_sys::process::{Keeper, PidFd, start_ticks};
use gantry_sys::signal::Signal;
use gantry_sys::{clock, user};

use crate::limits::KEEPER_RETRY_NS;

/// How long the end of a keeper is waited for that was killed. It has nothing to do but to close what it holds.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A predecessor's keeper that lives.
#[derive(Debug)]
pub(crate) struct OldKeeper<'a> {
    row: &'a KeeperRow,
    pub(crate) pid: i32,
    pub(crate) pidfd: PidFd,
}

impl OldKeeper<'_> {
    /// Kills it. What it holds is closed unless somebody else holds it too.
    pub(crate) fn kill(&self) {
        kill(self.pid, &self.pidfd);
    }

    /// Strikes it off if it has closed everything; whether it did.
    fn is_struck_off(&self) -> bool {
        let is_dead = self.pidfd.is_dead();
        if is_dead {
            self.row.clear();
        }
        is_dead
    }

    /// Waits until it has closed everything, and strikes it off.
    pub(crate) fn strike_off(&self) {
        strike_off(self.row, self.pid, &self.pidfd);
    }
}

fn kill(pid: i32, pidfd: &PidFd) {
    if let Err(cause) = pidfd.signal(Signal::SIGKILL) {
        // It is dead already, and reaped.
        tracing::debug!(pid, %cause, "a keeper was gone already");
    }
}

fn strike_off(row: &KeeperRow, pid: i32, pidfd: &PidFd) {
    if pidfd.wait(Some(END_WITHIN)) {
        row.clear();
    } else {
        tracing::error!(pid, "a keeper that was killed does not end; the next process looks again");
    }
}

/// The keepers of dead predecessors that live. Rows of dead ones are freed.
pub(crate) fn living(control: &Control) -> Vec<OldKeeper<'_>> {
    let mut found = Vec::new();
    for row in control.keepers() {
        let Some((pid, ticks)) = row.keeper() else { continue };
        match hold(pid, ticks) {
            Some((pid, pidfd)) => found.push(OldKeeper { row, pid, pidfd }),
            None => row.clear(),
        }
    }
    found
}

/// Holds a process if it is the one that was written down, and lives.
fn hold(pid: u32, ticks: u64) -> Option<(i32, PidFd)> {
    let pid = i32::try_from(pid).ok()?;
    let pidfd = PidFd::open(pid).ok()?;
    // Looked at after it is held: the pid cannot be given to another now.
    (start_ticks(pid) == Some(ticks) && !pidfd.is_dead()).then_some((pid, pidfd))
}

/// This process's own keeper.
#[derive(Debug)]
struct Own<'a> {
    row: &'a KeeperRow,
    keeper: Keeper,
}

/// The keeper of this process, and how it is replaced.
#[derive(Debug)]
pub(crate) struct Keepers<'a> {
    rows: &'a [KeeperRow],
    own: Option<Own<'a>>,
    /// Killed, and not yet dead.
    ending: Vec<OldKeeper<'a>>,
    /// When another one is tried after a failure.
    retry_ns: u64,
    /// A descriptor was taken from the own keeper, as a successor would.
    is_tried: bool,
}

impl<'a> Keepers<'a> {
    /// None yet.
    pub(crate) fn new(control: &'a Control) -> Self {
        // The kernel forbids others to look into a process that has changed its user; keepers inherit that.
        if let Err(cause) = user::set_dumpable(true).and_then(|()| user::allow_tracers()) {
            tracing::error!(%cause, "successors cannot be allowed to take over the connections");
        }
        Self { rows: control.keepers(), own: None, ending: Vec::new(), retry_ns: 0, is_tried: false }
    }

    /// Whether there is a row to write a keeper down in.
    pub(crate) fn has_room(&self) -> bool {
        self.rows.iter().any(KeeperRow::is_free)
    }

    /// Makes a keeper and writes it down, unless there is one. What fails is told in the log and tried again by
    /// [`look_after`](Self::look_after).
    pub(crate) fn start(&mut self) {
        if self.own.is_some() {
            return;
        }
        match self.make() {
            Ok(own) => {
                self.own = Some(own);
                self.is_tried = false;
            }
            Err(cause) => {
                self.retry_ns = clock::monotonic_ns() + KEEPER_RETRY_NS;
                tracing::error!(
                    %cause,
                    "no keeper could be made: connections will not survive the death of this process; raise the \
                     limits of processes and memory if they are out"
                );
            }
        }
    }

    /// A death before `set` leaves a keeper that ends by itself; after it, one that the next process finds.
    fn make(&self) -> io::Result<Own<'a>> {
        let row = self.rows.iter().find(|row| row.is_free());
        let row = row.ok_or_else(|| io::Error::other("all rows of keepers are taken"))?;
        let keeper = Keeper::start()?;
        let ticks = start_ticks(keeper.pid()).ok_or_else(|| io::Error::other("the keeper died at once"))?;
        row.set(keeper.pid().unsigned_abs(), ticks);
        keeper.confirm();
        Ok(Own { row, keeper })
    }

    /// Strikes keepers that were killed off when they are dead: [`look_after`](Self::look_after) does.
    pub(crate) fn strike_off_later(&mut self, killed: Vec<OldKeeper<'a>>) {
        self.ending.extend(killed);
    }

    /// The descriptor that becomes readable when the keeper dies.
    pub(crate) fn watched(&self) -> Option<RawFd> {
        self.own.as_ref().map(|own| own.keeper.pidfd().as_raw_fd())
    }

    /// Replaces a dead keeper, and tries again after a failure. `true`: [`watched`](Self::watched) is another one now.
    pub(crate) fn look_after(&mut self, now_ns: u64) -> bool {
        self.ending.retain(|old| !old.is_struck_off());
        if let Some(own) = self.own.take_if(|own| own.keeper.pidfd().is_dead()) {
            tracing::warn!(pid = own.keeper.pid(), "the keeper died; another one is made");
            own.row.clear();
        } else if self.own.is_some() || now_ns < self.retry_ns {
            return false;
        }
        self.start();
        self.own.is_some()
    }

    /// Whether a successor would be allowed to take a descriptor: taken once from the own keeper, and said in the log.
    pub(crate) fn try_out(&mut self) {
        let Some(own) = self.own.as_ref().filter(|_| !self.is_tried) else { return };
        self.is_tried = true;
        let pidfd = own.keeper.pidfd();
        match pidfd.take_descriptor(pidfd.as_raw_fd()) {
            Ok(_) => tracing::debug!(pid = own.keeper.pid(), "connections survive the death of this process"),
            Err(cause) => say_refused(&cause),
        }
    }

    /// Ends the own keeper: every connection is closed, and no successor needs it.
    pub(crate) fn end(&mut self) {
        self.ending.drain(..).for_each(|old| old.strike_off());
        let Some(Own { row, keeper }) = self.own.take() else { return };
        kill(keeper.pid(), keeper.pidfd());
        strike_off(row, keeper.pid(), keeper.pidfd());
    }
}

/// Says that descriptors cannot be taken from a keeper, and what to do.
pub(crate) fn say_refused(cause: &io::Error) {
    tracing::error!(
        %cause,
        "connections will not survive the death of this process: descriptors cannot be taken from its keeper; allow \
         `pidfd_getfd` (kernel.yama.ptrace_scope at most 1, no seccomp filter, one user for all processes)"
    );
}
