//! The words that open a session and begin its transactions, by database.

use crate::connection::{Access, Mode};
use crate::dialect::Dialect;

/// What a new session is told, one statement after the other.
pub(super) fn opening(dialect: Dialect, access: Access) -> &'static [&'static str] {
    /// Text in UTF-8 whatever the locale, floats with all their digits, times in UTC; a server that looks after its
    /// clients, so that the transaction of a machine that vanished does not keep its locks for hours.
    const POSTGRES: &str = "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES \
         ('client_connection_check_interval', '1000'), ('tcp_keepalives_idle', '15'), \
         ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'), ('extra_float_digits', '3'), \
         ('standard_conforming_strings', 'on'), ('TimeZone', 'UTC')) v (name, value) ON s.name = v.name";
    /// Standard quotes and literals, and no value that is bent to fit.
    const MARIADB: &str = "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,\
         STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,\
         NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY', time_zone = '+00:00'";
    match (dialect, access) {
        (Dialect::Postgres, Access::ReadWrite) => &["SET client_encoding TO 'UTF8'", POSTGRES],
        (Dialect::Postgres, Access::ReadOnly) => &[
            "SET client_encoding TO 'UTF8'",
            POSTGRES,
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ],
        (Dialect::MariaDb, Access::ReadWrite) => {
            &[MARIADB, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"]
        }
        (Dialect::MariaDb, Access::ReadOnly) => {
            &[MARIADB, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"]
        }
        (Dialect::Db2, Access::ReadOnly) => &["SET CURRENT ISOLATION = RS"],
        (Dialect::Db2, Access::ReadWrite) | (Dialect::Sqlite | Dialect::Derby, _) => &[],
    }
}

/// What begins a transaction, one statement after the other. A write reads what is committed and waits for locks; a
/// reader keeps one view (on DB2: what it has read stays as it is until its end).
pub(super) fn beginning(dialect: Dialect, access: Access, mode: Mode) -> &'static [&'static str] {
    match (dialect, mode, access) {
        (Dialect::Postgres, Mode::Write, _) => &["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"],
        (Dialect::Postgres, Mode::ReadOnly, _) => &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],
        (Dialect::MariaDb, Mode::Write, _) => &["START TRANSACTION READ WRITE"],
        (Dialect::MariaDb, Mode::ReadOnly, Access::ReadOnly) => {
            &["START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"]
        }
        (Dialect::MariaDb, Mode::ReadOnly, Access::ReadWrite) => &[
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ],
        (Dialect::Db2, Mode::Write, _) => &["SET CURRENT ISOLATION = CS"],
        (Dialect::Db2, Mode::ReadOnly, _) => &["SET CURRENT ISOLATION = RS"],
        (Dialect::Sqlite | Dialect::Derby, _, _) => &[],
    }
}

/// Whether transactions are begun by switching the driver's commit after each statement off.
pub(super) fn begins_by_switch(dialect: Dialect) -> bool {
    dialect == Dialect::Db2
}

/// What takes and gives back the lock for definitions; it answers 1 or fails, or 0 and NULL when time is over.
pub(super) fn definition_lock(dialect: Dialect, seconds: u64) -> Option<(String, &'static str)> {
    match dialect {
        Dialect::Postgres => Some((
            "SELECT CASE WHEN pg_advisory_lock(5136, 15717) IS NULL THEN 0 ELSE 1 END".to_owned(),
            "SELECT pg_advisory_unlock(5136, 15717)",
        )),
        Dialect::MariaDb => Some((
            format!("SELECT GET_LOCK(CONCAT(DATABASE(), '.gantry_migration'), {seconds})"),
            "SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.gantry_migration'))",
        )),
        _ => None,
    }
}
