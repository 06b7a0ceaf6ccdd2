//! Waiting for conditions.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take before a test is called hung. It is a watchdog, not an expectation: on a
/// busy machine of two cores everything still fits many times over.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// Seconds that replace those of [`WATCHDOG`]: where conditions are known not to come, as in a sabotage run, nobody need
/// wait so long for nothing.
const WATCHDOG_SECONDS: &str = "GANTRY_WATCHDOG_SECONDS";

/// How long a condition or a reply may take in this run.
pub(crate) fn watchdog() -> Duration {
    let told = std::env::var(WATCHDOG_SECONDS).ok();
    told.and_then(|seconds| seconds.parse().ok()).map_or(WATCHDOG, Duration::from_secs)
}

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it yields something, and returns that.
///
/// # Panics
/// When nothing came within [`WATCHDOG`], or as many seconds as `GANTRY_WATCHDOG_SECONDS` says; the message names
/// `what` was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let (begin, watchdog) = (Instant::now(), watchdog());
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begin.elapsed() < watchdog, "waited {watchdog:?} in vain: {what}");
        thread::sleep(POLL);
    }
}

/// Whether the long versions are wanted (`GANTRY_SOAK=1`, as `cargo xtask soak` sets it).
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("GANTRY_SOAK").is_some_and(|value| value == "1")
}
