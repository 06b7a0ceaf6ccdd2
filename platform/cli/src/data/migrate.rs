//! `gantry data migrate`: brings the tables up to date before a node is started.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;

use anyhow::Context;
use gantry_datasource::{Connection, Migration, migrate, missing_steps, requests};
use gantry_settings::Settings;
use serde_json::{Value, json};

use crate::arguments::MigrateArguments;
use crate::failure::Failure;
use crate::helper::{run_describe, steps};
use crate::libraries;
use crate::output::print;
use crate::sources::Sources;

/// What was done to the tables of an owner, or would be.
struct Done {
    source: String,
    owner: String,
    versions: Vec<u32>,
}

/// Applies the platform's tables and those of every library of the configuration, and says which steps were new. A
/// node that runs need not be stopped: a step takes nothing away from those before it, and nodes and commands that
/// migrate at the same time apply each step once.
pub(super) fn run(settings: &Settings, arguments: &MigrateArguments, json: bool) -> anyhow::Result<ExitCode> {
    let done = bring_up_to_date(settings, arguments.source.as_deref(), arguments.dry_run)?;
    let row = |done: &Done| json!({ "source": done.source, "owner": done.owner, "versions": done.versions });
    if json {
        let list: Vec<Value> = done.iter().map(row).collect();
        print(json!({ "dry_run": arguments.dry_run, "steps": list }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if done.is_empty() {
        print("every table is up to date")?;
    }
    let word = if arguments.dry_run { "would be applied" } else { "applied" };
    for Done { source, owner, versions } in &done {
        let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
        print(format_args!("{source}: {owner} {} {word}", versions.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As [`run`], for a command that needs the tables.
pub(super) fn prepare(settings: &Settings, source: &str) -> anyhow::Result<()> {
    bring_up_to_date(settings, Some(source), false).map(drop)
}

fn bring_up_to_date(settings: &Settings, source: Option<&str>, dry_run: bool) -> anyhow::Result<Vec<Done>> {
    if let Some(name) = source.filter(|name| !settings.data.contains_key(*name)) {
        let file = settings.file.display();
        return Err(Failure::usage(format!(
            "there is no data source \"{name}\"; add [data.{name}] to {file}"
        ))
        .into());
    }
    make_state_folder(settings)?;
    let is_meant = |name: &str| source.is_none_or(|only| only == name);
    let mut sources = Sources::new(settings);
    let mut done = Vec::new();
    for name in settings.data.keys().filter(|name| is_meant(name) && is_sql(settings, name)) {
        let failed = || format!("data source {name}: the platform's tables cannot be brought up to date");
        let connection = sources.connection(name)?;
        let (of_requests, of_serials) = if dry_run {
            (requests::missing_table_steps(connection), gantry_serials::missing_table_steps(connection))
        } else {
            (requests::prepare_table(connection), gantry_serials::prepare_table(connection))
        };
        note(&mut done, name, "platform/request", of_requests.with_context(failed)?);
        note(&mut done, name, "platform/serial", of_serials.with_context(failed)?);
    }
    for library in &settings.service.libraries {
        let path = libraries::find(library)?;
        let description =
            run_describe(settings, &path).with_context(|| format!("{} is not taken", path.display()))?;
        for ((name, schema), steps) in steps(&description) {
            if !is_meant(name) || !is_sql(settings, name) {
                continue;
            }
            let connection = sources.connection(name)?;
            let versions = apply(connection, schema, &steps, dry_run).with_context(|| {
                format!("the tables of {} in {name} cannot be brought up to date", description.name)
            })?;
            note(&mut done, name, schema, versions);
        }
    }
    Ok(done)
}

fn apply(
    connection: &mut dyn Connection,
    schema: &str,
    steps: &[Migration<'_>],
    dry_run: bool,
) -> anyhow::Result<Vec<u32>> {
    let versions =
        if dry_run { missing_steps(connection, schema, steps)? } else { migrate(connection, schema, steps)? };
    Ok(versions)
}

/// Several libraries bring the same steps; in a trial each of them finds them missing.
fn note(done: &mut Vec<Done>, source: &str, owner: &str, versions: Vec<u32>) {
    let is_known = |known: &Done| known.source == source && known.owner == owner;
    if !versions.is_empty() && !done.iter().any(is_known) {
        done.push(Done { source: source.to_owned(), owner: owner.to_owned(), versions });
    }
}

/// Makes the folder that holds an embedded database, as private as the node makes it.
fn make_state_folder(settings: &Settings) -> anyhow::Result<()> {
    let folder = &settings.node.state_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Documents have no tables.
fn is_sql(settings: &Settings, name: &str) -> bool {
    !settings.data.get(name).is_some_and(gantry_settings::DataSettings::keeps_documents)
}
