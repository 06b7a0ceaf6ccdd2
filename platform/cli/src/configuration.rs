//! Which configuration a command is about.

use std::path::Path;

use gantry_settings::{Settings, SettingsError};

/// Reads the named file, or the first default one that is there.
pub(crate) fn load(named: Option<&Path>) -> Result<Settings, SettingsError> {
    match named {
        Some(file) => Settings::load(file),
        None => Settings::load(&Settings::default_path()?),
    }
}
