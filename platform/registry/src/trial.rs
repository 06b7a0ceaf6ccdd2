//! More than one build of a library in force: a canary beside the one that it is compared with, and services that fell
//! back to an earlier build.

use gantry_datasource::{Connection, Mode};

use crate::description::LibraryDescription;
use crate::error::RegistryError;
use crate::history::Action;
use crate::limits::STATEMENT_LIMIT;
use crate::record::{Canary, LibraryRecord, Snapshot};
use crate::registry::{
    Registry, check_deployable, deployment_ms, event, keep_history, raise_generation, read_snapshot,
    write_service,
};
use crate::table::{END_CANARY, INSERT_CANARY, SET_LIBRARY_ASIDE, UPDATE_CANARY};

impl Registry {
    /// Tries a build of a library on a share of its services' requests, or changes that share. The build in force goes on
    /// serving the rest. What the operator set for the services holds for both.
    ///
    /// # Errors
    /// [`UnknownLibrary`](RegistryError::UnknownLibrary): no build of it is in force, to be compared with.
    /// [`AlreadyDeployed`](RegistryError::AlreadyDeployed): it is that very build.
    /// [`CanaryRuns`](RegistryError::CanaryRuns): another build is being tried.
    /// [`CanaryDiffers`](RegistryError::CanaryDiffers): it does not serve what the build in force serves.
    /// Those of [`deploy`](Registry::deploy).
    pub fn begin_canary(
        &mut self,
        library: &LibraryDescription,
        canary: &Canary,
    ) -> Result<Snapshot, RegistryError> {
        library.check()?;
        let author = self.author();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let active = check_canary(&before, library)?;
            write_canary(connection, &before, library, canary)?;
            let subject = (library.name.as_str(), library.version.as_str(), library.build.as_str());
            write(connection, &event(&author, Action::Canary, subject, None, Some(active)))
        })
    }

    /// Refuses what [`deploy`](Registry::deploy), or [`begin_canary`](Registry::begin_canary), would refuse now, and changes
    /// nothing.
    ///
    /// # Errors
    /// Theirs.
    pub fn refuse_deployment(
        &mut self,
        library: &LibraryDescription,
        is_canary: bool,
    ) -> Result<(), RegistryError> {
        library.check()?;
        let before = self.snapshot()?;
        if is_canary {
            return check_canary(&before, library).map(|_| ());
        }
        check_deployable(&before, library)?;
        refuse_beside_canary(&before, library)
    }

    /// Ends the trial of a library's canary without putting it into force; it is passed over by roll-backs.
    ///
    /// # Errors
    /// [`NoCanary`](RegistryError::NoCanary): none is being tried, or another build than `build`.
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn abort_canary(&mut self, name: &str, build: Option<&str>) -> Result<Snapshot, RegistryError> {
        let author = self.author();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let canary = find_canary(&before, name, build)?;
            connection.execute(END_CANARY, &[name.into()], STATEMENT_LIMIT)?;
            let params = [name.into(), canary.build.as_str().into()];
            connection.execute(SET_LIBRARY_ASIDE, &params, STATEMENT_LIMIT)?;
            let subject = (name, canary.version.as_str(), canary.build.as_str());
            write(connection, &event(&author, Action::Abort, subject, None, before.library(name)))
        })
    }

    /// The canary that a library has.
    ///
    /// # Errors
    /// [`NoCanary`](RegistryError::NoCanary): none is being tried, or another build than `build`.
    /// Those of [`snapshot`](Registry::snapshot).
    pub fn find_canary(&mut self, name: &str, build: Option<&str>) -> Result<LibraryRecord, RegistryError> {
        find_canary(&self.snapshot()?, name, build).cloned()
    }

    /// Puts the canary into force in place of the build that it was compared with.
    ///
    /// # Errors
    /// [`NoCanary`](RegistryError::NoCanary): it is not the library's canary. Those of [`deploy`](Registry::deploy).
    pub fn promote(&mut self, library: &LibraryDescription) -> Result<Snapshot, RegistryError> {
        self.put_into_force(library, Action::Promote)
    }

    /// The builds that a service could fall back to, the newest first: those that served its library before the one that
    /// serves it now, and were not rolled back.
    ///
    /// # Errors
    /// [`UnknownService`](RegistryError::UnknownService); those of [`snapshot`](Registry::snapshot).
    pub fn fall_backs(&mut self, number: u32) -> Result<Vec<LibraryRecord>, RegistryError> {
        let snapshot = self.snapshot()?;
        let service = snapshot.service(number).ok_or(RegistryError::UnknownService { number })?;
        let mut builds = snapshot.libraries.iter().filter(|library| library.name == service.library);
        // They are in the order of their age.
        builds.by_ref().find(|library| library.build == service.build);
        Ok(builds.filter(|library| !library.set_aside && library.canary.is_none()).cloned().collect())
    }

    /// Lets one service be served by another build of its library than the others: by an earlier one, in place of the
    /// build `from` that kills its workers, or (`Action::Start`) by the one in force again.
    ///
    /// # Errors
    /// [`VersionReplaced`](RegistryError::VersionReplaced): another build than `from` serves by now.
    /// [`UnknownService`](RegistryError::UnknownService): there is none, or `to` has none of that number.
    /// [`NoSuchBuild`](RegistryError::NoSuchBuild): `to` is not remembered any more.
    /// [`Damaged`](RegistryError::Damaged), [`Source`](RegistryError::Source).
    pub fn serve_by(
        &mut self,
        number: u32,
        from: &str,
        to: &LibraryDescription,
        action: Action,
    ) -> Result<Snapshot, RegistryError> {
        to.check()?;
        let author = self.author();
        self.within(Mode::Write, |connection| {
            let before = read_snapshot(connection)?;
            let unknown = || RegistryError::UnknownService { number };
            let service = before.service(number).ok_or_else(unknown)?;
            if service.build != from {
                return Err(RegistryError::VersionReplaced {
                    number,
                    current: service.version.clone(),
                    asked: from.to_owned(),
                });
            }
            // It may have been forgotten since it was looked for.
            if !before.libraries.iter().any(|known| known.build == to.build) {
                return Err(RegistryError::NoSuchBuild { library: to.name.clone(), kept: String::new() });
            }
            let description =
                to.services.iter().find(|service| service.number == number).ok_or_else(unknown)?;
            write_service(connection, &before, to, description)?;
            let replaced = before.libraries.iter().find(|library| library.build == from);
            let subject = (to.name.as_str(), to.version.as_str(), to.build.as_str());
            write(connection, &event(&author, action, subject, Some(number), replaced))
        })
    }
}

