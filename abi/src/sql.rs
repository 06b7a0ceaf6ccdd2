//! Statements on a data source.

use std::marker::PhantomData;

use crate::bytes::GantryText;
use crate::error::{SqlError, SqlErrorKind};
use crate::host::GantryCall;
use crate::lent::Lent;
use crate::rows::{Row, Rows};
use crate::sql_table::{GantrySql, GantrySqlError, GantryValue};
use crate::status::{GANTRY_OK, GantryCode};
use crate::value::Value;

/// Most rows that [`Sql::query`] takes; a larger answer is an error. Ask for fewer with `{limit ?}`,
/// or for more with [`Sql::query_max`].
pub const ROWS_MAX: u32 = 10_000;

/// One data source during one call, from [`Context::sql`](crate::Context::sql).
///
/// Statements are portable SQL with `?` parameters and two escapes that the platform rewrites for the
/// database: `{limit ?}` or `{limit 50}` at the end of a SELECT, and `{for update}` at the very end.
/// The platform owns the transaction, which begins at the first statement and ends after the call.
#[derive(Clone, Copy)]
pub struct Sql<'a> {
    lent: Lent,
    call: *mut GantryCall,
    source: &'a str,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> Sql<'a> {
    pub(crate) fn new(lent: Lent, call: *mut GantryCall, source: &'a str) -> Self {
        Self { lent, call, source, lifetime: PhantomData }
    }

    /// Runs a statement that returns no rows and gives the number of rows it touched. Blocks at most
    /// for the request's time left.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub fn execute(&self, text: &str, params: &[Value<'_>]) -> Result<u64, SqlError> {
        let table = self.table()?;
        let mut affected = 0;
        let params_start = params.as_ptr().cast::<GantryValue>();
        let source = GantryText::from_str(self.source);
        let text = GantryText::from_str(text);
        // SAFETY: `call` is valid during `'a`; texts and parameters are only read before it returns.
        let code =
            unsafe { (table.execute)(self.call, source, text, params_start, params.len(), &mut affected) };
        if code == GANTRY_OK { Ok(affected) } else { Err(last_error(table, self.call)) }
    }

    /// Runs a statement that returns rows, at most [`ROWS_MAX`]. Blocks at most for the request's
    /// time left.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub fn query(&self, text: &str, params: &[Value<'_>]) -> Result<Rows<'a>, SqlError> {
        self.query_max(text, params, ROWS_MAX)
    }

    /// As [`Sql::query`], with at most `rows_max` rows, 1 to 100000; more is an error, never a silent cut.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub fn query_max(&self, text: &str, params: &[Value<'_>], rows_max: u32) -> Result<Rows<'a>, SqlError> {
        let table = self.table()?;
        let mut rows = std::ptr::null_mut();
        let params_start = params.as_ptr().cast::<GantryValue>();
        let source = GantryText::from_str(self.source);
        let text = GantryText::from_str(text);
        // SAFETY: `call` is valid during `'a`; texts and parameters are only read before it returns.
        let code = unsafe {
            (table.query)(self.call, source, text, params_start, params.len(), rows_max, &mut rows)
        };
        if code == GANTRY_OK {
            Ok(Rows::new(table, self.call, rows))
        } else {
            Err(last_error(table, self.call))
        }
    }

    /// The answer's only row, read by `read`; `None` if there is none.
    ///
    /// # Errors
    /// [`SqlErrorKind::TooManyRows`] if there is a second row; others as [`Sql::query`].
    pub fn query_opt<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let mut rows = self.query_max(text, params, 1)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let found = read(&row)?;
        // A platform that finds the second row only while reading must get the chance to say so.
        if rows.next()?.is_some() {
            return Err(SqlError::new(SqlErrorKind::TooManyRows, "one row was expected and there are more"));
        }
        Ok(Some(found))
    }

    /// The answer's only row, read by `read`.
    ///
    /// # Errors
    /// [`SqlErrorKind::NoRow`] if there is none, [`SqlErrorKind::TooManyRows`] if there is a second;
    /// others as [`Sql::query`].
    pub fn query_one<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.query_opt(text, params, read)?
            .ok_or_else(|| SqlError::new(SqlErrorKind::NoRow, format!("no row for: {text}")))
    }

    /// All rows of the answer, at most [`ROWS_MAX`], each read by `read`.
    ///
    /// # Errors
    /// As [`Sql::query`].
    pub fn query_all<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut rows = self.query(text, params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(&row)?);
        }
        Ok(found)
    }

    fn table(&self) -> Result<&'static GantrySql, SqlError> {
        self.lent
            .sql
            .ok_or_else(|| SqlError::new(SqlErrorKind::Unavailable, "the platform lends no SQL data sources"))
    }
}

/// The facts of the call's last failure.
pub(crate) fn last_error(table: &GantrySql, call: *mut GantryCall) -> SqlError {
    read_error(table.last_error, call)
}

/// The facts of the call's last failure, from a table's function for them.
pub(crate) fn read_error(
    last_error: unsafe extern "C" fn(*mut GantryCall, *mut GantrySqlError) -> GantryCode,
    call: *mut GantryCall,
) -> SqlError {
    let mut raw = GantrySqlError {
        struct_bytes: size_of::<GantrySqlError>() as u32,
        kind: 0,
        native_code: 0,
        sqlstate: [0; 6],
        reserved: [0; 6],
        message: GantryText::EMPTY,
    };
    // SAFETY: `call` is valid while this side runs (the platform checks it); `raw` is ours.
    let code = unsafe { last_error(call, &mut raw) };
    if code != GANTRY_OK {
        return SqlError::new(SqlErrorKind::Unavailable, "the platform gave no reason");
    }
    let sqlstate = raw.sqlstate.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
    // SAFETY: the text lives until the next function of the table.
    let message = unsafe { raw.message.read() }.unwrap_or_default().to_owned();
    SqlError {
        kind: SqlErrorKind::from_number(raw.kind),
        native_code: raw.native_code,
        sqlstate: sqlstate.map(char::from).collect(),
        message,
    }
}
