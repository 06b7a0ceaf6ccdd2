//! Rows from the driver: in batches of bound columns, or value by value where one is long.

use super::failure::Failure;
use super::limits::{
    BATCH_BYTES_MAX, BATCH_ROWS_MAX, BOUND_BYTES_MAX, BOUND_CHARS_MAX, FIRST_BATCH_ROWS, NUMBER_CHARS_MAX,
    PART_BYTES,
};
use crate::dialect::Dialect;
use crate::error::ErrorKind;
use crate::limits::RESULT_BYTES_MAX;
use crate::result_set::{ResultSet, ResultSetBuilder};
use crate::value::ValueRef;
use odbc_api::buffers::{
    AnyColumnBufferSlice, BinColumnSlice, BufferDesc, ColumnarDynBuffer, Indicator, NullableSlice,
    TextColumnSlice,
};
use odbc_api::handles::StatementRef;
use odbc_api::parameter::{Binary, Text, VarCell, VarKind, WideText};
use odbc_api::{
    BlockCursor, ColumnDescription, Cursor, CursorImpl, CursorRow, DataType, Error, Nullable,
    ResultSetMetadata, RowSetBuffer,
};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

/// How the values of a column are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Float,
    /// Exact decimal; `is_whole`: it has no fraction by its type.
    Decimal {
        is_whole: bool,
    },
    /// A date or time.
    Moment,
    Text {
        chars_max: usize,
    },
    Bytes {
        bytes_max: usize,
    },
    LongText,
    LongBytes,
}

/// What is kept of an answer for the next run of its statement.
#[derive(Default)]
pub(super) struct Answer {
    names: Arc<[Box<str>]>,
    kinds: Vec<Kind>,
    /// The buffer of the first batch.
    first: Option<ColumnarDynBuffer>,
    /// A value did not fit its buffer once.
    in_parts: bool,
    /// The statement's handle is set to fetch several rows at once, which reading in parts cannot do.
    is_batched: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer")
            .field("names", &self.names)
            .field("kinds", &self.kinds)
            .field("in_parts", &self.in_parts)
            .finish_non_exhaustive()
    }
}

/// What bounds an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) rows_max: usize,
    pub(super) ends_at: Instant,
}

impl Bounds {
    fn check_time(&self) -> Result<(), Failure> {
        if Instant::now() < self.ends_at {
            return Ok(());
        }
        Err(Failure::own(ErrorKind::Timeout, "the rows were not read before the time was over"))
    }

    fn check_rows(&self, rows: usize) -> Result<(), Failure> {
        if rows <= self.rows_max {
            return Ok(());
        }
        let kind = ErrorKind::TooManyRows { rows_max: self.rows_max };
        Err(Failure::own(kind, "the answer has more rows than were allowed for"))
    }
}

type Rows<'s> = CursorImpl<StatementRef<'s>>;

impl Answer {
    /// An answer of which it is known that it must be read in parts.
    pub(super) fn in_parts() -> Self {
        Self { in_parts: true, ..Self::default() }
    }

