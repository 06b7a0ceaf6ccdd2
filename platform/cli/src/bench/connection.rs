//! One connection of the load: what it sends when, and what it counts.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gantry_frame::{BODY_BYTES_MAX_CEILING, Decoded, HEADER_BYTES, Limits, decode_reply};
use gantry_sys::atomic::{AtomicU64, Ordering};
use hdrhistogram::Histogram;

use super::frames::Frames;

/// The longest latency that is told apart, in nanoseconds: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 3;
/// Bytes of requests that are written at once at most.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// How long a read waits before it looks whether the end has come.
const READ_LIMIT: Duration = Duration::from_millis(100);

/// What a connection does.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) frames: Frames<'a>,
    /// Most requests in flight.
    pub(crate) depth: u32,
    pub(crate) start: Instant,
    /// Requests due before are not counted.
    pub(crate) measure_from: Instant,
    /// Nothing is due from here on.
    pub(crate) end: Instant,
    pub(crate) last_replies_limit: Duration,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Replies that came within the measured time; they make the throughput.
    pub(crate) in_time_count: u64,
    /// Requests of the measured time that got no reply.
    pub(crate) unanswered_count: u64,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        let latency_ns = latency_ns.context("the histogram cannot be made")?;
        Ok(Self { latency_ns, statuses: BTreeMap::new(), in_time_count: 0, unanswered_count: 0 })
    }

    fn record(&mut self, latency: Duration, status: u16, is_in_time: bool) {
        let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.saturating_record(latency_ns.max(1));
        *self.statuses.entry(status).or_default() += 1;
        self.in_time_count += u64::from(is_in_time);
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency_ns.add(&other.latency_ns).context("the histograms do not fit together")?;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.in_time_count += other.in_time_count;
        self.unanswered_count += other.unanswered_count;
        Ok(())
    }

    pub(crate) fn answered_count(&self) -> u64 {
        self.statuses.values().sum()
    }
}

/// When requests are due, and how many were sent by now.
struct Schedule<'p, 'a> {
    plan: &'p Plan<'a>,
    interval: Duration,
    offset: Duration,
    sent_count: AtomicU64,
}

impl Schedule<'_, '_> {
    /// Request number n is due at `start + offset + n * interval`, so its latency needs no table.
    fn due(&self, sequence: u64) -> Instant {
        self.plan.start + self.offset + self.interval.mul_f64(sequence as f64)
    }

    /// The number of the first request that is due at `moment` or later.
    fn first_due(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.plan.start + self.offset);
        let mut sequence = (since.as_secs_f64() / self.interval.as_secs_f64()) as u64;
        while sequence > 0 && self.due(sequence - 1) >= moment {
            sequence -= 1;
        }
        while self.due(sequence) < moment {
            sequence += 1;
        }
        sequence
    }

    fn give_up(&self) -> Instant {
        self.plan.end + self.plan.last_replies_limit
    }
}

/// Sends at fixed times, whatever comes back. Only a full depth delays a request, and the delay counts as latency;
/// requests that are late are sent all the same, as long as replies are waited for.
pub(crate) fn run_open(
    stream: TcpStream,
    plan: Plan<'_>,
    interval: Duration,
    offset: Duration,
) -> anyhow::Result<Tally> {
    let (permit, permits) = sync_channel(plan.depth as usize);
    let schedule = Schedule { plan: &plan, interval, offset, sent_count: AtomicU64::new(0) };
    let sending = stream.try_clone().context("the connection cannot be shared by two threads")?;
    let (sent, received) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_when_due(sending, &schedule, permit));
        let received = receive(stream, &schedule, &permits, || sender.is_finished());
        // A sender that waits for a permit ends when nobody can give one any more.
        drop(permits);
        (sender.join().unwrap_or_else(|_| bail!("the sending thread failed")), received)
    });
    sent?;
    let mut tally = received?;
    let due_count = schedule.first_due(plan.end) - schedule.first_due(plan.measure_from);
    tally.unanswered_count = due_count.saturating_sub(tally.answered_count());
    Ok(tally)
}

