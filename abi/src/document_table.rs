//! The interface `gantry.document/1`: documents in collections of the data sources that a service names.

use crate::bytes::{GantryBytes, GantryText};
use crate::host::GantryCall;
use crate::sql_table::GantrySqlError;
use crate::status::GantryCode;

/// The data source is not configured on this node, or the service did not declare it in `sources`.
pub const GANTRY_SOURCE_NONE: u32 = 0;
/// A data source for statements, `gantry.sql/1`.
pub const GANTRY_SOURCE_SQL: u32 = 1;
/// A data source for documents, `gantry.document/1`.
pub const GANTRY_SOURCE_DOCUMENT: u32 = 2;

/// Documents that match `filter`. Options: `projection`, `sort`, `skip`, `limit`, `hint`.
pub const GANTRY_DOCUMENT_FIND: u32 = 1;
/// Stores `documents`, one after the other; stops at the first that is refused.
pub const GANTRY_DOCUMENT_INSERT: u32 = 2;
/// Changes the first document that matches as the one in `documents` says. Options: `upsert`, `hint`.
pub const GANTRY_DOCUMENT_UPDATE_ONE: u32 = 3;
/// Changes every document that matches. Options: `upsert`, `hint`.
pub const GANTRY_DOCUMENT_UPDATE_MANY: u32 = 4;
/// Changes one document and gives it. Options: `sort`, `projection`, `upsert`, `hint`, `return` (`"before"`
/// or `"after"`; before when it is not said).
pub const GANTRY_DOCUMENT_FIND_AND_UPDATE: u32 = 5;
/// Takes the first document that matches away. Option: `hint`.
pub const GANTRY_DOCUMENT_DELETE_ONE: u32 = 6;
/// Takes every document that matches away. Option: `hint`.
pub const GANTRY_DOCUMENT_DELETE_MANY: u32 = 7;
/// Runs the stages of a pipeline in `documents`, none of which writes. Option: `hint`.
pub const GANTRY_DOCUMENT_AGGREGATE: u32 = 8;
/// Makes an index over the keys of the one document in `documents`; nothing happens if it is there. Options:
/// `name`, `unique`, `sparse`, `partialFilterExpression`, `expireAfterSeconds`.
pub const GANTRY_DOCUMENT_CREATE_INDEX: u32 = 9;

/// One command. Documents are BSON; several stand one after the other.
///
/// Thread: that of the call. Ownership: the library's, with all it points to. Lifetime: read before `run` returns.
#[repr(C)]
#[derive(Debug)]
pub struct GantryDocumentCommand {
    /// Size of this struct as the library was compiled, in bytes.
    pub struct_bytes: u32,
    /// One of `GANTRY_DOCUMENT_…`.
    pub operation: u32,
    /// The data source.
    pub source: GantryText,
    /// The collection.
    pub collection: GantryText,
    /// Which documents: a BSON document; no bytes for all.
    pub filter: GantryBytes,
    /// What is stored, changed, run or indexed: BSON documents.
    pub documents: GantryBytes,
    /// The operation's options by name: a BSON document; no bytes for none.
    pub options: GantryBytes,
    /// Documents that may come back, 1 to 100000; more is `GANTRY_SQL_TOO_MANY_ROWS`, never a silent cut.
    pub documents_max: u32,
    /// 0.
    pub reserved: u32,
}

/// Documents that came back and are being read. Opaque.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until `documents_close` or the end of
/// the call, which closes them. A handle used later is recognised and refused.
/// cbindgen:no-export
#[repr(C)]
#[derive(Debug)]
pub struct GantryDocuments {
    opaque: [u8; 0],
}

/// What a command gave.
///
/// Thread: that of the call. Ownership: the library's; it is filled as far as `struct_bytes` reaches.
#[repr(C)]
#[derive(Debug)]
pub struct GantryDocumentAnswer {
    /// Size of this struct as the library was compiled, in bytes; set by the library before the call.
    pub struct_bytes: u32,
    /// Documents that came back.
    pub count: u32,
    /// Documents that matched, were inserted or were deleted.
    pub matched: u64,
    /// Documents that are different now, those that an upsert made included.
    pub modified: u64,
    /// The documents, to be read with `documents_next`; null if none came back.
    pub documents: *mut GantryDocuments,
}

/// The table of `gantry.document/1`.
///
/// Where a write service uses a document source, what it does there is kept after the call succeeded and undone
/// if it failed, provided that the source has transactions (`[data.NAME] transactions`); without them each command
/// is kept at once. A request that uses a SQL source too has its truth there: documents are kept just before the
/// SQL transaction is committed, so they may be there although it was not.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
/// pointer in it is null. Every function blocks at most for the request's time left.
#[repr(C)]
#[derive(Debug)]
pub struct GantryDocument {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// What a data source is: one of `GANTRY_SOURCE_…`. A service may declare a source that it can do without
    /// (`sources` names it with a `?` at its end) and ask here whether this node has it.
    pub source_kind: unsafe extern "C" fn(call: *mut GantryCall, source: GantryText) -> u32,
    /// Runs a command. `GANTRY_OK`, or `GANTRY_FAILED` with the facts in `last_error`.
    pub run: unsafe extern "C" fn(
        call: *mut GantryCall,
        command: *const GantryDocumentCommand,
        answer: *mut GantryDocumentAnswer,
    ) -> GantryCode,
    /// Stores the next document in `document`, which lives until the documents are closed: `GANTRY_OK`,
    /// `GANTRY_END` after the last, or `GANTRY_FAILED`.
    pub documents_next: unsafe extern "C" fn(
        call: *mut GantryCall,
        documents: *mut GantryDocuments,
        document: *mut GantryBytes,
    ) -> GantryCode,
    /// Closes documents. A handle that is not open any more is ignored.
    pub documents_close: unsafe extern "C" fn(call: *mut GantryCall, documents: *mut GantryDocuments),
    /// Stores the facts of the last failure of this interface in `error`, as far as `error->struct_bytes`
    /// reaches; kinds are those of `gantry.sql/1`, and `sqlstate` is empty. `GANTRY_FAILED` if there was no
    /// failure in this call.
    pub last_error: unsafe extern "C" fn(call: *mut GantryCall, error: *mut GantrySqlError) -> GantryCode,
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantryDocument {}
