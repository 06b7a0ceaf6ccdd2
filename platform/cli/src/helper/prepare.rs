//! What is done at each start of a node, before its children are started.

use anyhow::Context;
use gantry_datasource::requests;
use gantry_registry::{Registry, Snapshot, hash_library};
use gantry_settings::{LibraryName, Settings};

use super::deploy::{install, migrate_tables, probe};
use super::signed;
use crate::failure::words;
use crate::libraries;
use crate::sources::Sources;

/// Brings the platform's own tables up to date, deploys libraries of the configuration that were never deployed, and
/// brings the tables of all others up to date.
pub(super) fn prepare(settings: &Settings, registry: &mut Registry) -> anyhow::Result<()> {
    prepare_platform_tables(settings)?;
    let before = registry.snapshot()?;
    for library in &settings.service.libraries {
        deploy_if_new(settings, registry, library)?;
    }
    for library in before.libraries.iter().filter(|library| library.active) {
        // A data source may be new, or restored from before the library was deployed. That one library cannot be
        // loaded any more must not keep the others from being served.
        let prepared = probe(settings, &library.file)
            .and_then(|description| migrate_tables(settings, &description))
            .with_context(|| format!("library {} {}", library.name, library.version));
        if let Err(error) = prepared {
            tracing::warn!(
                error = words(&error),
                "a deployed library cannot be prepared; it may fail to serve"
            );
        }
    }
    warn_of_unknown_names(settings, &registry.snapshot()?);
    Ok(())
}

/// A section of a misspelt name would configure nothing without a word.
fn warn_of_unknown_names(settings: &Settings, snapshot: &Snapshot) {
    let names = settings.service.configurations.keys().map(String::as_str);
    for name in snapshot.unknown_names(names) {
        tracing::warn!(
            section = format!("[service.{name}]"),
            "no library and no service that is deployed has this name, so the section configures nothing; \
             `gantry service list` shows the names"
        );
    }
}

fn prepare_platform_tables(settings: &Settings) -> anyhow::Result<()> {
    let mut sources = Sources::new(settings);
    for (name, _) in settings.data.iter().filter(|(_, data)| !data.keeps_documents()) {
        let failed = || format!("data source {name}: the platform's tables cannot be brought up to date");
        let connection = sources.connection(name)?;
        requests::prepare_table(connection).with_context(failed)?;
        gantry_serials::prepare_table(connection).with_context(failed)?;
    }
    Ok(())
}

fn deploy_if_new(settings: &Settings, registry: &mut Registry, library: &LibraryName) -> anyhow::Result<()> {
    let before = registry.snapshot()?;
    let path = match libraries::find(library) {
        Ok(path) => path,
        // What runs is a copy; the file that it was made of may go.
        Err(_) if is_deployed(&before, library) => return Ok(()),
        Err(error) => return Err(error),
    };
    let build = hash_library(&path)?;
    if before.libraries.iter().any(|known| known.build == build) {
        return Ok(());
    }
    signed::check(settings, &path, &build)?;
    let description = probe(settings, &path)?;
    if before.library(&description.name).is_some() {
        // Another build of it serves; putting this one into force is the operator's decision (`service reload`).
        return Ok(());
    }
    install(settings, registry, &path, &build, &description, None)?;
    Ok(())
}

/// Whether a library with the name of the file serves, with or without the prefix of those that ship.
fn is_deployed(snapshot: &Snapshot, library: &LibraryName) -> bool {
    let name = match library {
        LibraryName::Bare(name) => name.clone(),
        LibraryName::File(path) => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.strip_prefix("lib").unwrap_or(&stem).to_owned()
        }
    };
    let short = name.strip_prefix("gantry_").unwrap_or(&name);
    snapshot.library(&name).is_some() || snapshot.library(short).is_some()
}
