//! Following the service table: which builds of which libraries this worker serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use gantry_message::ServiceNumber;
use gantry_segment::{Control, LibraryFacts, ServiceRow, library_bit};
use gantry_service_host::{Container, Environment, Instance, Library};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering;

/// The libraries that a worker serves.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    container: Container,
    /// The builds that are loaded, by their rows of the library table.
    served: BTreeMap<u32, Served>,
    /// Rows of the library table whose build could not be loaded.
    failed: BTreeSet<u32>,
    routes: HashMap<ServiceNumber, Route>,
}

/// A build that is loaded.
#[derive(Debug)]
struct Served {
    facts: LibraryFacts,
    library: Arc<Library>,
}

/// A service in one build of its library.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Row of the library table.
    pub(crate) row: u32,
    /// It is only tried.
    pub(crate) is_canary: bool,
    pub(crate) instance: Rc<Instance>,
}

/// Where the requests for a number go.
#[derive(Debug, Clone)]
struct Route {
    /// Row of the service table.
    row: usize,
    in_force: Build,
    /// What is tried on a share of them.
    canary: Option<Build>,
}

impl Libraries {
    /// The build that serves a number now: the canary, for a request that is meant for one while there is one.
    pub(crate) fn build(&self, number: ServiceNumber, is_for_canary: bool) -> Option<Build> {
        let route = self.routes.get(&number)?;
        let canary = route.canary.as_ref().filter(|_| is_for_canary);
        Some(canary.unwrap_or(&route.in_force).clone())
    }

    /// A number in the build whose library's file is at `path`, if that is served.
    pub(crate) fn in_build(&self, path: &Path, number: ServiceNumber) -> Option<Build> {
        let (row, served) = self.served.iter().find(|(_, served)| served.library.path() == path)?;
        let is_canary = self.routes.get(&number).is_some_and(|route| route.in_force.row != *row);
        let instance = self.container.get(served.library.path(), number)?;
        Some(Build { row: *row, is_canary, instance })
    }

    /// Whether the requests for a number go to the builds in these rows of the library table, as far as those can be
    /// loaded at all.
    pub(crate) fn lead(&self, number: ServiceNumber, in_force: u32, canary: Option<u32>) -> bool {
        let route = self.routes.get(&number);
        let leads = |build: Option<&Build>, row: u32| {
            build.is_some_and(|build| build.row == row) || self.failed.contains(&row)
        };
        let canary_now = route.and_then(|route| route.canary.as_ref());
        let leads_to_canary = canary.map_or(canary_now.is_none(), |canary| leads(canary_now, canary));
        leads(route.map(|route| &route.in_force), in_force) && leads_to_canary
    }

    /// Those that could not be loaded, a bit for each row (modulo 64) of the library table.
    pub(crate) fn failed_bits(&self) -> u64 {
        self.failed.iter().fold(0, |bits, row| bits | library_bit(*row))
    }

    /// Whether a service is served by a build that its row names no more.
    pub(crate) fn serve_former(&self, control: &Control) -> bool {
        let is_former = |route: &Route| {
            let row = control.services().get(route.row);
            row.is_none_or(|row| row.library.load(Ordering::Relaxed) != route.in_force.row)
        };
        self.routes.values().any(is_former)
    }

    /// Row of the service table of a number that this worker serves.
    pub(crate) fn row_of(&self, number: ServiceNumber) -> Option<usize> {
        self.routes.get(&number).map(|route| route.row)
    }

    /// How many library versions this process holds; none is ever unloaded.
    pub(crate) fn held_count(&self) -> usize {
        self.container.held_count()
    }

    /// How many of them are no longer served.
    pub(crate) fn old_count(&self) -> usize {
        self.container.held_count().saturating_sub(self.container.served_count())
    }

