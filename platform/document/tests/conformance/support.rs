//! A server for all tests of this process, and commands as one line.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use gantry_document::mongodb::MongoSource;
use gantry_document::{Access, Answer, Command, Connection, DocumentError, Documents, Operation, Source};
use gantry_test_servers::MongoServer;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A connection and what it needs to live.
pub(crate) struct Place {
    pub(crate) server: Arc<MongoServer>,
    pub(crate) database: &'static str,
}

impl Place {
    /// A server of this test's own: tests are processes of their own.
    pub(crate) fn new() -> Self {
        Self { server: Arc::new(MongoServer::start()), database: "books" }
    }

    /// One with a server that was given these arguments.
    pub(crate) fn with(options: &'static [&'static str]) -> Self {
        Self { server: Arc::new(MongoServer::start_with(options)), database: "books" }
    }

    /// Has the server misbehave, past the connections under test; needs `--enable-test-commands`.
    pub(crate) fn provoke(&self, name: &str, mode: Bson, data: Document) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str(self.server.uri("admin")).await.unwrap();
            let command = doc! { "configureFailPoint": name, "mode": mode, "data": data };
            client.database("admin").run_command(command).await.unwrap();
            client.shutdown().await;
        });
    }

    pub(crate) fn source(&self, transactions: Option<bool>) -> MongoSource {
        MongoSource::new("passages", &self.server.uri(self.database), transactions).unwrap()
    }

    /// A connection on which a request has begun, without transactions.
    pub(crate) fn plain(&self) -> Box<dyn Connection> {
        self.begun(Some(false), Access::ReadWrite)
    }

    pub(crate) fn begun(&self, transactions: Option<bool>, access: Access) -> Box<dyn Connection> {
        let mut connection = self.source(transactions).connect(access, LIMIT).unwrap();
        connection.begin(LIMIT).unwrap();
        connection
    }
}

/// A command on the collection `c` with what most have.
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    pub(crate) filter: Document,
    pub(crate) documents: Vec<Document>,
    pub(crate) options: Document,
    pub(crate) documents_max: usize,
}

impl Asked {
    pub(crate) fn new(operation: Operation) -> Self {
        let (filter, documents, options) = (Document::new(), Vec::new(), Document::new());
        Self { operation, filter, documents, options, documents_max: 1000 }
    }

    pub(crate) fn filter(mut self, filter: Document) -> Self {
        self.filter = filter;
        self
    }

    pub(crate) fn with(mut self, document: Document) -> Self {
        self.documents.push(document);
        self
    }

    pub(crate) fn options(mut self, options: Document) -> Self {
        self.options = options;
        self
    }

    pub(crate) fn run(&self, connection: &mut dyn Connection) -> Result<Answer, DocumentError> {
        self.run_within(connection, LIMIT)
    }

    pub(crate) fn run_within(
        &self,
        connection: &mut dyn Connection,
        limit: Duration,
    ) -> Result<Answer, DocumentError> {
        let filter = self.filter.to_vec().unwrap();
        let documents: Vec<u8> =
            self.documents.iter().flat_map(|document| document.to_vec().unwrap()).collect();
        let options = self.options.to_vec().unwrap();
        let command = Command {
            operation: self.operation,
            collection: "c",
            filter: &filter,
            documents: &documents,
            options: &options,
            documents_max: self.documents_max,
        };
        connection.run(&command, limit)
    }
}

pub(crate) fn insert(
    connection: &mut dyn Connection,
    documents: Vec<Document>,
) -> Result<Answer, DocumentError> {
    Asked { documents, ..Asked::new(Operation::Insert) }.run(connection)
}

pub(crate) fn find(connection: &mut dyn Connection, filter: Document) -> Vec<Document> {
    read(&Asked::new(Operation::Find).filter(filter).run(connection).unwrap().documents)
}

/// The ids of what a filter finds, in their order.
pub(crate) fn ids(connection: &mut dyn Connection, filter: Document) -> Vec<i32> {
    let asked = Asked::new(Operation::Find).filter(filter).options(doc! { "sort": { "_id": 1 } });
    read(&asked.run(connection).unwrap().documents)
        .iter()
        .map(|document| document.get_i32("_id").unwrap())
        .collect()
}

pub(crate) fn read(documents: &Documents) -> Vec<Document> {
    (0..documents.len()).map(|index| Document::from_reader(documents.get(index).unwrap()).unwrap()).collect()
}
