//! The tables, and the number space that a database is.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use gantry_datasource::{
    Connection, ErrorKind, Migration, SourceError, ValueRef, insert_unless_present, migrate, missing_steps,
};

use crate::error::SerialError;

/// The owner of the steps in `gantry_migration`; the stroke keeps it apart from every library's name.
const OWNER: &str = "platform/serial";
/// One statement in each step, since MariaDB commits at each.
const STEPS: [&str; 6] = [
    "CREATE TABLE gantry_serial (kind VARCHAR(32) NOT NULL PRIMARY KEY, \
     next_value BIGINT NOT NULL, leased_ms BIGINT NOT NULL)",
    "ALTER TABLE gantry_serial ADD COLUMN epoch BIGINT DEFAULT 0 NOT NULL",
    // One row. Its random name keeps apart what databases that share a Redis have leased.
    "CREATE TABLE gantry_serial_space (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(32) NOT NULL, \
     created_ms BIGINT NOT NULL)",
    // What was leased for whom: a Redis list, a node's cache. ended_ms 0 = still in use.
    "CREATE TABLE gantry_serial_holder (kind VARCHAR(32) NOT NULL, holder VARCHAR(64) NOT NULL, \
     leased BIGINT NOT NULL, since_ms BIGINT NOT NULL, ended_ms BIGINT NOT NULL, reason VARCHAR(40) NOT NULL, \
     PRIMARY KEY (kind, holder))",
    // What a node did with it, as its figures stood when it last reported.
    "CREATE TABLE gantry_serial_count (kind VARCHAR(32) NOT NULL, node VARCHAR(64) NOT NULL, \
     what VARCHAR(32) NOT NULL, numbers BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (kind, node, what))",
    // Where each type stood when a day began; days count from 1970-01-01 UTC.
    "CREATE TABLE gantry_serial_day (kind VARCHAR(32) NOT NULL, day_number INTEGER NOT NULL, \
     next_value BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (kind, day_number))",
];
const SELECT_SPACE: &str = "SELECT name FROM gantry_serial_space WHERE id = 1";
const INSERT_SPACE: &str = "INSERT INTO gantry_serial_space (id, name, created_ms) VALUES (1, ?, ?)";
/// How long making the row of the space may take.
const SPACE_LIMIT: Duration = Duration::from_secs(10);

/// Makes the tables, or brings them up to date, as [`migrate`] does, and names the number space. Returns the versions
/// applied now. Not inside a transaction.
///
/// # Errors
/// Those of [`migrate`].
pub fn prepare_table(connection: &mut dyn Connection) -> Result<Vec<u32>, SourceError> {
    let applied = migrate(connection, OWNER, &steps())?;
    let rows = connection.query(SELECT_SPACE, &[], 1, SPACE_LIMIT)?;
    if rows.get(0, 0).is_none() {
        let name = random_name().map_err(|cause| {
            let message = format!("/dev/urandom could not be read: {cause}");
            SourceError::own(ErrorKind::Unsupported, connection.source_name(), "name the space", message)
        })?;
        let now_ms = i64::try_from(gantry_sys::clock::realtime_ms()).unwrap_or(i64::MAX);
        // Where another process was faster, its name stands.
        insert_unless_present(connection, INSERT_SPACE, &[name.as_str().into(), now_ms.into()], SPACE_LIMIT)?;
    }
    Ok(applied)
}

/// The versions that [`prepare_table`] would apply. Changes nothing.
///
/// # Errors
/// Those of [`missing_steps`].
pub fn missing_table_steps(connection: &mut dyn Connection) -> Result<Vec<u32>, SourceError> {
    missing_steps(connection, OWNER, &steps())
}

fn steps() -> Vec<Migration<'static>> {
    (1..).zip(STEPS).map(|(version, sql)| Migration { version, sql }).collect()
}

/// The name of the database's number space: 32 letters and digits.
pub(crate) fn space_name(connection: &mut dyn Connection, limit: Duration) -> Result<String, SerialError> {
    let rows = connection
        .query(SELECT_SPACE, &[], 1, limit)
        .map_err(|cause| SerialError::Figures { doing: "read the space's name", cause: Box::new(cause) })?;
    match rows.get(0, 0) {
        Some(ValueRef::Text(name)) if name.len() == 32 && name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok(name.to_owned())
        }
        _ => Err(SerialError::NoSpace),
    }
}

fn random_name() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
