//! The interface `gantry.sql/1`, on top of the lender.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr::{null_mut, without_provenance_mut};

use gantry_abi::bytes::{GantryBytes, GantryText};
use gantry_abi::host::GantryCall;
use gantry_abi::sql_table::{
    GANTRY_VALUE_BLOB, GANTRY_VALUE_F64, GANTRY_VALUE_I64, GANTRY_VALUE_NULL, GANTRY_VALUE_TEXT, GantryRows,
    GantrySql, GantrySqlError, GantryValue, GantryValueData,
};
use gantry_abi::status::{GANTRY_END, GANTRY_FAILED, GANTRY_OK, GantryCode};
use gantry_abi::{SqlError, SqlErrorKind};

use crate::lender::SqlValue;
use crate::limits::{OPEN_RESULTS_MAX, PARAMS_MAX, ROWS_MAX, STATEMENT_BYTES_MAX};
use crate::running::{OpenResult, Running, with_running};

pub(crate) static SQL: GantrySql = GantrySql {
    struct_bytes: size_of::<GantrySql>() as u32,
    reserved: 0,
    execute,
    query,
    rows_columns,
    rows_next,
    rows_value,
    rows_close,
    last_error,
};

/// Parameters up to this number are converted on the stack.
const PARAMS_INLINE: usize = 16;

unsafe extern "C" fn execute(
    call: *mut GantryCall,
    source: GantryText,
    text: GantryText,
    params: *const GantryValue,
    params_count: usize,
    affected: *mut u64,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        // SAFETY: the contract says that texts and parameters are readable while this runs.
        let outcome = unsafe {
            with_statement(running, source, text, params, params_count, |running, source, text, params| {
                running.lender.sql_execute(source, text, params)
            })
        };
        match outcome {
            Ok(touched) => {
                if !affected.is_null() {
                    // SAFETY: not null, and the contract says that a number fits there.
                    unsafe { affected.write_unaligned(touched) };
                }
                GANTRY_OK
            }
            Err(error) => note_failure(running, error),
        }
    })
}

unsafe extern "C" fn query(
    call: *mut GantryCall,
    source: GantryText,
    text: GantryText,
    params: *const GantryValue,
    params_count: usize,
    rows_max: u32,
    rows: *mut *mut GantryRows,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        if rows.is_null() {
            return note_failure(running, bad_value("`rows` is null"));
        }
        // SAFETY: not null, and the contract says that a pointer fits there.
        unsafe { rows.write_unaligned(null_mut()) };
        if rows_max == 0 || rows_max > ROWS_MAX {
            return note_failure(running, bad_value(&format!("rows_max {rows_max} is not 1 to {ROWS_MAX}")));
        }
        if running.results.len() == OPEN_RESULTS_MAX {
            let message = format!("{OPEN_RESULTS_MAX} results are open; close one before the next query");
            return note_failure(running, SqlError::new(SqlErrorKind::Other, message));
        }
        // SAFETY: the contract says that texts and parameters are readable while this runs.
        let outcome = unsafe {
            with_statement(running, source, text, params, params_count, |running, source, text, params| {
                running.lender.sql_query(source, text, params, rows_max)
            })
        };
        match outcome {
            Ok(found) => {
                running.result_id += 1;
                let id = running.result_id;
                running.results.push(OpenResult { id, rows: found, is_on_row: false });
                // SAFETY: as above.
                unsafe { rows.write_unaligned(without_provenance_mut(id)) };
                GANTRY_OK
            }
            Err(error) => note_failure(running, error),
        }
    })
}

unsafe extern "C" fn rows_columns(call: *mut GantryCall, rows: *mut GantryRows) -> u32 {
    with_running(call, 0, |running| {
        find(running, rows).map_or(0, |open| u32::try_from(open.rows.columns()).unwrap_or(u32::MAX))
    })
}

unsafe extern "C" fn rows_next(call: *mut GantryCall, rows: *mut GantryRows) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        let outcome = find(running, rows).ok_or_else(not_open).and_then(|open| {
            open.is_on_row = false;
            open.is_on_row = open.rows.next()?;
            Ok(open.is_on_row)
        });
        match outcome {
            Ok(true) => GANTRY_OK,
            Ok(false) => GANTRY_END,
            Err(error) => note_failure(running, error),
        }
    })
}

