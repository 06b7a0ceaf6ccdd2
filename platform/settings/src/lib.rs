//! The configuration file, checked whole.
//!
//! [`Settings::load`] reads one TOML file into plain structs: durations are [`std::time::Duration`], sizes
//! are bytes, addresses are parsed, paths are absolute. Every key is optional, unknown keys are faults, and
//! all faults of a file are reported together, each with its file, line, column and what to write instead.
//!
//! ```
//! use gantry_settings::{Settings, SettingsError};
//! use std::path::Path;
//!
//! let settings = Settings::from_text("[comm]\nthreads = 4\n", Path::new("/etc/gantry/gantry.toml"))?;
//! assert_eq!(settings.comm.threads, 4);
//! assert_eq!(settings.node.state_dir, Path::new("/etc/var"));
//!
//! let wrong = Settings::from_text("[comm]\nthread = 4\n", Path::new("gantry.toml")).unwrap_err();
//! assert_eq!(wrong.to_string(), "gantry.toml:2:1: comm.thread: [comm] has no key \"thread\"; did you mean \"threads\"?");
//! # Ok::<(), SettingsError>(())
//! ```
//!
//! It does not watch the file and applies nothing: [`changes`] says which keys differ between two readings
//! and which of them can change while running, and the processes act on it.
#![forbid(unsafe_code)]

mod changes;
mod check;
mod data;
mod error;
mod keys;
mod kind;
pub mod limits;
mod load;
mod place;
mod print;
mod quantity;
mod read;
mod reader;
mod redis;
mod secret;
mod sections;
mod serial;
mod service;
mod settings;
mod special;
mod tables;
mod unknown;

#[cfg(test)]
mod tests;

pub use changes::{Changes, changes};
pub use data::{
    DataSettings, Driver, MongoSettings, OdbcSettings, SqliteSettings, Synchronous, Transactions,
};
pub use error::{Fault, FaultKind, SettingsError};
pub use quantity::parse_duration;
pub use redis::{REDIS_ADDRESSES_MAX, RedisAddress, RedisForm, RedisUrl, RedisUrlError};
pub use secret::Secret;
pub use sections::{
    AdmissionSettings, BlockClass, CommSettings, IdempotencySettings, IpcBackend, IpcSettings,
    ListenSettings, LogLevel, LogSettings, NodeSettings, SupervisorSettings, WorkersSettings,
};
pub use serial::{
    SEQUENCE_DIGITS_MAX, SERIAL_BYTES_MAX, SerialFormat, SerialFormatError, SerialPart, SerialSettings,
    SerialType,
};
pub use service::{LibraryName, ServiceSettings, TimeoutPolicy};
pub use settings::Settings;
