//! What can go wrong on a data source, in words that every driver shares.

use std::fmt;
use std::sync::Arc;

/// A failed operation on a data source.
///
/// The kind says what the caller can do about it; the rest is for the operator and the log. A failed statement
/// took no effect. Whether the transaction around it still stands is told by
/// [`Connection::transaction`](crate::Connection::transaction).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "data source {source_name}: {operation} failed: {kind}: {message} (SQLSTATE {sqlstate}, native code {code}); {}",
    kind.advice()
)]
pub struct SourceError {
    /// What went wrong, in the words that decide what follows.
    pub kind: ErrorKind,
    /// The data source's name in the configuration.
    pub source_name: Arc<str>,
    /// What was asked of it: `open`, `begin`, `commit`, `execute` …
    pub operation: &'static str,
    /// The driver's own code; 0 where the driver was not asked.
    pub code: i32,
    /// The five characters that SQL has for it, given by the driver or by us in its place.
    pub sqlstate: Sqlstate,
    /// The driver's words, or ours where the driver was not asked.
    pub message: String,
}

impl SourceError {
    /// An error found before the driver was asked.
    #[must_use]
    pub fn own(
        kind: ErrorKind,
        source_name: &Arc<str>,
        operation: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let sqlstate = kind.sqlstate();
        Self {
            kind,
            source_name: Arc::clone(source_name),
            operation,
            code: 0,
            sqlstate,
            message: message.into(),
        }
    }

    /// Whether a row with the same key exists already.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        self.kind == ErrorKind::Constraint(ConstraintKind::Unique)
    }

    /// Whether the statement named a table that does not exist.
    #[must_use]
    pub fn is_missing_table(&self) -> bool {
        self.sqlstate == Sqlstate::MISSING_TABLE
    }

    /// Whether a definition is in force already: the table, index or column exists, or what it drops does not.
    #[must_use]
    pub fn is_defined_already(&self) -> bool {
        [Sqlstate::EXISTING_TABLE, Sqlstate::EXISTING_COLUMN, Sqlstate::MISSING_INDEX]
            .contains(&self.sqlstate)
    }

    /// Whether the statement would have created a table or index that exists.
    #[must_use]
    pub fn is_existing_table(&self) -> bool {
        self.sqlstate == Sqlstate::EXISTING_TABLE
    }
}

/// Why a data source refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The data would break a rule of its table.
    Constraint(ConstraintKind),
    /// Another transaction holds what this one needs, or went first; nothing of the statement was done.
    Retryable,
    /// The time limit ended. The statement took no effect.
    Timeout,
    /// The connection, or the file behind it, no longer answers. At `commit`, whether it took effect is unknown.
    ConnectionLost,
    /// The statement itself is wrong: syntax, unknown names, not allowed here, not portable.
    BadStatement,
    /// A value cannot be stored or returned as it is: count or type of parameters, not finite, too long, not UTF-8.
    BadValue,
    /// More rows than the caller allows.
    TooManyRows {
        /// The caller's bound, in rows.
        rows_max: usize,
    },
    /// More bytes than an answer may have.
    TooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// A write on a connection or in a transaction that only reads.
    ReadOnly,
    /// The disk, or the size set for the database, is full.
    Full,
    /// The database's content is damaged, or the file is no database.
    Corrupt,
    /// The data source rolled the transaction back by itself after an earlier error; only `rollback` is left.
    Aborted,
    /// What is installed or configured cannot be used.
    Unsupported,
    /// The tables' migrations in the database and in the library contradict each other.
    Migration,
    /// None of the above.
    Other,
}

