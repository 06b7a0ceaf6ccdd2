//! Counts and latencies of one service in one build, and when a canary's are too bad.

use gantry_segment::{LATENCY_BUCKETS, ServiceStatistics, latency_of_bucket};
use gantry_settings::ServiceSettings;
use gantry_sys::atomic::Ordering::Relaxed;
use serde_json::{Value, json};

/// A canary that answers within this time is never too slow: below it, what else the machine does decides.
const FAST_NS: u64 = 5_000_000;

/// So many standard errors are no chance any more, although it is looked at once a second.
const STANDARD_ERRORS: f64 = 3.0;

/// What happened to the requests of one service in one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) business_errors: u64,
    pub(super) refusals: u64,
    /// Requests for which no build was asked, besides the refusals, and how many of them were errors.
    own: u64,
    own_errors: u64,
    pub(super) timeouts: u64,
    pub(super) latency: [u64; LATENCY_BUCKETS],
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: 0,
            errors: 0,
            business_errors: 0,
            refusals: 0,
            own: 0,
            own_errors: 0,
            timeouts: 0,
            latency: [0; LATENCY_BUCKETS],
        }
    }
}

impl Figures {
    /// Adds what one I/O thread counted.
    pub(super) fn add(&mut self, row: &ServiceStatistics) {
        self.calls += row.calls.load(Relaxed);
        self.errors += row.errors.load(Relaxed);
        self.business_errors += row.business_errors.load(Relaxed);
        self.refusals += row.refusals.load(Relaxed);
        self.own += row.own_answers.load(Relaxed);
        self.own_errors += row.own_errors.load(Relaxed);
        self.timeouts += row.timeouts.load(Relaxed);
        for (sum, count) in self.latency.iter_mut().zip(&row.latency) {
            *sum += count.load(Relaxed);
        }
    }

    /// Takes off what was there before.
    pub(super) fn take_off(&mut self, before: &Self) {
        self.calls = self.calls.saturating_sub(before.calls);
        self.errors = self.errors.saturating_sub(before.errors);
        self.business_errors = self.business_errors.saturating_sub(before.business_errors);
        self.refusals = self.refusals.saturating_sub(before.refusals);
        self.own = self.own.saturating_sub(before.own);
        self.own_errors = self.own_errors.saturating_sub(before.own_errors);
        self.timeouts = self.timeouts.saturating_sub(before.timeouts);
        for (count, before) in self.latency.iter_mut().zip(&before.latency) {
            *count = count.saturating_sub(*before);
        }
    }

    /// Requests that the build was asked for.
    pub(super) fn served(&self) -> u64 {
        self.calls.saturating_sub(self.refusals + self.own)
    }

    /// Its errors.
    fn failed(&self) -> u64 {
        self.errors.saturating_sub(self.own_errors)
    }

    fn error_share(&self) -> f64 {
        self.failed() as f64 / self.served().max(1) as f64
    }

    /// The latency that a share of the answers did not exceed, to a quarter of a power of two; `None` without answers.
    pub(super) fn quantile_ns(&self, share: f64) -> Option<u64> {
        let total: u64 = self.latency.iter().sum();
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        let bucket = self.latency.iter().position(|count| {
            passed += count;
            passed >= rank
        })?;
        (total > 0).then(|| latency_of_bucket(bucket))
    }

    /// How many answers took longer, to a quarter of a power of two, and how many there are.
    fn slower_than(&self, limit_ns: u64) -> (u64, u64) {
        let slow =
            self.latency.iter().enumerate().filter(|(bucket, _)| latency_of_bucket(*bucket) > limit_ns);
        (slow.map(|(_, count)| count).sum(), self.latency.iter().sum())
    }

    pub(super) fn facts(&self) -> Value {
        let micros = |share| self.quantile_ns(share).map(|ns| ns / 1_000);
        json!({
            "calls": self.calls,
            "served": self.served(),
            "errors": self.errors,
            "business_errors": self.business_errors,
            "refusals": self.refusals,
            "timeouts": self.timeouts,
            "error_share": self.error_share(),
            "latency_p50_us": micros(0.5),
            "latency_p95_us": micros(0.95),
        })
    }
}

/// The standard error of the difference between two shares of errors, were the two builds equal; of the canary's share alone
/// where the build in force was hardly called, which would leave everything to chance.
fn standard_error(in_force: &Figures, canary: &Figures, calls_min: u64) -> f64 {
    if in_force.served() < calls_min {
        let share = canary.error_share().min(1.0);
        return (share * (1.0 - share) / canary.served().max(1) as f64).sqrt();
    }
    let (old_calls, new_calls) = (in_force.served() as f64, canary.served() as f64);
    let errors = in_force.failed() as f64 + canary.failed() as f64;
    let new_calls = new_calls.max(1.0);
    let share = (errors / (old_calls + new_calls)).min(1.0);
    (share * (1.0 - share) * (1.0 / old_calls + 1.0 / new_calls)).sqrt()
}

/// Why the canary is too bad; `None` when it is not.
pub(super) fn compare(in_force: &Figures, canary: &Figures, rule: &ServiceSettings) -> Option<String> {
    let (old, new) = (in_force.error_share(), canary.error_share());
    let chance = STANDARD_ERRORS * standard_error(in_force, canary, u64::from(rule.canary_calls.max(1)));
    if new > old + rule.canary_errors + chance {
        return Some(format!(
            "{:.2} % of its answers are errors, of the build in force {:.2} % (service.canary_errors)",
            new * 100.0,
            old * 100.0
        ));
    }
    // Without a word from the build in force there is nothing to compare with.
    let (old_ns, new_ns) = (in_force.quantile_ns(0.95)?, canary.quantile_ns(0.95)?);
    let limit_ns = FAST_NS.max((old_ns as f64 * f64::from(rule.canary_slowness)) as u64);
    let (slow, all) = canary.slower_than(limit_ns);
    // One in twenty may be slower than 95 % are; of few answers a few more may be so by chance.
    let (slow, usual) = (slow as f64, all as f64 * 0.05);
    (slow > usual + STANDARD_ERRORS * (usual * 0.95).sqrt()).then(|| {
        let ms = |ns: u64| ns as f64 / 1e6;
        let (new, old) = (ms(new_ns), ms(old_ns));
        format!("95 % of its answers come within {new:.1} ms, of the build in force {old:.1} ms (service.canary_slowness)")
    })
}
