//! A connection to a MongoDB: one client with one connection, one session for each request.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Database};

use super::failure::{panic_text, translate};
use super::runtime::runtime;
use super::{reply, request};
use crate::limits::{ANSWER_BYTES_MAX, END_LIMIT, IDLE_TRUSTED, SIGN_OF_LIFE_LIMIT};
use crate::{
    Access, Answer, Command, Connection, DocumentError, Documents, DocumentsFull, ErrorKind, Operation,
};

/// Where the transaction of a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    None,
    Open,
    /// An error ended it; only a roll-back is left.
    Failed,
}

pub(super) struct MongoConnection {
    name: Arc<str>,
    client: Client,
    database: Database,
    access: Access,
    has_transactions: bool,
    /// A replica set or cluster: writes outside transactions wait for the majority.
    is_replicated: bool,
    session: Option<ClientSession>,
    state: State,
    is_broken: bool,
    used: Instant,
}

/// What ends the collecting of documents early.
enum Stop {
    Driver(Error),
    TooMany,
    TooLarge,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl MongoConnection {
    /// Connects and asks what the server can do. `transactions`: `None` to go by what it says.
    pub(super) fn open(
        name: &Arc<str>,
        options: ClientOptions,
        access: Access,
        transactions: Option<bool>,
        limit: Duration,
    ) -> Result<Self, DocumentError> {
        let refuse = |error: Error| translate(name, "open", &error);
        let entered = runtime().map_err(|error| {
            own(name, "open", ErrorKind::Unsupported, format!("the driver's thread does not start: {error}"))
        })?;
        // The client spawns its monitors, on whichever runtime is entered.
        let _guard = entered.enter();
        let client = Client::with_options(options).map_err(refuse)?;
        let Some(database) = client.default_database() else {
            return Err(own(name, "open", ErrorKind::Unsupported, "the uri names no database".to_owned()));
        };
        let mut connection = Self {
            name: Arc::clone(name),
            client,
            database,
            access,
            has_transactions: false,
            is_replicated: false,
            session: None,
            state: State::None,
            is_broken: false,
            used: Instant::now(),
        };
        let database = connection.database.clone();
        let hello = connection
            .wait("open", limit, async move { database.run_command(doc! { "hello": 1 }).await })??;
        connection.is_replicated =
            hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|text| text == "isdbgrid");
        if access == Access::ReadWrite && transactions == Some(true) && !connection.is_replicated {
            // Reading needs none. The server itself would refuse each first command, in words that blame the command.
            let message = "the server is neither of a replica set nor of a cluster, so it has no transactions; make it a \
                           replica set of one, or say transactions = \"off\"";
            return Err(connection.own("open", ErrorKind::Unsupported, message.to_owned()));
        }
        connection.has_transactions =
            access == Access::ReadWrite && transactions.unwrap_or(connection.is_replicated);
        Ok(connection)
    }

    /// Lets the driver work until it is done or the time is over. A connection on which it did not end is broken: what
    /// it waits for is not known. The inner result is the driver's, translated.
    fn wait<T, E>(
        &mut self,
        operation: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, DocumentError>, DocumentError>
    where
        E: IntoFailure,
    {
        let runtime = runtime().map_err(|error| self.own(operation, ErrorKind::Other, error.to_string()))?;
        let waited = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(limit, work).await })
        }));
        self.used = Instant::now();
        match waited {
            Ok(Ok(Ok(done))) => Ok(Ok(done)),
            Ok(Ok(Err(failed))) => {
                let error = failed.into_failure(&self.name, operation);
                self.is_broken |= error.kind == ErrorKind::ConnectionLost;
                Ok(Err(error))
            }
            Ok(Err(_elapsed)) => {
                self.is_broken = true;
                let message = format!("no answer within {} ms", limit.as_millis());
                Err(self.own(operation, ErrorKind::Timeout, message))
            }
            Err(payload) => {
                self.is_broken = true;
                Err(self.own(operation, ErrorKind::Other, panic_text(&*payload)))
            }
        }
    }

    fn own(&self, operation: &'static str, kind: ErrorKind, message: String) -> DocumentError {
        own(&self.name, operation, kind, message)
    }

    fn collect(
        &mut self,
        command: &Command<'_>,
        sent: RawDocumentBuf,
        limit: Duration,
    ) -> Result<Answer, DocumentError> {
        let operation = command.operation.name();
        let documents_max = command.documents_max;
        let database = self.database.clone();
        let Some(mut session) = self.session.take() else { return Err(self.not_begun(operation)) };
        let collected = self.wait(operation, limit, async {
            let mut cursor = database.run_raw_cursor_command(sent).session(&mut session).await?;
            let mut documents = Documents::default();
            while cursor.advance(&mut session).await? {
                if documents.len() == documents_max {
                    return Err(Stop::TooMany);
                }
                let pushed = documents.push(cursor.current().as_bytes());
                pushed.map_err(|DocumentsFull| Stop::TooLarge)?;
            }
            Ok(documents)
        });
        self.session = Some(session);
        match collected? {
            Ok(documents) => {
                let matched = documents.len() as u64;
                Ok(Answer { documents, matched, modified: 0 })
            }
            Err(mut error) => {
                // `into_failure` does not know the bound.
                if let ErrorKind::TooManyDocuments { documents_max: bound } = &mut error.kind {
                    *bound = documents_max;
                }
                Err(error)
            }
        }
    }

    fn write(
        &mut self,
        command: &Command<'_>,
        sent: RawDocumentBuf,
        limit: Duration,
    ) -> Result<Answer, DocumentError> {
        let operation = command.operation.name();
        let database = self.database.clone();
        let Some(mut session) = self.session.take() else { return Err(self.not_begun(operation)) };
        // An index is made outside of the transaction: there is none in it on a collection that has documents.
        let is_outside = command.operation == Operation::CreateIndex;
        let replied = self.wait(operation, limit, async {
            let sent = database.run_raw_command(sent);
            if is_outside { sent.await } else { sent.session(&mut session).await }
        });
        self.session = Some(session);
        let answer = reply::read(command.operation, &replied??);
        answer.map_err(|(kind, code, message)| {
            let source_name = Arc::clone(&self.name);
            DocumentError { kind, source_name, operation, code, message }
        })
    }

    fn not_begun(&self, operation: &'static str) -> DocumentError {
        self.own(operation, ErrorKind::Other, "`begin` comes before a command".to_owned())
    }
}

