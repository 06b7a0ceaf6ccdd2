//! `gantry serial …`: where serial numbers are, which Redis serves, and what to do after a restore.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use gantry_segment::Segments;
use gantry_serials::{Gap, NodeCache, Raised, SerialStatus, ServerName, ServerStatus, TypeStatus};
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
    /// leased = issued + in lists + in nodes + out of reach + lost. Out of reach are lists of a Redis that is away now; lost is
    /// told by place and reason below. Works without a running node too: then what its memory holds is missing.
    #[command(after_help = "Examples:\n  gantry serial status\n  gantry serial status --json")]
    Status,
    /// Let the running node draw through the other Redis; safe at any moment, since ranges come from the database.
    ///
    /// Holds for this node until it is stopped; a start begins with the primary. What lies in the lists of the one before is
    /// drawn after switching back.
    #[command(after_help = "Example:\n  gantry serial switch standby")]
    Switch {
        /// `serial.redis` or `serial.standby`.
        server: Server,
    },
    /// After the database was restored from a backup: lift the ranges above everything that was issued.
    ///
    /// Looks at the database, the Redis servers and the memory of this node, lifts each type above all of them, and lets
    /// every node throw away what was leased before. Only numbers are skipped by it, so it may be repeated. The memory of other
    /// nodes is not looked at, but they tell Redis twice a second how far they are: without a Redis run it on each node
    /// that was not stopped.
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
        lines.push(server_words(server, has_node));
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
        lines.push(format!("gaps of {}: {} numbers that nobody will get", kind.kind, kind.lost));
        lines.extend(gap_lines(&kind.gaps));
    }
    lines.join("\n")
}

fn server_words(server: &ServerStatus, has_node: bool) -> String {
    let name = server.name.as_str();
    let is_used = server.chosen && has_node;
    match &server.error {
        Some(error) if is_used => {
            format!("{name}: used by this node and away, so the database serves: {error}")
        }
        Some(error) => format!("{name}: away: {error}"),
        None => {
            let address = server.address.as_deref().unwrap_or("-");
            let used = if is_used { ", used by this node" } else { "" };
            let failures = match server.failures {
                0 => String::new(),
                count => format!(", failed {count} times since this node started"),
            };
            format!("{name}: serves at {address}{used}{failures}")
        }
    }
}

/// One line for each gap, and one for all lists that are gone for the same reason.
fn gap_lines(gaps: &[Gap]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for gap in gaps {
        let is_alike = |other: &&Gap| is_list(other) && is_list(gap) && other.reason == gap.reason;
        let alike: Vec<&Gap> = gaps.iter().filter(is_alike).collect();
        if alike.len() < 2 {
            lines.push(gap_line(gap.numbers, &gap.place, &gap.reason, gap.at_ms, gap.at_ms));
        } else if !told.contains(&gap.reason.as_str()) {
            told.push(&gap.reason);
            let numbers = alike.iter().map(|gap| gap.numbers).sum();
            let times = || alike.iter().filter_map(|gap| gap.at_ms);
            let place = format!("{} lists", alike.len());
            lines.push(gap_line(numbers, &place, &gap.reason, times().min(), times().max()));
        }
    }
    lines
}

fn is_list(gap: &Gap) -> bool {
    gap.place.starts_with("list ")
}

/// `first` and `last`: when it was found.
fn gap_line(numbers: i64, place: &str, reason: &str, first: Option<i64>, last: Option<i64>) -> String {
    let time = |ms: Option<i64>| {
        ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).map(|time| format!("{time:.0}"))
    };
    let at = match (time(first), time(last)) {
        (Some(first), Some(last)) if first == last => format!(" ({first})"),
        (Some(first), Some(last)) => format!(" ({first} to {last})"),
        _ => String::new(),
    };
    format!("  {numbers:>12}  {place}: {reason}{at}")
}

fn types_table(types: &[TypeStatus]) -> String {
    let headings = [
        "type",
        "format",
        ">leased",
        ">issued",
        ">in lists",
        ">in nodes",
        ">out of reach",
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
            kind.out_of_reach.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(numbers: i64, place: &str, reason: &str, at_ms: Option<i64>) -> Gap {
        Gap { numbers, place: place.to_owned(), reason: reason.to_owned(), at_ms }
    }

    #[test]
    fn lists_that_are_gone_for_the_same_reason_share_a_line() {
        let gaps = [
            gap(10, "list 1", "restart", Some(1_767_225_600_000)),
            gap(5, "a/1", "rolled back", None),
            gap(20, "list 2", "restart", Some(1_767_225_660_000)),
            gap(7, "list 3", "its data went back", Some(1_767_225_600_000)),
            gap(3, "b/1", "rolled back", None),
        ];
        let wanted = [
            "            30  2 lists: restart (2026-01-01T00:00:00Z to 2026-01-01T00:01:00Z)",
            "             5  a/1: rolled back",
            "             7  list 3: its data went back (2026-01-01T00:00:00Z)",
            "             3  b/1: rolled back",
        ];
        assert_eq!(gap_lines(&gaps), wanted);
    }
}
