//! How settings are serialised: in the words of the configuration file.

use crate::quantity::{duration_text, size_text};
use serde::Serializer;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*value))
}

pub(crate) fn size<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&size_text(*value))
}

pub(crate) fn mode<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("0o{value:o}"))
}

/// Paths that are no UTF-8 lose bytes here: this is for people's eyes, never to be opened.
pub(crate) fn path<S: Serializer>(value: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string_lossy())
}

pub(crate) fn paths<S: Serializer>(values: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| value.to_string_lossy()))
}
