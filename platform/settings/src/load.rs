//! From a file to its text.

use crate::reader::position;
use crate::{Fault, FaultKind, SettingsError, limits};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The text of the file at `path`, which may have [`limits::FILE_BYTES_MAX`] bytes and must be UTF-8.
pub(crate) fn text_of(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |cause| SettingsError::Unreadable { file: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits::FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits::FILE_BYTES_MAX {
        return Err(SettingsError::TooLong { file: path.to_owned(), bytes_max: limits::FILE_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let start = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let (line, column) = position(&start, start.len());
        let fault = Fault {
            file: path.to_owned(),
            line,
            column,
            key: String::new(),
            kind: FaultKind::Syntax,
            problem: "the byte here is not UTF-8".to_owned(),
            remedy: "save the file as UTF-8".to_owned(),
        };
        SettingsError::Invalid { faults: vec![fault] }
    })
}
