//! Following the service table: which libraries this worker serves.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use gantry_message::ServiceNumber;
use gantry_segment::{Control, LibraryFacts};
use gantry_service_host::{Container, Instance};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering;

/// The libraries that a worker serves, by name.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    container: Container,
    served: BTreeMap<String, LibraryFacts>,
}

impl Libraries {
    /// The instance that serves a number now.
    pub(crate) fn instance(&self, number: ServiceNumber) -> Option<Rc<Instance>> {
        self.container.get(number)
    }

    /// How many library versions this process holds; none is ever unloaded.
    pub(crate) fn held_count(&self) -> usize {
        self.container.held_count()
    }

    /// How many of them are no longer served.
    pub(crate) fn old_count(&self) -> usize {
        self.container.held_count().saturating_sub(self.served.len())
    }

    /// Brings the container to what the tables say, between two requests. Blocks for as long as the services'
    /// `create`. Gives whether all of it succeeded; what failed serves on as before and is logged.
    pub(crate) fn adopt(&mut self, control: &Control, settings: &Settings) -> bool {
        let wanted = wanted(control);
        let gone: Vec<String> =
            self.served.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.container.unload(&name);
            self.served.remove(&name);
        }
        let mut is_whole = true;
        for (name, facts) in wanted {
            if self.served.get(&name) == Some(&facts) {
                continue;
            }
            let loaded = self
                .container
                .load(Path::new(&facts.file), |service| configuration(settings, &name, &service.name));
            match loaded {
                Ok(_) => {
                    tracing::debug!(library = name, version = facts.version, build = facts.build, "serving");
                    self.served.insert(name, facts);
                }
                Err(error) => {
                    tracing::error!(library = name, file = facts.file, %error, "cannot load; the old version serves on");
                    is_whole = false;
                }
            }
        }
        is_whole
    }
}

/// The libraries that service rows name, by name.
fn wanted(control: &Control) -> BTreeMap<String, LibraryFacts> {
    let rows = control.services().iter();
    let used =
        rows.filter(|row| row.number.load(Ordering::Relaxed) != 0 && row.kind.load(Ordering::Relaxed) != 0);
    let mut wanted = BTreeMap::new();
    for row in used {
        let library = control.libraries().get(row.library.load(Ordering::Relaxed) as usize);
        if let Some(facts) = library.and_then(|library| library.read()) {
            wanted.insert(facts.name.clone(), facts);
        }
    }
    wanted
}

/// The text of `[service.NAME]`, by the service's name first, then by its library's.
fn configuration(settings: &Settings, library: &str, service: &str) -> String {
    let name = if settings.service.configurations.contains_key(service) { service } else { library };
    settings.service.configuration_json(name)
}
