//! The worker's loop: follow the tables, take, serve, sleep.

use std::time::Duration;

use gantry_datasource::Access;
use gantry_message::{Policy, Queue as QueueName, Status};
use gantry_ring::{Blocks, Cursor, Doorbell, Owner, Queue, SlotRef, Slots};
use gantry_segment::{CLASSES_MAX, ProcessNote, ProcessRow, ProcessState, Role, Segments, SlotRow};
use gantry_serials::{NodeCache, Serials};
use gantry_settings::Settings;
use gantry_sys::atomic::{AtomicBool, Ordering};
use gantry_sys::eventfd::EventFd;
use gantry_sys::{allocator, clock, process, signal};

use crate::libraries::Libraries;
use crate::reply::ReplyRoom;
use crate::sources::Sources;
use crate::{WorkerError, death_note, modules};

/// How long a worker sleeps at most before it shows that it is alive.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// How long after a library could not be loaded it is tried again.
const LOAD_AGAIN_NS: u64 = 1_000_000_000;
/// The same at most, after many failures.
const LOAD_AGAIN_NS_MAX: u64 = 60_000_000_000;
/// How often the private memory is looked at while requests come.
const MEMORY_LOOK_NS: u64 = 100_000_000;

/// How much freed memory a worker keeps while requests come, in bytes: about what a driver and an answer of 100,000 rows
/// take. Filling it anew each time cost a sixth of the time of such an answer.
const FREED_BYTES_KEPT: usize = 128 * 1024 * 1024;
/// How long after the last request freed memory is given back.
const GIVE_BACK_AFTER_NS: u64 = 10_000_000_000;

/// What a worker is started with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The node's segments, attached.
    pub segments: Segments,
    /// Its row of the process table.
    pub row: u8,
    /// The life number of that row which is this process's.
    pub epoch: u32,
    /// Which queue it takes from; `None` for a spare, which takes nothing until its row's role becomes that of a worker.
    pub queue: Option<QueueName>,
    /// The configuration.
    pub settings: Settings,
    /// The eventfd of each I/O thread of the communication process.
    pub doorbells: Vec<EventFd>,
}

/// The worker, as long as it lives.
pub(crate) struct Worker<'a> {
    pub(crate) segments: &'a Segments,
    pub(crate) slots: Slots<'a>,
    pub(crate) blocks: Blocks<'a>,
    pub(crate) owner: Owner,
    pub(crate) sources: Sources,
    pub(crate) serials: Serials,
    pub(crate) libraries: Libraries,
    /// Where to look for a free block, for each class.
    pub(crate) cursors: Vec<Cursor>,
    /// Where it says what it is doing, for those who look into its death.
    pub(crate) note: &'a ProcessNote,
    /// The longest reply that is recorded whole, in bytes.
    pub(crate) reply_bytes_max: usize,
    /// What it takes from; `None` while it is a spare.
    requests: Option<Queue<'a>>,
    pub(crate) row: &'a ProcessRow,
    settings: Settings,
    doorbells: Vec<EventFd>,
    leave: &'static AtomicBool,
    /// The directory generation that was last looked at, and when a failed one is tried again.
    generation_seen: u64,
    load_again_ns: u64,
    load_pause_ns: u64,
    /// When filling up serial numbers is tried again after it failed.
    pub(crate) top_up_again_ns: u64,
    log_level_seen: u32,
    memory_look_ns: u64,
    /// Private memory before the first request, in bytes.
    fresh_bytes: u64,
    /// How many requests had been served when it was last seen waiting, and since when it has been that many; 0 when freed
    /// memory was given back since.
    idle_since: (u64, u64),
}

/// Runs a worker until it is told to leave (SIGTERM, or its row's `leave`). Blocks until then.
///
/// # Errors
/// [`WorkerError`]; the process should end with code 1 then, and the supervisor starts another.
pub fn run(options: WorkerOptions) -> Result<(), WorkerError> {
    // Kept for the life of the process: the hooks of a dying process still write into its row.
    let segments: &'static Segments = Box::leak(Box::new(options.segments));
    let mut worker = Worker::new(
        segments,
        options.row,
        options.epoch,
        options.queue,
        options.settings,
        options.doorbells,
    )?;
    death_note::install(worker.row, worker.note)?;
    worker.row.set_state(ProcessState::Starting);
    worker.follow_tables();
    worker.sources.warm_up();
    if !allocator::keep_freed(FREED_BYTES_KEPT) {
        tracing::debug!("the C library does not keep freed memory");
    }
    worker.row.set_state(ProcessState::Idle);
    if worker.wait_for_a_role() {
        worker.take_until_told_to_leave();
    }
    worker.leave_serials();
    worker.row.set_state(ProcessState::Stopping);
    Ok(())
}

