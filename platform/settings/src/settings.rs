//! All settings of one configuration file.

use crate::sections::{
    AdmissionSettings, CommSettings, IdempotencySettings, IpcSettings, ListenSettings, LogSettings,
    NodeSettings, SupervisorSettings, WorkersSettings,
};
use crate::{DataSettings, SerialSettings, ServiceSettings, SettingsError, limits, load, print, read};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All settings of one configuration file, checked.
///
/// Serialised (for `--json`) it uses the words of the file; secrets are hidden.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The file they were read from; absolute, so that a child can be told to read the same one.
    #[serde(serialize_with = "print::path")]
    pub file: PathBuf,
    /// `[node]`
    pub node: NodeSettings,
    /// `[listen]`
    pub listen: ListenSettings,
    /// `[comm]`
    pub comm: CommSettings,
    /// `[workers]`
    pub workers: WorkersSettings,
    /// `[ipc]`
    pub ipc: IpcSettings,
    /// `[admission]`
    pub admission: AdmissionSettings,
    /// `[service]`
    pub service: ServiceSettings,
    /// `[idempotency]`
    pub idempotency: IdempotencySettings,
    /// `[data.NAME]`, by name
    pub data: BTreeMap<String, DataSettings>,
    /// `[serial]`
    pub serial: SerialSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[supervisor]`
    pub supervisor: SupervisorSettings,
}

impl Settings {
    /// The files that are looked for when none is named, in this order.
    pub const DEFAULT_FILES: [&'static str; 2] = ["config/embedded.toml", "/etc/gantry/gantry.toml"];

    /// Reads and checks the file at `path`. Blocks for the reading of one small file.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`], [`SettingsError::TooLong`] above [`limits::FILE_BYTES_MAX`], or
    /// [`SettingsError::Invalid`] with every fault that could be found.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        read::settings(&load::text_of(path)?, path)
    }

    /// Checks `text` as if it stood in the file `path`, which need not exist: relative paths count from
    /// its folder, and faults name it. The empty text gives the defaults.
    ///
    /// # Errors
    /// [`SettingsError::Invalid`] with every fault that could be found; a fault of the syntax stands alone.
    pub fn from_text(text: &str, path: &Path) -> Result<Self, SettingsError> {
        read::settings(text, path)
    }

    /// The first of [`Settings::DEFAULT_FILES`] that is there.
    ///
    /// # Errors
    /// [`SettingsError::NotFound`] names the files that were looked for.
    pub fn default_path() -> Result<PathBuf, SettingsError> {
        let files = Self::DEFAULT_FILES.map(PathBuf::from);
        match files.iter().find(|file| file.exists()) {
            Some(file) => Ok(file.clone()),
            None => Err(SettingsError::NotFound { tried: files.to_vec() }),
        }
    }

    /// Open files the communication process may need with `connections_max` connections. The supervisor and the keeper
    /// hold fewer.
    pub fn descriptors_needed(&self) -> u64 {
        let listeners = self.listen.tcp.len() + self.listen.unix.len();
        u64::from(self.comm.connections_max)
            + listeners as u64
            + u64::from(limits::PROCESS_ROWS_MAX)
            + u64::from(limits::DESCRIPTORS_OWN)
    }

    /// Open files without which the communication process is not started: with fewer than `connections_max` allowed
    /// it takes fewer connections, down to [`limits::CONNECTIONS_LEAST`].
    pub fn descriptors_least(&self) -> u64 {
        let connections = u64::from(self.comm.connections_max);
        self.descriptors_needed() - connections + connections.min(u64::from(limits::CONNECTIONS_LEAST))
    }

    /// Rows of the process table that these settings can fill, at most [`limits::PROCESS_ROWS_MAX`].
    pub fn process_rows_needed(&self) -> u32 {
        self.workers.read + self.workers.write + limits::PROCESS_ROWS_RESERVED
    }

    /// Bytes of all blocks together: the size of the segment for bodies, without its tables.
    pub fn blocks_bytes(&self) -> u64 {
        self.ipc.blocks.iter().map(|class| class.size * u64::from(class.count)).sum()
    }

    /// The socket of the operator's commands, `admin.sock` in the state folder.
    pub fn admin_socket(&self) -> PathBuf {
        self.node.state_dir.join("admin.sock")
    }
}
