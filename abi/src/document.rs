//! Documents of a data source.

use std::marker::PhantomData;

use bson::{Document, RawDocument};

use crate::bytes::{GantryBytes, GantryText};
use crate::document_table::{
    GANTRY_DOCUMENT_AGGREGATE, GANTRY_DOCUMENT_CREATE_INDEX, GANTRY_DOCUMENT_DELETE_MANY,
    GANTRY_DOCUMENT_DELETE_ONE, GANTRY_DOCUMENT_FIND, GANTRY_DOCUMENT_FIND_AND_UPDATE,
    GANTRY_DOCUMENT_INSERT, GANTRY_DOCUMENT_UPDATE_MANY, GANTRY_DOCUMENT_UPDATE_ONE, GANTRY_SOURCE_DOCUMENT,
    GantryDocument, GantryDocumentAnswer, GantryDocumentCommand,
};
use crate::error::{SqlError, SqlErrorKind};
use crate::host::GantryCall;
use crate::lent::Lent;
use crate::sql::{ROWS_MAX, read_error};
use crate::status::GANTRY_OK;

/// What a command did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Documents that matched, were inserted or were deleted.
    pub matched: u64,
    /// Documents that are different now, those that an upsert made included.
    pub modified: u64,
}

/// One data source during one call, from [`Context::documents`](crate::Context::documents). Errors are those of SQL.
#[derive(Clone, Copy)]
pub struct Documents<'a> {
    lent: Lent,
    call: *mut GantryCall,
    source: &'a str,
    lifetime: PhantomData<&'a ()>,
}

impl<'a> Documents<'a> {
    pub(crate) fn new(lent: Lent, call: *mut GantryCall, source: &'a str) -> Self {
        Self { lent, call, source, lifetime: PhantomData }
    }

    /// Whether this node keeps documents there. `false`: not configured, or a source of another kind.
    #[must_use]
    pub fn is_here(&self) -> bool {
        // SAFETY: `call` is valid during `'a`; the text is only read before it returns.
        self.lent.document.is_some_and(|table| unsafe {
            (table.source_kind)(self.call, GantryText::from_str(self.source)) == GANTRY_SOURCE_DOCUMENT
        })
    }

    /// Documents that match, at most [`ROWS_MAX`]. `options`: `projection`, `sort`, `skip`, `limit`, `hint`.
    ///
    /// # Errors
    /// See [`SqlErrorKind`].
    pub fn find(
        &self,
        collection: &str,
        filter: &Document,
        options: &Document,
    ) -> Result<Vec<Document>, SqlError> {
        let asked = Asked { filter, options, ..Asked::new(GANTRY_DOCUMENT_FIND) };
        Ok(self.run(collection, &asked)?.1)
    }

    /// The first document that matches.
    ///
    /// # Errors
    /// As [`Documents::find`].
    pub fn find_one(&self, collection: &str, filter: &Document) -> Result<Option<Document>, SqlError> {
        let options = bson::doc! { "limit": 1_i64 };
        Ok(self.find(collection, filter, &options)?.pop())
    }

    /// Stores a document.
    ///
    /// # Errors
    /// [`SqlErrorKind::Unique`] if a key of it is there already; others as [`Documents::find`].
    pub fn insert(&self, collection: &str, document: &Document) -> Result<(), SqlError> {
        self.insert_all(collection, std::slice::from_ref(document)).map(drop)
    }

    /// Stores documents in their order, up to the first that is refused.
    ///
    /// # Errors
    /// As [`Documents::insert`].
    pub fn insert_all(&self, collection: &str, documents: &[Document]) -> Result<u64, SqlError> {
        let asked = Asked { documents, ..Asked::new(GANTRY_DOCUMENT_INSERT) };
        Ok(self.run(collection, &asked)?.0.matched)
    }

    /// Changes the first document that matches.
    ///
    /// # Errors
    /// As [`Documents::insert`].
    pub fn update_one(
        &self,
        collection: &str,
        filter: &Document,
        change: &Document,
    ) -> Result<Changed, SqlError> {
        let documents = std::slice::from_ref(change);
        let asked = Asked { filter, documents, ..Asked::new(GANTRY_DOCUMENT_UPDATE_ONE) };
        Ok(self.run(collection, &asked)?.0)
    }

    /// Changes every document that matches. `options`: `upsert`, `hint`.
    ///
    /// # Errors
    /// As [`Documents::insert`].
    pub fn update_many(
        &self,
        collection: &str,
        filter: &Document,
        change: &Document,
        options: &Document,
    ) -> Result<Changed, SqlError> {
        let documents = std::slice::from_ref(change);
        let asked = Asked { filter, documents, options, ..Asked::new(GANTRY_DOCUMENT_UPDATE_MANY) };
        Ok(self.run(collection, &asked)?.0)
    }

    /// Changes one document and gives it. `options`: `sort`, `projection`, `upsert`, `return` (`"before"` or `"after"`).
    ///
    /// # Errors
    /// As [`Documents::insert`].
    pub fn find_and_update(
        &self,
        collection: &str,
        filter: &Document,
        change: &Document,
        options: &Document,
    ) -> Result<Option<Document>, SqlError> {
        let documents = std::slice::from_ref(change);
        let asked = Asked { filter, documents, options, ..Asked::new(GANTRY_DOCUMENT_FIND_AND_UPDATE) };
        Ok(self.run(collection, &asked)?.1.pop())
    }

