//! The kit: instances, databases, calls.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_datasource::{
    Access, Connection, Migration, Source, SourceError, SqliteOptions, SqliteSource, Value, ValueRef, migrate,
};
use gantry_message::{CallerName, Kind, RequestId, ServiceNumber, Status};
use gantry_service_host::{Instance, Library, Outcome, RequestView, business_body, call};

use crate::entry;
use crate::error::KitError;
use crate::lent::{Databases, Lent, Serials};
use crate::reply::Reply;

/// How long a call has when a test says nothing else: the platform's default.
const TIME_LEFT: Duration = Duration::from_secs(15);
/// Rows that [`Kit::rows`] gives at most.
const ROWS_MAX: usize = 100_000;

/// A service library at work, as in a worker.
pub struct Kit {
    library: Arc<Library>,
    instances: BTreeMap<u32, Rc<Instance>>,
    databases: Databases,
    serials: Serials,
    time_left: Duration,
    is_cancelled: bool,
    caller: CallerName,
    calls: u64,
    /// Where the databases are; removed with the kit.
    _folder: tempfile::TempDir,
}

impl Kit {
    /// The library with no configuration.
    ///
    /// # Errors
    /// See [`KitError`].
    pub fn new() -> Result<Self, KitError> {
        Self::with_config(|_| String::new())
    }

    /// The library with the configuration text, as JSON, that `config` gives for each service's name.
    ///
    /// # Errors
    /// See [`KitError`]; among others what a service's `create` says of its configuration.
    pub fn with_config(config: impl Fn(&str) -> String) -> Result<Self, KitError> {
        let library = Arc::new(entry::library()?);
        let folder = tempfile::tempdir()?;
        let mut databases = Databases::default();
        for source in sources(&library) {
            let options = SqliteOptions::new(folder.path().join(format!("{source}.db")));
            let connection = SqliteSource::new(&source, options).connect(Access::ReadWrite)?;
            databases.insert(source, connection);
        }
        bring_up_to_date(&library, &mut databases)?;
        let services = &library.description().services;
        let made = services.iter().map(|service| {
            let instance = Instance::create(&library, service.number, &config(&service.name))?;
            Ok((service.number.get(), Rc::new(instance)))
        });
        let instances = made.collect::<Result<_, KitError>>()?;
        Ok(Self {
            library,
            instances,
            databases,
            serials: Serials::default(),
            time_left: TIME_LEFT,
            is_cancelled: false,
            caller: CallerName::ANONYMOUS,
            calls: 0,
            _folder: folder,
        })
    }