unsafe extern "C" fn rows_value(
    call: *mut GantryCall,
    rows: *mut GantryRows,
    column: u32,
    value: *mut GantryValue,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        if value.is_null() {
            return note_failure(running, bad_value("`value` is null"));
        }
        match find(running, rows).ok_or_else(not_open).and_then(|open| column_of(open, column)) {
            Ok(found) => {
                // SAFETY: not null, and the contract says that a value fits there.
                unsafe { value.write_unaligned(found) };
                GANTRY_OK
            }
            Err(error) => note_failure(running, error),
        }
    })
}

unsafe extern "C" fn rows_close(call: *mut GantryCall, rows: *mut GantryRows) {
    with_running(call, (), |running| running.results.retain(|open| open.id != rows.addr()));
}

unsafe extern "C" fn last_error(call: *mut GantryCall, error: *mut GantrySqlError) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        let Some(failure) = &running.sql_error else { return GANTRY_FAILED };
        // SAFETY: the contract says that the struct is null or there, and begins with its size.
        unsafe { store_error(failure, error) }
    })
}

/// Stores the facts of a failure as far as the library's struct reaches.
///
/// # Safety
/// `error` is null or begins with its size in bytes, and all of it can be written.
pub(crate) unsafe fn store_error(failure: &SqlError, error: *mut GantrySqlError) -> GantryCode {
    if error.is_null() {
        return GANTRY_FAILED;
    }
    let mut sqlstate = [0; 6];
    for (place, byte) in sqlstate.iter_mut().take(5).zip(failure.sqlstate.bytes()) {
        *place = byte as c_char;
    }
    // SAFETY: not null, and the contract says that the struct begins with its size.
    let struct_bytes = unsafe { error.cast::<u32>().read_unaligned() };
    let facts = GantrySqlError {
        struct_bytes,
        kind: failure.kind.number(),
        native_code: failure.native_code,
        sqlstate,
        reserved: [0; 6],
        message: GantryText::from_str(&failure.message),
    };
    let bytes = (struct_bytes as usize).min(size_of::<GantrySqlError>());
    // Half a text would be a wrong text: a struct that ends inside it gets none of it.
    let bytes = if bytes < size_of::<GantrySqlError>() {
        bytes.min(offset_of!(GantrySqlError, message))
    } else {
        bytes
    };
    // SAFETY: the library says that its struct has at least so many bytes; `facts` is ours.
    unsafe { std::ptr::copy_nonoverlapping((&raw const facts).cast::<u8>(), error.cast::<u8>(), bytes) };
    GANTRY_OK
}

/// Checks a statement as it came over the border and shows it to `run`.
///
/// # Safety
/// The texts are readable, and so are `params_count` values at `params` with all they point to, while this
/// runs.
unsafe fn with_statement<T>(
    running: &mut Running<'_>,
    source: GantryText,
    text: GantryText,
    params: *const GantryValue,
    params_count: usize,
    run: impl FnOnce(&mut Running<'_>, &str, &str, &[SqlValue<'_>]) -> Result<T, SqlError>,
) -> Result<T, SqlError> {
    // SAFETY: passed on from the caller.
    let source = unsafe { source.read() }.ok_or_else(|| bad_value("the source's name is not UTF-8"))?;
    if !running.declares(source) {
        let message = format!("the service does not declare the data source `{source}` in `sources`");
        return Err(SqlError::new(SqlErrorKind::UnknownSource, message));
    }
    // SAFETY: passed on from the caller.
    let text = unsafe { text.read() }.ok_or_else(|| bad_value("the statement is not UTF-8"))?;
    if text.len() > STATEMENT_BYTES_MAX {
        let message = format!("the statement has {} bytes, {STATEMENT_BYTES_MAX} at most", text.len());
        return Err(SqlError::new(SqlErrorKind::BadStatement, message));
    }
    if params_count > PARAMS_MAX {
        return Err(bad_value(&format!("{params_count} parameters, {PARAMS_MAX} at most")));
    }
    if params_count > 0 && (params.is_null() || !params.is_aligned()) {
        return Err(bad_value("`params` is null or not aligned"));
    }
    let raw = if params_count == 0 {
        &[][..]
    } else {
        // SAFETY: not null, aligned, and the caller promises so many.
        unsafe { std::slice::from_raw_parts(params, params_count) }
    };
    let mut inline = [SqlValue::Null; PARAMS_INLINE];
    let mut spilled = Vec::new();
    let values = if params_count <= PARAMS_INLINE {
        &mut inline[..params_count]
    } else {
        spilled.resize(params_count, SqlValue::Null);
        &mut spilled[..]
    };
    for (index, (value, raw)) in values.iter_mut().zip(raw).enumerate() {
        // SAFETY: passed on from the caller.
        *value =
            unsafe { param(raw) }.map_err(|problem| bad_value(&format!("parameter {index}: {problem}")))?;
    }
    run(running, source, text, values)
}

