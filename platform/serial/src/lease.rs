//! Ranges from the database.

use std::ops::Range;
use std::time::Duration;

use gantry_datasource::{Connection, Mode, SourceError, TransactionState, ValueRef, insert_unless_present};

use crate::error::SerialError;
use crate::limits::LEASE_TRIES_MAX;

/// The bound in the statement itself keeps `next_value` from ever passing it, whoever leases meanwhile.
const UPDATE: &str = "UPDATE gantry_serial SET next_value = next_value + ?, leased_ms = ? \
     WHERE kind = ? AND next_value <= ?";
const SELECT: &str = "SELECT next_value, epoch FROM gantry_serial WHERE kind = ?";
const INSERT: &str = "INSERT INTO gantry_serial (kind, next_value, leased_ms, epoch) VALUES (?, ?, ?, 0)";
const UPDATE_HOLDER: &str =
    "UPDATE gantry_serial_holder SET leased = leased + ? WHERE kind = ? AND holder = ?";
const INSERT_HOLDER: &str = "INSERT INTO gantry_serial_holder \
     (kind, holder, leased, since_ms, ended_ms, reason) VALUES (?, ?, ?, ?, 0, '')";
const NUMBER_FIRST: i64 = 1;

/// What is asked of the database.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: &'a str,
    /// Whom it is leased for, as status shows it.
    pub(crate) holder: &'a str,
    /// Numbers to lease if there are as many.
    pub(crate) range: i64,
    /// Numbers without which the lease is of no use; at most `range`.
    pub(crate) needed: i64,
    /// The largest number that may be leased.
    pub(crate) number_max: i64,
    /// What was known before the lease was asked for: the end of the highest range that was leased for certain, and
    /// the epoch. A database that knows less was restored from a backup.
    pub(crate) known_top: i64,
    pub(crate) known_epoch: u64,
    pub(crate) now_ms: i64,
    pub(crate) limit: Duration,
}

/// A leased range.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) numbers: Range<i64>,
    pub(crate) epoch: u64,
    /// Whether it comes undone if the caller's transaction is rolled back.
    pub(crate) provisional: bool,
}

/// Where a type stands in the database.
pub(crate) struct Stand {
    pub(crate) next: i64,
    pub(crate) epoch: u64,
}

impl Wanted<'_> {
    /// Leases a range in the caller's open transaction, or in one of its own.
    pub(crate) fn lease(&self, connection: &mut dyn Connection) -> Result<Leased, SerialError> {
        if connection.transaction() != TransactionState::None {
            let leased = self.lease_within(connection)?;
            return Ok(Leased { provisional: true, ..leased });
        }
        within(connection, self.limit, |cause| self.failed(cause), |connection| self.lease_within(connection))
    }

    fn lease_within(&self, connection: &mut dyn Connection) -> Result<Leased, SerialError> {
        let mut range = self.range.min(self.number_max);
        for _ in 0..LEASE_TRIES_MAX {
            let latest_start = self.number_max - range + 1;
            let params = [range.into(), self.now_ms.into(), self.kind.into(), latest_start.into()];
            let changed =
                connection.execute(UPDATE, &params, self.limit).map_err(|cause| self.failed(cause))?;
            let stand = read_stand(connection, self.kind, self.limit)?;
            match stand {
                Some(stand) if changed == 1 => {
                    let numbers = stand.next - range..stand.next;
                    self.check(&numbers, stand.epoch)?;
                    self.note_holder(connection, range)?;
                    return Ok(Leased { numbers, epoch: stand.epoch, provisional: false });
                }
                Some(stand) => {
                    let left = (self.number_max - stand.next + 1).max(0);
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

    /// Every lease that was known of when this one was asked for ended at `known_top` or before. So a range that begins
    /// below it was leased before, and the database has forgotten that.
    fn check(&self, numbers: &Range<i64>, epoch: u64) -> Result<(), SerialError> {
        if numbers.start >= self.known_top && epoch >= self.known_epoch {
            return Ok(());
        }
        Err(SerialError::WentBack {
            kind: self.kind.to_owned(),
            found: numbers.start,
            known: self.known_top.max(numbers.start),
        })
    }

    fn note_holder(&self, connection: &mut dyn Connection, range: i64) -> Result<(), SerialError> {
        note_holder(connection, self.kind, self.holder, range, self.now_ms, self.limit)
            .map_err(|cause| self.failed(cause))
    }

    fn insert(&self, connection: &mut dyn Connection) -> Result<(), SerialError> {
        insert_kind(connection, self.kind, self.now_ms, self.limit)
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
        failed(self.kind, cause)
    }
}

/// Runs `work` in a write transaction of its own.
pub(crate) fn within<T>(
    connection: &mut dyn Connection,
    limit: Duration,
    failed: impl Fn(SourceError) -> SerialError,
    work: impl FnOnce(&mut dyn Connection) -> Result<T, SerialError>,
) -> Result<T, SerialError> {
    connection.begin(Mode::Write, limit).map_err(&failed)?;
    let outcome = work(connection).and_then(|done| {
        connection.commit().map_err(&failed)?;
        Ok(done)
    });
    if connection.in_transaction() {
        connection.rollback().map_err(&failed)?;
    }
    outcome
}

/// Adds to what was leased for a holder, inside the open transaction.
pub(crate) fn note_holder(
    connection: &mut dyn Connection,
    kind: &str,
    holder: &str,
    numbers: i64,
    now_ms: i64,
    limit: Duration,
) -> Result<(), SourceError> {
    let update = [numbers.into(), kind.into(), holder.into()];
    if connection.execute(UPDATE_HOLDER, &update, limit)? == 1 {
        return Ok(());
    }
    let insert = [kind.into(), holder.into(), numbers.into(), now_ms.into()];
    if !insert_unless_present(connection, INSERT_HOLDER, &insert, limit)? {
        // Another process made the row in between.
        connection.execute(UPDATE_HOLDER, &update, limit)?;
    }
    Ok(())
}

/// Makes the row of a type. If another process made it in between, it is as good as ours.
pub(crate) fn insert_kind(
    connection: &mut dyn Connection,
    kind: &str,
    now_ms: i64,
    limit: Duration,
) -> Result<(), SerialError> {
    let params = [kind.into(), NUMBER_FIRST.into(), now_ms.into()];
    insert_unless_present(connection, INSERT, &params, limit)
        .map(|_was_inserted| ())
        .map_err(|cause| failed(kind, cause))
}

/// Where a type stands; `None` when it has no row yet.
pub(crate) fn read_stand(
    connection: &mut dyn Connection,
    kind: &str,
    limit: Duration,
) -> Result<Option<Stand>, SerialError> {
    let rows = connection.query(SELECT, &[kind.into()], 1, limit).map_err(|cause| failed(kind, cause))?;
    match (rows.get(0, 0), rows.get(0, 1)) {
        (None, _) => Ok(None),
        (Some(ValueRef::I64(next)), Some(ValueRef::I64(epoch))) if next >= NUMBER_FIRST && epoch >= 0 => {
            Ok(Some(Stand { next, epoch: epoch.unsigned_abs() }))
        }
        _ => Err(SerialError::Damaged { kind: kind.to_owned() }),
    }
}

/// The database refused something about a type.
pub(crate) fn failed(kind: &str, cause: SourceError) -> SerialError {
    SerialError::Source { kind: kind.to_owned(), cause: Box::new(cause) }
}
