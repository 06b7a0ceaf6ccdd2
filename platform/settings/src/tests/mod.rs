//! Whole files: the defaults, every class of fault by its text, changes, and the shipped configuration.

mod changed;
mod defaults;
mod faults;
mod redis;
mod shipped;
mod together;
mod values;

use crate::{Settings, SettingsError};
use std::path::Path;

/// Reads `text` as the file `/srv/gantry/config/gantry.toml`.
fn read(text: &str) -> Result<Settings, SettingsError> {
    Settings::from_text(text, Path::new("/srv/gantry/config/gantry.toml"))
}

fn good(text: &str) -> Settings {
    match read(text) {
        Ok(settings) => settings,
        Err(error) => panic!("{error}\nin:\n{text}"),
    }
}

/// The message of a file that must be refused, without the path before each line's position.
fn refused(text: &str) -> String {
    match read(text) {
        Ok(_) => panic!("this was taken:\n{text}"),
        Err(error) => error.to_string().replace("/srv/gantry/config/gantry.toml:", ""),
    }
}