    /// Takes the first document that matches away; gives how many there were.
    ///
    /// # Errors
    /// As [`Documents::find`].
    pub fn delete_one(&self, collection: &str, filter: &Document) -> Result<u64, SqlError> {
        Ok(self.run(collection, &Asked { filter, ..Asked::new(GANTRY_DOCUMENT_DELETE_ONE) })?.0.matched)
    }

    /// Takes every document that matches away; gives how many there were.
    ///
    /// # Errors
    /// As [`Documents::find`].
    pub fn delete_many(&self, collection: &str, filter: &Document) -> Result<u64, SqlError> {
        Ok(self.run(collection, &Asked { filter, ..Asked::new(GANTRY_DOCUMENT_DELETE_MANY) })?.0.matched)
    }

    /// Runs the stages of a pipeline, none of which may write; at most [`ROWS_MAX`] documents.
    ///
    /// # Errors
    /// As [`Documents::find`].
    pub fn aggregate(&self, collection: &str, stages: &[Document]) -> Result<Vec<Document>, SqlError> {
        let asked = Asked { documents: stages, ..Asked::new(GANTRY_DOCUMENT_AGGREGATE) };
        Ok(self.run(collection, &asked)?.1)
    }

    /// Makes an index if it is not there. `options`: `name`, `unique`, `sparse` and what the server has besides.
    ///
    /// # Errors
    /// As [`Documents::find`].
    pub fn create_index(
        &self,
        collection: &str,
        keys: &Document,
        options: &Document,
    ) -> Result<(), SqlError> {
        let documents = std::slice::from_ref(keys);
        let asked = Asked { documents, options, ..Asked::new(GANTRY_DOCUMENT_CREATE_INDEX) };
        self.run(collection, &asked).map(drop)
    }

    fn run(&self, collection: &str, asked: &Asked<'_>) -> Result<(Changed, Vec<Document>), SqlError> {
        let unavailable = || SqlError::new(SqlErrorKind::Unavailable, "the platform lends no documents");
        let table = self.lent.document.ok_or_else(unavailable)?;
        let (filter, options) = (write(asked.filter)?, write(asked.options)?);
        let mut documents = Vec::new();
        for document in asked.documents {
            documents.extend_from_slice(&write(document)?);
        }
        let command = GantryDocumentCommand {
            struct_bytes: size_of::<GantryDocumentCommand>() as u32,
            operation: asked.operation,
            source: GantryText::from_str(self.source),
            collection: GantryText::from_str(collection),
            filter: GantryBytes::from_slice(&filter),
            documents: GantryBytes::from_slice(&documents),
            options: GantryBytes::from_slice(&options),
            documents_max: ROWS_MAX,
            reserved: 0,
        };
        let mut answer = GantryDocumentAnswer {
            struct_bytes: size_of::<GantryDocumentAnswer>() as u32,
            count: 0,
            matched: 0,
            modified: 0,
            documents: std::ptr::null_mut(),
        };
        // SAFETY: `call` is valid during `'a`; the command is only read before it returns, the answer is ours.
        let code = unsafe { (table.run)(self.call, &command, &mut answer) };
        if code != GANTRY_OK {
            return Err(read_error(table.last_error, self.call));
        }
        let found = if answer.documents.is_null() { Ok(Vec::new()) } else { self.read(table, &answer) };
        Ok((Changed { matched: answer.matched, modified: answer.modified }, found?))
    }

    fn read(&self, table: &GantryDocument, answer: &GantryDocumentAnswer) -> Result<Vec<Document>, SqlError> {
        let mut found = Vec::with_capacity(answer.count.min(ROWS_MAX) as usize);
        let mut bytes = GantryBytes::EMPTY;
        // SAFETY: `call` is valid during `'a`, and the handle is checked by the platform.
        while unsafe { (table.documents_next)(self.call, answer.documents, &mut bytes) } == GANTRY_OK {
            // SAFETY: the bytes live until the documents are closed.
            let document = unsafe { bytes.read() }.unwrap_or_default();
            let document = RawDocument::from_bytes(document).and_then(Document::try_from);
            found.push(document.map_err(|error| SqlError::new(SqlErrorKind::BadValue, error.to_string()))?);
        }
        // SAFETY: as above. On an early return the call's end closes them.
        unsafe { (table.documents_close)(self.call, answer.documents) };
        Ok(found)
    }
}

/// A command's parts.
struct Asked<'a> {
    operation: u32,
    filter: &'a Document,
    documents: &'a [Document],
    options: &'a Document,
}

impl Asked<'_> {
    fn new(operation: u32) -> Self {
        static NOTHING: std::sync::LazyLock<Document> = std::sync::LazyLock::new(Document::new);
        Self { operation, filter: &NOTHING, documents: &[], options: &NOTHING }
    }
}

fn write(document: &Document) -> Result<Vec<u8>, SqlError> {
    document.to_vec().map_err(|error| SqlError::new(SqlErrorKind::BadValue, error.to_string()))
}
