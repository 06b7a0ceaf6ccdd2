//! The log of each kind of process.

use gantry_segment::Control;
use gantry_settings::{LogLevel, Settings};
use gantry_supervisor::level_of;
use gantry_sys::atomic::Ordering;
use gantry_telemetry::{Level, LogGuard, LogOptions, TelemetryError};

/// The level in the words of the log.
pub(crate) fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

/// Gives a process of the node its log.
pub(crate) fn init(
    settings: &Settings,
    role: &str,
    row: Option<u16>,
    level: Level,
) -> Result<LogGuard, TelemetryError> {
    gantry_telemetry::init(&LogOptions {
        role: role.to_owned(),
        row,
        dir: settings.log.dir.clone(),
        level,
        rotate_bytes: settings.log.rotate,
        keep: settings.log.keep,
    })
}

/// The level that is in force in a running node, which may have been changed since the configuration was read.
pub(crate) fn level_in_force(settings: &Settings, control: &Control) -> Level {
    let code = control.node().log_level.load(Ordering::Relaxed);
    level(level_of(code).unwrap_or(settings.log.level))
}
