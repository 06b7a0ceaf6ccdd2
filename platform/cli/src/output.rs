//! Printing that survives a reader who has gone: `gantry status | head` must not end in a panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints one or more lines on standard output.
///
/// # Errors
/// Standard output cannot be written; that its reader has gone is none.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Prints a line on standard error; where there is nobody to read it, nobody misses it.
pub(crate) fn complain(text: impl Display) {
    let _unread = writeln!(io::stderr(), "{text}");
}
