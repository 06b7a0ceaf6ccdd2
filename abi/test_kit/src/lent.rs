//! What a running call is lent.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_abi::{Level, SerialError, SerialErrorKind, SqlError, SqlErrorKind};
use gantry_datasource::{Connection, ErrorKind, Mode, SourceError, TransactionState};
use gantry_host_sql::{Rows, error, parameter};
use gantry_message::{Kind, ServiceNumber};
use gantry_service_host::{
    DocumentAnswer, DocumentCommand, InnerRefusal, Instance, Lender, ReplyError, ResultSet, SourceKind,
    SqlValue,
};

/// Replies may have this many bytes: what a node's largest block holds by default.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// The databases, by the name of their source.
#[derive(Default)]
pub(crate) struct Databases {
    connections: BTreeMap<String, Box<dyn Connection>>,
    /// The source that the running call may write: that of its first statement.
    written: Option<String>,
    fails_after: Option<u32>,
}

impl Databases {
    pub(crate) fn insert(&mut self, source: String, connection: Box<dyn Connection>) {
        self.connections.insert(source, connection);
    }

    pub(crate) fn get(&mut self, source: &str) -> Result<&mut dyn Connection, SourceError> {
        match self.connections.get_mut(source) {
            Some(connection) => Ok(&mut **connection),
            None => Err(unknown(source)),
        }
    }

    fn has(&self, source: &str) -> bool {
        self.connections.contains_key(source)
    }

    pub(crate) fn fail_after(&mut self, after: Option<u32>) {
        self.fails_after = after;
    }

    /// Ends what the call began.
    pub(crate) fn end(&mut self, is_done: bool) -> Result<(), SourceError> {
        let written = self.written.take();
        for (source, connection) in &mut self.connections {
            match connection.transaction() {
                TransactionState::None => {}
                _ if is_done && written.as_ref() == Some(source) => connection.commit()?,
                _ => connection.rollback()?,
            }
        }
        Ok(())
    }

    /// The connection, with the call's transaction open on it.
    fn entered(
        &mut self,
        source: &str,
        may_write: bool,
        limit: Duration,
    ) -> Result<&mut dyn Connection, SourceError> {
        if let Some(left) = &mut self.fails_after {
            let Some(fewer) = left.checked_sub(1) else {
                let name = Arc::from(source);
                let message = "the test lets every statement fail from now on";
                return Err(SourceError::own(ErrorKind::ConnectionLost, &name, "execute", message));
            };
            *left = fewer;
        }
        let is_first = self.written.is_none();
        let connection = self.connections.get_mut(source).ok_or_else(|| unknown(source))?;
        if connection.transaction() == TransactionState::None {
            let mode = if is_first && may_write { Mode::Write } else { Mode::ReadOnly };
            connection.begin(mode, limit)?;
            if is_first {
                self.written = Some(source.to_owned());
            }
        }
        Ok(&mut **connection)
    }
}

/// Numbers that only grow, one series for each type.
#[derive(Default)]
pub(crate) struct Serials(BTreeMap<String, u64>);

impl Serials {
    fn next(&mut self, kind: &str) -> String {
        let last = self.0.entry(kind.to_owned()).or_default();
        *last += 1;
        // As the platform formats the types that ship with it: their letter, then the number.
        match kind {
            "recharge" | "passage" | "card" | "tag" | "account" => {
                format!("{}{last:015}", kind[..1].to_uppercase())
            }
            _ => format!("{last:016}"),
        }
    }
}

/// One call's view of the kit.
pub(crate) struct Lent<'k> {
    pub(crate) number: ServiceNumber,
    pub(crate) may_write: bool,
    pub(crate) databases: &'k mut Databases,
    pub(crate) serials: &'k mut Serials,
    pub(crate) ends_at: Instant,
    pub(crate) is_cancelled: bool,
    pub(crate) reply: Vec<u8>,
    pub(crate) reply_bytes: usize,
    /// What can be called inside a call: the library's own services.
    pub(crate) instances: &'k BTreeMap<u32, Rc<Instance>>,
    /// The calls inside this one, the outer ones first.
    pub(crate) running: Vec<Rc<Instance>>,
    /// Why the call must not succeed any more.
    pub(crate) spoilt: Option<String>,
}

