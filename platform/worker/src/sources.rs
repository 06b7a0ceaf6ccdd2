//! The data sources of a worker: opened when first used, opened again when broken.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_datasource::requests::{self, RequestKey};
use gantry_datasource::{Access, Connection, Mode, Source, SourceError, configure};
use gantry_settings::Settings;

use crate::WorkerError;
use crate::document::DocumentSources;
use crate::sql::Limit;

/// How long the first question on a fresh connection may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);

/// One data source and the connection that is kept between requests.
struct Place {
    source: Box<dyn Source>,
    connection: Option<Box<dyn Connection>>,
    /// A spare's second connection: it reads only, while `connection` may write too.
    reading: Option<Box<dyn Connection>>,
}

/// All configured data sources.
pub(crate) struct Sources {
    places: BTreeMap<String, Place>,
    /// Those that keep documents.
    pub(crate) documents: DocumentSources,
    /// `None` while it is not decided what this worker does.
    access: Option<Access>,
}

impl Sources {
    /// The sources of the configuration; none is opened yet. Without `access` it is [decided](Self::decide) later.
    pub(crate) fn new(settings: &Settings, access: Option<Access>) -> Result<Self, WorkerError> {
        let mut places = BTreeMap::new();
        for (name, data) in settings.data.iter().filter(|(_, data)| !data.keeps_documents()) {
            let source = configure(name, data).map_err(|cause| WorkerError::Source { cause })?;
            let place = Place { source, connection: None, reading: None };
            places.insert(name.clone(), place);
        }
        let documents =
            DocumentSources::new(settings).map_err(|cause| WorkerError::DocumentSource { cause })?;
        Ok(Self { places, documents, access })
    }

    /// Opens every source for either use, if it is not decided yet which it will be, so that nothing is opened when a
    /// spare is set to work. A source that cannot be opened now is opened when it is first used, as with any worker.
    /// Blocks while connections are opened.
    pub(crate) fn warm_up(&mut self) {
        if self.access.is_some() {
            return;
        }
        for (name, place) in &mut self.places {
            for (access, connection) in
                [(Access::ReadWrite, &mut place.connection), (Access::ReadOnly, &mut place.reading)]
            {
                match place.source.connect(access).and_then(used_once) {
                    Ok(opened) => *connection = Some(opened),
                    Err(error) => {
                        tracing::warn!(source = name, %error, "a spare worker cannot open it yet; it is tried again when it is used");
                    }
                }
            }
        }
    }

    /// Decides what the connections are used for from now on. Nothing is opened or closed.
    pub(crate) fn decide(&mut self, access: Access) {
        self.access = Some(access);
        if access == Access::ReadOnly {
            for place in self.places.values_mut() {
                std::mem::swap(&mut place.connection, &mut place.reading);
            }
        }
    }

    /// Closes what was opened for the use that was not decided on. Cheap when there is nothing.
    pub(crate) fn close_unused(&mut self) {
        for place in self.places.values_mut() {
            place.reading = None;
        }
    }

    /// Whether it is decided that the connections of this worker may write.
    pub(crate) fn may_write(&self) -> bool {
        self.access == Some(Access::ReadWrite)
    }

    /// Whether there is such a source, and it speaks SQL.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Names of all sources that speak SQL.
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
            match place.source.connect(self.access.unwrap_or(Access::ReadOnly)) {
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

    /// Whether the transaction that was begun on a source is still there; a connection that broke took it with it.
    pub(crate) fn is_in_transaction(&self, name: &str) -> bool {
        let connection = self.places.get(name).and_then(|place| place.connection.as_ref());
        connection.is_some_and(|connection| connection.in_transaction() && !connection.is_broken())
    }

    fn is_broken(&self, name: &str) -> bool {
        let connection = self.places.get(name).and_then(|place| place.connection.as_ref());
        connection.is_some_and(|connection| connection.is_broken())
    }
}

/// Asks one small question, since a driver reads the tables' definitions at the first one.
fn used_once(mut connection: Box<dyn Connection>) -> Result<Box<dyn Connection>, SourceError> {
    let nobody = RequestKey { caller: "-", request_id: "-" };
    match requests::outcome(&mut *connection, nobody, QUESTION_LIMIT) {
        Err(error) if !error.is_missing_table() => Err(error),
        _ => Ok(connection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_datasource::ValueRef;

    fn sources(folder: &std::path::Path, access: Option<Access>) -> Sources {
        let settings =
            Settings::from_text("[node]\nstate_dir = \".\"\n", &folder.join("gantry.toml")).unwrap();
        Sources::new(&settings, access).unwrap()
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_spare_opens_every_source_for_either_use_and_keeps_the_one_that_is_decided_on() {
        let folder = tempfile::tempdir().unwrap();
        for (access, may_write) in [(Access::ReadOnly, false), (Access::ReadWrite, true)] {
            let mut sources = sources(folder.path(), None);
            sources.warm_up();
            let is_whole = |place: &Place| place.connection.is_some() && place.reading.is_some();
            assert!(!sources.places.is_empty() && sources.places.values().all(is_whole));
            sources.decide(access);
            sources.close_unused();
            assert!(
                sources.places.values().all(|place| place.connection.is_some() && place.reading.is_none())
            );
            let connection = sources.connection("main").unwrap().unwrap();
            let params: [ValueRef<'_>; 0] = [];
            let written = connection.execute("CREATE TABLE IF NOT EXISTS t (i BIGINT)", &params, LIMIT);
            assert_eq!(written.is_ok(), may_write, "{written:?}");
        }
    }

    #[test]
    fn a_worker_whose_use_is_known_opens_nothing_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = sources(folder.path(), Some(Access::ReadWrite));
        sources.warm_up();
        assert!(sources.places.values().all(|place| place.connection.is_none() && place.reading.is_none()));
    }
}