impl<'a> Worker<'a> {
    fn new(
        segments: &'static Segments,
        row_index: u8,
        epoch: u32,
        queue: Option<QueueName>,
        settings: Settings,
        doorbells: Vec<EventFd>,
    ) -> Result<Self, WorkerError> {
        let control = segments.control();
        let row = control.processes().get(usize::from(row_index));
        let row = row.filter(|row| row.take_life(epoch, std::process::id()).is_ok());
        let note = control.notes().get(usize::from(row_index));
        let (Some(row), Some(note)) = (row, note) else {
            return Err(WorkerError::NotOurRow { row: row_index, epoch });
        };
        let slots = Slots::new(control.slots());
        let cache = NodeCache::of_worker(control, &settings.node.name, row_index);
        let serials = Serials::of_worker(&settings.serial, cache);
        Ok(Self {
            segments,
            slots,
            blocks: Blocks::of(control),
            owner: Owner::new(row_index, epoch),
            sources: Sources::new(&settings, queue.map(access_of))?,
            serials: serials.map_err(|cause| WorkerError::Serials { cause })?,
            libraries: Libraries::default(),
            // Workers begin at different places, so that they do not fight for the same blocks.
            cursors: (0..CLASSES_MAX).map(|_| Cursor::at(usize::from(row_index) * 61)).collect(),
            note,
            reply_bytes_max: usize::try_from(settings.idempotency.reply_bytes_max).unwrap_or(usize::MAX),
            requests: queue.map(|queue| requests_of(segments, queue)),
            row,
            settings,
            doorbells,
            leave: signal::terminate_flag(),
            generation_seen: 0,
            load_again_ns: 0,
            load_pause_ns: 0,
            top_up_again_ns: 0,
            log_level_seen: 0,
            memory_look_ns: 0,
            fresh_bytes: 0,
            idle_since: (0, 0),
        })
    }

    /// Waits, with everything loaded, for as long as this is a spare. Gives whether there is work for it now; else it
    /// was told to leave.
    fn wait_for_a_role(&mut self) -> bool {
        loop {
            if self.requests.is_some() {
                return true;
            }
            if self.is_told_to_leave() {
                return false;
            }
            self.ask_to_leave_when_too_large();
            self.row.heartbeat_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
            if let Some(queue) = queue_of(self.row.role()) {
                self.requests = Some(requests_of(self.segments, queue));
                self.sources.decide(access_of(queue));
                return true;
            }
            self.follow_tables();
            let is_work = || {
                queue_of(self.row.role()).is_some()
                    || self.is_told_to_leave()
                    || self.generation() != self.generation_seen
            };
            Doorbell::new(&self.row.bell).sleep(SLEEP_MAX, is_work);
        }
    }

    fn take_until_told_to_leave(&mut self) {
        let Some(requests) = self.requests else { return };
        while !self.is_told_to_leave() {
            self.ask_to_leave_when_too_large();
            self.row.heartbeat_ns.store(clock::monotonic_ns(), Ordering::Relaxed);
            self.follow_tables();
            self.top_up_serials();
            match requests.take(self.owner) {
                Some(slot) => self.serve(slot),
                None => {
                    self.sources.close_unused();
                    self.wait_for_work(requests);
                }
            }
        }
    }

    fn is_told_to_leave(&self) -> bool {
        self.leave.load(Ordering::Relaxed) || self.row.leave.load(Ordering::Relaxed) != 0
    }

    /// Asks to be replaced when this process holds more than the configuration allows. It serves on until the supervisor
    /// has it leave, which is one worker at a time; then between two requests, so that nobody notices.
    fn ask_to_leave_when_too_large(&mut self) {
        if self.row.wants_to_leave.load(Ordering::Relaxed) == 0 && self.has_grown_too_large() {
            self.row.wants_to_leave.store(1, Ordering::Relaxed);
        }
    }

