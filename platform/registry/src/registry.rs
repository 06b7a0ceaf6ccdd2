//! The registry's operations, each one transaction.

use crate::description::{LibraryDescription, ServiceDescription};
use crate::error::RegistryError;
use crate::history::{Action, Author, Event};
use crate::limits::{HISTORY_MAX, SERVICES_TOTAL_MAX, STATEMENT_LIMIT};
use crate::record::{LibraryRecord, ServiceRecord, Snapshot};
use crate::table::{
    DEACTIVATE_LIBRARY, DELETE_LIBRARY, DELETE_SERVICE, END_CANARY, FORGET_LIBRARY_SETTINGS, FORGET_SETTINGS,
    INSERT_LIBRARY, INSERT_SERVICE, KEEP_SETTINGS, MIGRATIONS, OWNER, RAISE_GENERATION, RESTORE_LIBRARY,
    SET_LATER_ASIDE, SET_LIBRARY_ASIDE, TAKE_SETTINGS, UPDATE_LIBRARY, UPDATE_RULE, UPDATE_SERVICE,
    UPDATE_STATE, UPDATE_TIMEOUT, read_events, read_generation, read_libraries, read_services, write_event,
};
use crate::trial::{find_canary, refuse_beside_canary};
use gantry_datasource::{
    Access, Connection, Mode, SqliteConnection, SqliteOptions, Synchronous, ValueRef, migrate,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The open registry of a node.
///
/// Each call blocks for at most some tens of seconds, and mostly for a millisecond. Changes return the state that
/// they made; one that changes nothing keeps the generation.
#[derive(Debug)]
pub struct Registry {
    connection: SqliteConnection,
    author: Author,
}

impl Registry {
    /// Opens the registry's file, made if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`Source`](RegistryError::Source): the file cannot be used.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        let options = SqliteOptions::new(path).synchronous(Synchronous::Full).busy_timeout(STATEMENT_LIMIT);
        let mut connection = SqliteConnection::open(&Arc::from("registry"), &options, Access::ReadWrite)?;
        migrate(&mut connection, OWNER, MIGRATIONS)?;
        let author = Author { asker: "platform".to_owned(), why: String::new() };
        Ok(Self { connection, author })
    }

    pub(crate) fn author(&self) -> Author {
        self.author.clone()
    }

    /// Says who makes the changes that follow, and why. Without it they are the platform's own.
    pub fn set_author(&mut self, author: Author) {
        self.author = author;
    }

    /// What was done to a library, the newest first, at most [`EVENTS_MAX`](crate::limits::EVENTS_MAX).
    ///
    /// # Errors
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn history(&mut self, library: &str) -> Result<Vec<Event>, RegistryError> {
        self.within(Mode::ReadOnly, |connection| read_events(connection, library))
    }

    /// Reads everything, in one consistent view.
    ///
    /// # Errors
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn snapshot(&mut self) -> Result<Snapshot, RegistryError> {
        self.within(Mode::ReadOnly, read_snapshot)
    }

    /// The active build of the library with this name.
    ///
    /// # Errors
    /// Those of [`snapshot`](Registry::snapshot).
    pub fn find_library(&mut self, name: &str) -> Result<Option<LibraryRecord>, RegistryError> {
        Ok(self.snapshot()?.library(name).cloned())
    }

    /// Puts a build of a library into force: its services are added or changed, those that it no longer has are
    /// removed. What the operator set for a service that was there (stopped or started, rules, time-out) stays, also
    /// for one that an earlier build of the library had; quarantine is lifted, since it was the old build's.
    ///
    /// # Errors
    /// [`AlreadyDeployed`](RegistryError::AlreadyDeployed): this very build serves.
    /// [`NumberTaken`](RegistryError::NumberTaken): another library has a service of the same number.
    /// [`BadDescription`](RegistryError::BadDescription), [`TooManyServices`](RegistryError::TooManyServices),
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn deploy(&mut self, library: &LibraryDescription) -> Result<Snapshot, RegistryError> {
        self.put_into_force(library, Action::Deploy)
    }

    /// The build that a roll-back of the library would put into force: that with the version, or whose build begins with
    /// `to` (at least 4 digits); without it the newest of those that served before and were not rolled back.
    ///
    /// # Errors
    /// [`UnknownLibrary`](RegistryError::UnknownLibrary), [`NoSuchBuild`](RegistryError::NoSuchBuild) with those there are;
    /// those of [`snapshot`](Registry::snapshot).
    pub fn find_rollback(&mut self, name: &str, to: Option<&str>) -> Result<LibraryRecord, RegistryError> {
        let snapshot = self.snapshot()?;
        let known: Vec<_> = snapshot.libraries.iter().filter(|library| library.name == name).collect();
        if known.is_empty() {
            return Err(RegistryError::UnknownLibrary { library: name.to_owned() });
        }
        let is_meant = |library: &&&LibraryRecord| match to {
            None => !library.set_aside && library.canary.is_none(),
            Some(to) => library.version == to || (to.len() >= 4 && library.build.starts_with(to)),
        };
        let kept = || known.iter().filter(|library| !library.active);
        kept().find(is_meant).map(|library| (*library).clone()).ok_or_else(|| RegistryError::NoSuchBuild {
            library: name.to_owned(),
            kept: kept().map(|library| described(library)).collect::<Vec<_>>().join(", "),
        })
    }

    /// Puts an earlier build of a library into force again; the one that served, and those that came between the two, are
    /// passed over by later roll-backs, until they are deployed again.
    ///
    /// # Errors
    /// Those of [`deploy`](Registry::deploy).
    pub fn roll_back(&mut self, library: &LibraryDescription) -> Result<Snapshot, RegistryError> {
        self.put_into_force(library, Action::Rollback)
    }

    /// Lets later roll-backs go back to these builds of a library again, as far as they are remembered. `None` for none.
    ///
    /// # Errors
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn restore(&mut self, name: &str, builds: &[String]) -> Result<Option<Snapshot>, RegistryError> {
        if builds.is_empty() {
            return Ok(None);
        }
        self.within(Mode::Write, |connection| {
            for build in builds {
                connection.execute(
                    RESTORE_LIBRARY,
                    &[name.into(), build.as_str().into()],
                    STATEMENT_LIMIT,
                )?;
            }
            raise_generation(connection).map(Some)
        })
    }

    /// Takes a library out of force: its services are unknown from now on (102), with the rules that were set for them.
    /// Its builds are remembered, and each may be deployed or rolled back to.
    ///
    /// # Errors
    /// [`UnknownLibrary`](RegistryError::UnknownLibrary): no build of it is in force.
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn unload(&mut self, name: &str) -> Result<Snapshot, RegistryError> {
        let author = self.author.clone();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let unknown = || RegistryError::UnknownLibrary { library: name.to_owned() };
            let active = before.library(name).ok_or_else(unknown)?;
            connection.execute(DEACTIVATE_LIBRARY, &[name.into()], STATEMENT_LIMIT)?;
            connection.execute(END_CANARY, &[name.into()], STATEMENT_LIMIT)?;
            if let Some(canary) = before.canary(name) {
                // It never served all requests, so there is nothing to go back to.
                let params = [name.into(), canary.build.as_str().into()];
                connection.execute(SET_LIBRARY_ASIDE, &params, STATEMENT_LIMIT)?;
            }
            for service in before.services.iter().filter(|service| service.library == name) {
                connection.execute(DELETE_SERVICE, &[service.number.into()], STATEMENT_LIMIT)?;
            }
            connection.execute(FORGET_LIBRARY_SETTINGS, &[name.into()], STATEMENT_LIMIT)?;
            let subject = (active.name.as_str(), active.version.as_str(), active.build.as_str());
            write_event(connection, &event(&author, Action::Unload, subject, None, Some(active)))?;
            raise_generation(connection)
        })
    }

    pub(crate) fn put_into_force(
        &mut self,
        library: &LibraryDescription,
        action: Action,
    ) -> Result<Snapshot, RegistryError> {
        library.check()?;
        let author = self.author.clone();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            check_deployable(&before, library)?;
            refuse_beside_canary(&before, library)?;
            if action == Action::Promote {
                find_canary(&before, &library.name, Some(&library.build))?;
            }
            let replaced = before.library(&library.name);
            if action == Action::Rollback {
                let name = library.name.as_str();
                let params = [name.into(), name.into(), library.build.as_str().into()];
                connection.execute(SET_LATER_ASIDE, &params, STATEMENT_LIMIT)?;
            }
            write_library(connection, &before, library)?;
            write_services(connection, &before, library)?;
            // One that a service had to leave is nothing to go back to either.
            let was_left = |build: &str| {
                let own = |service: &&ServiceRecord| service.library == library.name;
                before
                    .services
                    .iter()
                    .filter(own)
                    .any(|service| service.quarantined || service.build != build)
            };
            if let Some(replaced) = replaced
                && (action == Action::Rollback || was_left(&replaced.build))
            {
                let params = [replaced.name.as_str().into(), replaced.build.as_str().into()];
                connection.execute(SET_LIBRARY_ASIDE, &params, STATEMENT_LIMIT)?;
            }
            let subject = (library.name.as_str(), library.version.as_str(), library.build.as_str());
            write_event(connection, &event(&author, action, subject, None, replaced))?;
            raise_generation(connection)
        })
    }

    /// Starts or stops a service. Starting lifts its quarantine too.
    ///
    /// # Errors
    /// [`UnknownService`](RegistryError::UnknownService), [`Damaged`](RegistryError::Damaged),
    /// [`Source`](RegistryError::Source).
    pub fn set_enabled(&mut self, number: u32, enabled: bool) -> Result<Snapshot, RegistryError> {
        let action = if enabled { Action::Start } else { Action::Stop };
        self.change_state(number, action, |service| Ok((enabled, service.quarantined && !enabled)))
    }

    /// Puts a build of a service out of service after repeated crashes, or back.
    ///
    /// # Errors
    /// [`VersionReplaced`](RegistryError::VersionReplaced): another build serves by now, which is not to blame.
    /// [`UnknownService`](RegistryError::UnknownService), [`Damaged`](RegistryError::Damaged),
    /// [`Source`](RegistryError::Source).
    pub fn set_quarantined(
        &mut self,
        number: u32,
        build: &str,
        quarantined: bool,
    ) -> Result<Snapshot, RegistryError> {
        let action = if quarantined { Action::Quarantine } else { Action::Start };
        self.change_state(number, action, |service| {
            if service.build == build {
                return Ok((service.enabled, quarantined));
            }
            Err(RegistryError::VersionReplaced {
                number,
                current: service.version.clone(),
                asked: build.to_owned(),
            })
        })
    }

    /// Sets or clears rules of a service, all of them or none.
    ///
    /// Each is `key=value`, and `none` as the value clears it: `concurrency` (1 to 65536 at once), `rate` (whole, 1 to
    /// 10000000 per second), `burst` (1 to 10000000), `threshold` (0 to 1), `refuse` (`true`, `false`), `timeout`
    /// (`1ms` to `1h`), `policy` (`kill`, `answer`).
    ///
    /// # Errors
    /// [`BadRule`](RegistryError::BadRule) names the legal keys or values.
    /// [`UnknownService`](RegistryError::UnknownService), [`Damaged`](RegistryError::Damaged),
    /// [`Source`](RegistryError::Source).
    pub fn set_rule<S: AsRef<str>>(
        &mut self,
        number: u32,
        assignments: &[S],
    ) -> Result<Snapshot, RegistryError> {
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let service = before.service(number).ok_or(RegistryError::UnknownService { number })?;
            let mut rule = service.rule.clone();
            for assignment in assignments {
                rule.assign(assignment.as_ref())?;
            }
            if rule == service.rule {
                return Ok(before);
            }
            let params = [
                rule.concurrency.into(),
                rule.rate.into(),
                rule.burst.into(),
                rule.threshold.into(),
                rule.refuse.into(),
                rule.timeout_ms.into(),
                rule.policy.map(|policy| policy.name()).into(),
                rule.policy.unwrap_or_default().name().into(),
                number.into(),
            ];
            connection.execute(UPDATE_RULE, &params, STATEMENT_LIMIT)?;
            connection.execute(UPDATE_TIMEOUT, &[number.into()], STATEMENT_LIMIT)?;
            raise_generation(connection)
        })
    }

    /// Writes what `decide` says of (enabled, quarantined), if that is a change.
    fn change_state(
        &mut self,
        number: u32,
        action: Action,
        decide: impl FnOnce(&ServiceRecord) -> Result<(bool, bool), RegistryError>,
    ) -> Result<Snapshot, RegistryError> {
        let author = self.author.clone();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let service = before.service(number).ok_or(RegistryError::UnknownService { number })?;
            let (enabled, quarantined) = decide(service)?;
            if (enabled, quarantined) == (service.enabled, service.quarantined) {
                return Ok(before);
            }
            let params = [enabled.into(), quarantined.into(), number.into()];
            connection.execute(UPDATE_STATE, &params, STATEMENT_LIMIT)?;
            let subject = (service.library.as_str(), service.version.as_str(), service.build.as_str());
            write_event(connection, &event(&author, action, subject, Some(number), None))?;
            raise_generation(connection)
        })
    }

    /// Runs `work` in a transaction: committed if it succeeds, rolled back otherwise.
    pub(crate) fn within<T>(
        &mut self,
        mode: Mode,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.connection.begin(mode, STATEMENT_LIMIT)?;
        let outcome = work(&mut self.connection)
            .and_then(|done| self.connection.commit().map(|()| done).map_err(RegistryError::from));
        if self.connection.in_transaction() {
            self.connection.rollback()?;
        }
        outcome
    }
}

