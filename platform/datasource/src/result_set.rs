//! The answer to a query, owned and compact.

use crate::limits::RESULT_BYTES_MAX;
use crate::value::ValueRef;
use std::sync::Arc;

/// One value: numbers in place, text and bytes as a range of the arena. 16 bytes each.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Null,
    I64(i64),
    F64(f64),
    Text { start: u32, bytes: u32 },
    Blob { start: u32, bytes: u32 },
}

const CELL_BYTES: usize = size_of::<Cell>();
const _: () = assert!(CELL_BYTES == 16 && RESULT_BYTES_MAX < u32::MAX as usize);

/// All rows of one query's answer.
///
/// It owns its values, so the statement is finished and the connection free when the caller reads it. Text lies in
/// one string and blobs in one vector, so an answer of any shape costs a handful of allocations.
#[derive(Debug, Clone)]
pub struct ResultSet {
    columns: Arc<[Box<str>]>,
    cells: Vec<Cell>,
    text: String,
    blobs: Vec<u8>,
}

impl ResultSet {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        if self.columns.is_empty() { 0 } else { self.cells.len() / self.columns.len() }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Names of the columns, in the order of the statement.
    #[must_use]
    pub fn columns(&self) -> &[Box<str>] {
        &self.columns
    }

    /// The names, shared with the next answer of the same statement.
    pub(crate) fn shared_columns(&self) -> Arc<[Box<str>]> {
        Arc::clone(&self.columns)
    }

    /// The value in row `row` and column `column`, both 0-based; `None` outside of the answer.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> Option<ValueRef<'_>> {
        if column >= self.columns.len() {
            return None;
        }
        let index = row.checked_mul(self.columns.len())?.checked_add(column)?;
        self.cells.get(index).map(|cell| self.read(*cell))
    }

    /// The value in row `row` and column `column`, both 0-based.
    ///
    /// # Panics
    /// Outside of the answer, as indexing a slice does. Indexes that come from a service go through
    /// [`get`](ResultSet::get).
    #[must_use]
    #[track_caller]
    pub fn value(&self, row: usize, column: usize) -> ValueRef<'_> {
        match self.get(row, column) {
            Some(value) => value,
            None => panic!(
                "row {row}, column {column} of an answer of {} rows and {} columns",
                self.rows(),
                self.columns.len()
            ),
        }
    }

    /// Bytes that the rows take, which is what [`RESULT_BYTES_MAX`] bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cells.len() * CELL_BYTES + self.text.len() + self.blobs.len()
    }

    fn read(&self, cell: Cell) -> ValueRef<'_> {
        match cell {
            Cell::Null => ValueRef::Null,
            Cell::I64(number) => ValueRef::I64(number),
            Cell::F64(number) => ValueRef::F64(number),
            Cell::Text { start, bytes } => {
                ValueRef::Text(&self.text[start as usize..start as usize + bytes as usize])
            }
            Cell::Blob { start, bytes } => {
                ValueRef::Blob(&self.blobs[start as usize..start as usize + bytes as usize])
            }
        }
    }
}

/// Refusal of a value that would take an answer over its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is larger than {bytes_max} bytes; ask for fewer rows or columns")]
pub struct TooLarge {
    /// The bound that was met, in bytes.
    pub bytes_max: usize,
}

/// Collects a [`ResultSet`] value by value; a driver's side of it.
#[derive(Debug)]
pub struct ResultSetBuilder {
    set: ResultSet,
    bytes_max: usize,
}

impl ResultSetBuilder {
    /// Starts an answer with these columns, bounded by [`RESULT_BYTES_MAX`].
    #[must_use]
    pub fn new(columns: Arc<[Box<str>]>) -> Self {
        Self::with_bytes_max(columns, RESULT_BYTES_MAX)
    }

