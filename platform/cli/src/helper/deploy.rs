//! Putting a library into force: tried out, staged, its tables brought up to date, then the registry's transaction. A
//! death anywhere before that transaction leaves a staged file and perhaps newer tables, which harm nobody.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gantry_datasource::{Migration, migrate};
use gantry_registry::{
    Canary, LibraryDescription, LibraryRecord, Registry, RegistryError, ServiceDescription, ServiceKind,
    Snapshot, hash_library, remove_forgotten, stage,
};
use gantry_segment::LibraryRow;
use gantry_service_host::{Description, MigrationDescription};
use gantry_settings::Settings;
use gantry_worker::Equipment;
use serde_json::{Value, json};

use super::probe::run_probe;
use super::signed;
use crate::libraries;
use crate::sources::Sources;

/// Deploys the library at `path`, or tries it on a share of the requests. The build that serves already is refused, or
/// stays as it is (`unless_in_force`).
pub(super) fn deploy(
    settings: &Settings,
    registry: &mut Registry,
    path: &Path,
    canary: Option<Canary>,
    unless_in_force: bool,
) -> anyhow::Result<(Snapshot, Value)> {
    let build = hash_library(path)?;
    let before = registry.snapshot()?;
    if let Some(active) = active_build(&before, &build) {
        if unless_in_force {
            let receipt = unchanged(active, &before);
            return Ok((before, receipt));
        }
        let (library, version) = (active.name.clone(), active.version.clone());
        return Err(RegistryError::AlreadyDeployed { library, version, build }.into());
    }
    signed::check(settings, path, &build)?;
    let description = probe(settings, path)?;
    install(settings, registry, path, &build, &description, canary)
}

/// Deploys a library that was deployed before, from where its name finds it; the build that serves stays as it is.
pub(super) fn reload(
    settings: &Settings,
    registry: &mut Registry,
    name: &str,
) -> anyhow::Result<(Snapshot, Value)> {
    let path = libraries::find_by_either_name(name)?;
    let build = hash_library(&path)?;
    let before = registry.snapshot()?;
    if let Some(active) = active_build(&before, &build) {
        let receipt = unchanged(active, &before);
        return Ok((before, receipt));
    }
    signed::check(settings, &path, &build)?;
    let description = probe(settings, &path)?;
    if before.library(&description.name).is_none() {
        bail!(
            "{} is the library {}, which was not deployed yet; use `gantry service deploy`",
            path.display(),
            description.name
        );
    }
    install(settings, registry, &path, &build, &description, None)
}

/// Puts an earlier build of a library into force again. It is tried out like any other, since what it needs may have gone;
/// its tables stay as they are.
pub(super) fn roll_back(
    settings: &Settings,
    registry: &mut Registry,
    name: &str,
    to: Option<&str>,
) -> anyhow::Result<(Snapshot, Value)> {
    let target = registry.find_rollback(name, to)?;
    put_into_force(settings, registry, target, Registry::roll_back)
}

/// Puts the canary of a library into force.
pub(super) fn promote(
    settings: &Settings,
    registry: &mut Registry,
    name: &str,
    build: Option<&str>,
) -> anyhow::Result<(Snapshot, Value)> {
    let canary = registry.find_canary(name, build)?;
    put_into_force(settings, registry, canary, Registry::promote)
}

/// Makes the `change` that lets a build that was deployed before serve all requests.
fn put_into_force(
    settings: &Settings,
    registry: &mut Registry,
    record: LibraryRecord,
    change: impl FnOnce(&mut Registry, &LibraryDescription) -> Result<Snapshot, RegistryError>,
) -> anyhow::Result<(Snapshot, Value)> {
    let library = kept(settings, registry, record)?;
    let before = registry.snapshot()?;
    let snapshot = change(registry, &library)?;
    let active = snapshot.library(&library.name).context("the library was just put into force")?;
    let mut receipt = receipt(&snapshot, active, &library, &before);
    receipt["set_aside"] = newly_set_aside(&before, &snapshot, &library.name).into();
    Ok((snapshot, receipt))
}

