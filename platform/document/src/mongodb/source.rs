//! Where a MongoDB is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::options::{ClientOptions, ServerMonitoringMode};

use super::connection::MongoConnection;
use super::runtime::runtime;
use crate::limits::CONNECT_LIMIT;
use crate::{Access, Connection, DocumentError, ErrorKind, Source};

/// A database on a MongoDB server, replica set or cluster.
#[derive(Debug)]
pub struct MongoSource {
    name: Arc<str>,
    uri: String,
    transactions: Option<bool>,
}

impl MongoSource {
    /// Takes the URI; nothing is opened. `transactions`: whether to use them, `None` to ask the server.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: no MongoDB URI, or one that names no database.
    pub fn new(name: &str, uri: &str, transactions: Option<bool>) -> Result<Self, DocumentError> {
        let source = Self { name: Arc::from(name), uri: uri.to_owned(), transactions };
        let began = Instant::now();
        source.options(CONNECT_LIMIT, began)?;
        Ok(source)
    }

    /// What the URI says, and what we add to it.
    fn options(&self, limit: Duration, began: Instant) -> Result<ClientOptions, DocumentError> {
        let refuse = |message: String| DocumentError {
            kind: ErrorKind::Unsupported,
            source_name: Arc::clone(&self.name),
            operation: "configure",
            code: 0,
            // The URI holds a password: it is not shown.
            message,
        };
        let runtime =
            runtime().map_err(|error| refuse(format!("the driver's thread does not start: {error}")))?;
        let parsed = runtime.block_on(async { ClientOptions::parse(&self.uri).await });
        let mut options = parsed.map_err(|error| refuse(format!("the uri is of no use: {}", error.kind)))?;
        if options.default_database.as_deref().is_none_or(str::is_empty) {
            let message = "the uri names no database: write mongodb://HOST:PORT/DATABASE";
            return Err(refuse(message.to_owned()));
        }
        let left = limit.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        options.app_name.get_or_insert_with(|| "gantry".to_owned());
        options.connect_timeout = Some(options.connect_timeout.unwrap_or(CONNECT_LIMIT).min(left));
        options.server_selection_timeout =
            Some(options.server_selection_timeout.unwrap_or(CONNECT_LIMIT).min(left));
        // A worker runs one request at a time.
        options.max_pool_size = Some(1);
        options.min_pool_size = Some(0);
        // A monitor that polls needs one connection to a server, one that streams needs two.
        options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
        options.retry_writes = Some(false);
        options.retry_reads = Some(false);
        Ok(options)
    }
}

impl Source for MongoSource {
    fn connect(&self, access: Access, limit: Duration) -> Result<Box<dyn Connection>, DocumentError> {
        let began = Instant::now();
        let options = self.options(limit, began)?;
        let left = limit.saturating_sub(began.elapsed());
        Ok(Box::new(MongoConnection::open(&self.name, options, access, self.transactions, left)?))
    }
}