    /// Reads all rows. `None`: the answer must be read in parts, and the statement's handle cannot do so any more, so it
    /// is to be prepared and run again with [`in_parts`](Self::in_parts). A value that did not fit its column's buffer
    /// is a reason.
    pub(super) fn read(
        &mut self,
        mut rows: Rows<'_>,
        dialect: Dialect,
        bounds: Bounds,
    ) -> Result<Option<ResultSet>, Failure> {
        self.describe(&mut rows)?;
        let is_long = |kind: &Kind| matches!(kind, Kind::LongText | Kind::LongBytes);
        if self.in_parts || self.kinds.iter().any(is_long) {
            if self.is_batched {
                return Ok(None);
            }
            return self.read_in_parts(rows, dialect, bounds).map(Some);
        }
        self.is_batched = true;
        match self.read_in_batches(rows, dialect, bounds) {
            Err(Failure::Native(Error::TooLargeValueForBuffer { .. })) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Asks for the columns each time: a table may have changed since the statement was prepared.
    fn describe(&mut self, rows: &mut Rows<'_>) -> Result<(), Failure> {
        let count = u16::try_from(rows.num_result_cols()?).unwrap_or(0);
        let mut kinds = Vec::with_capacity(usize::from(count));
        let mut names: Vec<Box<str>> = Vec::new();
        let mut is_known = self.kinds.len() == usize::from(count);
        let mut description = ColumnDescription::default();
        for column in 1..=count {
            rows.describe_col(column, &mut description)?;
            let name = String::from_utf8_lossy(&description.name);
            let known = self.names.get(kinds.len());
            if !(is_known && known.is_some_and(|known| **known == *name)) {
                is_known = false;
            }
            names.push(name.into());
            kinds.push(kind_of(description.data_type));
        }
        if !is_known {
            self.names = names.into();
        }
        if self.kinds != kinds {
            self.kinds = kinds;
            self.first = None;
        }
        Ok(())
    }

    fn buffer(&self, rows: usize, dialect: Dialect) -> Result<ColumnarDynBuffer, Failure> {
        Ok(ColumnarDynBuffer::try_from_descs(
            rows,
            self.kinds.iter().map(|kind| description(*kind, dialect)),
        )?)
    }

    fn read_in_batches(
        &mut self,
        rows: Rows<'_>,
        dialect: Dialect,
        bounds: Bounds,
    ) -> Result<ResultSet, Failure> {
        let row_bytes: usize =
            self.kinds.iter().map(|kind| description(*kind, dialect).bytes_per_row()).sum();
        let batch_rows = (BATCH_BYTES_MAX / row_bytes.max(1)).clamp(1, BATCH_ROWS_MAX);
        let first_rows = FIRST_BATCH_ROWS.min(batch_rows);
        let mut builder = ResultSetBuilder::new(Arc::clone(&self.names));
        let first = match self.first.take() {
            Some(first) => first,
            None => self.buffer(first_rows, dialect)?,
        };
        let mut block = rows.bind_buffer(first)?;
        let mut count = self.take_batch(&mut block, &mut builder, 0, bounds)?;
        let (rows, first) = block.unbind()?;
        self.first = Some(first);
        if count == first_rows {
            let mut block = rows.bind_buffer(self.buffer(batch_rows, dialect)?)?;
            loop {
                let before = count;
                count = self.take_batch(&mut block, &mut builder, count, bounds)?;
                if count == before {
                    break;
                }
            }
        }
        Ok(builder.finish())
    }

    /// Fetches one batch and adds its rows; returns how many there are now.
    fn take_batch(
        &self,
        block: &mut BlockCursor<Rows<'_>, ColumnarDynBuffer>,
        builder: &mut ResultSetBuilder,
        before: usize,
        bounds: Bounds,
    ) -> Result<usize, Failure> {
        bounds.check_time()?;
        let Some(batch) = block.fetch_with_truncation_check(true)? else { return Ok(before) };
        // The driver must say when it cut a value; whether it did or not, the lengths tell.
        if let Some(cut) = batch.find_truncation() {
            let error =
                Error::TooLargeValueForBuffer { indicator: cut.indicator, buffer_index: cut.buffer_index };
            return Err(error.into());
        }
        let count = batch.num_rows();
        bounds.check_rows(before + count)?;
        let columns = self
            .kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| Column::of(batch.column(index), *kind))
            .collect::<Result<Vec<_>, _>>()?;
        let mut text = String::new();
        for row in 0..count {
            for (index, column) in columns.iter().enumerate() {
                builder.push(column.value(row, index, &mut text)?)?;
            }
        }
        Ok(before + count)
    }

    fn read_in_parts(
        &self,
        mut rows: Rows<'_>,
        dialect: Dialect,
        bounds: Bounds,
    ) -> Result<ResultSet, Failure> {
        let mut builder = ResultSetBuilder::new(Arc::clone(&self.names));
        let mut parts = Parts::default();
        let mut count = 0;
        while let Some(mut row) = rows.next_row()? {
            bounds.check_time()?;
            count += 1;
            bounds.check_rows(count)?;
            for (index, kind) in self.kinds.iter().enumerate() {
                let column = u16::try_from(index + 1).map_err(|_| {
                    Failure::own(ErrorKind::TooLarge { bytes_max: RESULT_BYTES_MAX }, "columns")
                })?;
                builder.push(parts.value(&mut row, column, *kind, dialect)?)?;
            }
        }
        Ok(builder.finish())
    }
}

fn kind_of(data_type: DataType) -> Kind {
    let text = |length: Option<NonZeroUsize>| match length {
        Some(chars) if chars.get() <= BOUND_CHARS_MAX => Kind::Text { chars_max: chars.get() },
        _ => Kind::LongText,
    };
    let bytes = |length: Option<NonZeroUsize>| match length {
        Some(bytes) if bytes.get() <= BOUND_BYTES_MAX => Kind::Bytes { bytes_max: bytes.get() },
        _ => Kind::LongBytes,
    };
    match data_type {
        DataType::TinyInt | DataType::SmallInt | DataType::Integer | DataType::BigInt | DataType::Bit => {
            Kind::Whole
        }
        DataType::Float { .. } | DataType::Real | DataType::Double => Kind::Float,
        DataType::Numeric { scale, .. } | DataType::Decimal { scale, .. } => {
            Kind::Decimal { is_whole: scale <= 0 }
        }
        DataType::Date | DataType::Time { .. } | DataType::Timestamp { .. } => Kind::Moment,
        DataType::Char { length }
        | DataType::WChar { length }
        | DataType::Varchar { length }
        | DataType::WVarchar { length } => text(length),
        DataType::Binary { length } | DataType::Varbinary { length } => bytes(length),
        DataType::LongVarbinary { .. } => Kind::LongBytes,
        DataType::LongVarchar { .. }
        | DataType::WLongVarchar { .. }
        | DataType::Unknown
        | DataType::Other { .. } => Kind::LongText,
    }
}

/// The buffer of a bound column. A character of text has up to 4 bytes in UTF-8, or 2 units in UTF-16.
fn description(kind: Kind, dialect: Dialect) -> BufferDesc {
    match kind {
        Kind::Whole => BufferDesc::I64 { nullable: true },
        Kind::Float => BufferDesc::F64 { nullable: true },
        Kind::Decimal { .. } | Kind::Moment => BufferDesc::Text { max_str_len: NUMBER_CHARS_MAX },
        Kind::Text { chars_max } if dialect == Dialect::Db2 => {
            BufferDesc::WText { max_str_len: chars_max * 2 }
        }
        Kind::Text { chars_max } => BufferDesc::Text { max_str_len: chars_max * 4 },
        Kind::Bytes { bytes_max } => BufferDesc::Binary { max_bytes: bytes_max },
        // Never bound; an answer with such a column is read in parts.
        Kind::LongText | Kind::LongBytes => BufferDesc::Binary { max_bytes: 1 },
    }
}

/// The valid rows of a bound column.
enum Column<'b> {
    Whole(NullableSlice<'b, i64>),
    Float(NullableSlice<'b, f64>),
    Decimal { text: TextColumnSlice<'b, u8>, is_whole: bool },
    Text(TextColumnSlice<'b, u8>),
    Wide(TextColumnSlice<'b, u16>),
    Bytes(BinColumnSlice<'b>),
}

impl<'b> Column<'b> {
    fn of(buffer: AnyColumnBufferSlice<'b>, kind: Kind) -> Result<Self, Failure> {
        let column = match kind {
            Kind::Whole => buffer.as_nullable_slice().map(Self::Whole),
            Kind::Float => buffer.as_nullable_slice().map(Self::Float),
            Kind::Decimal { is_whole } => buffer.as_text().map(|text| Self::Decimal { text, is_whole }),
            Kind::Text { .. } | Kind::Moment => {
                buffer.as_text().map(Self::Text).or_else(|| buffer.as_wide_text().map(Self::Wide))
            }
            Kind::Bytes { .. } | Kind::LongText | Kind::LongBytes => buffer.as_binary().map(Self::Bytes),
        };
        column.ok_or_else(|| {
            Failure::own(ErrorKind::Other, "a column's buffer is not of the type it was made with")
        })
    }

    /// The value in a row; UTF-16 is rewritten into `text`.
    fn value<'v>(&'v self, row: usize, column: usize, text: &'v mut String) -> Result<ValueRef<'v>, Failure>
    where
        'b: 'v,
    {
        Ok(match self {
            Self::Whole(numbers) => numbers.get(row).map_or(ValueRef::Null, |number| ValueRef::I64(*number)),
            Self::Float(numbers) => numbers.get(row).map_or(ValueRef::Null, |number| ValueRef::F64(*number)),
            Self::Decimal { text, is_whole } => match text.get(row) {
                None => ValueRef::Null,
                Some(bytes) => decimal(utf8(bytes, column)?, *is_whole),
            },
            Self::Text(text) => match text.get(row) {
                None => ValueRef::Null,
                Some(bytes) => ValueRef::Text(utf8(bytes, column)?),
            },
            Self::Wide(wide) => match wide.get(row) {
                None => ValueRef::Null,
                Some(units) => ValueRef::Text(utf16(units, column, text)?),
            },
            Self::Bytes(bytes) => bytes.get(row).map_or(ValueRef::Null, ValueRef::Blob),
        })
    }
}

/// A decimal without a fraction is a whole number if it fits; any other is exact text.
fn decimal(text: &str, is_whole: bool) -> ValueRef<'_> {
    let number = if is_whole { text.parse().ok() } else { None };
    number.map_or(ValueRef::Text(text), ValueRef::I64)
}

fn utf8(bytes: &[u8], column: usize) -> Result<&str, Failure> {
    std::str::from_utf8(bytes).map_err(|error| {
        Failure::own(ErrorKind::BadValue, format!("text in column {column} (0-based): {error}"))
    })
}

fn utf16<'t>(units: &[u16], column: usize, text: &'t mut String) -> Result<&'t str, Failure> {
    text.clear();
    for letter in char::decode_utf16(units.iter().copied()) {
        text.push(letter.map_err(|error| {
            Failure::own(ErrorKind::BadValue, format!("text in column {column} (0-based): {error}"))
        })?);
    }
    Ok(text)
}

/// Reads values one by one, long ones in parts, so that no column's type decides how much is allocated.
#[derive(Default)]
struct Parts {
    bytes: Vec<u8>,
    units: Vec<u16>,
    text: String,
    byte_part: Vec<u8>,
    unit_part: Vec<u16>,
}

impl Parts {
    fn value(
        &mut self,
        row: &mut CursorRow<'_>,
        column: u16,
        kind: Kind,
        dialect: Dialect,
    ) -> Result<ValueRef<'_>, Failure> {
        let index = usize::from(column) - 1;
        Ok(match kind {
            Kind::Whole => {
                let mut number = Nullable::<i64>::null();
                row.get_data(column, &mut number)?;
                number.into_opt().map_or(ValueRef::Null, ValueRef::I64)
            }
            Kind::Float => {
                let mut number = Nullable::<f64>::null();
                row.get_data(column, &mut number)?;
                number.into_opt().map_or(ValueRef::Null, ValueRef::F64)
            }
            Kind::Text { .. } | Kind::LongText if dialect == Dialect::Db2 => {
                if !collect::<WideText>(row, column, &mut self.unit_part, &mut self.units)? {
                    return Ok(ValueRef::Null);
                }
                ValueRef::Text(utf16(&self.units, index, &mut self.text)?)
            }
            Kind::Decimal { .. } | Kind::Moment | Kind::Text { .. } | Kind::LongText => {
                if !collect::<Text>(row, column, &mut self.byte_part, &mut self.bytes)? {
                    return Ok(ValueRef::Null);
                }
                let text = utf8(&self.bytes, index)?;
                if let Kind::Decimal { is_whole } = kind {
                    decimal(text, is_whole)
                } else {
                    ValueRef::Text(text)
                }
            }
            Kind::Bytes { .. } | Kind::LongBytes => {
                if !collect::<Binary>(row, column, &mut self.byte_part, &mut self.bytes)? {
                    return Ok(ValueRef::Null);
                }
                ValueRef::Blob(&self.bytes)
            }
        })
    }
}

/// Reads one value part by part into `value`; `false` if it is NULL.
fn collect<K: VarKind>(
    row: &mut CursorRow<'_>,
    column: u16,
    part: &mut Vec<K::Element>,
    value: &mut Vec<K::Element>,
) -> Result<bool, Failure> {
    part.resize(PART_BYTES / size_of::<K::Element>(), K::ZERO);
    value.clear();
    loop {
        // A buffer whose content is not known yet must end in a zero.
        if let Some(last) = part.last_mut() {
            *last = K::ZERO;
        }
        let mut target = VarCell::<&mut [K::Element], K>::from_buffer(part, Indicator::NoTotal);
        row.get_data(column, &mut target)?;
        let Some(fetched) = target.as_slice() else { return Ok(false) };
        if size_of_val(fetched) + size_of_val(value.as_slice()) > RESULT_BYTES_MAX {
            let kind = ErrorKind::TooLarge { bytes_max: RESULT_BYTES_MAX };
            return Err(Failure::own(kind, format!("column {column} holds a value that is larger")));
        }
        value.extend_from_slice(fetched);
        if target.is_complete() {
            return Ok(true);
        }
    }
}
