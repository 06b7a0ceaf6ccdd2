//! The settings that every process reads in the node's row.

use std::time::Duration;

use gantry_segment::NodeRow;
use gantry_settings::{LogLevel, Settings};
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;

/// Keys that take effect while running because they stand in the node's row, or because the supervisor itself is the
/// one that uses them.
const LIVE_KEYS: [&str; 15] = [
    "admission.read_resume",
    "admission.read_threshold",
    "comm.body_timeout",
    "comm.header_timeout",
    "comm.idle_timeout",
    "comm.write_timeout",
    "log.level",
    "service.canary_calls",
    "service.canary_deaths",
    "service.canary_errors",
    "service.canary_slowness",
    "service.policy",
    "service.quarantine_deaths",
    "service.quarantine_window",
    "service.timeout",
];

/// Whether a change of this key takes effect by [`apply`].
pub(crate) fn is_live(key: &str) -> bool {
    LIVE_KEYS.contains(&key)
}

/// The code of a log level in the node's row.
#[must_use]
pub fn level_code(level: LogLevel) -> u32 {
    match level {
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Debug => 3,
    }
}

/// The log level with this code; `None` for anything unknown.
#[must_use]
pub fn level_of(code: u32) -> Option<LogLevel> {
    [LogLevel::Error, LogLevel::Warn, LogLevel::Debug].into_iter().find(|level| level_code(*level) == code)
}

/// Writes what can change while running. Each field means something by itself, so their order does not matter.
pub(crate) fn apply(settings: &Settings, node: &NodeRow) {
    node.log_level.store(level_code(settings.log.level), Relaxed);
    node.read_threshold_ppm.store(ppm(settings.admission.read_threshold), Relaxed);
    node.read_resume_ppm.store(ppm(settings.admission.read_resume), Relaxed);
    node.service_timeout_ms.store(milliseconds(settings.service.timeout), Relaxed);
    node.header_timeout_ms.store(milliseconds(settings.comm.header_timeout), Relaxed);
    node.body_timeout_ms.store(milliseconds(settings.comm.body_timeout), Relaxed);
    node.idle_timeout_ms.store(milliseconds(settings.comm.idle_timeout), Relaxed);
    node.write_timeout_ms.store(milliseconds(settings.comm.write_timeout), Relaxed);
    node.read_queue_max.store(settings.ipc.read_queue, Relaxed);
    node.write_queue_max.store(settings.ipc.write_queue, Relaxed);
}

/// Writes the row of a node that starts: nothing of an earlier start is in force any more.
pub(crate) fn begin(settings: &Settings, node: &NodeRow) {
    apply(settings, node);
    node.draining.store(0, Relaxed);
    node.stopping.store(0, Relaxed);
    node.connections_open.store(0, Relaxed);
    node.cpu_load_ppm.store(0, Relaxed);
    node.started_ms.store(clock::realtime_ms(), Relaxed);
}

/// Writes the row of a node that a new supervisor takes over: what the configuration says is in force, and what was
/// changed or counted while the node ran stays as it is.
pub(crate) fn go_on(settings: &Settings, node: &NodeRow) {
    let level = node.log_level.load(Relaxed);
    apply(settings, node);
    if level_of(level).is_some() {
        node.log_level.store(level, Relaxed);
    }
}

/// A time in whole milliseconds; what is not zero does not become zero, which would mean "no limit".
pub(crate) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

fn ppm(share: f64) -> u32 {
    // Settings hold shares within 0 to 1, so the cast loses nothing but digits behind the point.
    (share.clamp(0.0, 1.0) * 1_000_000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_row_holds_the_settings_in_its_units() {
        let text = "[admission]\nread_threshold = 0.8\nread_resume = 0.5\n[service]\ntimeout = \"2s\"\n[log]\nlevel = \"debug\"\n";
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let node = NodeRow::default();
        node.stopping.store(1, Relaxed);
        begin(&settings, &node);
        assert_eq!(node.read_threshold_ppm.load(Relaxed), 800_000);
        assert_eq!(node.read_resume_ppm.load(Relaxed), 500_000);
        assert_eq!(node.service_timeout_ms.load(Relaxed), 2_000);
        assert_eq!(level_of(node.log_level.load(Relaxed)), Some(LogLevel::Debug));
        assert_eq!(node.stopping.load(Relaxed), 0);
        assert!(node.started_ms.load(Relaxed) > 0);
    }

    #[test]
    fn a_row_that_is_gone_on_with_keeps_what_was_changed_and_counted() {
        let settings =
            Settings::from_text("[service]\ntimeout = \"2s\"\n", Path::new("/tmp/gantry.toml")).unwrap();
        let node = NodeRow::default();
        begin(&settings, &node);
        node.log_level.store(level_code(LogLevel::Debug), Relaxed);
        node.connections_open.store(7, Relaxed);
        node.draining.store(2, Relaxed);
        let started_ms = node.started_ms.load(Relaxed);
        node.service_timeout_ms.store(9, Relaxed);
        go_on(&settings, &node);
        assert_eq!(level_of(node.log_level.load(Relaxed)), Some(LogLevel::Debug));
        assert_eq!((node.connections_open.load(Relaxed), node.draining.load(Relaxed)), (7, 2));
        assert_eq!(
            (node.started_ms.load(Relaxed), node.service_timeout_ms.load(Relaxed)),
            (started_ms, 2_000)
        );
    }

    #[test]
    fn a_short_time_never_becomes_no_limit() {
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn every_live_key_is_one_that_settings_call_applicable() {
        let old = Settings::from_text("", Path::new("/tmp/gantry.toml")).unwrap();
        let text = "[admission]\nread_threshold = 0.7\nread_resume = 0.5\n[service]\ntimeout = \"2s\"\npolicy = \"answer\"\n\
            quarantine_deaths = 7\nquarantine_window = \"9s\"\ncanary_calls = 9\ncanary_deaths = 2\ncanary_errors = 0.5\n\
            canary_slowness = 9\n[log]\nlevel = \"debug\"\n[comm]\nheader_timeout = \"1s\"\n\
            body_timeout = \"1s\"\nidle_timeout = \"1s\"\nwrite_timeout = \"1s\"\n";
        let new = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let changes = gantry_settings::changes(&old, &new);
        assert_eq!(changes.applicable, LIVE_KEYS);
    }
}