pub(crate) fn read_snapshot(connection: &mut dyn Connection) -> Result<Snapshot, RegistryError> {
    Ok(Snapshot {
        generation: read_generation(connection)?,
        libraries: read_libraries(connection)?,
        services: read_services(connection)?,
    })
}

/// Ends a change: the next generation, with everything as it is then.
pub(crate) fn raise_generation(connection: &mut dyn Connection) -> Result<Snapshot, RegistryError> {
    connection.execute(RAISE_GENERATION, &[], STATEMENT_LIMIT)?;
    read_snapshot(connection)
}

pub(crate) fn event(
    author: &Author,
    action: Action,
    (library, version, build): (&str, &str, &str),
    number: Option<u32>,
    before: Option<&LibraryRecord>,
) -> Event {
    Event {
        at_ms: now_ms(),
        asker: author.asker.clone(),
        action,
        library: library.to_owned(),
        number,
        version: version.to_owned(),
        build: build.to_owned(),
        before: before.map(described).unwrap_or_default(),
        why: author.stored_why(),
    }
}

/// A build as people tell it from others.
fn described(library: &LibraryRecord) -> String {
    format!("{} {}", library.version, library.build.get(..16).unwrap_or(&library.build))
}

pub(crate) fn check_deployable(before: &Snapshot, library: &LibraryDescription) -> Result<(), RegistryError> {
    if let Some(active) = before.library(&library.name)
        && active.build == library.build
    {
        return Err(RegistryError::AlreadyDeployed {
            library: active.name.clone(),
            version: active.version.clone(),
            build: active.build.clone(),
        });
    }
    for service in &library.services {
        if let Some(taken) = before.service(service.number)
            && taken.library != library.name
        {
            return Err(RegistryError::NumberTaken {
                number: service.number,
                holder: taken.library.clone(),
                claimant: library.name.clone(),
            });
        }
    }
    let others = before.services.iter().filter(|service| service.library != library.name).count();
    let services = others + library.services.len();
    if services > SERVICES_TOTAL_MAX {
        return Err(RegistryError::TooManyServices { services, services_max: SERVICES_TOTAL_MAX });
    }
    Ok(())
}