fn write(connection: &mut dyn Connection, event: &crate::history::Event) -> Result<Snapshot, RegistryError> {
    crate::table::write_event(connection, event)?;
    raise_generation(connection)
}

fn write_canary(
    connection: &mut dyn Connection,
    before: &Snapshot,
    library: &LibraryDescription,
    canary: &Canary,
) -> Result<(), RegistryError> {
    let name = library.name.as_str();
    let file = library.file.to_string_lossy();
    let params = [
        library.version.as_str().into(),
        (*file).into(),
        deployment_ms(before, name).into(),
        canary.share_ppm.into(),
        canary.promote_after_ms.map(|after_ms| i64::try_from(after_ms).unwrap_or(i64::MAX)).into(),
        name.into(),
        library.build.as_str().into(),
    ];
    let mut known = before.libraries.iter().filter(|known| known.name == name);
    let text = if known.any(|known| known.build == library.build) { UPDATE_CANARY } else { INSERT_CANARY };
    connection.execute(text, &params, STATEMENT_LIMIT)?;
    keep_history(connection, before, library)
}

/// What can be tried; gives the build in force beside it.
fn check_canary<'s>(
    before: &'s Snapshot,
    library: &LibraryDescription,
) -> Result<&'s LibraryRecord, RegistryError> {
    let active = before.library(&library.name).ok_or_else(|| unknown(&library.name))?;
    check_deployable(before, library)?;
    check_alike(before, library)?;
    refuse_beside_canary(before, library)?;
    Ok(active)
}

/// One build is tried at a time.
pub(crate) fn refuse_beside_canary(
    before: &Snapshot,
    library: &LibraryDescription,
) -> Result<(), RegistryError> {
    match before.canary(&library.name) {
        Some(running) if running.build != library.build => {
            Err(RegistryError::CanaryRuns { library: running.name.clone(), version: running.version.clone() })
        }
        _ => Ok(()),
    }
}

/// Half of the callers must not find a service, or find another kind of it.
fn check_alike(before: &Snapshot, library: &LibraryDescription) -> Result<(), RegistryError> {
    for service in before.services.iter().filter(|service| service.library == library.name) {
        let twin = library.services.iter().find(|twin| twin.number == service.number);
        if twin.is_none_or(|twin| twin.kind != service.kind) {
            let library = library.name.clone();
            return Err(RegistryError::CanaryDiffers { library, number: service.number });
        }
    }
    Ok(())
}

pub(crate) fn find_canary<'s>(
    snapshot: &'s Snapshot,
    name: &str,
    build: Option<&str>,
) -> Result<&'s LibraryRecord, RegistryError> {
    let canary = snapshot.canary(name).filter(|canary| build.is_none_or(|build| canary.build == build));
    canary.ok_or_else(|| RegistryError::NoCanary { library: name.to_owned() })
}

fn unknown(library: &str) -> RegistryError {
    RegistryError::UnknownLibrary { library: library.to_owned() }
}
