//! What the suite must know of a driver.

use gantry_datasource::{Access, Connection, Source, SqliteOptions, SqliteSource, ValueRef};
use std::any::Any;
use std::time::Duration;

/// Long enough for any call of the suite that is meant to end by itself.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A driver under test.
pub(crate) trait Profile: Sync {
    /// A fresh, empty database.
    fn database(&self) -> Database;

    /// A query of one column that would run for minutes.
    fn slow_query(&self) -> &'static str;
}

/// A database that goes when the value does.
pub(crate) struct Database {
    source: Box<dyn Fn() -> Box<dyn Source> + Sync>,
    /// What removes it.
    _guard: Box<dyn Any + Sync>,
}

impl Database {
    pub(crate) fn new(source: impl Fn() -> Box<dyn Source> + Sync + 'static, guard: impl Any + Sync) -> Self {
        Self { source: Box::new(source), _guard: Box::new(guard) }
    }

    pub(crate) fn source(&self) -> Box<dyn Source> {
        (self.source)()
    }

    pub(crate) fn writer(&self) -> Box<dyn Connection> {
        self.source().connect(Access::ReadWrite).unwrap()
    }

    pub(crate) fn reader(&self) -> Box<dyn Connection> {
        self.source().connect(Access::ReadOnly).unwrap()
    }

    #[cfg(feature = "odbc")]
    pub(crate) fn pool(&self) -> gantry_datasource::Pool {
        gantry_datasource::Pool::new(self.source(), Access::ReadWrite)
    }

    /// A connection and the table `item (id, name, price)`.
    pub(crate) fn with_items(&self) -> Box<dyn Connection> {
        let mut connection = self.writer();
        connection
            .execute(
                "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(40), price BIGINT)",
                &[],
                LIMIT,
            )
            .unwrap();
        connection
    }
}

/// Embedded SQLite.
pub(crate) struct Sqlite;

impl Sqlite {
    fn open(set: impl FnOnce(SqliteOptions) -> SqliteOptions) -> Database {
        let folder = tempfile::tempdir().unwrap();
        let options = set(SqliteOptions::new(folder.path().join("data.db")));
        Database::new(move || Box::new(SqliteSource::new("main", options.clone())), folder)
    }

    /// A fresh database that holds less than 1 MiB.
    pub(crate) fn small_database(&self) -> Database {
        Self::open(|options| options.file_bytes_max(512 * 1024))
    }
}

impl Profile for Sqlite {
    fn database(&self) -> Database {
        Self::open(|options| options)
    }

    fn slow_query(&self) -> &'static str {
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2000000000) \
         SELECT COUNT(*) FROM number"
    }
}

pub(crate) fn insert_item(connection: &mut dyn Connection, id: i64) {
    let params = [ValueRef::I64(id), ValueRef::Text("物品"), ValueRef::I64(id * 100)];
    let count = connection.execute("INSERT INTO item (id, name, price) VALUES (?, ?, ?)", &params, LIMIT);
    assert_eq!(count.unwrap(), 1);
}

/// The ids in `item`, ascending.
pub(crate) fn ids(connection: &mut dyn Connection) -> Vec<i64> {
    let rows = connection.query("SELECT id FROM item ORDER BY id", &[], 100_000, LIMIT).unwrap();
    (0..rows.rows()).map(|row| rows.value(row, 0).as_i64().unwrap()).collect()
}