impl Connection for MongoConnection {
    fn begin(&mut self, limit: Duration) -> Result<(), DocumentError> {
        if self.state != State::None {
            return Err(self.own("begin", ErrorKind::Other, "a transaction is open already".to_owned()));
        }
        let began = Instant::now();
        if self.used.elapsed() > IDLE_TRUSTED {
            let database = self.database.clone();
            // Half of the time stays for another connection: on the way to a server that is well, an idle one may have
            // been forgotten without a word.
            let limit = SIGN_OF_LIFE_LIMIT.min(limit / 2);
            self.wait("begin", limit, async move { database.run_command(doc! { "ping": 1 }).await })??;
        }
        let left = limit.saturating_sub(began.elapsed());
        let client = self.client.clone();
        let has_transactions = self.has_transactions;
        let session = self.wait("begin", left, async move {
            let mut session = client.start_session().await?;
            if has_transactions {
                let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
                session
                    .start_transaction()
                    .read_concern(ReadConcern::snapshot())
                    .write_concern(majority)
                    .await?;
            }
            Ok::<_, Error>(session)
        })??;
        self.session = Some(session);
        self.state = if has_transactions { State::Open } else { State::None };
        Ok(())
    }

    fn run(&mut self, command: &Command<'_>, limit: Duration) -> Result<Answer, DocumentError> {
        let operation = command.operation.name();
        if command.operation.is_write() && self.access == Access::ReadOnly {
            return Err(self.own(operation, ErrorKind::ReadOnly, "this connection only reads".to_owned()));
        }
        if self.state == State::Failed {
            let message = "an earlier command of this request failed".to_owned();
            return Err(self.own(operation, ErrorKind::Aborted, message));
        }
        if limit.is_zero() {
            return Err(self.own(operation, ErrorKind::Timeout, "no time was left".to_owned()));
        }
        let is_majority = self.is_replicated && self.state == State::None;
        let sent = request::build(command, limit, is_majority)
            .map_err(|(kind, message)| self.own(operation, kind, message))?;
        let answer = match command.operation {
            Operation::Find | Operation::Aggregate => self.collect(command, sent, limit),
            _ => self.write(command, sent, limit),
        };
        if answer.is_err() && self.state == State::Open {
            self.state = State::Failed;
        }
        answer
    }

    fn commit(&mut self, limit: Duration) -> Result<(), DocumentError> {
        let state = std::mem::replace(&mut self.state, State::None);
        let Some(mut session) = self.session.take() else { return Ok(()) };
        match state {
            State::None => Ok(()),
            State::Failed => {
                self.session = Some(session);
                self.state = State::Failed;
                self.rollback();
                let message = "an earlier command of this request failed".to_owned();
                Err(self.own("commit", ErrorKind::Aborted, message))
            }
            State::Open => self.wait("commit", limit, async { session.commit_transaction().await })?,
        }
    }

    fn rollback(&mut self) {
        let state = std::mem::replace(&mut self.state, State::None);
        let Some(mut session) = self.session.take() else { return };
        if state == State::None || self.is_broken {
            return;
        }
        // The driver swallows what the server says to it, since the server undoes by itself what is not committed.
        let undone = self.wait("rollback", END_LIMIT, async { session.abort_transaction().await });
        self.is_broken |= !matches!(undone, Ok(Ok(())));
    }

    fn has_transactions(&self) -> bool {
        self.has_transactions
    }

    fn is_broken(&self) -> bool {
        self.is_broken
    }
}

impl Drop for MongoConnection {
    fn drop(&mut self) {
        self.session = None;
        let Ok(runtime) = runtime() else { return };
        let client = self.client.clone();
        // Its monitors end with it, on their own thread: nobody waits for a server that may be gone.
        runtime.spawn(async move { client.shutdown().immediate(true).await });
    }
}

/// What the driver's work can fail with.
trait IntoFailure {
    fn into_failure(self, name: &Arc<str>, operation: &'static str) -> DocumentError;
}

impl IntoFailure for Error {
    fn into_failure(self, name: &Arc<str>, operation: &'static str) -> DocumentError {
        translate(name, operation, &self)
    }
}

impl IntoFailure for Stop {
    fn into_failure(self, name: &Arc<str>, operation: &'static str) -> DocumentError {
        match self {
            Self::Driver(error) => error.into_failure(name, operation),
            Self::TooMany => {
                let kind = ErrorKind::TooManyDocuments { documents_max: 0 };
                own(name, operation, kind, "there are more documents than asked for".to_owned())
            }
            Self::TooLarge => {
                let kind = ErrorKind::TooLarge { bytes_max: ANSWER_BYTES_MAX };
                own(name, operation, kind, "the documents are too large together".to_owned())
            }
        }
    }
}

fn own(name: &Arc<str>, operation: &'static str, kind: ErrorKind, message: String) -> DocumentError {
    DocumentError { kind, source_name: Arc::clone(name), operation, code: 0, message }
}
