//! The process table: one row for each process of the node.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::Shared;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// No process.
    None = 0,
    /// Starts and watches the others.
    Supervisor = 1,
    /// Owns the network.
    Comm = 2,
    /// Runs services of the read queue.
    ReadWorker = 3,
    /// Runs services of the write queue.
    WriteWorker = 4,
}

impl Role {
    /// From its code; `None` for anything unknown.
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Supervisor,
            2 => Self::Comm,
            3 => Self::ReadWorker,
            4 => Self::WriteWorker,
            _ => Self::None,
        }
    }
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ProcessState {
    /// The row is free, or its process is dead and recovered.
    Free = 0,
    /// Forked, not yet ready.
    Starting = 1,
    /// Ready, without work.
    Idle = 2,
    /// Running a request.
    Busy = 3,
    /// Finishes what it has, takes nothing new.
    Draining = 4,
    /// Told to end.
    Stopping = 5,
    /// Dead; its slots are not recovered yet.
    Dead = 6,
}

impl ProcessState {
    /// From its code; `Free` for anything unknown.
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Starting,
            2 => Self::Idle,
            3 => Self::Busy,
            4 => Self::Draining,
            5 => Self::Stopping,
            6 => Self::Dead,
            _ => Self::Free,
        }
    }

    /// The word that `status` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Dead => "dead",
        }
    }
}

/// One process. The supervisor writes identity (`epoch`, `role`, `pid`, `start_ticks`, `restarts`) before it
/// starts the child and after it died; the rest belongs to the process itself.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ProcessRow {
    /// Life number of the row, 20 bits; grows with each process that gets the row, since pids come back.
    pub epoch: AtomicU32,
    /// A [`Role`].
    pub role: AtomicU32,
    /// A [`ProcessState`].
    pub state: AtomicU32,
    /// The process id, 0 = none.
    pub pid: AtomicU32,
    /// Start time of the process in clock ticks since boot; with the pid it names one life.
    pub start_ticks: AtomicU64,
    /// How often the process in this row was started again.
    pub restarts: AtomicU32,
    /// Set by the supervisor: 1 = finish what you run, take nothing new, end.
    pub leave: AtomicU32,
    /// When the process last showed that it is alive; monotonic clock, ns.
    pub heartbeat_ns: AtomicU64,
    reserved_line_0: [AtomicU64; 3],

    /// Futex word: 1 while the process sleeps, 0 else; see `gantry_ring::Doorbell`.
    pub bell: AtomicU32,
    reserved_bell: AtomicU32,
    bell_line: [AtomicU64; 7],

    /// The slot it runs: index + 1 in the low half, generation in the high half; 0 = none.
    pub running_slot: AtomicU64,
    /// When that began; monotonic clock, ns.
    pub running_since_ns: AtomicU64,
    /// When the supervisor kills it; monotonic clock, ns; 0 = never (policy `answer`, or idle).
    pub kill_at_ns: AtomicU64,
    /// Service number it runs, 0 = none.
    pub running_service: AtomicU32,
    /// Row of the service table of that number.
    pub running_service_index: AtomicU32,
    /// What the process itself noted while it was dying: fatal signal in bits 0–7, exit from inside a service
    /// in bit 8; 0 = nothing, as after a `kill -9` from outside.
    pub death_note: AtomicU32,
    /// How many library versions it holds.
    pub versions_held: AtomicU32,
    /// The directory generation that it serves.
    pub generation_served: AtomicU64,
    /// Requests finished.
    pub requests_count: AtomicU64,
    reserved_line_2: [AtomicU64; 1],

    /// Bytes of private memory that the process itself last saw, for `memory_max`.
    pub private_bytes: AtomicU64,
    reserved_line_3: [AtomicU64; 7],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ProcessRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ProcessRow {}

impl ProcessRow {
    /// The role, checked.
    pub fn role(&self) -> Role {
        Role::from_code(self.role.load(Ordering::Relaxed))
    }

    /// The state, checked.
    pub fn state(&self) -> ProcessState {
        // Acquire: pairs with the Release in `set_state`; what the process wrote before it is seen.
        ProcessState::from_code(self.state.load(Ordering::Acquire))
    }

    /// Notes a new state.
    pub fn set_state(&self, state: ProcessState) {
        // Release: pairs with the Acquire in `state`.
        self.state.store(state as u32, Ordering::Release);
    }
}
