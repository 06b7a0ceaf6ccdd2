//! The interface `gantry.document/1`, on top of the lender.

use std::ptr::{null_mut, without_provenance_mut};

use gantry_abi::bytes::{GantryBytes, GantryText};
use gantry_abi::document_table::{
    GANTRY_SOURCE_DOCUMENT, GANTRY_SOURCE_NONE, GANTRY_SOURCE_SQL, GantryDocument, GantryDocumentAnswer,
    GantryDocumentCommand, GantryDocuments,
};
use gantry_abi::host::GantryCall;
use gantry_abi::sql_table::GantrySqlError;
use gantry_abi::status::{GANTRY_END, GANTRY_FAILED, GANTRY_OK, GantryCode};
use gantry_abi::{SqlError, SqlErrorKind};

use crate::host_sql::store_error;
use crate::lender::{DocumentAnswer, DocumentCommand, SourceKind};
use crate::limits::{DOCUMENT_COMMAND_BYTES_MAX, OPEN_RESULTS_MAX, ROWS_MAX};
use crate::running::{OpenDocuments, Running, with_running};

pub(crate) static DOCUMENT: GantryDocument = GantryDocument {
    struct_bytes: size_of::<GantryDocument>() as u32,
    reserved: 0,
    source_kind,
    run,
    documents_next,
    documents_close,
    last_error,
};

unsafe extern "C" fn source_kind(call: *mut GantryCall, source: GantryText) -> u32 {
    with_running(call, GANTRY_SOURCE_NONE, |running| {
        // SAFETY: the contract says that the text is readable while this runs.
        let Some(source) = (unsafe { source.read() }) else { return GANTRY_SOURCE_NONE };
        if !running.declares(source) {
            return GANTRY_SOURCE_NONE;
        }
        match running.lender.source_kind(source) {
            None => GANTRY_SOURCE_NONE,
            Some(SourceKind::Sql) => GANTRY_SOURCE_SQL,
            Some(SourceKind::Document) => GANTRY_SOURCE_DOCUMENT,
        }
    })
}

unsafe extern "C" fn run(
    call: *mut GantryCall,
    command: *const GantryDocumentCommand,
    answer: *mut GantryDocumentAnswer,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        // SAFETY: the contract says that the command, with all it points to, and the answer are there while this runs.
        match unsafe { checked_run(running, command, answer) } {
            Ok(()) => GANTRY_OK,
            Err(error) => note_failure(running, error),
        }
    })
}

/// # Safety
/// The command is null or readable with all it points to, and the answer null or writable for its size.
unsafe fn checked_run(
    running: &mut Running<'_>,
    command: *const GantryDocumentCommand,
    answer: *mut GantryDocumentAnswer,
) -> Result<(), SqlError> {
    if command.is_null() || !command.is_aligned() || answer.is_null() || !answer.is_aligned() {
        return Err(bad_value("`command` or `answer` is null or not aligned"));
    }
    // SAFETY: not null, aligned, and it begins with its size.
    let command_bytes = unsafe { command.cast::<u32>().read() };
    // SAFETY: as above.
    let answer_bytes = unsafe { answer.cast::<u32>().read() };
    let is_short = (command_bytes as usize) < size_of::<GantryDocumentCommand>()
        || (answer_bytes as usize) < size_of::<GantryDocumentAnswer>();
    if is_short {
        return Err(bad_value("`struct_bytes` of the command or answer is smaller than in ABI 1.1"));
    }
    // SAFETY: not null, aligned, and as large as it says.
    let raw = unsafe { &*command };
    // SAFETY: passed on from the caller.
    let source = unsafe { raw.source.read() }.ok_or_else(|| bad_value("the source's name is not UTF-8"))?;
    if !running.declares(source) {
        let message = format!("the service does not declare the data source `{source}` in `sources`");
        return Err(SqlError::new(SqlErrorKind::UnknownSource, message));
    }
    // SAFETY: passed on from the caller.
    let command = unsafe { read_command(raw) }?;
    if running.documents.len() == OPEN_RESULTS_MAX {
        let message = format!("{OPEN_RESULTS_MAX} answers are open; close one before the next command");
        return Err(SqlError::new(SqlErrorKind::Other, message));
    }
    let found = running.lender.document_run(source, &command)?;
    let filled = open(running, found, answer_bytes);
    // SAFETY: not null, aligned, at least as large as it is here.
    unsafe { answer.write(filled) };
    Ok(())
}

