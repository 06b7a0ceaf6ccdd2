//! `gantry serial …`: where serial numbers are, which Redis serves, and what to do after a restore.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use gantry_segment::Segments;
use gantry_serials::{NodeCache, Raised, SerialStatus, ServerName, ServerStatus, TypeStatus};
use gantry_settings::Settings;
use gantry_supervisor::find_segments;
use gantry_sys::lock::Holder;
use jiff::Timestamp;
use serde_json::json;

use crate::client;
use crate::operations::say;
use crate::sources::Sources;
use crate::table::Table;

/// The data source that serial numbers are leased from.
const SOURCE: &str = "main";

#[derive(Debug, Subcommand)]
pub(crate) enum SerialCommand {
    /// How many numbers of each type are where, how long they last, and why those that are nowhere are gone.
    ///
    /// Works without a running node too: then what its memory holds is missing.
    #[command(after_help = "Examples:\n  gantry serial status\n  gantry serial status --json")]
    Status,
    /// Let the running node draw through the other Redis; safe at any moment, since ranges come from the database.
    #[command(after_help = "Example:\n  gantry serial switch standby")]
    Switch {
        /// `serial.redis` or `serial.standby`.
        server: Server,
    },
    /// After the database was restored from a backup: lift the ranges above everything that was issued.
    ///
    /// Looks at the database, the Redis servers and the memory of this node, lifts each type above all of them, and lets
    /// every node throw away what was leased before. Only numbers are skipped by it.
    #[command(
        after_help = "Examples:\n  gantry serial raise\n  gantry serial raise --type card --above 41500   (a number in the services' \
            tables is higher than any that is remembered)"
    )]
    Raise {
        /// Only this type.
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// The highest number that is known to be issued; goes with --type.
        #[arg(long, value_name = "N", requires = "kind", value_parser = clap::value_parser!(i64).range(0..))]
        above: Option<i64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// `serial.redis`.
    Primary,
    /// `serial.standby`.
    Standby,
}

/// Does it.
pub(crate) fn run(settings: &Settings, command: &SerialCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        SerialCommand::Status => status(settings, json)?,
        SerialCommand::Switch { server } => switch(settings, *server, json)?,
        SerialCommand::Raise { kind, above } => raise(settings, kind.as_deref(), *above, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn status(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let segments = segments(settings)?;
    let mut sources = Sources::new(settings);
    let connection = sources.connection(SOURCE)?;
    gantry_serials::prepare_table(connection).context("the tables of serial numbers")?;
    let node = segments.as_ref().map(|segments| visitor(settings, segments));
    let status = gantry_serials::status(connection, &settings.serial, node, now_ms())?;
    let mut facts = serde_json::to_value(&status)?;
    facts["node"] = json!(segments.is_some());
    say(json, &facts, || words(&status, segments.is_some()))?;
    Ok(())
}

/// The Redis servers as they answer now.
pub(crate) fn servers(settings: &Settings) -> anyhow::Result<Vec<ServerStatus>> {
    let mut sources = Sources::new(settings);
    let connection = sources.connection(SOURCE)?;
    gantry_serials::prepare_table(connection).context("the tables of serial numbers")?;
    Ok(gantry_serials::status(connection, &settings.serial, None, now_ms())?.servers)
}

fn switch(settings: &Settings, server: Server, json: bool) -> anyhow::Result<()> {
    let Some(segments) = segments(settings)? else { return Err(client::unsupervised(settings).into()) };
    let to = match server {
        Server::Primary => ServerName::Primary,
        Server::Standby => ServerName::Standby,
    };
    let node = visitor(settings, &segments);
    gantry_serials::switch(&node, &settings.serial, to)?;
    let told = json!({ "redis": to });
    say(json, &told, || format!("all workers draw through the {} from their next draw on", to.as_str()))?;
    Ok(())
}

fn raise(settings: &Settings, kind: Option<&str>, above: Option<i64>, json: bool) -> anyhow::Result<()> {
    let segments = segments(settings)?;
    let mut sources = Sources::new(settings);
    let connection = sources.connection(SOURCE)?;
    gantry_serials::prepare_table(connection).context("the tables of serial numbers")?;
    let node = segments.as_ref().map(|segments| visitor(settings, segments));
    let raised = gantry_serials::raise(connection, &settings.serial, node, kind, above)?;
    say(json, &serde_json::to_value(&raised)?, || {
        raised.iter().map(raised_words).collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}

/// The segments of this node, if somebody of it lives. What a dead node left in its memory is not looked at: the next start
/// takes it over.
fn segments(settings: &Settings) -> anyhow::Result<Option<Segments>> {
    let is_alive = client::holder(settings)? != Holder::Nobody || !client::living(settings).is_empty();
    Ok(if is_alive { find_segments(settings)? } else { None })
}

fn visitor<'s>(settings: &Settings, segments: &'s Segments) -> NodeCache<'s> {
    NodeCache::of_visitor(segments.control(), &settings.node.name)
}

fn words(status: &SerialStatus, has_node: bool) -> String {
    let mut lines = Vec::new();
    for server in &status.servers {
        let chosen = if server.chosen && has_node { ", used by this node" } else { "" };
        let address = server.address.as_deref().unwrap_or("-");
        lines.push(match &server.error {
            Some(error) => format!("{}: away{chosen} ({error})", server.name.as_str()),
            None => {
                format!("{}: serves at {address}{chosen}, {} failures", server.name.as_str(), server.failures)
            }
        });
        if let Some(eviction) = server.eviction.as_ref().filter(|eviction| *eviction != "noeviction") {
            lines.push(format!("  maxmemory-policy {eviction} may throw numbers away; set noeviction"));
        }
    }
    if status.servers.is_empty() {
        lines.push("no Redis is configured: ranges come straight from the database".to_owned());
    }
    if !has_node {
        lines.push("the node does not run: what its memory holds is not counted".to_owned());
    }
    lines.push(types_table(&status.types));
    for kind in status.types.iter().filter(|kind| !kind.gaps.is_empty()) {
        lines.push(format!("gaps of {}:", kind.kind));
        for gap in &kind.gaps {
            let at = gap.at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let at = at.map_or_else(String::new, |at| format!(" ({at:.0})"));
            lines.push(format!("  {:>12}  {}: {}{at}", gap.numbers, gap.place, gap.reason));
        }
    }
    lines.join("\n")
}

fn types_table(types: &[TypeStatus]) -> String {
    let headings = [
        "type",
        "format",
        ">leased",
        ">issued",
        ">in lists",
        ">in nodes",
        ">lost",
        ">left",
        ">per day",
        ">days left",
    ];
    let mut table = Table::new(&headings);
    let whole = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0}"));
    for kind in types {
        table.row([
            kind.kind.clone(),
            kind.format.clone(),
            kind.leased.to_string(),
            kind.issued.to_string(),
            kind.in_lists.to_string(),
            kind.in_nodes.to_string(),
            kind.lost.to_string(),
            kind.left.to_string(),
            whole(kind.per_day),
            whole(kind.days_left),
        ]);
    }
    table.to_string()
}

fn raised_words(raised: &Raised) -> String {
    let Raised { kind, next_before, next_after, known_by, not_asked, .. } = raised;
    let mut line =
        format!("{kind}: the next lease begins at {next_after} (was {next_before}; known by: {known_by})");
    for missing in not_asked {
        line.push_str(&format!(
            "\n  not asked: {missing}; compare with the services' tables, and raise again with --above if they have more"
        ));
    }
    line
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
