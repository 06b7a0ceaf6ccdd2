//! What can go wrong on a document source, in the kinds that SQL sources have too.

use std::fmt;
use std::sync::Arc;

/// A failed operation on a document source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("data source {source_name}: {operation} failed: {kind}: {message} (native code {code}); {}", kind.advice())]
pub struct DocumentError {
    /// What went wrong, in the words that decide what follows.
    pub kind: ErrorKind,
    /// The data source's name in the configuration.
    pub source_name: Arc<str>,
    /// What was asked of it.
    pub operation: &'static str,
    /// The server's own code; 0 where it gave none.
    pub code: i32,
    /// The server's words, or ours where it was not asked.
    pub message: String,
}

/// Why a document source refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is there already.
    Unique,
    /// The document breaks a rule of its collection.
    Check,
    /// Another transaction holds what this one needs, or went first.
    Retryable,
    /// The time limit ended.
    Timeout,
    /// The server does not answer, or takes no writes now.
    ConnectionLost,
    /// The command itself is wrong.
    BadStatement,
    /// A value cannot be stored or sent as it is.
    BadValue,
    /// More documents than the caller allows.
    TooManyDocuments {
        /// The caller's bound.
        documents_max: usize,
    },
    /// More bytes than an answer may have.
    TooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// A write where only reading is allowed.
    ReadOnly,
    /// The server's disk is full.
    Full,
    /// The transaction was ended by an earlier error; only a roll-back is left.
    Aborted,
    /// The server does not know us, or does not let us do that.
    Unauthorized,
    /// What is installed or configured cannot be used.
    Unsupported,
    /// None of the above.
    Other,
}

impl ErrorKind {
    /// What the reader of the error can do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unique | Self::Check => {
                "do not repeat it: answer with a business error or correct the data"
            }
            Self::Retryable => "roll back and run the whole request again",
            Self::Timeout => "look for a missing index, or raise the service's time-out",
            Self::ConnectionLost => {
                "check that the server runs, is the primary and can be reached, then use a new connection"
            }
            Self::BadStatement => "correct the command in the service",
            Self::BadValue => "correct the document",
            Self::TooManyDocuments { .. } => "narrow the filter or page through it with a limit",
            Self::TooLarge { .. } => "ask for fewer documents, or for less of each by a projection",
            Self::ReadOnly => "declare the service as a write service, or do not write",
            Self::Full => "free disk space on the server",
            Self::Aborted => "roll back; the first error of the transaction is the one to act on",
            Self::Unauthorized => "correct the user, password or authSource in the uri, or the user's roles",
            Self::Unsupported => "correct the installation or the configuration of this data source",
            Self::Other => "see the server's message",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unique => out.write_str("key exists already"),
            Self::Check => out.write_str("document refused by its collection"),
            Self::Retryable => out.write_str("in use by another transaction"),
            Self::Timeout => out.write_str("time limit ended"),
            Self::ConnectionLost => out.write_str("connection lost"),
            Self::BadStatement => out.write_str("command refused"),
            Self::BadValue => out.write_str("value refused"),
            Self::TooManyDocuments { documents_max } => write!(out, "more than {documents_max} documents"),
            Self::TooLarge { bytes_max } => write!(out, "more than {bytes_max} bytes"),
            Self::ReadOnly => out.write_str("write refused on a reader"),
            Self::Full => out.write_str("no space left"),
            Self::Aborted => out.write_str("transaction already ended"),
            Self::Unauthorized => out.write_str("not allowed"),
            Self::Unsupported => out.write_str("not supported"),
            Self::Other => out.write_str("error"),
        }
    }
}