    /// Whether this process holds more than the configuration allows.
    fn has_grown_too_large(&mut self) -> bool {
        let old_count = self.libraries.old_count();
        if old_count > self.settings.workers.versions_max as usize {
            tracing::warn!(
                old_count,
                "this worker holds too many old library versions; it is to be replaced"
            );
            return true;
        }
        let bytes_max = self.settings.workers.memory_max;
        let now_ns = clock::monotonic_ns();
        if bytes_max == 0 || now_ns < self.memory_look_ns {
            return false;
        }
        self.memory_look_ns = now_ns + MEMORY_LOOK_NS;
        let Ok(memory) = i32::try_from(std::process::id()).map(process::memory) else { return false };
        let bytes = memory.map_or(0, |memory| memory.rss_anon);
        self.row.private_bytes.store(bytes, Ordering::Relaxed);
        if self.fresh_bytes == 0 {
            self.fresh_bytes = bytes;
        }
        // A limit below what a fresh worker takes would have each one leave at once.
        let bytes_max = bytes_max.max(self.fresh_bytes.saturating_mul(2));
        if bytes > bytes_max {
            tracing::warn!(bytes, bytes_max, "this worker is over workers.memory_max; it is to be replaced");
        }
        bytes > bytes_max
    }

    fn wait_for_work(&mut self, requests: Queue<'_>) {
        let spin_ns = u64::try_from(self.settings.workers.spin.as_nanos()).unwrap_or(u64::MAX);
        let started_ns = clock::monotonic_ns();
        while clock::monotonic_ns() - started_ns < spin_ns {
            if !requests.is_empty() {
                return;
            }
            std::hint::spin_loop();
        }
        let is_work =
            || !requests.is_empty() || self.is_told_to_leave() || self.generation() != self.generation_seen;
        Doorbell::new(&self.row.bell).sleep(SLEEP_MAX, is_work);
        self.give_back_freed_memory();
    }

    /// Gives freed memory back once nothing has been served for a while.
    fn give_back_freed_memory(&mut self) {
        let served = self.row.requests_count.load(Ordering::Relaxed);
        let now_ns = clock::monotonic_ns();
        let (counted, since_ns) = self.idle_since;
        if counted != served {
            self.idle_since = (served, now_ns);
        } else if since_ns != 0 && now_ns - since_ns >= GIVE_BACK_AFTER_NS {
            // Once for each idle time.
            self.idle_since = (served, 0);
            allocator::give_back();
        }
    }

    fn generation(&self) -> u64 {
        // Acquire: pairs with the Release of the supervisor; the rows of this generation are written.
        self.segments.control().node().directory_generation.load(Ordering::Acquire)
    }

    /// Adopts a new generation of the service table, and a changed log level.
    fn follow_tables(&mut self) {
        let level = self.segments.control().node().log_level.load(Ordering::Relaxed);
        if level != self.log_level_seen {
            self.log_level_seen = level;
            follow_log_level(level);
        }
        let generation = self.generation();
        let is_new = generation != self.generation_seen;
        let is_due = self.load_again_ns != 0 && clock::monotonic_ns() >= self.load_again_ns;
        if !is_new && !is_due {
            return;
        }
        self.generation_seen = generation;
        self.adopt();
        // Release: whoever waits for this generation then sees what failed, and that all else of the old is out of use.
        self.row.generation_served.store(generation, Ordering::Release);
    }

    /// Brings the libraries to what the tables say, and notes when to try again what failed.
    fn adopt(&mut self) {
        let is_whole = self.libraries.adopt(self.segments.control(), &self.settings);
        modules::look();
        self.row.versions_held.store(self.libraries.held_count() as u32, Ordering::Relaxed);
        self.row.failed_libraries.store(self.libraries.failed_bits(), Ordering::Relaxed);
        let serves_former = self.libraries.serve_former(self.segments.control());
        self.row.serves_former.store(u32::from(serves_former), Ordering::Relaxed);
        self.load_pause_ns = match (is_whole, self.load_pause_ns) {
            (true, _) => 0,
            (false, 0) => LOAD_AGAIN_NS,
            // Each attempt may hold up requests for as long as a `create` takes.
            (false, pause_ns) => (pause_ns * 2).min(LOAD_AGAIN_NS_MAX),
        };
        self.load_again_ns = if is_whole { 0 } else { clock::monotonic_ns() + self.load_pause_ns };
    }

    /// Adopts what the tables say although their generation may not be complete, between taking a request and running
    /// it.
    pub(crate) fn follow_late_change(&mut self) {
        self.adopt();
    }