/// The builds that a change made nothing to go back to, besides the one that it replaced.
fn newly_set_aside(before: &Snapshot, after: &Snapshot, library: &str) -> Vec<String> {
    let was_good = |build: &str| {
        let mut known = before.libraries.iter().filter(|known| known.name == library && !known.active);
        known.any(|known| known.build == build && !known.set_aside)
    };
    let left = after.libraries.iter().filter(|known| known.name == library && known.set_aside);
    left.map(|known| known.build.clone()).filter(|build| was_good(build)).collect()
}

/// What a build that was deployed before is, tried out anew from its staged file.
pub(super) fn kept(
    settings: &Settings,
    registry: &mut Registry,
    record: LibraryRecord,
) -> anyhow::Result<LibraryDescription> {
    // Before any of its code runs.
    if hash_library(&record.file)? != record.build {
        bail!(
            "{} was changed since it was deployed; deploy the library from its own file",
            record.file.display()
        );
    }
    let description = probe(settings, &record.file)?;
    let before = registry.snapshot()?;
    check(settings, &before, &description)
        .with_context(|| format!("{} is not taken", record.file.display()))?;
    Ok(deployable(&description, record.build, record.file))
}

/// Tries a library out.
pub(super) fn probe(settings: &Settings, path: &Path) -> anyhow::Result<Description> {
    run_probe(settings, path).with_context(|| format!("{} is not taken", path.display()))
}

/// Puts a library that was tried out into force. `build` is the hash of what was tried.
pub(super) fn install(
    settings: &Settings,
    registry: &mut Registry,
    path: &Path,
    build: &str,
    description: &Description,
    canary: Option<Canary>,
) -> anyhow::Result<(Snapshot, Value)> {
    let before = registry.snapshot()?;
    check(settings, &before, description).with_context(|| format!("{} is not taken", path.display()))?;
    // Before its file is kept and its tables are made.
    let folder = settings.node.state_dir.join("libraries");
    let asked = deployable(description, build.to_owned(), folder.join(&description.name));
    registry.refuse_deployment(&asked, canary.is_some())?;
    let staged = stage(path, &folder, &description.name, &description.version)?;
    if staged.build != build {
        bail!("{} changed while it was being deployed; deploy it again", path.display());
    }
    let bytes = staged.file.as_os_str().as_bytes().len();
    if bytes > LibraryRow::FILE_BYTES_MAX {
        bail!("the path {} is too long; choose a shorter node.state_dir", staged.file.display());
    }
    migrate_tables(settings, description)?;
    let library = deployable(description, staged.build, staged.file);
    let snapshot = match canary {
        Some(canary) => registry.begin_canary(&library, &canary)?,
        None => registry.deploy(&library)?,
    };
    if let Err(error) = remove_forgotten(&folder, &library.name, &snapshot) {
        eprintln!("old builds of {} stay on the disk: {error}", library.name);
    }
    let mut builds = snapshot.libraries.iter().filter(|known| known.name == library.name);
    let deployed = builds.find(|known| known.build == library.build).context("it was just deployed")?;
    let receipt = receipt(&snapshot, deployed, &library, &before);
    Ok((snapshot, receipt))
}

/// Brings the tables of a library up to date.
pub(super) fn migrate_tables(settings: &Settings, description: &Description) -> anyhow::Result<()> {
    let mut sources = Sources::new(settings);
    for ((source, schema), steps) in steps(description) {
        let connection = sources.connection(source)?;
        let migrated = migrate(connection, schema, &steps);
        migrated.with_context(|| {
            format!("the tables of {} in {source} cannot be brought up to date", description.name)
        })?;
    }
    Ok(())
}

/// The steps of a library's tables in the order of their versions, by data source and schema.
pub(crate) fn steps(description: &Description) -> BTreeMap<(&str, &str), Vec<Migration<'_>>> {
    let mut steps: BTreeMap<(&str, &str), Vec<Migration<'_>>> = BTreeMap::new();
    for MigrationDescription { source, schema, version, sql } in &description.migrations {
        steps.entry((source, schema)).or_default().push(Migration { version: *version, sql });
    }
    steps.values_mut().for_each(|steps| steps.sort_by_key(|step| step.version));
    steps
}

