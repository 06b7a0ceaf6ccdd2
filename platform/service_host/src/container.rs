//! The services that a worker serves now: from the number to the instance.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use gantry_message::ServiceNumber;

use crate::call::Instance;
use crate::description::ServiceDescription;
use crate::error::LoadError;
use crate::loader::{Library, Loader};

/// The instances of one worker, by service number. Belongs to one thread.
///
/// Libraries are swapped between requests: [`Container::load`] makes the new instances first and then
/// replaces the old ones all at once. An old instance that a request still runs on is freed when that
/// request drops its [`Rc`]; the old library's code stays in the process.
#[derive(Debug, Default)]
pub struct Container {
    /// What is served now.
    instances: HashMap<ServiceNumber, Rc<Instance>>,
    /// Every library that was ever opened here; none can be unloaded.
    held: HashMap<PathBuf, Arc<Library>>,
}

impl Container {
    /// A container that serves nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads the library at `path` and serves its services from now on, in place of those of an earlier
    /// version (a library of the same name), of which no number is left. `config` gives the text of each
    /// service's configuration, empty if there is none. Blocks for as long as the services' `create`.
    ///
    /// The same path may be loaded again: its instances are made anew, as after a change of configuration
    /// or for a roll-back.
    ///
    /// # Errors
    /// See [`LoadError`]; what was served before is served on.
    pub fn load(
        &mut self,
        path: &Path,
        config: impl Fn(&ServiceDescription) -> String,
    ) -> Result<Arc<Library>, LoadError> {
        let library = self.open(path)?;
        let name = library.description().name.as_str();
        for service in &library.description().services {
            if let Some(taken) = self.instances.get(&service.number) {
                let owner = &taken.library().description().name;
                if owner != name {
                    let (path, owner) = (library.path().to_owned(), owner.clone());
                    return Err(LoadError::NumberTaken { path, number: service.number, owner });
                }
            }
        }
        let mut made = Vec::with_capacity(library.description().services.len());
        for service in &library.description().services {
            let instance = Instance::create(&library, service.number, &config(service))?;
            made.push((service.number, Rc::new(instance)));
        }
        self.unload(name);
        self.instances.extend(made);
        Ok(library)
    }

    /// Stops serving the library with this name and gives the number of services that it had.
    pub fn unload(&mut self, name: &str) -> usize {
        let before = self.instances.len();
        self.instances.retain(|_, instance| instance.library().description().name != name);
        before - self.instances.len()
    }

    /// The instance that serves this number. Keep the [`Rc`] for as long as the call runs, not longer.
    pub fn get(&self, number: ServiceNumber) -> Option<Rc<Instance>> {
        self.instances.get(&number).cloned()
    }

    /// The instances served now, in no order.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().map(Rc::as_ref)
    }

    /// Number of library files in this process, those no longer served included. A worker that holds many
    /// is replaced.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    fn open(&mut self, path: &Path) -> Result<Arc<Library>, LoadError> {
        let opened = Loader::open(path)?;
        let library = self.held.entry(opened.path().to_owned()).or_insert_with(|| Arc::new(opened));
        Ok(Arc::clone(library))
    }
}