fn write_library(
    connection: &mut dyn Connection,
    before: &Snapshot,
    library: &LibraryDescription,
) -> Result<(), RegistryError> {
    let name = library.name.as_str();
    connection.execute(DEACTIVATE_LIBRARY, &[name.into()], STATEMENT_LIMIT)?;
    let file = library.file.to_string_lossy();
    let params = [
        library.version.as_str().into(),
        (*file).into(),
        deployment_ms(before, name).into(),
        name.into(),
        library.build.as_str().into(),
    ];
    let known: Vec<_> = before.libraries.iter().filter(|known| known.name == name).collect();
    let text =
        if known.iter().any(|known| known.build == library.build) { UPDATE_LIBRARY } else { INSERT_LIBRARY };
    connection.execute(text, &params, STATEMENT_LIMIT)?;
    keep_history(connection, before, library)
}

/// Forgets the oldest builds of a library, as far as they serve nobody.
pub(crate) fn keep_history(
    connection: &mut dyn Connection,
    before: &Snapshot,
    library: &LibraryDescription,
) -> Result<(), RegistryError> {
    let name = library.name.as_str();
    let serves =
        |old: &LibraryRecord| old.active || before.services.iter().any(|service| service.build == old.build);
    let known: Vec<_> = before.libraries.iter().filter(|known| known.name == name).collect();
    // The list is newest first, so what follows the history's length is the oldest.
    let old = known.iter().filter(|known| known.build != library.build).skip(HISTORY_MAX);
    for old in old.filter(|old| !serves(old)) {
        connection.execute(DELETE_LIBRARY, &[name.into(), old.build.as_str().into()], STATEMENT_LIMIT)?;
    }
    Ok(())
}

