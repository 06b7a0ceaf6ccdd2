//! The services that a worker serves now: from a build and a number to the instance.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use gantry_message::ServiceNumber;

use crate::call::Instance;
use crate::environment::Environment;
use crate::error::LoadError;
use crate::loader::{Library, Loader};

/// The instances of one worker, by the file of their library and by service number. Belongs to one thread.
///
/// Several builds of one library may be served side by side: a canary beside the build that it is compared with, or a
/// service that fell back to an earlier build. [`Container::load`] makes all instances of a build before it serves any.
/// An old instance that a request still runs on is freed when that request drops its [`Rc`]; the old library's code
/// stays in the process.
#[derive(Debug, Default)]
pub struct Container {
    /// What is served now.
    builds: HashMap<PathBuf, HashMap<ServiceNumber, Rc<Instance>>>,
    /// Every library that was ever opened here; none can be unloaded.
    held: HashMap<PathBuf, Arc<Library>>,
}

impl Container {
    /// A container that serves nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads the library at `path` and serves its services from now on, beside those of other builds, each with its
    /// configuration. Blocks for as long as the services' `create`.
    ///
    /// The same path may be loaded again: its instances are made anew, as after a change of configuration
    /// or for a roll-back.
    ///
    /// # Errors
    /// See [`LoadError`]; what was served before is served on.
    pub fn load(&mut self, path: &Path, environment: &dyn Environment) -> Result<Arc<Library>, LoadError> {
        let library = self.open(path)?;
        library.refuse_missing(environment)?;
        let name = &library.description().name;
        let mut made = HashMap::with_capacity(library.description().services.len());
        for service in &library.description().services {
            let config = environment.configuration(name, &service.name);
            let instance = Instance::create(&library, service.number, &config)?;
            made.insert(service.number, Rc::new(instance));
        }
        self.builds.insert(library.path().to_owned(), made);
        Ok(library)
    }

    /// Serves on only those builds whose path, as [`Library::path`] gives it, `is_kept`.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&Path) -> bool) {
        self.builds.retain(|path, _| is_kept(path));
    }

    /// The instance that serves this number in the build at `path`, as [`Library::path`] gives it. Keep the [`Rc`] for as long as it is served, not
    /// longer.
    pub fn get(&self, path: &Path, number: ServiceNumber) -> Option<Rc<Instance>> {
        self.builds.get(path)?.get(&number).cloned()
    }

    /// Number of builds that are served.
    pub fn served_count(&self) -> usize {
        self.builds.len()
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
