//! Rows of a query, and typed reading of their columns.

use std::marker::PhantomData;

use crate::error::{SqlError, SqlErrorKind};
use crate::host::GantryCall;
use crate::sql::last_error;
use crate::sql_table::{
    GANTRY_VALUE_BLOB, GANTRY_VALUE_F64, GANTRY_VALUE_I64, GANTRY_VALUE_NULL, GANTRY_VALUE_TEXT, GantryRows,
    GantrySql, GantryValue, GantryValueData,
};
use crate::status::{GANTRY_END, GANTRY_OK};

/// The rows of a query, one after the other. Closed when dropped.
pub struct Rows<'a> {
    table: &'static GantrySql,
    call: *mut GantryCall,
    rows: *mut GantryRows,
    lifetime: PhantomData<&'a ()>,
}

impl Rows<'_> {
    pub(crate) fn new(table: &'static GantrySql, call: *mut GantryCall, rows: *mut GantryRows) -> Self {
        Self { table, call, rows, lifetime: PhantomData }
    }

    /// Goes to the next row; `None` after the last.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    #[expect(clippy::should_implement_trait, reason = "a row borrows the rows, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, SqlError> {
        // SAFETY: `call` is valid during `'a`, and `rows` is checked by the platform.
        match unsafe { (self.table.rows_next)(self.call, self.rows) } {
            GANTRY_OK => {
                Ok(Some(Row { table: self.table, call: self.call, rows: self.rows, lifetime: PhantomData }))
            }
            GANTRY_END => Ok(None),
            _ => Err(last_error(self.table, self.call)),
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        // SAFETY: `call` is valid during `'a`, and `rows` is checked by the platform.
        unsafe { (self.table.rows_columns)(self.call, self.rows) as usize }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        // SAFETY: `call` is valid during `'a`, and `rows` is checked by the platform.
        unsafe { (self.table.rows_close)(self.call, self.rows) };
    }
}

