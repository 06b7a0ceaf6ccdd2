//! Writes a node's figures into the database, where `gantry serial status` of any node finds them.
//!
//! Figures are absolute and belong to one making of the node's segments, so writing them twice changes nothing.

use gantry_datasource::{Connection, SourceError, ValueRef, insert_unless_present};
use gantry_sys::atomic::Ordering;

use crate::error::SerialError;
use crate::fold::fold;
use crate::lease::{read_stand, within};
use crate::limits::{FIGURES_LIMIT, STATUS_ROWS_MAX};
use crate::node::KindCache;
use crate::redis::Ended;
use crate::serials::SharedSerials;
use crate::top_up::holder;

const SELECT: &str = "SELECT what, numbers FROM gantry_serial_count WHERE kind = ? AND node = ?";
const UPDATE: &str =
    "UPDATE gantry_serial_count SET numbers = ?, at_ms = ? WHERE kind = ? AND node = ? AND what = ?";
const INSERT: &str =
    "INSERT INTO gantry_serial_count (kind, node, what, numbers, at_ms) VALUES (?, ?, ?, ?, ?)";
const END: &str = "UPDATE gantry_serial_holder SET ended_ms = ?, reason = ? \
     WHERE kind = ? AND holder = ? AND ended_ms = 0";
const SELECT_DAY: &str = "SELECT next_value FROM gantry_serial_day WHERE kind = ? AND day_number = ?";
const INSERT_DAY: &str =
    "INSERT INTO gantry_serial_day (kind, day_number, next_value, at_ms) VALUES (?, ?, ?, ?)";

/// The names of a node's figures; those of its lists are their holders' names.
pub(crate) const ISSUED: &str = "issued";
pub(crate) const ROLLED_BACK: &str = "rolled back";
pub(crate) const DROPPED: &str = "dropped";
pub(crate) const LEFT: &str = "left";

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl SharedSerials<'_> {
    /// Writes the figures of all types that are drawn from, in one transaction.
    pub(crate) fn report(&mut self, connection: &mut dyn Connection, now_ms: i64) -> Result<(), SerialError> {
        let Some(node) = &self.node else { return Ok(()) };
        let doing = "write a node's figures";
        let failed = |cause| SerialError::Figures { doing, cause: Box::new(cause) };
        for kind in &self.kinds {
            let Some(shared) = kind.shared else { continue };
            if shared.kind.is_used.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let report = Report { kind: &kind.name, node: node.node(), shared, now_ms };
            let written = within(connection, FIGURES_LIMIT, failed, |connection| {
                if report.write_day(connection)? {
                    fold(connection, report.kind, report.node, now_ms).map_err(failed)?;
                }
                report.write(connection).map_err(failed)
            })?;
            for (tag, taken, ended) in written {
                settle(&shared, tag, taken, ended);
            }
        }
        Ok(())
    }
}

/// A list's figures as they were written: its tag, what was taken, and why it ended.
type ListFigures = (u64, u64, u32);

struct Report<'a> {
    kind: &'a str,
    node: &'a str,
    shared: KindCache<'a>,
    now_ms: i64,
}

impl Report<'_> {
    fn write(&self, connection: &mut dyn Connection) -> Result<Vec<ListFigures>, SourceError> {
        let words = self.shared.kind;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        // What is left is read first: what is issued meanwhile then counts twice for a moment, and never as a gap.
        let mut figures = vec![(LEFT.to_owned(), self.shared.left())];
        for (what, figure) in
            [(ISSUED, &words.issued), (ROLLED_BACK, &words.rolled_back), (DROPPED, &words.dropped)]
        {
            figures.push((what.to_owned(), number(figure.load(Ordering::Relaxed))));
        }
        let mut lists = Vec::new();
        for list in &words.lists {
            let tag = list.tag.load(Ordering::Acquire);
            if tag != 0 {
                let taken = list.taken.load(Ordering::Relaxed);
                figures.push((holder(tag), number(taken)));
                lists.push((tag, taken, list.ended.load(Ordering::Acquire)));
            }
        }
        let known = self.known(connection)?;
        for (what, numbers) in figures {
            if known.iter().any(|(name, value)| *name == what && *value == numbers) {
                continue;
            }
            self.put(connection, &what, numbers)?;
        }
        for (tag, _, ended) in &lists {
            if let Some(ended) = Ended::from_code(*ended) {
                let holder = holder(*tag);
                let params =
                    [self.now_ms.into(), ended.reason().into(), self.kind.into(), holder.as_str().into()];
                connection.execute(END, &params, FIGURES_LIMIT)?;
            }
        }
        Ok(lists)
    }

    fn known(&self, connection: &mut dyn Connection) -> Result<Vec<(String, i64)>, SourceError> {
        let params = [self.kind.into(), self.node.into()];
        let rows = connection.query(SELECT, &params, STATUS_ROWS_MAX, FIGURES_LIMIT)?;
        let mut known = Vec::new();
        for row in 0..rows.rows() {
            if let (ValueRef::Text(what), ValueRef::I64(numbers)) = (rows.value(row, 0), rows.value(row, 1)) {
                known.push((what.to_owned(), numbers));
            }
        }
        Ok(known)
    }

    fn put(&self, connection: &mut dyn Connection, what: &str, numbers: i64) -> Result<(), SourceError> {
        let update = [numbers.into(), self.now_ms.into(), self.kind.into(), self.node.into(), what.into()];
        if connection.execute(UPDATE, &update, FIGURES_LIMIT)? > 0 {
            return Ok(());
        }
        let insert = [self.kind.into(), self.node.into(), what.into(), numbers.into(), self.now_ms.into()];
        insert_unless_present(connection, INSERT, &insert, FIGURES_LIMIT).map(|_was_inserted| ())
    }

    /// Notes once a day where the type stands, for the days that are left. Gives whether it was the time for that.
    fn write_day(&self, connection: &mut dyn Connection) -> Result<bool, SerialError> {
        let failed = |cause| SerialError::Figures { doing: "note where a day began", cause: Box::new(cause) };
        let day = self.now_ms.div_euclid(DAY_MS);
        let key = [self.kind.into(), day.into()];
        let rows = connection.query(SELECT_DAY, &key, 1, FIGURES_LIMIT).map_err(failed)?;
        if rows.get(0, 0).is_some() {
            return Ok(false);
        }
        let Some(stand) = read_stand(connection, self.kind, FIGURES_LIMIT)? else { return Ok(false) };
        let params = [self.kind.into(), day.into(), stand.next.into(), self.now_ms.into()];
        insert_unless_present(connection, INSERT_DAY, &params, FIGURES_LIMIT).map_err(failed)
    }
}

/// Remembers in shared memory what the database knows now.
fn settle(shared: &KindCache<'_>, tag: u64, taken: u64, ended: u32) {
    let Some(list) = shared.kind.lists.iter().find(|list| list.tag.load(Ordering::Acquire) == tag) else {
        return;
    };
    list.reported.fetch_max(taken, Ordering::Relaxed);
    if ended != 0 {
        list.ended_reported.store(1, Ordering::Release);
    }
}
