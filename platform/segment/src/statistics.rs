//! Counters and latencies of each service, one row for each I/O thread, so that each has one writer.

use gantry_sys::atomic::{AtomicU64, Ordering};

use crate::Shared;

/// Buckets of the latency histogram.
pub const LATENCY_BUCKETS: usize = 128;

/// Counts of one service as one I/O thread answered them. Only that thread writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ServiceStatistics {
    /// Requests answered, whatever the status.
    pub calls: AtomicU64,
    /// Answers that are neither 000 nor 304 nor a refusal.
    pub errors: AtomicU64,
    /// Answers 304.
    pub business_errors: AtomicU64,
    /// Answers 103 and 201 to 204: the operator's decision or the node's limits.
    pub refusals: AtomicU64,
    /// Answers 301 and 305.
    pub timeouts: AtomicU64,
    /// Sum of the latencies, ns.
    pub latency_sum_ns: AtomicU64,
    /// Answers of the communication process itself, for which no build was asked, besides the refusals: replies to repeats
    /// from the window, 106, 107, 303.
    pub own_answers: AtomicU64,
    /// Those of them that are errors.
    pub own_errors: AtomicU64,
    /// Latencies from the whole frame's arrival to the reply, in buckets of a quarter of a power of two, ns.
    pub latency: [AtomicU64; LATENCY_BUCKETS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ServiceStatistics>() == 1088);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ServiceStatistics {}

impl Default for ServiceStatistics {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            business_errors: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            latency_sum_ns: AtomicU64::new(0),
            own_answers: AtomicU64::new(0),
            own_errors: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl ServiceStatistics {
    /// Requests that a build was asked for. These have a latency.
    pub fn served(&self) -> u64 {
        let unserved = self.refusals.load(Ordering::Relaxed) + self.own_answers.load(Ordering::Relaxed);
        self.calls.load(Ordering::Relaxed).saturating_sub(unserved)
    }

    /// Counts one latency. Only the row's own thread may call it.
    pub fn record_latency(&self, latency_ns: u64) {
        bump(&self.latency[bucket(latency_ns)], 1);
        bump(&self.latency_sum_ns, latency_ns);
    }
}

/// Adds to a counter that has one writer: a plain load and store, without a locked instruction.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The bucket of a latency: four to each power of two.
fn bucket(latency_ns: u64) -> usize {
    let value = latency_ns.max(4);
    let power = 63 - value.leading_zeros() as usize;
    let quarter = (value >> (power - 2)) as usize & 3;
    ((power - 2) * 4 + quarter).min(LATENCY_BUCKETS - 1)
}

/// The longest latency that a bucket counts, ns.
#[must_use]
pub fn latency_of_bucket(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4 + 2, bucket as u64 % 4);
    // In steps of a quarter of the power of two; the last bucket has no end.
    let step = 1_u64.checked_shl(power as u32 - 2).unwrap_or(u64::MAX >> 3);
    step.saturating_mul(5 + quarter).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_with_the_latency_and_stay_in_range() {
        let mut last = 0;
        for shift in 0..64 {
            let here = bucket(1_u64 << shift);
            assert!(here >= last && here < LATENCY_BUCKETS);
            last = here;
        }
        assert_eq!(bucket(u64::MAX), LATENCY_BUCKETS - 1);
        assert_eq!(bucket(4), 0);
        assert_eq!(bucket(5), 1);
        assert_eq!(bucket(8), 4);
        for value in [4, 5, 100, 1_000_000, 123_456_789, 9_999_999_999] {
            let (here, end) = (bucket(value), latency_of_bucket(bucket(value)));
            assert!(value <= end && bucket(end) == here && bucket(end + 1) == here + 1, "{value}: {end}");
        }
    }
}
