//! Brings the tables of a library, or of the platform, up to date.

use crate::connection::{Connection, Mode};
use crate::error::{ErrorKind, SourceError};
use crate::limits::{MIGRATION_OWNER_BYTES_MAX, MIGRATION_STATEMENT_LIMIT};
use crate::statement::holds_statement;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const CREATE: &str = "CREATE TABLE gantry_migration (owner VARCHAR(64) NOT NULL, version INTEGER NOT NULL, \
     text_hash VARCHAR(64) NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (owner, version))";
const SELECT: &str = "SELECT version, text_hash FROM gantry_migration WHERE owner = ? ORDER BY version";
const INSERT: &str =
    "INSERT INTO gantry_migration (owner, version, text_hash, applied_at) VALUES (?, ?, ?, ?)";
const OPERATION: &str = "migrate";

/// Versions that one owner may have; an owner has a handful.
const VERSIONS_MAX: usize = 10_000;

/// One step of an owner's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration<'a> {
    /// Its number, from 1, higher than that of the step before.
    pub version: u32,
    /// Its statements, separated by `;` at the end of a line. Portable SQL: `BIGINT`, `INTEGER`, `VARCHAR(n)`,
    /// `NOT NULL` on keys. Its bytes must never change once it was applied anywhere.
    pub sql: &'a str,
}

