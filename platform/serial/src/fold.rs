//! Keeps the tables of figures small: what is over is added up.
//!
//! Each start of a node with new segments begins new figures, and each restart of a Redis new lists. Those of a node's
//! earlier starts become one, and so do lists that were given up some time ago, once every node that took from them was
//! started anew: until then it may still write its figure. Nothing that is added up changes any more.

use gantry_datasource::{Connection, SourceError, ValueRef, insert_unless_present};

use crate::lease::note_holder;
use crate::limits::{FIGURES_LIMIT, LIST_KEPT, STATUS_ROWS_MAX};

const SELECT_COUNTS: &str = "SELECT node, what, numbers, at_ms FROM gantry_serial_count WHERE kind = ?";
const SELECT_HOLDERS: &str = "SELECT holder, leased, ended_ms FROM gantry_serial_holder WHERE kind = ?";
const ADD_COUNT: &str =
    "UPDATE gantry_serial_count SET numbers = numbers + ? WHERE kind = ? AND node = ? AND what = ?";
const INSERT_COUNT: &str =
    "INSERT INTO gantry_serial_count (kind, node, what, numbers, at_ms) VALUES (?, ?, ?, ?, ?)";
const DELETE_COUNT: &str = "DELETE FROM gantry_serial_count WHERE kind = ? AND node = ? AND what = ?";
const DELETE_HOLDER: &str = "DELETE FROM gantry_serial_holder WHERE kind = ? AND holder = ?";
const END_OLD: &str =
    "UPDATE gantry_serial_holder SET ended_ms = ?, reason = ? WHERE kind = ? AND holder = ?";

/// What stands for all earlier starts of a node, behind its name.
pub(crate) const OLD_LIFE: &str = "/old";
/// The holder that stands for all lists that were given up some time ago.
pub(crate) const OLD_LISTS: &str = "list old";
/// At most 40 bytes, the width of the column.
const OLD_REASON: &str = "restarts and fail-overs of Redis, long ago";

/// Adds up what is over of one type, as seen by the node `node`, inside the open transaction.
pub(crate) fn fold(
    connection: &mut dyn Connection,
    kind: &str,
    node: &str,
    now_ms: i64,
) -> Result<(), SourceError> {
    let fold = Fold { kind, node, now_ms };
    let counts = fold.counts(connection)?;
    let mut old_lists = Vec::new();
    for (holder, leased, ended_ms) in fold.holders(connection)? {
        let into = if holder.starts_with("list ") {
            let is_over = fold.is_over(&holder, ended_ms, &counts);
            is_over.then(|| OLD_LISTS.to_owned())
        } else {
            fold.life_after(&holder)
        };
        let Some(into) = into else { continue };
        note_holder(connection, kind, &into, leased, now_ms, FIGURES_LIMIT)?;
        connection.execute(DELETE_HOLDER, &[kind.into(), holder.as_str().into()], FIGURES_LIMIT)?;
        if into == OLD_LISTS {
            old_lists.push(holder);
        }
    }
    for count in &counts {
        let what = if old_lists.contains(&count.what) { OLD_LISTS } else { count.what.as_str() };
        let owner = fold.life_after(&count.node).unwrap_or_else(|| count.node.clone());
        if owner != count.node || what != count.what {
            fold.add(connection, &owner, what, count)?;
        }
    }
    let is_any_list = !old_lists.is_empty();
    if is_any_list {
        let params = [now_ms.into(), OLD_REASON.into(), kind.into(), OLD_LISTS.into()];
        connection.execute(END_OLD, &params, FIGURES_LIMIT)?;
    }
    Ok(())
}

struct Fold<'a> {
    kind: &'a str,
    node: &'a str,
    now_ms: i64,
}

struct Count {
    node: String,
    what: String,
    numbers: i64,
    at_ms: i64,
}

impl Fold<'_> {
    /// What an earlier start of this node is added to; `None` for this start and other nodes.
    fn life_after(&self, node: &str) -> Option<String> {
        let (name, _) = self.node.split_once('/')?;
        let (other, _) = node.split_once('/')?;
        let old = format!("{name}{OLD_LIFE}");
        (other == name && node != self.node && node != old).then_some(old)
    }

    /// Whether a list was given up some time ago and nobody counts what was taken from it any more.
    fn is_over(&self, list: &str, ended_ms: i64, counts: &[Count]) -> bool {
        let kept_ms = i64::try_from(LIST_KEPT.as_millis()).unwrap_or(i64::MAX);
        let is_settled = |count: &Count| count.what != list || count.node.ends_with(OLD_LIFE);
        list != OLD_LISTS
            && ended_ms != 0
            && self.now_ms - ended_ms > kept_ms
            && counts.iter().all(is_settled)
    }

    fn add(
        &self,
        connection: &mut dyn Connection,
        owner: &str,
        what: &str,
        count: &Count,
    ) -> Result<(), SourceError> {
        let add = [count.numbers.into(), self.kind.into(), owner.into(), what.into()];
        if connection.execute(ADD_COUNT, &add, FIGURES_LIMIT)? == 0 {
            let insert =
                [self.kind.into(), owner.into(), what.into(), count.numbers.into(), count.at_ms.into()];
            insert_unless_present(connection, INSERT_COUNT, &insert, FIGURES_LIMIT)?;
        }
        let delete = [self.kind.into(), count.node.as_str().into(), count.what.as_str().into()];
        connection.execute(DELETE_COUNT, &delete, FIGURES_LIMIT).map(|_deleted| ())
    }

    fn holders(&self, connection: &mut dyn Connection) -> Result<Vec<(String, i64, i64)>, SourceError> {
        let rows = connection.query(SELECT_HOLDERS, &[self.kind.into()], STATUS_ROWS_MAX, FIGURES_LIMIT)?;
        let holder = |row| match (rows.value(row, 0), rows.value(row, 1), rows.value(row, 2)) {
            (ValueRef::Text(holder), ValueRef::I64(leased), ValueRef::I64(ended_ms)) => {
                Some((holder.to_owned(), leased, ended_ms))
            }
            _ => None,
        };
        Ok((0..rows.rows()).filter_map(holder).collect())
    }

    fn counts(&self, connection: &mut dyn Connection) -> Result<Vec<Count>, SourceError> {
        let rows = connection.query(SELECT_COUNTS, &[self.kind.into()], STATUS_ROWS_MAX, FIGURES_LIMIT)?;
        let count =
            |row| match (rows.value(row, 0), rows.value(row, 1), rows.value(row, 2), rows.value(row, 3)) {
                (
                    ValueRef::Text(node),
                    ValueRef::Text(what),
                    ValueRef::I64(numbers),
                    ValueRef::I64(at_ms),
                ) => Some(Count { node: node.to_owned(), what: what.to_owned(), numbers, at_ms }),
                _ => None,
            };
        Ok((0..rows.rows()).filter_map(count).collect())
    }
}
