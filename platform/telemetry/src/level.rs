//! How much is recorded.

use std::fmt;
use std::str::FromStr;
use tracing_subscriber::filter::LevelFilter;

/// The least severe level that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Everything.
    Debug,
    /// What an operator should look at, and errors.
    Warn,
    /// Only what failed.
    Error,
}

/// A word that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no level; write debug, warn or error")]
pub struct LevelError {
    /// The word.
    pub word: String,
}

impl Level {
    /// The word for it: `debug`, `warn` or `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The number for it in shared memory: 1 error, 2 warn, 3 debug.
    pub const fn code(self) -> u32 {
        match self {
            Self::Error => 1,
            Self::Warn => 2,
            Self::Debug => 3,
        }
    }

    /// The level of a number from shared memory; `None` for one that is no level.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Error),
            2 => Some(Self::Warn),
            3 => Some(Self::Debug),
            _ => None,
        }
    }

    pub(crate) const fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(word: &str) -> Result<Self, LevelError> {
        let levels = [Self::Debug, Self::Warn, Self::Error];
        let found = levels.into_iter().find(|level| level.as_str() == word);
        found.ok_or_else(|| LevelError { word: word.to_owned() })
    }
}
