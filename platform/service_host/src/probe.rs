//! Tries a library out in a process of its own, before any worker loads it.

use std::path::Path;
use std::sync::Arc;

use crate::call::Instance;
use crate::description::{Description, ServiceDescription};
use crate::error::LoadError;
use crate::loader::Loader;

/// Loads the library at `path`, checks it, creates an instance of each service with the configuration that
/// `config` gives for it, and frees it again. Nothing real is lent meanwhile.
///
/// Runs whatever the library wants in its constructors and in `create`: it may crash or hang, so this is for
/// a short-lived process with a time limit of its own, whose death is the answer.
///
/// # Errors
/// See [`LoadError`].
pub fn probe(path: &Path, config: impl Fn(&ServiceDescription) -> String) -> Result<Description, LoadError> {
    let library = Arc::new(Loader::open(path)?);
    for service in &library.description().services {
        drop(Instance::create(&library, service.number, &config(service))?);
    }
    Ok(library.description().clone())
}
