//! Ranges from the database.

use crate::error::SerialError;
use crate::limits::LEASE_TRIES_MAX;
use gantry_datasource::{
    Connection, Migration, Mode, SourceError, TransactionState, ValueRef, insert_unless_present, migrate,
};
use std::ops::Range;
use std::time::Duration;

/// The owner of the table's steps in `gantry_migration`; the stroke keeps it apart from every library's name.
const OWNER: &str = "platform/serial";
const CREATE: &str = "CREATE TABLE gantry_serial (kind VARCHAR(32) NOT NULL PRIMARY KEY, \
     next_value BIGINT NOT NULL, leased_ms BIGINT NOT NULL)";
/// The bound in the statement itself keeps `next_value` from ever passing it, whoever leases meanwhile.
const UPDATE: &str = "UPDATE gantry_serial SET next_value = next_value + ?, leased_ms = ? \
     WHERE kind = ? AND next_value <= ?";
const SELECT: &str = "SELECT next_value FROM gantry_serial WHERE kind = ?";
const INSERT: &str = "INSERT INTO gantry_serial (kind, next_value, leased_ms) VALUES (?, ?, ?)";
const NUMBER_FIRST: i64 = 1;

/// Makes the table, or brings it up to date, as [`migrate`] does. Returns the versions applied now.
///
/// # Errors
/// Those of [`migrate`].
pub fn prepare_table(connection: &mut dyn Connection) -> Result<Vec<u32>, SourceError> {
    migrate(connection, OWNER, &[Migration { version: 1, sql: CREATE }])
}

/// What is asked of the database.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: &'a str,
    /// Numbers to lease if there are as many.
    pub(crate) range: i64,
    /// Numbers without which the lease is of no use; at most `range`.
    pub(crate) needed: i64,
    /// The largest number that may be leased.
    pub(crate) number_max: i64,
    pub(crate) now_ms: i64,
    pub(crate) limit: Duration,
}

/// A leased range.
pub(crate) struct Leased {
    pub(crate) numbers: Range<i64>,
    /// Whether it comes undone if the caller's transaction is rolled back.
    pub(crate) provisional: bool,
}

impl Wanted<'_> {
    /// Leases a range in the caller's open transaction, or in one of its own.
    pub(crate) fn lease(&self, connection: &mut dyn Connection) -> Result<Leased, SerialError> {
        if connection.transaction() != TransactionState::None {
            return Ok(Leased { numbers: self.lease_within(connection)?, provisional: true });
        }
        connection.begin(Mode::Write, self.limit).map_err(|cause| self.failed(cause))?;
        let outcome = self.lease_within(connection).and_then(|numbers| {
            connection.commit().map_err(|cause| self.failed(cause))?;
            Ok(Leased { numbers, provisional: false })
        });
        if connection.in_transaction() {
            connection.rollback().map_err(|cause| self.failed(cause))?;
        }
        outcome
    }

    fn lease_within(&self, connection: &mut dyn Connection) -> Result<Range<i64>, SerialError> {
        let mut range = self.range.min(self.number_max);
        for _ in 0..LEASE_TRIES_MAX {
            let latest_start = self.number_max - range + 1;
            let params = [range.into(), self.now_ms.into(), self.kind.into(), latest_start.into()];
            let changed =
                connection.execute(UPDATE, &params, self.limit).map_err(|cause| self.failed(cause))?;
            let next = self.read_next(connection)?;
            match next {
                Some(end) if changed == 1 => return Ok(end - range..end),
                Some(next) => {
                    let left = (self.number_max - next + 1).max(0);
                    if left < self.needed {
                        return Err(self.exhausted(left));
                    }
                    // The last range of all is shorter.
                    range = range.min(left);
                }
                None => self.insert(connection)?,
            }
        }
        let message = "other processes changed the same row each time";
        let kind = gantry_datasource::ErrorKind::Retryable;
        Err(self.failed(SourceError::own(kind, connection.source_name(), "lease serials", message)))
    }

    fn insert(&self, connection: &mut dyn Connection) -> Result<(), SerialError> {
        let params = [self.kind.into(), NUMBER_FIRST.into(), self.now_ms.into()];
        // If another process made the row in between, it is as good as ours.
        insert_unless_present(connection, INSERT, &params, self.limit)
            .map(|_was_inserted| ())
            .map_err(|cause| self.failed(cause))
    }

    fn read_next(&self, connection: &mut dyn Connection) -> Result<Option<i64>, SerialError> {
        let rows = connection
            .query(SELECT, &[self.kind.into()], 1, self.limit)
            .map_err(|cause| self.failed(cause))?;
        match rows.get(0, 0) {
            None => Ok(None),
            Some(ValueRef::I64(next)) if next >= NUMBER_FIRST => Ok(Some(next)),
            Some(_) => Err(SerialError::Damaged { kind: self.kind.to_owned() }),
        }
    }

    fn exhausted(&self, left: i64) -> SerialError {
        SerialError::Exhausted {
            kind: self.kind.to_owned(),
            number_max: self.number_max,
            needed: self.needed.unsigned_abs(),
            left: left.unsigned_abs(),
        }
    }

    fn failed(&self, cause: SourceError) -> SerialError {
        SerialError::Source { kind: self.kind.to_owned(), cause: Box::new(cause) }
    }
}
