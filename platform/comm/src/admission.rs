//! Admit or refuse, with a reason, before anything enters a ring.
//!
//! Counts of what is held (slots, blocks) are exact and private to the process. The fill of a queue is not counted on
//! the way of a request, since workers take without telling us: the distance of head and tail is an upper bound that
//! costs two loads, and only when that bound is near the limit the queued slots are counted one by one, at most once
//! in a millisecond.

use gantry_message::{Queue as QueueName, Status};
use gantry_ring::{Queue, Slots, State};
use gantry_segment::{Dimensions, ServiceRow};
use gantry_sys::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::limits::{Bounds, COUNT_AGE_NS_MAX, Live, RATE_SAMPLE_NS, RETRY_MS_UNKNOWN};
use crate::refusal::Refusal;
use crate::rules::subtract;

const PPM: u64 = 1_000_000;

/// What is held of one class of blocks, by requests.
#[derive(Debug)]
struct ClassUse {
    requests_max: u32,
    reads_max: u32,
    requests: AtomicU32,
    reads: AtomicU32,
}

/// A queue's fill and how fast it drains.
#[derive(Debug, Default)]
struct Level {
    /// Queued slots at the last count, and what was pushed since.
    queued: AtomicU32,
    counted_ns: AtomicU64,
    /// Requests that left the queue for good.
    finished: AtomicU64,
    sampled_ns: AtomicU64,
    sampled: AtomicU64,
    /// Requests a second, in thousandths.
    drained_per_s_milli: AtomicU64,
}

/// Admission for the whole process; all I/O threads share it.
#[derive(Debug)]
pub(crate) struct Admission {
    slots_max: u32,
    read_slots_max: u32,
    slots: AtomicU32,
    read_slots: AtomicU32,
    classes: Vec<ClassUse>,
    read: Level,
    write: Level,
    /// Reads are refused until the queue is down to where it resumes; one mark for the node's threshold, and one for
    /// each service that has its own.
    reads_refused: AtomicBool,
    service_refused: Vec<AtomicBool>,
}

/// A service whose own threshold may hold, with its row's index.
pub(crate) type OwnThreshold<'a> = Option<(usize, &'a ServiceRow)>;

