//! The data sources of a worker: opened when first used, opened again when broken.

use std::collections::BTreeMap;

use gantry_datasource::{
    Access, Connection, Mode, Source, SourceError, SqliteOptions, SqliteSource, Synchronous,
};
use gantry_settings::{DataSettings, Settings};

use crate::WorkerError;
use crate::sql::Limit;

/// One data source and the connection that is kept between requests.
struct Place {
    source: Box<dyn Source>,
    connection: Option<Box<dyn Connection>>,
}

/// All configured data sources.
pub(crate) struct Sources {
    places: BTreeMap<String, Place>,
    access: Access,
}

impl Sources {
    /// The sources of the configuration; none is opened yet.
    pub(crate) fn new(settings: &Settings, access: Access) -> Result<Self, WorkerError> {
        let mut places = BTreeMap::new();
        for (name, data) in &settings.data {
            places.insert(name.clone(), Place { source: source(name, data)?, connection: None });
        }
        Ok(Self { places, access })
    }

    /// Names of all sources.
    pub(crate) fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// The connection to a source, opened if need be. `None` when there is no such source.
    pub(crate) fn connection(
        &mut self,
        name: &str,
    ) -> Option<Result<&mut (dyn Connection + 'static), SourceError>> {
        let place = self.places.get_mut(name)?;
        if place.connection.as_ref().is_some_and(|connection| connection.is_broken()) {
            place.connection = None;
        }
        if place.connection.is_none() {
            match place.source.connect(self.access) {
                Ok(connection) => place.connection = Some(connection),
                Err(error) => return Some(Err(error)),
            }
        }
        place.connection.as_mut().map(|connection| Ok(&mut **connection))
    }

    /// Begins a transaction; a connection that broke while it lay idle is replaced once.
    pub(crate) fn begin(&mut self, name: &str, mode: Mode, limit: Limit) -> Option<Result<(), SourceError>> {
        let first = match self.connection(name)? {
            Ok(connection) => connection.begin(mode, limit.left()),
            Err(error) => return Some(Err(error)),
        };
        let is_broken = self.is_broken(name);
        if first.is_ok() || !is_broken {
            return Some(first);
        }
        Some(self.connection(name)?.and_then(|connection| connection.begin(mode, limit.left())))
    }

    /// Ends a transaction without its changes, if one is open. A connection that cannot even do that is dropped,
    /// which rolls back too.
    pub(crate) fn roll_back(&mut self, name: &str) {
        let Some(place) = self.places.get_mut(name) else { return };
        let Some(connection) = place.connection.as_mut() else { return };
        if let Err(error) = connection.rollback() {
            tracing::warn!(source = name, %error, "roll-back failed; the connection is dropped");
            place.connection = None;
        }
    }

    fn is_broken(&self, name: &str) -> bool {
        let connection = self.places.get(name).and_then(|place| place.connection.as_ref());
        connection.is_some_and(|connection| connection.is_broken())
    }
}

fn source(name: &str, data: &DataSettings) -> Result<Box<dyn Source>, WorkerError> {
    match data {
        DataSettings::Sqlite(sqlite) => {
            let synchronous = match sqlite.synchronous {
                gantry_settings::Synchronous::Full => Synchronous::Full,
                gantry_settings::Synchronous::Normal => Synchronous::Normal,
            };
            let options = SqliteOptions::new(sqlite.path.clone())
                .busy_timeout(sqlite.busy_timeout)
                .synchronous(synchronous);
            Ok(Box::new(SqliteSource::new(name, options)))
        }
        other => Err(WorkerError::Driver { name: name.to_owned(), driver: other.driver().as_str() }),
    }
}