    /// Brings the routes to what the tables say, between two requests. Blocks for as long as the services'
    /// `create`. Gives whether all of it succeeded; what failed serves on as before and is logged.
    pub(crate) fn adopt(&mut self, control: &Control, settings: &Settings) -> bool {
        let rows: Vec<&ServiceRow> = control.services().iter().filter(|row| is_used(row)).collect();
        self.load(control, settings, &rows);
        let mut routes = HashMap::with_capacity(rows.len());
        for (index, row) in control.services().iter().enumerate().filter(|(_, row)| is_used(row)) {
            let Ok(number) = ServiceNumber::new(row.number.load(Ordering::Acquire)) else { continue };
            let before = self.routes.remove(&number);
            let in_force = self.find(row.library.load(Ordering::Relaxed), number, false);
            let canary = row.canary_library.load(Ordering::Relaxed).checked_sub(1);
            let canary = canary.and_then(|library| self.find(library, number, true));
            if let Some(in_force) = in_force.or(before.map(|before| before.in_force)) {
                routes.insert(number, Route { row: index, in_force, canary });
            }
        }
        self.routes = routes;
        self.let_go();
        self.failed.is_empty()
    }

    /// Loads the builds that rows name and that are not loaded.
    fn load(&mut self, control: &Control, settings: &Settings, rows: &[&ServiceRow]) {
        self.failed.clear();
        for (row, facts) in wanted(control, rows) {
            // A row that is just being written is complete in the next generation.
            let Some(facts) = facts else {
                self.failed.insert(row);
                continue;
            };
            if self.served.get(&row).is_some_and(|served| served.facts == facts) {
                continue;
            }
            match self.container.load(Path::new(&facts.file), &Equipment(settings)) {
                Ok(library) => {
                    let LibraryFacts { name, version, build, .. } = &facts;
                    tracing::debug!(library = name, version, build, "serving");
                    self.served.insert(row, Served { facts, library });
                }
                Err(error) => {
                    let LibraryFacts { name, file, .. } = &facts;
                    tracing::error!(library = name, file, %error, "cannot load; the old version serves on");
                    self.served.remove(&row);
                    self.failed.insert(row);
                }
            }
        }
    }

    fn find(&self, row: u32, number: ServiceNumber, is_canary: bool) -> Option<Build> {
        let served = self.served.get(&row)?;
        let instance = self.container.get(served.library.path(), number)?;
        Some(Build { row, is_canary, instance })
    }

    /// Frees the instances of the builds that no route leads to any more.
    fn let_go(&mut self) {
        let builds =
            self.routes.values().flat_map(|route| std::iter::once(&route.in_force).chain(&route.canary));
        let kept: BTreeSet<&Path> = builds.map(|build| build.instance.library().path()).collect();
        self.container.retain(|path| kept.contains(path));
        self.served.retain(|_, served| kept.contains(served.library.path()));
    }
}

fn is_used(row: &ServiceRow) -> bool {
    row.number.load(Ordering::Relaxed) != 0 && row.kind.load(Ordering::Relaxed) != 0
}

/// The builds that service rows name, by their rows of the library table; without facts where the row is not whole.
fn wanted(control: &Control, rows: &[&ServiceRow]) -> BTreeMap<u32, Option<LibraryFacts>> {
    let mut wanted = BTreeMap::new();
    for row in rows {
        let canary = row.canary_library.load(Ordering::Relaxed).checked_sub(1);
        for index in std::iter::once(row.library.load(Ordering::Relaxed)).chain(canary) {
            let facts = control.libraries().get(index as usize).and_then(|library| library.read());
            wanted.insert(index, facts);
        }
    }
    wanted
}

/// What the configuration of a node has for services.
#[derive(Debug, Clone, Copy)]
pub struct Equipment<'s>(pub &'s Settings);

impl Environment for Equipment<'_> {
    /// The text of `[service.NAME]`, by the service's name first, then by its library's.
    fn configuration(&self, library: &str, service: &str) -> String {
        let service_settings = &self.0.service;
        let is_own = service_settings.configurations.contains_key(service);
        service_settings.configuration_json(if is_own { service } else { library })
    }

    fn has_source(&self, name: &str) -> bool {
        self.0.data.contains_key(name)
    }
}