    /// Notes in the process row what runs from now on, for the supervisor.
    pub(crate) fn begin_running(&self, slot: SlotRef, slot_row: &SlotRow, now_ns: u64) {
        let service_index = slot_row.service_index.load(Ordering::Relaxed);
        let service = self.segments.control().services().get(service_index as usize);
        let is_killed = service
            .is_none_or(|service| service.policy.load(Ordering::Relaxed) != u32::from(Policy::Answer.code()));
        let timeout_ns = u64::from(slot_row.timeout_ms.load(Ordering::Relaxed)) * 1_000_000;
        let kill_at_ns = if is_killed && timeout_ns > 0 { now_ns.saturating_add(timeout_ns) } else { 0 };
        self.row.running_service.store(slot_row.service.load(Ordering::Relaxed), Ordering::Relaxed);
        self.row.running_service_index.store(service_index, Ordering::Relaxed);
        self.row.running_since_ns.store(now_ns, Ordering::Relaxed);
        self.row.running_slot.store(slot.to_bits(), Ordering::Relaxed);
        self.row.set_state(ProcessState::Busy);
        // Release: the supervisor that sees the time sees what it is for.
        self.row.kill_at_ns.store(kill_at_ns, Ordering::Release);
    }

    /// Notes in the process row which build runs from now on: a death is its doing.
    pub(crate) fn note_build(&self, library_row: u32) {
        self.row.running_library.store(library_row + 1, Ordering::Relaxed);
    }

    /// Writes what the caller will be answered into the slot's row.
    pub(crate) fn write_reply(&self, row: &SlotRow, status: Status, room: &ReplyRoom<'_>) {
        let (block, bytes) = room.finished();
        row.reply_status.store(u32::from(status.code()), Ordering::Relaxed);
        row.reply_block.store(block, Ordering::Relaxed);
        row.reply_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Writes the reply and hands the slot back.
    pub(crate) fn reply(&self, slot: SlotRef, row: &SlotRow, status: Status, room: &ReplyRoom<'_>) {
        self.write_reply(row, status, room);
        self.finish(slot, row);
    }

    /// Hands the slot, whose reply is written, to its home I/O thread.
    pub(crate) fn finish(&self, slot: SlotRef, row: &SlotRow) {
        // The deadline of this request must not strike what comes after it.
        self.row.kill_at_ns.store(0, Ordering::Release);
        let home = (row.flags.load(Ordering::Relaxed) & 0xff) as usize;
        if let Err(word) = self.slots.finish(slot, self.owner) {
            tracing::error!(
                ?word,
                slot = slot.index,
                "the slot was taken from a living worker; its reply is dropped"
            );
        } else {
            self.push_reply(slot, home);
        }
        self.row.running_slot.store(0, Ordering::Relaxed);
        self.row.running_service.store(0, Ordering::Relaxed);
        self.row.running_library.store(0, Ordering::Relaxed);
        let count = self.row.requests_count.load(Ordering::Relaxed);
        self.row.requests_count.store(count.wrapping_add(1), Ordering::Relaxed);
        self.row.set_state(ProcessState::Idle);
    }

    fn push_reply(&self, slot: SlotRef, home: usize) {
        let control = self.segments.control();
        let (Some(thread), Some(doorbell)) = (control.threads().get(home), self.doorbells.get(home)) else {
            tracing::error!(
                home,
                slot = slot.index,
                "the slot names no I/O thread; its reply waits for a sweep"
            );
            return;
        };
        if Queue::replies(control.reply_ring(home), self.slots).push(slot).is_err() {
            thread.sweep.store(1, Ordering::Release);
        }
        if Doorbell::new(&thread.sleeping).claim_wake() {
            doorbell.signal();
        }
    }
}

/// The queue that a process with this role takes from.
fn queue_of(role: Role) -> Option<QueueName> {
    match role {
        Role::ReadWorker => Some(QueueName::Read),
        Role::WriteWorker => Some(QueueName::Write),
        Role::None | Role::Supervisor | Role::Comm | Role::Spare => None,
    }
}

fn requests_of(segments: &Segments, queue: QueueName) -> Queue<'_> {
    let control = segments.control();
    let ring = match queue {
        QueueName::Read => control.read_ring(),
        QueueName::Write => control.write_ring(),
    };
    Queue::requests(ring, Slots::new(control.slots()))
}

fn access_of(queue: QueueName) -> Access {
    match queue {
        QueueName::Read => Access::ReadOnly,
        QueueName::Write => Access::ReadWrite,
    }
}

fn follow_log_level(code: u32) {
    let level = match code {
        1 => gantry_telemetry::Level::Error,
        2 => gantry_telemetry::Level::Warn,
        3 => gantry_telemetry::Level::Debug,
        _ => return,
    };
    if let Err(error) = gantry_telemetry::set_level(level) {
        tracing::error!(%error, "the log level cannot be changed");
    }
}
