//! What can be wrong with a configuration file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}; name another file with -c FILE or make this one readable", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file is too long to be a configuration.
    #[error("{}: it has more than {bytes_max} bytes and is hardly a configuration; name the right file with -c FILE", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// The most bytes a configuration may have.
        bytes_max: u64,
    },
    /// None of the default files is there.
    #[error("no configuration file: looked for {}; name one with -c FILE", list(tried))]
    NotFound {
        /// The files that were looked for.
        tried: Vec<PathBuf>,
    },
    /// The file's place cannot be made absolute, because the current folder is gone.
    #[error("{}: the current folder cannot be found: {cause}; name the file by its absolute path", file.display())]
    NoCurrentFolder {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file was read and has faults; one line each, in the order of the file.
    #[error("{}", lines(faults))]
    Invalid {
        /// Every fault that could be found, in the order of the file; never empty.
        faults: Vec<Fault>,
    },
}

/// One fault in a configuration file: where, which key, what is wrong, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key with its section, such as `comm.threads`; empty for a fault of the syntax.
    pub key: String,
    /// Which kind of fault it is.
    pub kind: FaultKind,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The text is not TOML.
    Syntax,
    /// There is no such section or key.
    Unknown,
    /// The value is of another type, or text that cannot be read as what it should be.
    Type,
    /// The value can be read and is not within its range.
    Range,
    /// The value is within its range and does not go together with another one.
    Conflict,
    /// The value asks for something this version or this binary does not have.
    Unavailable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}