/// What can be known to fail before anything is changed.
fn check(settings: &Settings, before: &Snapshot, description: &Description) -> anyhow::Result<()> {
    for service in &description.services {
        let holder = before.service(service.number.get()).filter(|taken| taken.library != description.name);
        if let Some(holder) = holder {
            let (holder, claimant) = (holder.library.clone(), description.name.clone());
            return Err(RegistryError::NumberTaken { number: service.number.get(), holder, claimant }.into());
        }
    }
    let missing = description.missing(&Equipment(settings));
    if !missing.is_empty() {
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        bail!("{}; the configuration is {}", missing.join("; "), settings.file.display());
    }
    let others = before.services.iter().filter(|service| service.library != description.name).count();
    let services = others + description.services.len();
    if services > settings.ipc.services_max as usize {
        bail!(
            "there would be {services} services, {} fit; raise ipc.services_max and restart the node",
            settings.ipc.services_max
        );
    }
    Ok(())
}

fn active_build<'a>(snapshot: &'a Snapshot, build: &str) -> Option<&'a LibraryRecord> {
    snapshot.libraries.iter().find(|library| library.active && library.build == build)
}

fn deployable(description: &Description, build: String, file: PathBuf) -> LibraryDescription {
    LibraryDescription {
        name: description.name.clone(),
        version: description.version.clone(),
        build,
        file,
        services: description.services.iter().map(service).collect(),
    }
}

/// What a change came to, and which calls can show whether the build works.
fn receipt(
    snapshot: &Snapshot,
    record: &LibraryRecord,
    library: &LibraryDescription,
    before: &Snapshot,
) -> Value {
    let replaced = before.library(&record.name);
    let in_place_of =
        replaced.map(|replaced| json!({ "version": replaced.version, "build": replaced.build }));
    let mut receipt = unchanged(record, snapshot);
    receipt["changed"] = true.into();
    receipt["in_place_of"] = in_place_of.into();
    receipt["self_test"] = harmless_calls(snapshot, library).into();
    receipt
}

/// What a build serves that stays as it is.
fn unchanged(record: &LibraryRecord, snapshot: &Snapshot) -> Value {
    let services = snapshot.services.iter().filter(|service| service.library == record.name);
    json!({
        "library": record.name,
        "version": record.version,
        "build": record.build,
        "changed": false,
        "canary": record.canary,
        "in_place_of": null,
        "services": services.map(|service| service.number).collect::<Vec<u32>>(),
    })
}

/// The examples of a build's reads that are idempotent by their author's word and say what they reply.
fn harmless_calls(snapshot: &Snapshot, library: &LibraryDescription) -> Vec<Value> {
    let is_enabled = |number| snapshot.service(number).is_some_and(|service| service.enabled);
    let harmless = library.services.iter().filter(|service| {
        let says_all = !service.example.is_empty() && !service.example_reply.is_empty();
        service.kind == ServiceKind::Read && service.idempotent && says_all && is_enabled(service.number)
    });
    harmless.map(|service| json!({ "number": service.number, "example": service.example })).collect()
}

