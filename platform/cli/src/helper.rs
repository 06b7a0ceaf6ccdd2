//! The hidden sub-commands that do what the supervisor itself must not: open the registry, the data sources and
//! libraries. Each is a short life that prints one JSON value.

mod deploy;
mod fall_back;
mod prepare;
mod probe;
mod signed;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use gantry_datasource::requests;
use gantry_registry::{Author, Canary, LibraryRecord, Registry, Snapshot};
use gantry_settings::Settings;
use gantry_telemetry::Level;
use serde_json::{Value, json};

use crate::arguments::{RegistryArguments, RegistryCommand};
use crate::libraries;
use crate::output::print;
use crate::sources::Sources;

pub(crate) use deploy::steps;
pub(crate) use probe::{probe, run_describe};
pub(crate) use signed::signature_path;

/// The registry's file in the state folder.
const REGISTRY: &str = "registry.db";
/// Rows of the request table that are removed in one transaction, so that writers wait only for a moment.
const PRUNE_BATCH: usize = 500;
/// How long one statement of the pruning may take.
const PRUNE_LIMIT: Duration = Duration::from_secs(5);

/// Does one thing to the registry and prints `{"snapshot":…,"result":…}`.
pub(crate) fn registry(settings: &Settings, arguments: RegistryArguments) -> anyhow::Result<ExitCode> {
    let _log = gantry_telemetry::init_stderr("helper", Level::Warn)?;
    let RegistryArguments { by, why, command } = arguments;
    let open = || -> anyhow::Result<Registry> {
        let mut registry = open(settings)?;
        registry.set_author(Author { asker: by, why });
        Ok(registry)
    };
    let answer = match command {
        RegistryCommand::Prepare => {
            let mut registry = open()?;
            prepare::prepare(settings, &mut registry)?;
            answer(registry.snapshot()?, Value::Null)?
        }
        RegistryCommand::Snapshot => answer(open()?.snapshot()?, Value::Null)?,
        RegistryCommand::Deploy { library, canary_ppm, promote_after_ms, unless_in_force } => {
            let path = libraries::find_path(&library)?;
            let canary = canary_ppm.map(|share_ppm| Canary { share_ppm, promote_after_ms });
            let mut registry = open()?;
            let (snapshot, receipt) =
                deploy::deploy(settings, &mut registry, &path, canary, unless_in_force)?;
            answer(snapshot, receipt)?
        }
        RegistryCommand::Promote { name, build } => {
            let (snapshot, receipt) = deploy::promote(settings, &mut open()?, &name, build.as_deref())?;
            answer(snapshot, receipt)?
        }
        RegistryCommand::Abort { name, build } => {
            let snapshot = open()?.abort_canary(&name, build.as_deref())?;
            answer(snapshot, json!({ "library": name, "aborted": true }))?
        }
        RegistryCommand::Reload { name } => {
            let (snapshot, receipt) = deploy::reload(settings, &mut open()?, &name)?;
            answer(snapshot, receipt)?
        }
        RegistryCommand::Rollback { from, restore, name, to } => {
            let mut registry = open()?;
            expect_in_force(&mut registry, &name, from.as_deref())?;
            let (snapshot, receipt) = deploy::roll_back(settings, &mut registry, &name, to.as_deref())?;
            answer(registry.restore(&name, &restore)?.unwrap_or(snapshot), receipt)?
        }
        RegistryCommand::Unload { from, name } => {
            let mut registry = open()?;
            expect_in_force(&mut registry, &name, from.as_deref())?;
            answer(registry.unload(&name)?, json!({ "library": name, "unloaded": true }))?
        }
        RegistryCommand::Start { number } => {
            let snapshot = fall_back::start(settings, &mut open()?, number.get())?;
            answer(snapshot, json!({ "number": number, "enabled": true }))?
        }
        RegistryCommand::Stop { number } => {
            let snapshot = open()?.set_enabled(number.get(), false)?;
            answer(snapshot, json!({ "number": number, "enabled": false }))?
        }
        RegistryCommand::Rule { number, rules } => {
            check_whole_rate(&rules)?;
            let snapshot = open()?.set_rule(number.get(), &rules)?;
            let rule = snapshot.service(number.get()).map(|service| json!(service.rule));
            answer(snapshot, json!({ "number": number, "rule": rule }))?
        }
        RegistryCommand::Quarantine { number, build } => {
            let (snapshot, result) = fall_back::quarantine(settings, &mut open()?, number.get(), &build)?;
            answer(snapshot, result)?
        }
        RegistryCommand::Show { number } => show(settings, &mut open()?, number.get())?,
        RegistryCommand::Prune => json!({ "result": { "pruned": prune(settings)? } }),
    };
    print(answer)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to change a library of which another build than `from` is in force by now.
fn expect_in_force(registry: &mut Registry, name: &str, from: Option<&str>) -> anyhow::Result<()> {
    let Some(from) = from else { return Ok(()) };
    match registry.snapshot()?.library(name) {
        Some(active) if active.build == from => Ok(()),
        Some(active) => bail!("another build of {name} is in force by now: {}", active.build),
        None => bail!("no build of {name} is in force any more"),
    }
}

/// All that is known of a service.
fn show(settings: &Settings, registry: &mut Registry, number: u32) -> anyhow::Result<Value> {
    let snapshot = registry.snapshot()?;
    let Some(service) = snapshot.service(number) else {
        bail!("there is no service {number:08}; `gantry service list` shows those there are")
    };
    let mut facts = serde_json::to_value(service)?;
    facts["protection"] = json!(protection(settings, &service.sources, service.kind));
    facts["kept"] = json!(kept(&snapshot, &service.library));
    facts["history"] = json!(registry.history(&service.library)?);
    Ok(json!({ "result": facts }))
}

fn answer(snapshot: Snapshot, result: Value) -> anyhow::Result<Value> {
    Ok(json!({ "snapshot": serde_json::to_value(snapshot)?, "result": result }))
}

/// Opens the node's registry.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<Registry> {
    Ok(Registry::open(&settings.node.state_dir.join(REGISTRY))?)
}

