//! The interface `gantry.sql/1`: statements on the data sources that a service names.

use std::ffi::c_char;

use crate::bytes::{GantryBytes, GantryText};
use crate::host::GantryCall;
use crate::status::GantryCode;

/// Tag of a `GantryValue`: NULL.
pub const GANTRY_VALUE_NULL: u32 = 0;
/// Tag of a `GantryValue`: a 64-bit integer in `i64_value`. Money is an integer number of fen.
pub const GANTRY_VALUE_I64: u32 = 1;
/// Tag of a `GantryValue`: a floating-point number in `f64_value`.
pub const GANTRY_VALUE_F64: u32 = 2;
/// Tag of a `GantryValue`: text in `text_value`. Decimals, dates and times cross as text, exactly.
pub const GANTRY_VALUE_TEXT: u32 = 3;
/// Tag of a `GantryValue`: bytes in `blob_value`.
pub const GANTRY_VALUE_BLOB: u32 = 4;

/// The part of a `GantryValue` that its tag names.
#[repr(C)]
#[derive(Clone, Copy)]
pub union GantryValueData {
    /// With `GANTRY_VALUE_I64`.
    pub i64_value: i64,
    /// With `GANTRY_VALUE_F64`.
    pub f64_value: f64,
    /// With `GANTRY_VALUE_TEXT`.
    pub text_value: GantryText,
    /// With `GANTRY_VALUE_BLOB`.
    pub blob_value: GantryBytes,
}

/// One value: a bound parameter or a column of a row.
///
/// Thread: that of the call. Ownership and lifetime: a parameter is the library's and is read before
/// the function returns; a column's text or bytes are the platform's and live until the next
/// `rows_next` or `rows_close` on the same rows, or the end of the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GantryValue {
    /// One of `GANTRY_VALUE_…`.
    pub tag: u32,
    /// 0.
    pub reserved: u32,
    /// The value.
    pub data: GantryValueData,
}

/// Rows of a query that are being read. Opaque.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until `rows_close` or the end of
/// the call, which closes them. A handle used later is recognised and refused.
/// cbindgen:no-export
#[repr(C)]
#[derive(Debug)]
pub struct GantryRows {
    opaque: [u8; 0],
}

/// Some error that has no kind of its own.
pub const GANTRY_SQL_OTHER: u32 = 0;
/// A unique or primary key would have been there twice.
pub const GANTRY_SQL_UNIQUE: u32 = 1;
/// A foreign key points to nothing, or something still points to the row.
pub const GANTRY_SQL_FOREIGN_KEY: u32 = 2;
/// A check constraint is not met.
pub const GANTRY_SQL_CHECK: u32 = 3;
/// NULL in a column that allows none.
pub const GANTRY_SQL_NOT_NULL: u32 = 4;
/// Some other constraint is not met.
pub const GANTRY_SQL_CONSTRAINT: u32 = 5;
/// Deadlock, serialisation failure or a lock that was not got: the whole request may be tried again.
/// Return `GANTRY_FAILED`; the platform decides.
pub const GANTRY_SQL_RETRYABLE: u32 = 6;
/// The statement passed its time limit, which is the request's time left.
pub const GANTRY_SQL_TIMEOUT: u32 = 7;
/// The connection to the database was lost.
pub const GANTRY_SQL_CONNECTION_LOST: u32 = 8;
/// The statement is wrong: syntax, unknown table or column, wrong number of parameters.
pub const GANTRY_SQL_BAD_STATEMENT: u32 = 9;
/// A value does not fit: type, range, length, invalid UTF-8.
pub const GANTRY_SQL_BAD_VALUE: u32 = 10;
/// The answer has more than `rows_max` rows.
pub const GANTRY_SQL_TOO_MANY_ROWS: u32 = 11;
/// The platform has no data source of that name, or the service did not declare it in `sources`.
pub const GANTRY_SQL_UNKNOWN_SOURCE: u32 = 12;
/// A write in a service of kind read, or on a source that is read-only for this request.
pub const GANTRY_SQL_READ_ONLY: u32 = 13;
/// The platform ended the transaction: return at once; nothing more can succeed.
pub const GANTRY_SQL_ABORTED: u32 = 14;
/// Data sources are not lent here: while an instance is created or destroyed, or after the call.
pub const GANTRY_SQL_UNAVAILABLE: u32 = 15;