fn service(service: &gantry_service_host::ServiceDescription) -> ServiceDescription {
    ServiceDescription {
        number: service.number.get(),
        name: service.name.clone(),
        kind: match service.kind {
            gantry_message::Kind::Read => ServiceKind::Read,
            gantry_message::Kind::Write => ServiceKind::Write,
            gantry_message::Kind::Other => ServiceKind::Other,
        },
        timeout_ms: service.timeout_ms,
        idempotent: service.idempotent,
        description: service.description.clone(),
        example: service.example.clone(),
        example_reply: service.example_reply.clone(),
        sources: service.sources.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_message::{Kind, ServiceNumber};

    fn description(name: &str, number: u32, source: &str) -> Description {
        Description {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            build: String::new(),
            abi: "1.0".to_owned(),
            services: vec![gantry_service_host::ServiceDescription {
                number: ServiceNumber::new(number).unwrap(),
                name: format!("{name}.x"),
                kind: Kind::Write,
                timeout_ms: 0,
                idempotent: false,
                description: String::new(),
                example: String::new(),
                example_reply: String::new(),
                sources: vec![source.to_owned()],
                settings: Vec::new(),
            }],
            migrations: vec![
                MigrationDescription {
                    source: "main".into(),
                    schema: name.into(),
                    version: 2,
                    sql: "CREATE TABLE b (x INTEGER)".into(),
                },
                MigrationDescription {
                    source: "main".into(),
                    schema: name.into(),
                    version: 1,
                    sql: "CREATE TABLE a (x INTEGER)".into(),
                },
            ],
        }
    }

    fn settings(folder: &Path) -> Settings {
        let text = "[node]\nstate_dir = \"state\"\n[data.main]\ndriver = \"sqlite\"\n";
        let settings = Settings::from_text(text, &folder.join("gantry.toml")).unwrap();
        std::fs::create_dir_all(&settings.node.state_dir).unwrap();
        settings
    }

    /// Starts as every ELF file does; it is staged and never loaded here.
    fn library(folder: &Path, content: &str) -> std::path::PathBuf {
        let path = folder.join("libx.so");
        std::fs::write(&path, format!("\x7fELF{content}")).unwrap();
        path
    }

    #[test]
    fn a_library_is_staged_its_tables_made_and_its_services_registered() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let mut registry = super::super::open(&settings).unwrap();
        let path = library(folder.path(), "one");
        let build = hash_library(&path).unwrap();
        let described = description("x", 20_100_001, "main");
        let (snapshot, receipt) = install(&settings, &mut registry, &path, &build, &described, None).unwrap();
        assert_eq!(receipt["services"], json!([20_100_001]));
        let active = snapshot.library("x").unwrap();
        assert!(active.file.starts_with(settings.node.state_dir.join("libraries")) && active.file.is_file());
        let error = deploy(&settings, &mut registry, &path, None, false).unwrap_err().to_string();
        assert!(error.contains("already deployed"), "{error}");
    }

    /// It would be refused at the end as well, when its tables are there already.
    #[test]
    fn a_canary_that_is_refused_leaves_no_tables_and_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let mut registry = super::super::open(&settings).unwrap();
        let path = library(folder.path(), "one");
        let canary = Some(Canary { share_ppm: 10_000, promote_after_ms: None });
        let described = description("x", 20_100_001, "main");
        let build = hash_library(&path).unwrap();
        let error = install(&settings, &mut registry, &path, &build, &described, canary).unwrap_err();
        assert!(error.to_string().contains("in force"), "{error}");
        let mut sources = Sources::new(&settings);
        let connection = sources.connection("main").unwrap();
        let limit = std::time::Duration::from_secs(5);
        connection.query("SELECT x FROM a", &[], 1, limit).unwrap_err();
        assert!(!settings.node.state_dir.join("libraries").exists());
        install(&settings, &mut registry, &path, &build, &described, None).unwrap();
        connection.query("SELECT x FROM a", &[], 1, limit).unwrap();
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_registered() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let mut registry = super::super::open(&settings).unwrap();
        let path = library(folder.path(), "one");
        let described = description("x", 20_100_001, "main");
        let error = install(&settings, &mut registry, &path, &"0".repeat(64), &described, None).unwrap_err();
        assert!(error.to_string().contains("changed while"), "{error}");
        assert!(registry.snapshot().unwrap().services.is_empty());
    }

    #[test]
    fn a_taken_number_and_an_unknown_source_are_refused_before_anything_is_staged() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let mut registry = super::super::open(&settings).unwrap();
        let path = library(folder.path(), "one");
        let build = hash_library(&path).unwrap();
        install(&settings, &mut registry, &path, &build, &description("x", 20_100_001, "main"), None)
            .unwrap();
        let other = library(folder.path(), "two");
        let build = hash_library(&other).unwrap();
        for (name, source, words) in
            [("y", "main", "belongs to library x"), ("x", "elsewhere", "[data.elsewhere]")]
        {
            let described = description(name, 20_100_001, source);
            let error = install(&settings, &mut registry, &other, &build, &described, None).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
        let staged = std::fs::read_dir(settings.node.state_dir.join("libraries")).unwrap().count();
        assert_eq!(staged, 1);
    }
}
