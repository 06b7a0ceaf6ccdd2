//! What a running call is lent.

use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use gantry_abi::{Level, SerialError, SerialErrorKind, SqlError, SqlErrorKind};
use gantry_message::ServiceNumber;
use gantry_ring::Cursor;
use gantry_segment::ProcessNote;
use gantry_serials::Serials;
use gantry_service_host::{
    DocumentAnswer, DocumentCommand, InnerRefusal, Instance, Lender, ReplyError, ResultSet, SourceKind,
    SqlValue,
};

use crate::inner::Callable;
use crate::reply::ReplyRoom;
use crate::sources::Sources;
use crate::sql::{BEGIN, DRAW, Limit, Noted};
use crate::write::{Identity, Transaction, on};

/// The data source that serial numbers are drawn from.
pub(crate) const SERIAL_SOURCE: &str = "main";
/// The data source that keeps the long replies of writes without a data source of their own.
pub(crate) const REQUEST_SOURCE: &str = "main";

/// One call's view of the worker.
pub(crate) struct Lent<'w, 'a> {
    pub(crate) number: ServiceNumber,
    /// The data sources that the request's service declares.
    pub(crate) declared: &'w [String],
    pub(crate) callable: Callable<'w>,
    /// Where the running statement is noted.
    pub(crate) note: &'w ProcessNote,
    pub(crate) sources: &'w mut Sources,
    pub(crate) serials: &'w mut Serials,
    pub(crate) cursors: &'w mut [Cursor],
    pub(crate) reply: ReplyRoom<'a>,
    pub(crate) transaction: Transaction,
    /// Who asks for what; `None` for a read, which needs no row of its own.
    pub(crate) write: Option<Identity>,
    /// The request's deadline, to which every statement is cut.
    pub(crate) limit: Limit,
}

impl Lent<'_, '_> {
    /// Opens the request's transaction on a source, if it is not open there yet.
    pub(crate) fn enter(&mut self, source: &str) -> Result<(), SqlError> {
        // Where a database has one writer at a time, the wait for that place is here.
        let _noted = (!self.transaction.is_on(source)).then(|| Noted::begin(self.note, source, BEGIN));
        let write = self.write.as_ref().filter(|_| !self.is_for_reading(source));
        let entered = self.transaction.enter(self.sources, source, write, self.limit);
        entered.map_err(|error| self.note_failure(error))
    }

    /// Remembers what may succeed when everything is run again.
    pub(crate) fn note_failure(&mut self, error: SqlError) -> SqlError {
        self.transaction.is_taken_back |= error.kind == SqlErrorKind::Retryable;
        error
    }
}

impl Lender for Lent<'_, '_> {
    fn time_left(&self) -> Duration {
        self.limit.left()
    }

    fn is_cancelled(&self) -> bool {
        self.limit.left().is_zero() || self.transaction.stopped.is_some()
    }

    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError> {
        self.reply.reserve(bytes, self.cursors)
    }

    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.reply.commit(bytes)
    }

    fn sql_execute(&mut self, source: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        self.refuse_inner_write()?;
        self.enter(source)?;
        let params: Vec<_> = params.iter().map(gantry_host_sql::parameter).collect();
        let limit = self.limit.left();
        let _noted = Noted::begin(self.note, source, text);
        let result = on(self.sources, source, |connection| connection.execute(text, &params, limit));
        result.map_err(|error| self.note_failure(gantry_host_sql::error(&error)))
    }

    fn sql_query(
        &mut self,
        source: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        self.enter(source)?;
        let params: Vec<_> = params.iter().map(gantry_host_sql::parameter).collect();
        let limit = self.limit.left();
        let _noted = Noted::begin(self.note, source, text);
        let result =
            on(self.sources, source, |connection| connection.query(text, &params, rows_max as usize, limit));
        match result {
            Ok(set) => Ok(Box::new(gantry_host_sql::Rows::new(set))),
            Err(error) => Err(self.note_failure(gantry_host_sql::error(&error))),
        }
    }

    fn source_kind(&self, source: &str) -> Option<SourceKind> {
        self.kind_of(source)
    }

    fn document_run(
        &mut self,
        source: &str,
        command: &DocumentCommand<'_>,
    ) -> Result<DocumentAnswer, SqlError> {
        self.run_on_documents(source, command)
    }

    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError> {
        let refuse = |error: SqlError| {
            let kind = SerialErrorKind::Unavailable;
            SerialError { kind, message: error.message }
        };
        if self.only_reads() {
            let message = "a service of kind read draws no serials";
            return Err(refuse(SqlError::new(SqlErrorKind::ReadOnly, message)));
        }
        // The request's row comes first here too, so that a repeat is given the serials of the first time.
        self.enter(SERIAL_SOURCE).map_err(refuse)?;
        let _noted = Noted::begin(self.note, SERIAL_SOURCE, DRAW);
        let (sources, own) = (&mut *self.sources, &mut *self.serials);
        serials.extend(self.transaction.draw(sources, own, SERIAL_SOURCE, (kind, count), self.limit)?);
        Ok(())
    }

    fn ask_again(&mut self) {
        self.transaction.is_taken_back = true;
    }

    fn begin_inner(&mut self, number: ServiceNumber) -> Result<Rc<Instance>, InnerRefusal> {
        self.begin_inner_call(number)
    }

    fn end_inner(&mut self, spoils: Option<String>) {
        self.end_inner_call(spoils);
    }

    fn is_log_enabled(&self, level: Level) -> bool {
        gantry_service_host::is_log_enabled(level)
    }

    fn log(&mut self, level: Level, text: &str) {
        gantry_service_host::log(self.number, level, text);
    }
}
