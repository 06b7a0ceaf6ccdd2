//! The document sources of a worker, and what a call is lent of them.
//!
//! A document source takes part in a request beside the SQL transaction, never instead of it: in a write the first SQL
//! source that the service declares is entered first, so the request's own row is there before any document is. What was
//! written is kept right before that transaction's commit. A death between the two leaves documents of a request that
//! never was, which the service must be able to tell by what is in its SQL source; the other way round a request
//! could be done without its documents, which nobody could tell.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_abi::{SqlError, SqlErrorKind};
use gantry_document::limits::{END_LIMIT, REPLY_HEAD_START};
use gantry_document::{Access, Command, Connection, DocumentError, ErrorKind, Operation, Source, configure};
use gantry_service_host::{DocumentAnswer, DocumentCommand, SourceKind};
use gantry_settings::Settings;

use crate::call::Lent;
use crate::sql::{Limit, Noted};

/// What a command may take of the time that is left.
fn time_for(limit: Limit) -> Duration {
    let left = limit.left();
    left - REPLY_HEAD_START.min(left / 4)
}

/// One document source and the connection that is kept between requests.
struct Place {
    source: Box<dyn Source>,
    connection: Option<(Access, Box<dyn Connection>)>,
}

/// All configured document sources.
#[derive(Default)]
pub(crate) struct DocumentSources {
    places: BTreeMap<String, Place>,
}

impl DocumentSources {
    /// The document sources of the configuration; none is opened yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, DocumentError> {
        let mut places = BTreeMap::new();
        for (name, data) in settings.data.iter().filter(|(_, data)| data.keeps_documents()) {
            places.insert(name.clone(), Place { source: configure(name, data)?, connection: None });
        }
        Ok(Self { places })
    }

    /// Whether there is such a source.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Prepares a source for a request; a connection that broke while it lay idle is replaced once. `None`: there is no
    /// such source.
    fn begin(&mut self, name: &str, access: Access, limit: Limit) -> Option<Result<(), DocumentError>> {
        let place = self.places.get_mut(name)?;
        if let Some((opened_for, connection)) = &mut place.connection {
            if *opened_for == access && !connection.is_broken() {
                let begun = connection.begin(time_for(limit));
                if begun.is_ok() || !connection.is_broken() {
                    return Some(begun);
                }
            }
            place.connection = None;
        }
        let opened = place.source.connect(access, time_for(limit)).and_then(|mut connection| {
            connection.begin(time_for(limit))?;
            Ok(connection)
        });
        Some(opened.map(|connection| place.connection = Some((access, connection))))
    }

    /// Runs a command on a source that was begun; `None` when its connection was lost since. What only reads, outside of
    /// a transaction, is asked once more over a new connection: one that was used just now is not asked whether it is well.
    fn run(
        &mut self,
        name: &str,
        command: &Command<'_>,
        limit: Limit,
    ) -> Option<Result<gantry_document::Answer, DocumentError>> {
        let (access, connection) = self.places.get_mut(name)?.connection.as_mut()?;
        if connection.is_broken() {
            return None;
        }
        let access = *access;
        let may_repeat = !command.operation.is_write() && !connection.has_transactions();
        let ran = connection.run(command, time_for(limit));
        let is_lost = ran.as_ref().is_err_and(|error| error.kind == ErrorKind::ConnectionLost);
        if !may_repeat || !is_lost {
            return Some(ran);
        }
        if let Err(error) = self.begin(name, access, limit)? {
            return Some(Err(error));
        }
        let (_, connection) = self.places.get_mut(name)?.connection.as_mut()?;
        Some(connection.run(command, time_for(limit)))
    }

    /// Keeps what was done since `begin`.
    pub(crate) fn commit(&mut self, name: &str) -> Result<(), DocumentError> {
        let place = self.places.get_mut(name);
        let Some((_, connection)) = place.and_then(|place| place.connection.as_mut()) else { return Ok(()) };
        connection.commit(END_LIMIT)
    }

    /// Undoes what was done since `begin`, as far as the source can.
    pub(crate) fn roll_back(&mut self, name: &str) {
        let Some(place) = self.places.get_mut(name) else { return };
        let Some((_, connection)) = place.connection.as_mut() else { return };
        connection.rollback();
        if connection.is_broken() {
            place.connection = None;
        }
    }
}