    /// Starts an answer with a bound of its own, in bytes, at most [`RESULT_BYTES_MAX`].
    #[must_use]
    pub fn with_bytes_max(columns: Arc<[Box<str>]>, bytes_max: usize) -> Self {
        let set = ResultSet { columns, cells: Vec::new(), text: String::new(), blobs: Vec::new() };
        Self { set, bytes_max: bytes_max.min(RESULT_BYTES_MAX) }
    }

    /// Adds the next value: rows one after the other, each from its first column to its last.
    ///
    /// # Errors
    /// [`TooLarge`]: the answer would pass its bytes; the value was not added.
    pub fn push(&mut self, value: ValueRef<'_>) -> Result<(), TooLarge> {
        let payload = match value {
            ValueRef::Text(text) => text.len(),
            ValueRef::Blob(bytes) => bytes.len(),
            _ => 0,
        };
        let after = self.set.bytes().saturating_add(CELL_BYTES).saturating_add(payload);
        if after > self.bytes_max {
            return Err(TooLarge { bytes_max: self.bytes_max });
        }
        let cell = match value {
            ValueRef::Null => Cell::Null,
            ValueRef::I64(number) => Cell::I64(number),
            ValueRef::F64(number) => Cell::F64(number),
            ValueRef::Text(text) => {
                let start = narrow(self.set.text.len());
                self.set.text.push_str(text);
                Cell::Text { start, bytes: narrow(text.len()) }
            }
            ValueRef::Blob(bytes) => {
                let start = narrow(self.set.blobs.len());
                self.set.blobs.extend_from_slice(bytes);
                Cell::Blob { start, bytes: narrow(bytes.len()) }
            }
        };
        self.set.cells.push(cell);
        Ok(())
    }

    /// Ends the answer.
    ///
    /// # Panics
    /// If a row is incomplete: the driver pushes whole rows.
    #[must_use]
    pub fn finish(self) -> ResultSet {
        let columns = self.set.columns.len();
        assert!(columns > 0 && self.set.cells.len().is_multiple_of(columns), "a driver pushes whole rows");
        self.set
    }
}

/// Positions fit 32 bits: the caller has just held the total against [`RESULT_BYTES_MAX`].
fn narrow(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an answer is at most RESULT_BYTES_MAX bytes, which fits 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Arc<[Box<str>]> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    #[test]
    fn value_returns_what_was_pushed_at_its_place() {
        let mut builder = ResultSetBuilder::new(columns(&["a", "b", "c"]));
        let pushed = [
            ValueRef::I64(i64::MIN),
            ValueRef::Text("粤B12345"),
            ValueRef::Blob(&[0, 1, 255]),
            ValueRef::Null,
            ValueRef::Text(""),
            ValueRef::F64(-0.25),
        ];
        for value in pushed {
            builder.push(value).unwrap();
        }
        let set = builder.finish();
        assert_eq!((set.rows(), set.columns().len()), (2, 3));
        for (index, value) in pushed.iter().enumerate() {
            assert_eq!(set.value(index / 3, index % 3), *value);
        }
    }

    #[test]
    fn get_outside_of_the_answer_is_none() {
        let mut builder = ResultSetBuilder::new(columns(&["a", "b"]));
        builder.push(ValueRef::I64(1)).unwrap();
        builder.push(ValueRef::I64(2)).unwrap();
        let set = builder.finish();
        assert_eq!(set.get(0, 2), None, "a column too far must not reach into the next row");
        assert_eq!(set.get(1, 0), None);
        assert_eq!(set.get(usize::MAX, 1), None);
    }

    #[test]
    fn push_over_the_bytes_is_refused_and_adds_nothing() {
        let mut builder = ResultSetBuilder::with_bytes_max(columns(&["a"]), 2 * CELL_BYTES + 3);
        builder.push(ValueRef::Text("abc")).unwrap();
        assert_eq!(builder.push(ValueRef::Text("d")), Err(TooLarge { bytes_max: 2 * CELL_BYTES + 3 }));
        builder.push(ValueRef::Text("")).unwrap();
        assert_eq!(builder.finish().rows(), 2);
    }
}