/// Sends each request when it is due.
fn send_when_due(
    mut stream: TcpStream,
    schedule: &Schedule<'_, '_>,
    permit: SyncSender<()>,
) -> anyhow::Result<()> {
    let last = schedule.first_due(schedule.plan.end);
    let mut sequence = 0;
    let mut bytes = Vec::new();
    while sequence < last && Instant::now() < schedule.give_up() {
        let wait = schedule.due(sequence).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        bytes.clear();
        // All that are due by now go out together, as far as the depth allows.
        while sequence < last && schedule.due(sequence) <= Instant::now() && bytes.len() < WRITE_BYTES_MAX {
            let is_first = bytes.is_empty();
            let is_allowed = if is_first { permit.send(()).is_ok() } else { permit.try_send(()).is_ok() };
            if !is_allowed {
                break;
            }
            schedule.plan.frames.append(sequence, &mut bytes)?;
            sequence += 1;
        }
        if bytes.is_empty() && schedule.due(sequence) <= Instant::now() {
            // The receiver has given up; it says why.
            return Ok(());
        }
        stream.write_all(&bytes).context("a request cannot be sent")?;
        // Release: pairs with the Acquire in `receive`.
        schedule.sent_count.store(sequence, Ordering::Release);
    }
    Ok(())
}

/// Receives replies until all are there, or the time for the last ones is over.
fn receive(
    stream: TcpStream,
    schedule: &Schedule<'_, '_>,
    permits: &Receiver<()>,
    is_all_sent: impl Fn() -> bool,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut replies = Replies::new(stream)?;
    let mut received_count = 0;
    while Instant::now() < schedule.give_up() {
        // Acquire: pairs with the Release in `send_when_due`; looked at before the number, which is then final.
        if is_all_sent() && received_count >= schedule.sent_count.load(Ordering::Acquire) {
            break;
        }
        replies.read(|header| {
            let Some(sequence) = schedule.plan.frames.sequence(header) else { return };
            let (now, due) = (Instant::now(), schedule.due(sequence));
            if due >= schedule.plan.measure_from {
                tally.record(now.saturating_duration_since(due), header.status_code, now < schedule.plan.end);
            }
            received_count += 1;
            // One permit for each reply.
            let _freed = permits.try_recv();
        })?;
    }
    Ok(tally)
}

/// Keeps a fixed number of requests in flight and counts latency from sending.
pub(crate) fn run_closed(stream: TcpStream, plan: Plan<'_>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut writer = stream.try_clone().context("the connection cannot be shared")?;
    let mut replies = Replies::new(stream)?;
    let mut sent: BTreeMap<u64, Instant> = BTreeMap::new();
    let (mut next, mut bytes) = (0_u64, Vec::new());
    let give_up = plan.end + plan.last_replies_limit;
    loop {
        let now = Instant::now();
        bytes.clear();
        while now < plan.end && sent.len() < plan.depth as usize && bytes.len() < WRITE_BYTES_MAX {
            plan.frames.append(next, &mut bytes)?;
            sent.insert(next, now);
            next += 1;
        }
        writer.write_all(&bytes).context("a request cannot be sent")?;
        if sent.is_empty() || now >= give_up {
            break;
        }
        replies.read(|header| {
            let Some(sequence) = plan.frames.sequence(header) else { return };
            let Some(since) = sent.remove(&sequence) else { return };
            if since >= plan.measure_from {
                tally.record(since.elapsed(), header.status_code, Instant::now() < plan.end);
            }
        })?;
    }
    tally.unanswered_count = sent.values().filter(|since| **since >= plan.measure_from).count() as u64;
    Ok(tally)
}

/// Reads replies in large pieces.
struct Replies {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Replies {
    fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(READ_LIMIT)).context("the connection cannot be set up")?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Waits for bytes for a moment, and gives each header whose body has arrived too.
    fn read(&mut self, mut take: impl FnMut(&gantry_frame::Header)) -> anyhow::Result<()> {
        let mut piece = [0; 64 << 10];
        let count = match self.stream.read(&mut piece) {
            Ok(0) => bail!("the node closed the connection"),
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error).context("a reply cannot be read"),
        };
        self.buffer.extend_from_slice(&piece[..count]);
        let limits = Limits { body_bytes_max: BODY_BYTES_MAX_CEILING };
        let mut at = 0;
        while let Decoded::Header(header) = decode_reply(&self.buffer[at..], &limits)? {
            let end = at + HEADER_BYTES + header.body_bytes as usize;
            if end > self.buffer.len() {
                break;
            }
            take(&header);
            at = end;
        }
        self.buffer.drain(..at);
        Ok(())
    }
}