/// Keeps the documents for the service to read; without any, nothing is kept.
fn open(running: &mut Running<'_>, found: DocumentAnswer, struct_bytes: u32) -> GantryDocumentAnswer {
    let count = u32::try_from(found.documents.len()).unwrap_or(u32::MAX);
    let (matched, modified) = (found.matched, found.modified);
    let mut documents = null_mut();
    if !found.documents.is_empty() {
        running.result_id += 1;
        let id = running.result_id;
        running.documents.push(OpenDocuments { id, documents: found.documents, next: 0 });
        documents = without_provenance_mut(id);
    }
    GantryDocumentAnswer { struct_bytes, count, matched, modified, documents }
}

/// # Safety
/// What the command points to is readable while the result is used.
unsafe fn read_command(raw: &GantryDocumentCommand) -> Result<DocumentCommand<'_>, SqlError> {
    // SAFETY: passed on from the caller.
    let collection =
        unsafe { raw.collection.read() }.ok_or_else(|| bad_value("the collection's name is not UTF-8"))?;
    // SAFETY: passed on from the caller.
    let filter = unsafe { raw.filter.read() };
    // SAFETY: passed on from the caller.
    let documents = unsafe { raw.documents.read() };
    // SAFETY: passed on from the caller.
    let options = unsafe { raw.options.read() };
    let (Some(filter), Some(documents), Some(options)) = (filter, documents, options) else {
        return Err(bad_value("`filter`, `documents` or `options` is null or has a broken length"));
    };
    let bytes = filter.len() + documents.len() + options.len();
    if bytes > DOCUMENT_COMMAND_BYTES_MAX {
        return Err(bad_value(&format!(
            "the command has {bytes} bytes, {DOCUMENT_COMMAND_BYTES_MAX} at most"
        )));
    }
    let documents_max = raw.documents_max;
    if documents_max == 0 || documents_max > ROWS_MAX {
        return Err(bad_value(&format!("documents_max {documents_max} is not 1 to {ROWS_MAX}")));
    }
    Ok(DocumentCommand { operation: raw.operation, collection, filter, documents, options, documents_max })
}

unsafe extern "C" fn documents_next(
    call: *mut GantryCall,
    documents: *mut GantryDocuments,
    document: *mut GantryBytes,
) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        if document.is_null() {
            return note_failure(running, bad_value("`document` is null"));
        }
        let open = running.documents.iter_mut().find(|open| open.id == documents.addr());
        let Some(open) = open else {
            let message = "these documents are not open: closed before, or of another call";
            return note_failure(running, SqlError::new(SqlErrorKind::Other, message));
        };
        let Some(next) = open.documents.get(open.next) else { return GANTRY_END };
        open.next += 1;
        // SAFETY: not null, and the contract says that a pointer and a length fit there.
        unsafe { document.write_unaligned(GantryBytes::from_slice(next)) };
        GANTRY_OK
    })
}

unsafe extern "C" fn documents_close(call: *mut GantryCall, documents: *mut GantryDocuments) {
    with_running(call, (), |running| running.documents.retain(|open| open.id != documents.addr()));
}

unsafe extern "C" fn last_error(call: *mut GantryCall, error: *mut GantrySqlError) -> GantryCode {
    with_running(call, GANTRY_FAILED, |running| {
        let Some(failure) = &running.document_error else { return GANTRY_FAILED };
        // SAFETY: the contract says that the struct is null or there, and begins with its size.
        unsafe { store_error(failure, error) }
    })
}

fn note_failure(running: &mut Running<'_>, error: SqlError) -> GantryCode {
    running.document_error = Some(error);
    GANTRY_FAILED
}

fn bad_value(message: &str) -> SqlError {
    SqlError::new(SqlErrorKind::BadValue, message)
}

#[cfg(test)]
mod tests;
