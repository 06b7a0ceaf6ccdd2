//! Opening a SQLite file and setting it up.

use super::deadline::{Deadline, LockWait};
use super::failure::Failure;
use super::{SqliteOptions, Synchronous};
use crate::connection::Access;
use crate::error::ErrorKind;
use crate::limits::{
    INSTRUCTIONS_BETWEEN_CLOCK_LOOKS, OPEN_LIMIT, RESULT_BYTES_MAX, STATEMENTS_PREPARED_MAX,
    WAL_AUTOCHECKPOINT_PAGES, WAL_BYTES_KEPT,
};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 3.7.0 to 3.51.2 can corrupt the write-ahead log when two processes checkpoint at once (sqlite.org/wal.html).
const SQLITE_VERSION_MIN: i32 = 3_051_003;
const PAGE_BYTES: u64 = 4096;

/// Opens the file, made if it is missing, with its callbacks bound to `deadline`.
pub(super) fn open(
    options: &SqliteOptions,
    access: Access,
    deadline: &Deadline,
) -> Result<Connection, Failure> {
    check_version(rusqlite::version_number())?;
    let path = create_file(&options.path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut native = Connection::open_with_flags(&path, flags)?;

    let mut wait = LockWait::new(deadline.clone(), options.busy_timeout);
    native.busy_handler(Some(move |tries| wait.wait(tries)))?;
    let clock = deadline.clone();
    native.progress_handler(INSTRUCTIONS_BETWEEN_CLOCK_LOOKS, Some(move || clock.has_passed()))?;

    deadline.start(OPEN_LIMIT);
    let outcome = set_up(&native, options, access, deadline);
    deadline.clear();
    outcome.map(|()| native)
}

fn check_version(version: i32) -> Result<(), Failure> {
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    Err(Failure::own(
        ErrorKind::Unsupported,
        format!(
            "SQLite {}.{}.{} can damage a database with several checkpointing processes; \
             link 3.51.3 or later (the bundled one)",
            version / 1_000_000,
            version / 1_000 % 1_000,
            version % 1_000
        ),
    ))
}

/// Makes the file, private to its user, before SQLite would make it with the umask's rights; the log and its index
/// take their rights from it. The absolute path also keeps a name like `file:x` from being read as a URI.
fn create_file(path: &Path) -> Result<PathBuf, Failure> {
    let refuse = |error: &io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "its folder does not exist; create it or correct the path",
            io::ErrorKind::PermissionDenied => "the platform's user may not use it; correct its owner",
            _ => "see the system's message",
        };
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::ConnectionLost,
        };
        Failure::own(kind, format!("{}: {error}: {hint}", path.display()))
    };
    let absolute = std::path::absolute(path).map_err(|error| refuse(&error))?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&absolute) {
        Ok(_) => Ok(absolute),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(absolute),
        Err(error) => Err(refuse(&error)),
    }
}

fn set_up(
    native: &Connection,
    options: &SqliteOptions,
    access: Access,
    deadline: &Deadline,
) -> Result<(), Failure> {
    enter_wal(native, options, deadline)?;
    native.pragma_update(
        None,
        "synchronous",
        match options.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
            Synchronous::Extra => "EXTRA",
        },
    )?;
    native.pragma_update(None, "foreign_keys", true)?;
    // A negative size is in KiB, whatever the page's size.
    native.pragma_update(None, "cache_size", -i64::from((options.cache_bytes / 1024).max(64)))?;
    native.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)?;
    native.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    if let Some(bytes) = options.file_bytes_max {
        let pages = i64::try_from(bytes / PAGE_BYTES).unwrap_or(i64::MAX).max(1);
        native.pragma_update(None, "max_page_count", pages)?;
    }
    // A statement of a service must not reach SQLite's own tables, a second file, or a literal in double quotes,
    // which other databases take for a name.
    native.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    native.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    native.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    native.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    native.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let value_bytes_max = i32::try_from(RESULT_BYTES_MAX).unwrap_or(i32::MAX);
    native.set_limit(Limit::SQLITE_LIMIT_LENGTH, value_bytes_max)?;
    native.set_prepared_statement_cache_capacity(STATEMENTS_PREPARED_MAX);
    if access == Access::ReadOnly {
        native.pragma_update(None, "query_only", true)?;
    }
    Ok(())
}

/// Switches the file to the write-ahead log, which it then stays in.
///
/// The switch needs the file alone for an instant, and SQLite answers busy at once, without its busy handler, to
/// one of two processes that try it together: so it is tried again until the time to open has passed.
fn enter_wal(native: &Connection, options: &SqliteOptions, deadline: &Deadline) -> Result<(), Failure> {
    const SLEEP: Duration = Duration::from_millis(2);
    loop {
        let tried: rusqlite::Result<String> =
            native.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match tried {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Failure::own(
                    ErrorKind::Unsupported,
                    format!(
                        "{}: the file stays in journal mode {mode}; put it on a local file system, \
                         where processes can share memory",
                        options.path.display()
                    ),
                ));
            }
            Err(error) if is_busy(&error) && !deadline.has_passed() => std::thread::sleep(SLEEP),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_version_refuses_what_can_damage_the_log() {
        assert!(check_version(3_051_003).is_ok());
        let Err(Failure::Own(ErrorKind::Unsupported, message)) = check_version(3_051_002) else {
            panic!("3.51.2 must be refused");
        };
        assert!(message.contains("3.51.2") && message.contains("3.51.3"), "{message}");
        assert!(check_version(rusqlite::version_number()).is_ok(), "the bundled one is new enough");
    }
}