/// One parameter.
///
/// # Safety
/// What the value points to is readable while the result is used.
unsafe fn param(raw: &GantryValue) -> Result<SqlValue<'_>, &'static str> {
    match raw.tag {
        GANTRY_VALUE_NULL => Ok(SqlValue::Null),
        // SAFETY: the tag says which field is filled.
        GANTRY_VALUE_I64 => Ok(SqlValue::I64(unsafe { raw.data.i64_value })),
        // SAFETY: the tag says which field is filled.
        GANTRY_VALUE_F64 => Ok(SqlValue::F64(unsafe { raw.data.f64_value })),
        GANTRY_VALUE_TEXT => {
            // SAFETY: the tag says which field is filled.
            let text = unsafe { raw.data.text_value };
            // SAFETY: passed on from the caller.
            unsafe { text.read() }.map(SqlValue::Text).ok_or("null or not UTF-8")
        }
        GANTRY_VALUE_BLOB => {
            // SAFETY: the tag says which field is filled.
            let bytes = unsafe { raw.data.blob_value };
            // SAFETY: passed on from the caller.
            unsafe { bytes.read() }.map(SqlValue::Blob).ok_or("null or a broken length")
        }
        _ => Err("unknown tag"),
    }
}

/// A column of the current row, as it crosses the border; it points into the rows.
fn column_of(open: &OpenResult, column: u32) -> Result<GantryValue, SqlError> {
    if !open.is_on_row {
        return Err(SqlError::new(SqlErrorKind::BadStatement, "there is no current row"));
    }
    let (column, columns) = (column as usize, open.rows.columns());
    if column >= columns {
        let message = format!("there is no column {column}; the rows have {columns}, counted from 0");
        return Err(SqlError::new(SqlErrorKind::BadStatement, message));
    }
    let (tag, data) = match open.rows.value(column)? {
        SqlValue::Null => (GANTRY_VALUE_NULL, GantryValueData { i64_value: 0 }),
        SqlValue::I64(number) => (GANTRY_VALUE_I64, GantryValueData { i64_value: number }),
        SqlValue::F64(number) => (GANTRY_VALUE_F64, GantryValueData { f64_value: number }),
        SqlValue::Text(text) => {
            (GANTRY_VALUE_TEXT, GantryValueData { text_value: GantryText::from_str(text) })
        }
        SqlValue::Blob(bytes) => {
            (GANTRY_VALUE_BLOB, GantryValueData { blob_value: GantryBytes::from_slice(bytes) })
        }
    };
    Ok(GantryValue { tag, reserved: 0, data })
}

/// The open result with this handle.
fn find<'a>(running: &'a mut Running<'_>, rows: *mut GantryRows) -> Option<&'a mut OpenResult> {
    running.results.iter_mut().find(|open| open.id == rows.addr())
}

fn note_failure(running: &mut Running<'_>, error: SqlError) -> GantryCode {
    running.sql_error = Some(error);
    GANTRY_FAILED
}

fn bad_value(message: &str) -> SqlError {
    SqlError::new(SqlErrorKind::BadValue, message)
}

fn not_open() -> SqlError {
    SqlError::new(SqlErrorKind::Other, "these rows are not open: closed before, or of another call")
}