/// The current row. Columns count from 0; each is read as the type it is expected to have, and
/// anything else is [`SqlErrorKind::BadValue`].
pub struct Row<'a> {
    table: &'static GantrySql,
    call: *mut GantryCall,
    rows: *mut GantryRows,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> Row<'a> {
    /// An integer. Databases give sums as decimals; one that holds an integer is read exactly.
    ///
    /// # Errors
    /// [`SqlErrorKind::BadValue`] for NULL, another type, a fraction, or more than 64 bits.
    pub fn i64(&self, column: usize) -> Result<i64, SqlError> {
        self.opt_i64(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// As [`Row::i64`]; `None` for NULL.
    ///
    /// # Errors
    /// As [`Row::i64`].
    pub fn opt_i64(&self, column: usize) -> Result<Option<i64>, SqlError> {
        let value = self.value(column)?;
        match value.tag {
            GANTRY_VALUE_NULL => Ok(None),
            // SAFETY: the tag says which field is filled.
            GANTRY_VALUE_I64 => Ok(Some(unsafe { value.data.i64_value })),
            GANTRY_VALUE_TEXT => integer_in(self.text_of(column, &value)?)
                .map(Some)
                .ok_or_else(|| mismatch(column, "an integer", "text that is none")),
            tag => Err(mismatch(column, "an integer", name_of(tag))),
        }
    }

    /// A floating-point number; an integer is converted. Never use it for money.
    ///
    /// # Errors
    /// [`SqlErrorKind::BadValue`] for NULL or another type.
    pub fn f64(&self, column: usize) -> Result<f64, SqlError> {
        self.opt_f64(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// As [`Row::f64`]; `None` for NULL.
    ///
    /// # Errors
    /// As [`Row::f64`].
    pub fn opt_f64(&self, column: usize) -> Result<Option<f64>, SqlError> {
        let value = self.value(column)?;
        match value.tag {
            GANTRY_VALUE_NULL => Ok(None),
            // SAFETY: the tag says which field is filled.
            GANTRY_VALUE_F64 => Ok(Some(unsafe { value.data.f64_value })),
            // SAFETY: the tag says which field is filled.
            GANTRY_VALUE_I64 => Ok(Some(unsafe { value.data.i64_value } as f64)),
            GANTRY_VALUE_TEXT => match self.text_of(column, &value)?.trim().parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(mismatch(column, "a number", "text that is none")),
            },
            tag => Err(mismatch(column, "a number", name_of(tag))),
        }
    }

    /// Text, which lives until the next row.
    ///
    /// # Errors
    /// [`SqlErrorKind::BadValue`] for NULL or another type.
    pub fn text(&self, column: usize) -> Result<&'a str, SqlError> {
        self.opt_text(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// As [`Row::text`]; `None` for NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn opt_text(&self, column: usize) -> Result<Option<&'a str>, SqlError> {
        let value = self.value(column)?;
        match value.tag {
            GANTRY_VALUE_NULL => Ok(None),
            GANTRY_VALUE_TEXT => self.text_of(column, &value).map(Some),
            tag => Err(mismatch(column, "text", name_of(tag))),
        }
    }

    /// Bytes, which live until the next row.
    ///
    /// # Errors
    /// [`SqlErrorKind::BadValue`] for NULL or another type.
    pub fn blob(&self, column: usize) -> Result<&'a [u8], SqlError> {
        self.opt_blob(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// As [`Row::blob`]; `None` for NULL.
    ///
    /// # Errors
    /// As [`Row::blob`].
    pub fn opt_blob(&self, column: usize) -> Result<Option<&'a [u8]>, SqlError> {
        let value = self.value(column)?;
        if value.tag == GANTRY_VALUE_NULL {
            return Ok(None);
        }
        if value.tag != GANTRY_VALUE_BLOB {
            return Err(mismatch(column, "bytes", name_of(value.tag)));
        }
        // SAFETY: the tag says which field is filled.
        let bytes = unsafe { value.data.blob_value };
        // SAFETY: the platform's bytes live until the next `rows_next`, which `'a` ends before.
        let bytes = unsafe { bytes.read() };
        bytes.map(Some).ok_or_else(|| mismatch(column, "bytes", "a broken length"))
    }

    /// Whether the column is NULL.
    ///
    /// # Errors
    /// [`SqlErrorKind::BadStatement`] if there is no such column.
    pub fn is_null(&self, column: usize) -> Result<bool, SqlError> {
        Ok(self.value(column)?.tag == GANTRY_VALUE_NULL)
    }

    fn value(&self, column: usize) -> Result<GantryValue, SqlError> {
        let mut value =
            GantryValue { tag: GANTRY_VALUE_NULL, reserved: 0, data: GantryValueData { i64_value: 0 } };
        let column = u32::try_from(column).unwrap_or(u32::MAX);
        // SAFETY: `call` is valid during `'a`, `rows` is checked by the platform, and `value` is ours.
        let code = unsafe { (self.table.rows_value)(self.call, self.rows, column, &mut value) };
        if code == GANTRY_OK { Ok(value) } else { Err(last_error(self.table, self.call)) }
    }

    /// The text in a value whose tag is `GANTRY_VALUE_TEXT`.
    fn text_of(&self, column: usize, value: &GantryValue) -> Result<&'a str, SqlError> {
        // SAFETY: the caller looked at the tag.
        let text = unsafe { value.data.text_value };
        // SAFETY: the platform's text lives until the next `rows_next`, which `'a` ends before.
        unsafe { text.read() }.ok_or_else(|| mismatch(column, "text", "bytes that are not UTF-8"))
    }
}

/// The integer that a decimal's text holds, if it is one: `12`, `-3`, `12.00`.
fn integer_in(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    whole.parse().ok()
}

fn unexpected_null(column: usize) -> SqlError {
    SqlError::new(SqlErrorKind::BadValue, format!("column {column} is NULL where a value was expected"))
}

fn mismatch(column: usize, expected: &str, found: &str) -> SqlError {
    SqlError::new(SqlErrorKind::BadValue, format!("column {column}: expected {expected}, found {found}"))
}

fn name_of(tag: u32) -> &'static str {
    match tag {
        GANTRY_VALUE_NULL => "NULL",
        GANTRY_VALUE_I64 => "an integer",
        GANTRY_VALUE_F64 => "a float",
        GANTRY_VALUE_TEXT => "text",
        GANTRY_VALUE_BLOB => "bytes",
        _ => "a value of an unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::integer_in;

    #[test]
    fn decimal_text_that_holds_an_integer_is_read_exactly() {
        assert_eq!(integer_in("1234"), Some(1234));
        assert_eq!(integer_in("-7.00"), Some(-7));
        assert_eq!(integer_in("9223372036854775807."), Some(i64::MAX));
        for refused in ["1.50", "9223372036854775808", "", "1e3", "abc", ".00"] {
            assert_eq!(integer_in(refused), None, "{refused}");
        }
    }
}