impl Lent<'_, '_> {
    /// What a declared source is.
    pub(crate) fn kind_of(&self, source: &str) -> Option<SourceKind> {
        if self.sources.documents.has(source) {
            Some(SourceKind::Document)
        } else {
            self.sources.has(source).then_some(SourceKind::Sql)
        }
    }

    /// Runs a command on documents.
    pub(crate) fn run_on_documents(
        &mut self,
        source: &str,
        asked: &DocumentCommand<'_>,
    ) -> Result<DocumentAnswer, SqlError> {
        let Some(operation) = Operation::from_number(asked.operation) else {
            let message = format!("there is no operation {} on documents", asked.operation);
            return Err(SqlError::new(SqlErrorKind::BadStatement, message));
        };
        if operation.is_write() && self.only_reads() {
            let message = format!("a service of kind read cannot {}", operation.name());
            return Err(SqlError::new(SqlErrorKind::ReadOnly, message));
        }
        self.enter_documents(source)?;
        let command = Command {
            operation,
            collection: asked.collection,
            filter: asked.filter,
            documents: asked.documents,
            options: asked.options,
            documents_max: asked.documents_max as usize,
        };
        let noted = format!("({} on {})", operation.name(), asked.collection);
        let _noted = Noted::begin(self.note, source, &noted);
        let answer = self.sources.documents.run(source, &command, self.limit);
        let answer = answer.unwrap_or_else(|| Err(lost(source)));
        let answer = answer.map_err(|error| self.note_failure(translate(&error)))?;
        let documents = (0..answer.documents.len()).filter_map(|index| answer.documents.get(index));
        Ok(DocumentAnswer {
            documents: documents.map(Box::from).collect(),
            matched: answer.matched,
            modified: answer.modified,
        })
    }

    /// Makes the source part of the request, after the SQL source whose transaction says whether the request was done.
    fn enter_documents(&mut self, source: &str) -> Result<(), SqlError> {
        self.enter_own_source()?;
        if self.transaction.documents.iter().any(|begun| begun == source) {
            return Ok(());
        }
        let access = if self.write.is_some() { Access::ReadWrite } else { Access::ReadOnly };
        let Some(begun) = self.sources.documents.begin(source, access, self.limit) else {
            let message = format!("no document source \"{source}\" is configured; add [data.{source}]");
            return Err(SqlError::new(SqlErrorKind::UnknownSource, message));
        };
        begun.map_err(|error| self.note_failure(translate(&error)))?;
        self.transaction.documents.push(source.to_owned());
        Ok(())
    }
}

fn lost(source: &str) -> DocumentError {
    DocumentError {
        kind: ErrorKind::ConnectionLost,
        source_name: source.into(),
        operation: "run",
        code: 0,
        message: "the connection was lost earlier in this request".to_owned(),
    }
}

/// An error as a service sees it.
fn translate(error: &DocumentError) -> SqlError {
    let kind = match error.kind {
        ErrorKind::Unique => SqlErrorKind::Unique,
        ErrorKind::Check => SqlErrorKind::Check,
        ErrorKind::Retryable => SqlErrorKind::Retryable,
        ErrorKind::Timeout => SqlErrorKind::Timeout,
        ErrorKind::ConnectionLost => SqlErrorKind::ConnectionLost,
        ErrorKind::BadStatement => SqlErrorKind::BadStatement,
        ErrorKind::BadValue => SqlErrorKind::BadValue,
        ErrorKind::TooManyDocuments { .. } => SqlErrorKind::TooManyRows,
        ErrorKind::ReadOnly => SqlErrorKind::ReadOnly,
        ErrorKind::Aborted => SqlErrorKind::Aborted,
        _ => SqlErrorKind::Other,
    };
    SqlError { native_code: error.code, ..SqlError::new(kind, error.to_string()) }
}
