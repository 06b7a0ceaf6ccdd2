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
    /// A worker with everything loaded that takes nothing: it becomes one of the two when its role is changed.
    Spare = 5,
}

impl Role {
    /// From its code; `None` for anything unknown.
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Supervisor,
            2 => Self::Comm,
            3 => Self::ReadWorker,
            4 => Self::WriteWorker,
            5 => Self::Spare,
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

/// Stands for a pid in the word of a life that nobody may take any more.
const NO_PID_EVER: u32 = u32::MAX;

/// Which life of a row it is, and who lives it: one word, so that a process can take only the very life that it was
/// started for, whatever a supervisor that has gone on to the next one does at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Life number, 20 bits; grows with each process that gets the row, since pids come back. 0 = never used.
    pub epoch: u32,
    /// The process id; `None` = nobody took it yet, or nobody may any more.
    pub pid: Option<u32>,
}

/// One process. The supervisor writes identity (`life`, `role`, `start_ticks`, `restarts`) before it starts the child
/// and after it died; the rest belongs to the process itself.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct ProcessRow {
    /// A [`Life`]: epoch in the high half; pid in the low half, 0 = none yet, all ones = none ever.
    life: AtomicU64,
    /// A [`Role`]. Of a spare, the supervisor changes it to that of a worker, and so sets it to work.
    pub role: AtomicU32,
    /// A [`ProcessState`].
    pub state: AtomicU32,
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
    /// Row + 1 of the library table of the build that runs the request; 0 = none.
    pub running_library: AtomicU32,
    /// 1 = it has grown too large and asks to be replaced; it serves on until the supervisor says `leave`.
    pub wants_to_leave: AtomicU32,

    /// Bytes of private memory that the process itself last saw, for `memory_max`.
    pub private_bytes: AtomicU64,
    /// Libraries of the generation that it serves which it could not load, a bit for each row (modulo 64) of the library
    /// table: their services are served as before, or by nobody.
    pub failed_libraries: AtomicU64,
    /// When the innermost of the calls inside the request's began; monotonic clock, ns.
    pub inner_since_ns: AtomicU64,
    /// Number of that call's service, 0 = none.
    pub inner_service: AtomicU32,
    /// Row of the service table of that number.
    pub inner_service_index: AtomicU32,
    /// Row + 1 of the library table of the build that runs it; 0 = none.
    pub inner_library: AtomicU32,
    /// 1 = some services are still served by a build that the service table names no more, since the one that it names
    /// cannot be loaded.
    pub serves_former: AtomicU32,
    reserved_line_3: [AtomicU64; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ProcessRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ProcessRow {}

impl ProcessRow {
    /// Which life it is, and who lives it.
    pub fn life(&self) -> Life {
        // Acquire: pairs with the Release in `begin_life`; the row's other fields are of this life.
        let word = self.life.load(Ordering::Acquire);
        let pid = Some(word as u32).filter(|pid| *pid != 0 && *pid != NO_PID_EVER);
        Life { epoch: (word >> 32) as u32, pid }
    }

    /// The life's number.
    pub fn epoch(&self) -> u32 {
        self.life().epoch
    }

    /// The process id, if somebody lives here.
    pub fn pid(&self) -> Option<u32> {
        self.life().pid
    }

    /// Begins a life that nobody has taken yet. Only when the last one is dead or can never be taken.
    pub fn begin_life(&self, epoch: u32) {
        // Release: pairs with the Acquire in `life`.
        self.life.store(word(epoch, 0), Ordering::Release);
    }

    /// Takes this very life for the process `pid`. The child and its supervisor both do; the second finds it done.
    ///
    /// # Errors
    /// The row's present life, when it is another one, or another process has this one, or nobody may have it.
    pub fn take_life(&self, epoch: u32, pid: u32) -> Result<(), Life> {
        let (vacant, ours) = (word(epoch, 0), word(epoch, pid));
        // AcqRel: what the supervisor wrote into the row before is seen; what we did before is seen by who meets us.
        match self.life.compare_exchange(vacant, ours, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) if found == ours => Ok(()),
            Err(_) => Err(self.life()),
        }
    }

    /// Sees to it that nobody can take this life: its process is dead, or never came. Gives whether the row was still
    /// in exactly this life; a late child finds it closed.
    pub fn end_life(&self, life: Life) -> bool {
        let from = word(life.epoch, life.pid.unwrap_or(0));
        let to = word(life.epoch, NO_PID_EVER);
        // AcqRel: as in `take_life`.
        self.life.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The role, checked.
    pub fn role(&self) -> Role {
        // Acquire: pairs with the Release in `set_role`.
        Role::from_code(self.role.load(Ordering::Acquire))
    }

    /// Gives the process in this row a role.
    pub fn set_role(&self, role: Role) {
        // Release: pairs with the Acquire in `role`.
        self.role.store(role as u32, Ordering::Release);
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

fn word(epoch: u32, pid: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(pid)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_taken_once_and_only_while_it_is_the_present_one() {
        let row = ProcessRow::default();
        row.begin_life(7);
        assert_eq!(row.life(), Life { epoch: 7, pid: None });
        assert_eq!(row.take_life(6, 41), Err(Life { epoch: 7, pid: None }));
        assert_eq!(row.take_life(7, 41), Ok(()));
        assert_eq!(row.take_life(7, 41), Ok(()), "the child and its supervisor both write it");
        assert_eq!(row.take_life(7, 42), Err(Life { epoch: 7, pid: Some(41) }));
        assert!(!row.end_life(Life { epoch: 7, pid: None }), "somebody lives there");
        assert!(row.end_life(row.life()));
        assert_eq!(row.take_life(7, 41), Err(Life { epoch: 7, pid: None }), "a late child finds it closed");
        row.begin_life(8);
        assert_eq!((row.epoch(), row.pid()), (8, None));
    }
}