impl ErrorKind {
    /// What the reader of the error can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Constraint(_) => "do not repeat it: answer with a business error or correct the data",
            Self::Retryable => "roll back and run the whole transaction again",
            Self::Timeout => {
                "look for a missing index or a long transaction, or raise the service's time-out"
            }
            Self::ConnectionLost => {
                "check that the database runs and can be reached, then use a new connection"
            }
            Self::BadStatement => "correct the statement in the service",
            Self::BadValue => "correct the parameters or the stored value",
            Self::TooManyRows { .. } => "narrow the statement or page through it with {limit ?}",
            Self::TooLarge { .. } => "ask for fewer rows or columns",
            Self::ReadOnly => "declare the service as a write service, or do not write",
            Self::Full => "free disk space or raise the size set for this data source",
            Self::Corrupt => "stop the node, keep the files, and restore the last backup",
            Self::Aborted => "roll back; the first error of the transaction is the one to act on",
            Self::Unsupported => "correct the installation or the configuration of this data source",
            Self::Migration => {
                "give the changed text a new, higher version and leave applied ones as they are"
            }
            Self::Other => "see the driver's message",
        }
    }

    /// The SQLSTATE for errors where no driver gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Sqlstate {
        Sqlstate(*match self {
            Self::Constraint(ConstraintKind::Unique) => b"23505",
            Self::Constraint(ConstraintKind::ForeignKey) => b"23503",
            Self::Constraint(ConstraintKind::Check) => b"23514",
            Self::Constraint(ConstraintKind::NotNull) => b"23502",
            Self::Constraint(ConstraintKind::Other) => b"23000",
            Self::Retryable => b"40001",
            Self::Timeout => b"HYT00",
            Self::ConnectionLost => b"08006",
            Self::BadStatement => b"42000",
            Self::BadValue => b"22000",
            Self::TooManyRows { .. } | Self::TooLarge { .. } => b"54000",
            Self::ReadOnly => b"25006",
            Self::Full => b"53100",
            Self::Corrupt => b"58030",
            Self::Aborted => b"25000",
            Self::Unsupported => b"0A000",
            Self::Migration | Self::Other => b"HY000",
        })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint(kind) => write!(out, "{kind} constraint violated"),
            Self::Retryable => out.write_str("in use by another transaction"),
            Self::Timeout => out.write_str("time limit ended"),
            Self::ConnectionLost => out.write_str("connection lost"),
            Self::BadStatement => out.write_str("statement refused"),
            Self::BadValue => out.write_str("value refused"),
            Self::TooManyRows { rows_max } => write!(out, "more than {rows_max} rows"),
            Self::TooLarge { bytes_max } => write!(out, "more than {bytes_max} bytes"),
            Self::ReadOnly => out.write_str("write refused on a reader"),
            Self::Full => out.write_str("no space left"),
            Self::Corrupt => out.write_str("data damaged"),
            Self::Aborted => out.write_str("transaction already rolled back"),
            Self::Unsupported => out.write_str("not supported"),
            Self::Migration => out.write_str("migration refused"),
            Self::Other => out.write_str("error"),
        }
    }
}

/// Which rule of a table was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConstraintKind {
    /// A primary key or unique index holds the value already.
    Unique,
    /// A row that is referred to is missing, or is still referred to.
    ForeignKey,
    /// A `CHECK` is false.
    Check,
    /// NULL in a column that must have a value.
    NotNull,
    /// Another rule of the database, such as a trigger.
    Other,
}

impl fmt::Display for ConstraintKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unique => "unique",
            Self::ForeignKey => "foreign key",
            Self::Check => "check",
            Self::NotNull => "not null",
            Self::Other => "database",
        })
    }
}

/// The five characters of an SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sqlstate(pub [u8; 5]);

impl Sqlstate {
    /// The statement names a table that does not exist.
    pub const MISSING_TABLE: Self = Self(*b"42S02");
    /// The statement would create a table or index that exists.
    pub const EXISTING_TABLE: Self = Self(*b"42S01");
    /// The statement would add a column that exists.
    pub const EXISTING_COLUMN: Self = Self(*b"42S21");
    /// The statement would drop an index or column that does not exist.
    pub const MISSING_INDEX: Self = Self(*b"42S12");
    /// The statement names a column that does not exist.
    pub const MISSING_COLUMN: Self = Self(*b"42S22");
}

impl fmt::Display for Sqlstate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| fmt::Write::write_char(out, char::from(*byte)))
    }
}
