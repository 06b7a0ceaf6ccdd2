//! Tries a library out in a process of its own, before any worker loads it.

use std::path::Path;
use std::sync::Arc;

use crate::call::Instance;
use crate::description::Description;
use crate::environment::Environment;
use crate::error::LoadError;
use crate::loader::Loader;

/// Loads the library at `path`, checks it, creates an instance of each service with its configuration, and frees it
/// again. Nothing real is lent meanwhile.
///
/// Runs whatever the library wants in its constructors and in `create`: it may crash or hang, so this is for
/// a short-lived process with a time limit of its own, whose death is the answer.
///
/// # Errors
/// See [`LoadError`]; what its services need and the node does not have is told before any is created.
pub fn probe(path: &Path, environment: &dyn Environment) -> Result<Description, LoadError> {
    let library = Arc::new(Loader::open(path)?);
    library.refuse_missing(environment)?;
    let name = &library.description().name;
    for service in &library.description().services {
        let config = environment.configuration(name, &service.name);
        drop(Instance::create(&library, service.number, &config)?);
    }
    Ok(library.description().clone())
}

/// Loads the library at `path` and gives what it says of itself, without creating anything. Its constructors run.
///
/// # Errors
/// See [`LoadError`].
pub fn describe(path: &Path) -> Result<Description, LoadError> {
    Ok(Loader::open(path)?.description().clone())
}