    /// Sends `body` to a service, with a request id of its own, and gives what the caller gets.
    ///
    /// # Panics
    /// The library has no such service, which is a mistake in the test.
    #[track_caller]
    pub fn call(&mut self, number: u32, body: impl AsRef<[u8]>) -> Reply {
        match self.try_call(number, body.as_ref()) {
            Ok(reply) => reply,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same, with an error instead of a panic.
    ///
    /// # Errors
    /// [`KitError::UnknownService`], [`KitError::Source`] when the commit failed.
    pub fn try_call(&mut self, number: u32, body: &[u8]) -> Result<Reply, KitError> {
        let Some(instance) = self.instances.get(&number) else {
            let known = self.instances.keys().map(|known| format!("{known:08}")).collect::<Vec<_>>();
            let library = self.library.description().name.clone();
            return Err(KitError::UnknownService { library, number, known: known.join(", ") });
        };
        self.calls += 1;
        let request = RequestView {
            number: instance.number(),
            caller: self.caller,
            request_id: request_id(self.calls),
            body: NonNull::from(body),
        };
        let mut lent = Lent {
            number: instance.number(),
            may_write: instance.service().kind != Kind::Read,
            databases: &mut self.databases,
            serials: &mut self.serials,
            ends_at: Instant::now() + self.time_left,
            is_cancelled: self.is_cancelled,
            reply: Vec::new(),
            reply_bytes: 0,
            instances: &self.instances,
            running: Vec::new(),
            spoilt: None,
        };
        let outcome = call(instance, &mut lent, request);
        lent.reply.truncate(lent.reply_bytes);
        let body = std::mem::take(&mut lent.reply);
        let outcome = match (outcome, lent.spoilt.take()) {
            (Outcome::Done, Some(message)) => Outcome::Failed { message },
            (outcome, _) => outcome,
        };
        self.databases.end(outcome == Outcome::Done)?;
        Ok(match outcome {
            Outcome::Done => Reply { status: Status::Done, body, failure: None },
            Outcome::Business { code, field, message } => {
                let body = business_body(&code, field.as_deref(), &message);
                Reply { status: Status::BusinessError, body, failure: None }
            }
            Outcome::Failed { message } => {
                Reply { status: Status::ServiceFailed, body: Vec::new(), failure: Some(message) }
            }
        })
    }

    /// Calls every service that has an example with it, and gives the replies by number: what `describe` promises
    /// should be true.
    ///
    /// # Errors
    /// As [`Kit::try_call`].
    pub fn call_examples(&mut self) -> Result<Vec<(ServiceNumber, Reply)>, KitError> {
        let services = self.library.description().services.clone();
        let with_example = services.iter().filter(|service| !service.example.is_empty());
        let called = with_example.map(|service| {
            Ok((service.number, self.try_call(service.number.get(), service.example.as_bytes())?))
        });
        called.collect()
    }

    /// Runs a statement, such as one that a test arranges its rows with, and commits it. The rows it touched are returned.
    ///
    /// # Errors
    /// The database's, or there is no such source.
    pub fn execute(&mut self, source: &str, text: &str, params: &[ValueRef<'_>]) -> Result<u64, SourceError> {
        self.databases.get(source)?.execute(text, params, TIME_LEFT)
    }

    /// The rows of a query, as they are after the calls so far.
    ///
    /// # Errors
    /// The database's, or there is no such source.
    pub fn rows(
        &mut self,
        source: &str,
        text: &str,
        params: &[ValueRef<'_>],
    ) -> Result<Vec<Vec<Value>>, SourceError> {
        let set = self.databases.get(source)?.query(text, params, ROWS_MAX, TIME_LEFT)?;
        let columns = set.columns().len();
        let row = |row| (0..columns).map(|column| set.value(row, column).to_value()).collect();
        Ok((0..set.rows()).map(row).collect())
    }

    /// How long each further call has; with zero every statement is refused as too late.
    pub fn set_time_left(&mut self, time_left: Duration) {
        self.time_left = time_left;
    }

    /// Whether further calls find that nobody waits for them any more.
    pub fn set_cancelled(&mut self, is_cancelled: bool) {
        self.is_cancelled = is_cancelled;
    }

    /// Who makes further calls.
    pub fn set_caller(&mut self, caller: CallerName) {
        self.caller = caller;
    }

    /// Lets each statement after the next `count` fail as if the connection to the database were lost, until it is told
    /// otherwise; `None` ends that.
    pub fn fail_statements(&mut self, after: Option<u32>) {
        self.databases.fail_after(after);
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit")
            .field("library", &self.library)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// Every source that a service or a step of a schema names.
fn sources(library: &Library) -> std::collections::BTreeSet<String> {
    let description = library.description();
    let of_services = description.services.iter().flat_map(|service| service.sources.iter().cloned());
    // A source that a service can do without is not there.
    let of_services = of_services.filter(|source| !source.ends_with('?'));
    let of_steps = description.migrations.iter().map(|step| step.source.clone());
    of_services.chain(of_steps).collect()
}

fn bring_up_to_date(library: &Library, databases: &mut Databases) -> Result<(), KitError> {
    for step in &library.description().migrations {
        let applied = databases.get(&step.source).and_then(|connection: &mut dyn Connection| {
            migrate(connection, &step.schema, &[Migration { version: step.version, sql: &step.sql }])
        });
        applied.map_err(|cause| KitError::Migration {
            source_name: step.source.clone(),
            schema: step.schema.clone(),
            version: step.version,
            cause: Box::new(cause),
        })?;
    }
    Ok(())
}

fn request_id(number: u64) -> RequestId {
    format!("test-kit-{number:015}").parse().expect("24 printable bytes are a request id")
}
