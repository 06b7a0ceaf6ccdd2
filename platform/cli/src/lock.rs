//! Keeping nodes from starting while a command works on what they would use.

use std::path::PathBuf;

use gantry_settings::Settings;
use gantry_supervisor::pid_file;
use gantry_sys::lock::{LockError, PidFile};

/// The node's pid file, locked by this command; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct StartLock {
    path: PathBuf,
    _file: PidFile,
}

impl StartLock {
    /// Locks the node's pid file. `None` when the node has no state folder, so that nobody can have started it from
    /// this configuration.
    ///
    /// # Errors
    /// [`LockError::Held`] when the node runs.
    pub(crate) fn take(settings: &Settings) -> Result<Option<Self>, LockError> {
        if !settings.node.state_dir.exists() {
            return Ok(None);
        }
        let path = pid_file(settings);
        let file = PidFile::acquire(&path)?;
        Ok(Some(Self { path, _file: file }))
    }
}

impl Drop for StartLock {
    fn drop(&mut self) {
        // Still locked, so it is this command's own. An empty file that stays would harm nobody.
        let _removed = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_keeps_others_out_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[node]\nstate_dir = \"state\"\n";
        let settings = Settings::from_text(text, &folder.path().join("gantry.toml")).unwrap();
        assert!(StartLock::take(&settings).unwrap().is_none());
        std::fs::create_dir(&settings.node.state_dir).unwrap();
        let lock = StartLock::take(&settings).unwrap();
        assert!(matches!(StartLock::take(&settings), Err(LockError::Held { .. })));
        drop(lock);
        assert!(!pid_file(&settings).exists());
    }
}