/// The services of a library are those of this build from now on.
fn write_services(
    connection: &mut dyn Connection,
    before: &Snapshot,
    library: &LibraryDescription,
) -> Result<(), RegistryError> {
    for service in before.services.iter().filter(|service| service.library == library.name) {
        if !library.services.iter().any(|kept| kept.number == service.number) {
            for text in [FORGET_SETTINGS, KEEP_SETTINGS, DELETE_SERVICE] {
                connection.execute(text, &[service.number.into()], STATEMENT_LIMIT)?;
            }
        }
    }
    for service in &library.services {
        write_service(connection, before, library, service)?;
    }
    Ok(())
}

pub(crate) fn write_service(
    connection: &mut dyn Connection,
    before: &Snapshot,
    library: &LibraryDescription,
    service: &ServiceDescription,
) -> Result<(), RegistryError> {
    let sources = service.sources.join(",");
    let params: [ValueRef<'_>; 13] = [
        service.name.as_str().into(),
        library.name.as_str().into(),
        service.kind.name().into(),
        library.version.as_str().into(),
        library.build.as_str().into(),
        service.idempotent.into(),
        service.description.as_str().into(),
        service.example.as_str().into(),
        service.example_reply.as_str().into(),
        sources.as_str().into(),
        service.timeout_ms.into(),
        service.timeout_ms.into(),
        service.number.into(),
    ];
    if before.service(service.number).is_some() {
        connection.execute(UPDATE_SERVICE, &params, STATEMENT_LIMIT)?;
        return Ok(());
    }
    connection.execute(INSERT_SERVICE, &params, STATEMENT_LIMIT)?;
    for text in [TAKE_SETTINGS, UPDATE_TIMEOUT, FORGET_SETTINGS] {
        connection.execute(text, &[service.number.into()], STATEMENT_LIMIT)?;
    }
    Ok(())
}

/// The time of a deployment: later than that of every other build of the library, also where two come within a
/// millisecond, or the clock was set back.
pub(crate) fn deployment_ms(before: &Snapshot, name: &str) -> i64 {
    let known = before.libraries.iter().filter(|known| known.name == name);
    let newest_ms = known.map(|known| known.deployed_ms).max();
    newest_ms.map_or(0, |newest_ms| newest_ms.saturating_add(1)).max(now_ms())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