impl Lent<'_> {
    /// Whether the service that runs may not write: this one, or one called inside.
    fn only_reads(&self) -> bool {
        let inner = self.running.last();
        !self.may_write || inner.is_some_and(|inner| inner.service().kind == Kind::Read)
    }
}

impl Lender for Lent<'_> {
    fn time_left(&self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled || self.time_left().is_zero()
    }

    fn reply_reserve(&mut self, bytes: usize) -> Result<NonNull<[u8]>, ReplyError> {
        if bytes > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLarge { bytes, bytes_max: REPLY_BYTES_MAX });
        }
        if self.reply.len() < bytes {
            self.reply.resize(bytes, 0);
        }
        Ok(NonNull::from(self.reply.as_mut_slice()))
    }

    fn reply_commit(&mut self, bytes: usize) -> Result<(), ReplyError> {
        self.reply_bytes = bytes;
        Ok(())
    }

    fn sql_execute(&mut self, source: &str, text: &str, params: &[SqlValue<'_>]) -> Result<u64, SqlError> {
        if self.may_write && self.only_reads() {
            let message = "a service of kind read cannot write, also when a write calls it";
            return Err(SqlError::new(SqlErrorKind::ReadOnly, message));
        }
        let params: Vec<_> = params.iter().map(parameter).collect();
        let limit = self.time_left();
        let entered = self.databases.entered(source, self.may_write, limit);
        entered.and_then(|connection| connection.execute(text, &params, limit)).map_err(|cause| error(&cause))
    }

    fn sql_query(
        &mut self,
        source: &str,
        text: &str,
        params: &[SqlValue<'_>],
        rows_max: u32,
    ) -> Result<Box<dyn ResultSet>, SqlError> {
        let params: Vec<_> = params.iter().map(parameter).collect();
        let limit = self.time_left();
        let entered = self.databases.entered(source, self.may_write, limit);
        let set = entered.and_then(|connection| connection.query(text, &params, rows_max as usize, limit));
        set.map(|set| Box::new(Rows::new(set)) as Box<dyn ResultSet>).map_err(|cause| error(&cause))
    }

    fn source_kind(&self, source: &str) -> Option<SourceKind> {
        self.databases.has(source).then_some(SourceKind::Sql)
    }

    fn document_run(&mut self, source: &str, _: &DocumentCommand<'_>) -> Result<DocumentAnswer, SqlError> {
        let message =
            format!("the test kit keeps no documents; test what uses the source \"{source}\" on a node");
        Err(SqlError::new(SqlErrorKind::Unavailable, message))
    }

    fn serial_next(&mut self, kind: &str, count: u32, serials: &mut Vec<String>) -> Result<(), SerialError> {
        if self.only_reads() {
            let kind = SerialErrorKind::Unavailable;
            let message = "a service of kind read draws no serials".to_owned();
            return Err(SerialError { kind, message });
        }
        serials.extend((0..count).map(|_| self.serials.next(kind)));
        Ok(())
    }

    fn begin_inner(&mut self, number: ServiceNumber) -> Result<Rc<Instance>, InnerRefusal> {
        let instance = self.instances.get(&number.get()).ok_or(InnerRefusal::Unknown)?;
        self.running.push(Rc::clone(instance));
        Ok(Rc::clone(instance))
    }

    fn end_inner(&mut self, spoils: Option<String>) {
        self.running.pop();
        self.spoilt = self.spoilt.take().or(spoils);
    }

    fn is_log_enabled(&self, level: Level) -> bool {
        gantry_service_host::is_log_enabled(level)
    }

    fn log(&mut self, level: Level, text: &str) {
        // To the test's own output, which the test runner shows when the test fails.
        eprintln!("{} {level:?}: {text}", self.number);
    }
}

fn unknown(source: &str) -> SourceError {
    let message = format!("no service and no step of a schema names the source \"{source}\"");
    SourceError::own(ErrorKind::Unsupported, &Arc::from(source), "use", message)
}