impl Admission {
    pub(crate) fn new(dimensions: &Dimensions, bounds: &Bounds) -> Self {
        let share =
            |count: u32, share: f64| ((f64::from(count) * share).floor() as u32).clamp(1, count.max(1));
        let classes = dimensions.classes.iter().map(|class| ClassUse {
            requests_max: share(class.blocks_count, 1.0 - bounds.reply_share),
            // Of what requests may hold, not of all: otherwise reads and replies together could leave nothing to writes.
            reads_max: share(class.blocks_count, (1.0 - bounds.reply_share) * bounds.read_share),
            requests: AtomicU32::new(0),
            reads: AtomicU32::new(0),
        });
        Self {
            slots_max: dimensions.slots,
            read_slots_max: share(dimensions.slots, bounds.read_share),
            slots: AtomicU32::new(0),
            read_slots: AtomicU32::new(0),
            classes: classes.collect(),
            read: Level::default(),
            write: Level::default(),
            reads_refused: AtomicBool::new(false),
            service_refused: (0..dimensions.services).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Admits one more request to a queue, or says 201 or 202.
    pub(crate) fn admit(
        &self,
        name: QueueName,
        queue: &Queue<'_>,
        slots: Slots<'_>,
        live: &Live,
        own: OwnThreshold<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        match name {
            QueueName::Read => self.admit_read(queue, slots, live, own, now_ns),
            QueueName::Write => self.admit_write(queue, slots, live, now_ns),
        }
    }

    fn admit_read(
        &self,
        queue: &Queue<'_>,
        slots: Slots<'_>,
        live: &Live,
        own: OwnThreshold<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let own = own.map(|(index, row)| (index, row.rule_threshold_ppm.load(Ordering::Relaxed)));
        let own = own.filter(|(_, ppm)| *ppm != 0);
        let node_ppm = u64::from(live.read_threshold_ppm).max(1);
        let threshold_ppm = own.map_or(node_ppm, |(_, ppm)| u64::from(ppm));
        // A service's own threshold resumes as far below it as the node's does.
        let resume_ppm = u64::from(live.read_resume_ppm) * threshold_ppm / node_ppm;
        let places = |ppm: u64| (u64::from(live.read_queue_max) * ppm / PPM) as u32;
        let (queued_max, resume) = (places(threshold_ppm).max(1), places(resume_ppm));
        let mark = own.and_then(|(index, _)| self.service_refused.get(index)).unwrap_or(&self.reads_refused);
        let is_refusing = mark.load(Ordering::Relaxed);
        // While refusing, one more is admitted when the queue is down at the resume mark; else below the threshold.
        let limit = if is_refusing { resume.saturating_add(1).min(queued_max) } else { queued_max };
        let Err(queued) = self.read.is_below(limit, QueueName::Read, queue, slots, now_ns) else {
            if is_refusing {
                mark.store(false, Ordering::Relaxed);
            }
            return Ok(());
        };
        mark.store(true, Ordering::Relaxed);
        let fill = f64::from(queued) / f64::from(live.read_queue_max.max(1));
        let retry_ms = self.read.drained_in_ms(queued.saturating_sub(resume));
        Err(Refusal::overload(Status::ReadQueueOverThreshold, "read", fill, retry_ms))
    }

    fn admit_write(
        &self,
        queue: &Queue<'_>,
        slots: Slots<'_>,
        live: &Live,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let capacity = live.write_queue_max;
        self.write.is_below(capacity, QueueName::Write, queue, slots, now_ns).map_err(|queued| {
            let retry_ms = self.write.drained_in_ms(queued.saturating_sub(capacity) + 1);
            Refusal::overload(Status::Full, "write", f64::from(queued) / f64::from(capacity.max(1)), retry_ms)
        })
    }

    /// 202 because slots or blocks are out.
    pub(crate) fn memory_full(&self) -> Refusal {
        let retry_ms = self.read.drained_in_ms(1).min(self.write.drained_in_ms(1));
        Refusal::overload(Status::Full, "memory", self.slots_fill(), retry_ms)
    }

    /// Counts a slot in; `false` when all are taken, or all that reads may take.
    pub(crate) fn take_slot(&self, is_read: bool) -> bool {
        if !add_below(&self.slots, self.slots_max) {
            return false;
        }
        if is_read && !add_below(&self.read_slots, self.read_slots_max) {
            subtract(&self.slots);
            return false;
        }
        true
    }

    /// Counts a slot out.
    pub(crate) fn give_slot(&self, is_read: bool) {
        subtract(&self.slots);
        if is_read {
            subtract(&self.read_slots);
        }
    }

    /// Counts a block of this class in for a request; `false` when no more of them may hold requests.
    pub(crate) fn take_block(&self, class: u8, is_read: bool) -> bool {
        let Some(class) = self.classes.get(usize::from(class)) else { return false };
        if !add_below(&class.requests, class.requests_max) {
            return false;
        }
        if is_read && !add_below(&class.reads, class.reads_max) {
            subtract(&class.requests);
            return false;
        }
        true
    }

    /// Counts a block out.
    pub(crate) fn give_block(&self, class: u8, is_read: bool) {
        let Some(class) = self.classes.get(usize::from(class)) else { return };
        subtract(&class.requests);
        if is_read {
            subtract(&class.reads);
        }
    }

    /// Counts what an earlier process left in flight, whatever the limits say.
    pub(crate) fn adopt(&self, block_class: Option<u8>, is_read: bool) {
        let add = |count: &AtomicU32| count.fetch_add(1, Ordering::Relaxed);
        add(&self.slots);
        if is_read {
            add(&self.read_slots);
        }
        if let Some(class) = block_class.and_then(|class| self.classes.get(usize::from(class))) {
            add(&class.requests);
            if is_read {
                add(&class.reads);
            }
        }
    }

    /// Notes that a request entered a queue.
    pub(crate) fn pushed(&self, name: QueueName) {
        self.level(name).queued.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a request of this queue came to its end.
    pub(crate) fn finished(&self, name: QueueName) {
        self.level(name).finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Measures how fast the queues drain. One thread calls it, in each turn.
    pub(crate) fn sample(&self, now_ns: u64) {
        for level in [&self.read, &self.write] {
            level.sample(now_ns);
        }
    }

    /// The larger fill of both queues, 0 to 1.
    pub(crate) fn queues_fill(&self, read: &Queue<'_>, write: &Queue<'_>, live: &Live) -> f64 {
        let fill =
            |queue: &Queue<'_>, queued_max: u32| queue.entries_count() as f64 / f64::from(queued_max.max(1));
        fill(read, live.read_queue_max).max(fill(write, live.write_queue_max)).min(1.0)
    }

    fn slots_fill(&self) -> f64 {
        f64::from(self.slots.load(Ordering::Relaxed)) / f64::from(self.slots_max)
    }

    fn level(&self, name: QueueName) -> &Level {
        match name {
            QueueName::Read => &self.read,
            QueueName::Write => &self.write,
        }
    }
}

impl Level {
    /// Whether fewer than `limit` requests are queued; else how many are.
    fn is_below(
        &self,
        limit: u32,
        name: QueueName,
        queue: &Queue<'_>,
        slots: Slots<'_>,
        now_ns: u64,
    ) -> Result<(), u32> {
        if queue.entries_count() < u64::from(limit) {
            return Ok(());
        }
        let counted_ns = self.counted_ns.load(Ordering::Relaxed);
        if counted_ns == 0 || now_ns.saturating_sub(counted_ns) >= COUNT_AGE_NS_MAX {
            self.queued.store(count_queued(slots, name), Ordering::Relaxed);
            self.counted_ns.store(now_ns, Ordering::Relaxed);
        }
        let queued = self.queued.load(Ordering::Relaxed);
        if queued < limit { Ok(()) } else { Err(queued) }
    }

    fn sample(&self, now_ns: u64) {
        let before_ns = self.sampled_ns.load(Ordering::Relaxed);
        let passed_ns = now_ns.saturating_sub(before_ns);
        if passed_ns < RATE_SAMPLE_NS {
            return;
        }
        let finished = self.finished.load(Ordering::Relaxed);
        let count = finished.wrapping_sub(self.sampled.swap(finished, Ordering::Relaxed));
        self.sampled_ns.store(now_ns, Ordering::Relaxed);
        if before_ns == 0 {
            return;
        }
        let newest = (u128::from(count) * 1_000_000_000_000 / u128::from(passed_ns)) as u64;
        let known = self.drained_per_s_milli.load(Ordering::Relaxed);
        // Half old, half new: quick enough for a queue that stalls, steady enough for one in bursts.
        self.drained_per_s_milli.store(known.midpoint(newest), Ordering::Relaxed);
    }

    /// How long so many requests take to drain, in milliseconds, at the rate of the last moments.
    fn drained_in_ms(&self, count: u32) -> u64 {
        let rate = self.drained_per_s_milli.load(Ordering::Relaxed);
        (u64::from(count) * 1_000_000).checked_div(rate).unwrap_or(RETRY_MS_UNKNOWN)
    }
}

/// Counts the queued slots of one queue, one by one.
fn count_queued(slots: Slots<'_>, name: QueueName) -> u32 {
    let is_of_queue =
        |index: u16| slots.row(index).is_some_and(|row| queue_of(row.flags.load(Ordering::Relaxed)) == name);
    slots.words().filter(|(index, word)| word.is(State::Queued) && is_of_queue(*index)).count() as u32
}

/// The queue of a slot, by its row's flags: reads wait in one, everything else in the other.
pub(crate) fn queue_of(flags: u32) -> QueueName {
    if flags >> 8 & 0xff == u32::from(gantry_message::Kind::Read.code()) {
        QueueName::Read
    } else {
        QueueName::Write
    }
}

/// Adds one if that does not pass `count_max`.
fn add_below(count: &AtomicU32, count_max: u32) -> bool {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < count_max).then_some(count + 1))
        .is_ok()
}

#[cfg(test)]
#[path = "admission/tests.rs"]
mod tests;
