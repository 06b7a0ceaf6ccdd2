//! `[data.NAME]`: the data sources services name.

use crate::{Secret, print};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// One data source, `[data.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub enum DataSettings {
    /// Embedded SQLite.
    Sqlite(SqliteSettings),
    /// Any SQL database through ODBC.
    Odbc(OdbcSettings),
    /// MongoDB.
    MongoDb(MongoSettings),
}

/// Embedded SQLite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SqliteSettings {
    /// The database file; absolute.
    #[serde(serialize_with = "print::path")]
    pub path: PathBuf,
    /// How long a statement waits for another process's lock; also cut to the request's time left.
    #[serde(serialize_with = "print::duration")]
    pub busy_timeout: Duration,
    /// What a commit waits for.
    pub synchronous: Synchronous,
}

/// What a commit of SQLite waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The commit is on disk: needed for money.
    Full,
    /// A power loss may take back the last commits; the file stays whole.
    Normal,
}

/// A SQL database through ODBC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OdbcSettings {
    /// The connection string, `Driver={…};…`.
    pub connection: Secret,
}

/// A MongoDB deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MongoSettings {
    /// The connection URI, `mongodb://…`.
    pub uri: Secret,
    /// Whether what a write request does there is kept or undone as one.
    pub transactions: Transactions,
}

/// Whether a document source is written in transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transactions {
    /// Where the server has them: replica sets and clusters.
    Detect,
    /// Always; a server without them refuses the first command of a write.
    On,
    /// Never: each command is kept by itself, at once.
    Off,
}

/// The kinds of databases that a file can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Embedded SQLite.
    Sqlite,
    /// Any SQL database through ODBC.
    Odbc,
    /// MongoDB.
    MongoDb,
}

impl Driver {
    /// The drivers this binary has. A feature that adds one changes this list only: the check of the
    /// file and its message follow from it.
    pub const BUILT: &'static [Self] = &[
        Self::Sqlite,
        #[cfg(feature = "odbc")]
        Self::Odbc,
        #[cfg(feature = "mongodb")]
        Self::MongoDb,
    ];

    /// The word in the configuration: `sqlite`, `odbc` or `mongodb`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Odbc => "odbc",
            Self::MongoDb => "mongodb",
        }
    }

    /// Whether this binary can open such a source.
    pub fn is_built(self) -> bool {
        Self::BUILT.contains(&self)
    }
}

impl DataSettings {
    /// Whether it keeps documents; the others speak SQL.
    pub const fn keeps_documents(&self) -> bool {
        matches!(self, Self::MongoDb(_))
    }

    /// The driver this source is opened with.
    pub const fn driver(&self) -> Driver {
        match self {
            Self::Sqlite(_) => Driver::Sqlite,
            Self::Odbc(_) => Driver::Odbc,
            Self::MongoDb(_) => Driver::MongoDb,
        }
    }
}