/// Applies the steps that the database does not have yet and returns their versions.
///
/// `owner` is a library's name, or `platform/` and a part of the platform, 1 to 64 bytes; each owner counts its
/// versions for itself. Each step runs in a transaction of its own together with its row in `gantry_migration`, so a
/// step is there whole or not at all. Where a definition commits by itself (MariaDB) there is no such transaction: a
/// step that was cut off is begun again, and definitions that are there already are passed over; what a step does to
/// rows must bear that. Processes that start together may all call it: one applies a step, the others find it done.
/// Steps in the database that the list does not have are left alone, so that an older version of a library still
/// runs after a roll-back.
///
/// Blocks for as long as the statements take, each at most
/// [`MIGRATION_STATEMENT_LIMIT`]. When nothing is to be done it only reads.
///
/// # Errors
/// [`Migration`](ErrorKind::Migration): the text of an applied step changed, versions are not ascending, or a new step is older
/// than an applied one. Otherwise the error of the statement, whose message then names step and statement.
pub fn migrate(
    connection: &mut dyn Connection,
    owner: &str,
    migrations: &[Migration<'_>],
) -> Result<Vec<u32>, SourceError> {
    check_list(connection, owner, migrations)?;
    let applied = read_applied(connection, owner)?;
    if is_complete(connection, owner, &applied, migrations)? {
        return Ok(Vec::new());
    }
    lock_patiently(connection)?;
    let outcome = apply_missing(connection, owner, migrations);
    // A connection on which the unlocking fails is broken, and closing it unlocks; the first error is the one to tell.
    let unlocked = connection.unlock_definitions();
    let now_applied = outcome?;
    unlocked?;
    Ok(now_applied)
}

/// The versions that [`migrate`] would apply. Only reads.
///
/// # Errors
/// As [`migrate`].
pub fn missing_steps(
    connection: &mut dyn Connection,
    owner: &str,
    migrations: &[Migration<'_>],
) -> Result<Vec<u32>, SourceError> {
    check_list(connection, owner, migrations)?;
    let applied = read_applied(connection, owner)?;
    let mut missing = Vec::new();
    for migration in migrations {
        if !is_applied(connection, owner, &applied, migration.version, &hash_text(migration.sql))? {
            missing.push(migration.version);
        }
    }
    Ok(missing)
}

/// Whether nothing is to be done; a contradiction is an error.
fn is_complete(
    connection: &dyn Connection,
    owner: &str,
    applied: &[(u32, String)],
    migrations: &[Migration<'_>],
) -> Result<bool, SourceError> {
    for migration in migrations {
        if !is_applied(connection, owner, applied, migration.version, &hash_text(migration.sql))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn apply_missing(
    connection: &mut dyn Connection,
    owner: &str,
    migrations: &[Migration<'_>],
) -> Result<Vec<u32>, SourceError> {
    make_table(connection, owner)?;
    let mut now_applied = Vec::new();
    for migration in migrations {
        let hash = hash_text(migration.sql);
        let applied = select_applied(connection, owner)?;
        if is_applied(connection, owner, &applied, migration.version, &hash)? {
            continue;
        }
        let was_applied = if connection.dialect().definition_commits() {
            apply(connection, owner, migration, &hash)?
        } else {
            begin_patiently(connection)?;
            let outcome = apply(connection, owner, migration, &hash).and_then(|was_applied| {
                connection.commit()?;
                Ok(was_applied)
            });
            if outcome.is_err() {
                connection.rollback()?;
            }
            match outcome {
                // Where there is no lock for definitions, the loser of a race finds the table made.
                Err(error) if error.is_existing_table() => {
                    let applied = select_applied(connection, owner)?;
                    if is_applied(connection, owner, &applied, migration.version, &hash)? {
                        continue;
                    }
                    return Err(error);
                }
                outcome => outcome?,
            }
        };
        if was_applied {
            now_applied.push(migration.version);
        }
    }
    Ok(now_applied)
}

fn check_list(
    connection: &dyn Connection,
    owner: &str,
    migrations: &[Migration<'_>],
) -> Result<(), SourceError> {
    if owner.is_empty() || owner.len() > MIGRATION_OWNER_BYTES_MAX {
        return Err(refuse(connection, format!("owner `{owner}` must have 1 to 64 bytes")));
    }
    if connection.in_transaction() {
        return Err(refuse(connection, "a transaction is open; migrations run in their own".to_owned()));
    }
    let mut before = 0;
    for migration in migrations {
        if migration.version <= before || i32::try_from(migration.version).is_err() {
            return Err(refuse(
                connection,
                format!(
                    "{owner}: version {} follows {before}; versions ascend from 1 to 2147483647",
                    migration.version
                ),
            ));
        }
        before = migration.version;
    }
    Ok(())
}

/// What the database has; nothing where the table of migrations is missing.
fn read_applied(connection: &mut dyn Connection, owner: &str) -> Result<Vec<(u32, String)>, SourceError> {
    match select_applied(connection, owner) {
        Err(error) if error.is_missing_table() => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// Makes the table of migrations if it is missing.
fn make_table(connection: &mut dyn Connection, owner: &str) -> Result<(), SourceError> {
    match select_applied(connection, owner) {
        Err(error) if error.is_missing_table() => {}
        outcome => return outcome.map(drop),
    }
    match patiently(|| connection.execute(CREATE, &[], MIGRATION_STATEMENT_LIMIT)) {
        Ok(_) => Ok(()),
        // Another process made it since we looked.
        Err(error) if error.is_existing_table() => Ok(()),
        Err(error) => Err(error),
    }
}

fn select_applied(connection: &mut dyn Connection, owner: &str) -> Result<Vec<(u32, String)>, SourceError> {
    let rows = connection.query(SELECT, &[owner.into()], VERSIONS_MAX, MIGRATION_STATEMENT_LIMIT)?;
    (0..rows.rows())
        .map(|row| {
            let version = rows.value(row, 0).as_i64().and_then(|version| u32::try_from(version).ok());
            match (version, rows.value(row, 1).as_text()) {
                (Some(version), Some(hash)) => Ok((version, hash.to_owned())),
                _ => Err(refuse(connection, format!("{owner}: row {row} of gantry_migration is damaged"))),
            }
        })
        .collect()
}

fn is_applied(
    connection: &dyn Connection,
    owner: &str,
    applied: &[(u32, String)],
    version: u32,
    hash: &str,
) -> Result<bool, SourceError> {
    if let Some((_, applied_hash)) = applied.iter().find(|(known, _)| *known == version) {
        if applied_hash == hash {
            return Ok(true);
        }
        return Err(refuse(
            connection,
            format!("{owner}: the text of version {version} changed after it was applied"),
        ));
    }
    match applied.iter().map(|(known, _)| *known).max() {
        Some(newest) if newest > version => Err(refuse(
            connection,
            format!("{owner}: version {version} is new, but version {newest} was applied already"),
        )),
        _ => Ok(false),
    }
}

/// Applies one step in the open transaction; `false` if another process did so since we looked.
fn apply(
    connection: &mut dyn Connection,
    owner: &str,
    migration: &Migration<'_>,
    hash: &str,
) -> Result<bool, SourceError> {
    let applied = select_applied(connection, owner)?;
    if is_applied(connection, owner, &applied, migration.version, hash)? {
        return Ok(false);
    }
    let may_be_there = connection.dialect().definition_commits();
    for (index, statement) in split_statements(migration.sql).enumerate() {
        match connection.execute(statement, &[], MIGRATION_STATEMENT_LIMIT) {
            Ok(_) => {}
            Err(error) if may_be_there && error.is_defined_already() => {}
            Err(mut error) => {
                error.message = format!(
                    "{owner}, version {}, statement {}: {}",
                    migration.version,
                    index + 1,
                    error.message
                );
                return Err(error);
            }
        }
    }
    let params = [owner.into(), migration.version.into(), hash.into(), now_ms().into()];
    connection.execute(INSERT, &params, MIGRATION_STATEMENT_LIMIT)?;
    Ok(true)
}

/// Waits for the writer's place for as long as another process's step may take.
fn begin_patiently(connection: &mut dyn Connection) -> Result<(), SourceError> {
    patiently(|| connection.begin(Mode::Write, MIGRATION_STATEMENT_LIMIT))
}

/// Waits for the place of the one that migrates, likewise.
fn lock_patiently(connection: &mut dyn Connection) -> Result<(), SourceError> {
    patiently(|| connection.lock_definitions(MIGRATION_STATEMENT_LIMIT))
}

fn patiently<T>(mut take: impl FnMut() -> Result<T, SourceError>) -> Result<T, SourceError> {
    let began = Instant::now();
    loop {
        match take() {
            Err(error)
                if error.kind == ErrorKind::Retryable && began.elapsed() < MIGRATION_STATEMENT_LIMIT => {}
            outcome => return outcome,
        }
    }
}

fn split_statements(sql: &str) -> impl Iterator<Item = &str> {
    // `lines` cannot be used: the statements keep their line breaks, so that errors keep their places.
    sql.split(";\n").flat_map(|part| part.split(";\r\n")).filter(|part| holds_statement(part))
}

fn hash_text(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
        hex
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn refuse(connection: &dyn Connection, message: String) -> SourceError {
    SourceError::own(ErrorKind::Migration, connection.source_name(), OPERATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_statements_keeps_literals_on_one_line_and_skips_comments() {
        let sql = "-- tables;\nCREATE TABLE a (b VARCHAR(3) DEFAULT ';');\r\n\n-- the end\n;\nCREATE TABLE c (d INTEGER);";
        let parts: Vec<_> = split_statements(sql).collect();
        assert_eq!(
            parts,
            ["CREATE TABLE a (b VARCHAR(3) DEFAULT ';')", "CREATE TABLE c (d INTEGER);"],
            "{parts:?}"
        );
    }

    #[test]
    fn hash_text_is_sha256_in_hex() {
        assert_eq!(hash_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