/// Facts about the last statement of a call that failed.
///
/// Thread: that of the call. Ownership: the struct is the library's; the text in it is the platform's
/// and lives until the next function of `GantrySql` on the same call.
#[repr(C)]
#[derive(Debug)]
pub struct GantrySqlError {
    /// Size of this struct as the library was compiled, in bytes; set by the library before the call.
    pub struct_bytes: u32,
    /// One of `GANTRY_SQL_…`; treat an unknown number as `GANTRY_SQL_OTHER`.
    pub kind: u32,
    /// The database's own code, 0 if there is none.
    pub native_code: i32,
    /// SQLSTATE as five letters or digits and a zero; empty if there is none.
    pub sqlstate: [c_char; 6],
    /// 0.
    pub reserved: [u8; 6],
    /// What happened, for people.
    pub message: GantryText,
}

/// The table of `gantry.sql/1`.
///
/// Statements are portable SQL with `?` parameters, never values pasted into the text, and two
/// escapes that the platform rewrites for the database: `{limit ?}` or `{limit 50}` at the end of a
/// SELECT (at most so many rows), and `{for update}` at the very end (the rows stay locked until the
/// transaction ends). The platform owns the transaction: it begins at the first statement and ends
/// after the call; a service has no way to commit and must not try to in SQL.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
/// pointer in it is null. Every function blocks at most for the request's time left.
#[repr(C)]
#[derive(Debug)]
pub struct GantrySql {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// Runs a statement that returns no rows. `params_count` (0 to 1000) values at `params` are bound
    /// in order. The number of rows it touched is stored in `affected` unless that is null.
    /// `GANTRY_OK`, or `GANTRY_FAILED` with the facts in `last_error`.
    pub execute: unsafe extern "C" fn(
        call: *mut GantryCall,
        source: GantryText,
        text: GantryText,
        params: *const GantryValue,
        params_count: usize,
        affected: *mut u64,
    ) -> GantryCode,
    /// Runs a statement that returns rows; at most `rows_max` (1 to 100000) of them, more is
    /// `GANTRY_SQL_TOO_MANY_ROWS` from here or from `rows_next`, never a silent cut. On `GANTRY_OK`
    /// `rows` stands before the first row.
    pub query: unsafe extern "C" fn(
        call: *mut GantryCall,
        source: GantryText,
        text: GantryText,
        params: *const GantryValue,
        params_count: usize,
        rows_max: u32,
        rows: *mut *mut GantryRows,
    ) -> GantryCode,
    /// Number of columns; 0 for a handle that is not open.
    pub rows_columns: unsafe extern "C" fn(call: *mut GantryCall, rows: *mut GantryRows) -> u32,
    /// Goes to the next row: `GANTRY_OK`, `GANTRY_END` after the last, or `GANTRY_FAILED`.
    pub rows_next: unsafe extern "C" fn(call: *mut GantryCall, rows: *mut GantryRows) -> GantryCode,
    /// Stores the value of a column (from 0) of the current row in `value`.
    pub rows_value: unsafe extern "C" fn(
        call: *mut GantryCall,
        rows: *mut GantryRows,
        column: u32,
        value: *mut GantryValue,
    ) -> GantryCode,
    /// Closes rows. A handle that is not open any more is ignored.
    pub rows_close: unsafe extern "C" fn(call: *mut GantryCall, rows: *mut GantryRows),
    /// Stores the facts of the last failure of this interface in `error`, as far as
    /// `error->struct_bytes` reaches. `GANTRY_FAILED` if there was no failure in this call.
    pub last_error: unsafe extern "C" fn(call: *mut GantryCall, error: *mut GantrySqlError) -> GantryCode,
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantrySql {}