/// The builds of a library that are there to go back to, the newest first.
fn kept<'s>(snapshot: &'s Snapshot, library: &str) -> Vec<&'s LibraryRecord> {
    snapshot.libraries.iter().filter(|kept| kept.name == library && !kept.active).collect()
}

/// How a service's writes are kept from taking effect twice.
fn protection(settings: &Settings, sources: &[String], kind: gantry_registry::ServiceKind) -> &'static str {
    // A source that the service can do without counts where it is configured.
    let configured = |name: &String| settings.data.get(name.strip_suffix('?').unwrap_or(name));
    let mut found = sources.iter().filter_map(configured);
    match kind {
        gantry_registry::ServiceKind::Read => "it only reads",
        _ if found.any(|data| !data.keeps_documents()) => {
            "by a row in the data source, for idempotency.retention"
        }
        _ if sources.is_empty() => "by the window in shared memory only: it names no data source",
        _ => "by the window in shared memory only: it names no SQL data source",
    }
}

/// The shared tables count whole requests, so a rate of half a request cannot be kept there.
fn check_whole_rate(rules: &[String]) -> anyhow::Result<()> {
    for value in rules.iter().filter_map(|rule| rule.split_once('=')).filter(|(key, _)| key.trim() == "rate")
    {
        let rate = value.1.trim();
        if rate.parse::<f64>().is_ok_and(|rate| rate.fract() != 0.0 || rate < 1.0) {
            bail!("rate={rate}: a rate is whole requests per second, from 1; write another one, or none");
        }
    }
    Ok(())
}

/// Removes rows of the request table that are older than the retention, from every data source.
fn prune(settings: &Settings) -> anyhow::Result<u64> {
    let retention = settings.idempotency.retention;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let older_than_ms = i64::try_from(now.saturating_sub(retention).as_millis()).unwrap_or(i64::MAX);
    let mut sources = Sources::new(settings);
    let mut pruned_count = 0;
    for (name, _) in settings.data.iter().filter(|(_, data)| !data.keeps_documents()) {
        let connection = sources.connection(name)?;
        loop {
            let count = requests::prune(connection, older_than_ms, PRUNE_BATCH, PRUNE_LIMIT)?;
            pruned_count += count;
            if count < PRUNE_BATCH as u64 {
                break;
            }
        }
    }
    Ok(pruned_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole() {
        let check = |rule: &str| check_whole_rate(&[rule.to_owned()]);
        for good in ["rate=5", "rate=none", "rate=1e3", "burst=2", "rate=fast"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["rate=0.5", " rate = 2.5", "rate=0"] {
            assert!(check(bad).unwrap_err().to_string().contains("whole requests"), "{bad}");
        }
    }
}
