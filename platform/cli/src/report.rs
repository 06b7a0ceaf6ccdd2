//! `gantry report`: what was written down of the deaths of processes. Reads the folder; no node needs to run.

mod show;
mod symbols;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use gantry_settings::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments::ReportCommand;
use crate::operations::say;
use crate::table::Table;

/// How many names are offered to who asks for a report that is not there.
const NAMES_OFFERED: usize = 10;

/// Lists or shows.
pub(crate) fn run(settings: &Settings, command: &ReportCommand, json: bool) -> anyhow::Result<ExitCode> {
    let folder = settings.node.state_dir.join("reports");
    match command {
        ReportCommand::List => {
            let reports: Vec<Value> = names(&folder)?.iter().map(|name| summary(&folder, name)).collect();
            say(json, &Value::Array(reports.clone()), || listing(&reports))?;
        }
        ReportCommand::Show { name } => {
            let name = find(&folder, name)?;
            let mut report = read(&folder, &name)?;
            show::name_frames(&mut report, &settings.node.state_dir.join("libraries"));
            say(json, &report, || show::words(&name, &report))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of all reports, newest first.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Before the first start there is no folder, and so no report.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = PathBuf::from(entry?.file_name());
        let is_report = file.extension().is_some_and(|extension| extension == "json");
        if let Some(name) = file.file_stem().and_then(|name| name.to_str()).filter(|_| is_report) {
            names.push(name.to_owned());
        }
    }
    // They begin with their time, in digits of one number.
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

/// The report that is asked for: the name of one that exists.
fn find(folder: &Path, asked: &str) -> anyhow::Result<String> {
    let mut names = names(folder)?;
    let asked = asked.strip_suffix(".json").unwrap_or(asked);
    let place = match asked {
        "last" => (!names.is_empty()).then_some(0),
        _ => names.iter().position(|name| name == asked),
    };
    if let Some(place) = place {
        return Ok(names.swap_remove(place));
    }
    if names.is_empty() {
        bail!(
            "there is no report in {}: no process died inside a service or had to be killed",
            folder.display()
        );
    }
    let more = names.len().saturating_sub(NAMES_OFFERED);
    names.truncate(NAMES_OFFERED);
    let more = if more > 0 { format!(" and {more} older ones") } else { String::new() };
    bail!("there is no report \"{}\"; there are {}{more}", asked.escape_debug(), names.join(", "))
}

fn read(folder: &Path, name: &str) -> anyhow::Result<Value> {
    let path = folder.join(name).with_extension("json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no whole report", path.display()))
}

/// The line of a report in a listing.
fn summary(folder: &Path, name: &str) -> Value {
    let report = match read(folder, name) {
        Ok(report) => report,
        Err(error) => {
            json!({ "why": "unreadable", "why_text": crate::failure::words(&error) })
        }
    };
    let at = report["at_ms"].as_i64();
    json!({
        "name": name,
        "at": at.and_then(time),
        "at_ms": at,
        "why": report["why"],
        "why_text": report["why_text"],
        "role": report["role"],
        "pid": report["pid"],
        "service": report["service"],
        "library": report["library"],
        "version": report["version"],
        "ran_ms": report["ran_ms"],
    })
}

fn listing(reports: &[Value]) -> String {
    if reports.is_empty() {
        return "no process died inside a service or had to be killed\n".to_owned();
    }
    let mut table = Table::new(&["time", "service", "version", "why", "report"]);
    for report in reports {
        let served = [text(&report["library"]), text(&report["version"])];
        let version = served.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let who = text(&report["service"]).or_else(|| text(&report["role"]));
        let cells = [text(&report["at"]), who, Some(version), text(&report["why"]), text(&report["name"])];
        table.row(cells.map(|cell| cell.filter(|cell| !cell.is_empty()).unwrap_or_else(|| "-".to_owned())));
    }
    format!("{table}\nsee one with `gantry report show NAME`, the newest with `gantry report show last`\n")
}

/// A time in UTC, to the millisecond.
fn time(at_ms: i64) -> Option<String> {
    Some(format!("{:.3}", Timestamp::from_millisecond(at_ms).ok()?))
}

/// A text as it may go to a terminal: what a service or a caller wrote could hold control characters.
fn text(value: &Value) -> Option<String> {
    let raw = value.as_str()?;
    let clean = |character: char| match character {
        '\n' => vec![character],
        '\t' => vec![' '],
        other if other.is_control() => other.escape_default().collect(),
        other => vec![other],
    };
    Some(raw.chars().flat_map(clean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let report = json!({"at_ms": 1_795_384_841_430_i64, "why": "killed", "service": "19000003"});
            fs::write(folder.path().join(name), report.to_string()).unwrap();
        }
        folder
    }

    const OLD: &str = "1795384841430-19000003-41";
    const NEW: &str = "1795384841431-19000003-42";

    #[test]
    fn reports_are_found_newest_first_by_name_file_or_last() {
        let folder = folder_with(&[&format!("{OLD}.json"), &format!("{NEW}.json"), "1795384841432-x.part"]);
        assert_eq!(names(folder.path()).unwrap(), [NEW, OLD]);
        assert_eq!(find(folder.path(), "last").unwrap(), NEW);
        assert_eq!(find(folder.path(), OLD).unwrap(), OLD);
        assert_eq!(find(folder.path(), &format!("{OLD}.json")).unwrap(), OLD);
    }

    #[test]
    fn a_report_that_is_not_there_is_refused_with_those_that_are() {
        let folder = folder_with(&[&format!("{OLD}.json")]);
        for asked in ["../../etc/passwd", "x", ""] {
            let error = find(folder.path(), asked).unwrap_err().to_string();
            assert!(error.contains(OLD), "{error}");
        }
        let error = find(folder_with(&[]).path(), "last").unwrap_err().to_string();
        assert!(error.contains("there is no report"), "{error}");
        assert_eq!(names(Path::new("/no/such/folder")).unwrap(), [""; 0]);
    }

    #[test]
    fn a_listing_has_a_line_for_each_and_says_what_cannot_be_read() {
        let folder = folder_with(&[&format!("{OLD}.json")]);
        fs::write(folder.path().join(format!("{NEW}.json")), "{\"at_ms\":").unwrap();
        let reports: Vec<Value> =
            names(folder.path()).unwrap().iter().map(|name| summary(folder.path(), name)).collect();
        assert_eq!((&reports[0]["why"], &reports[1]["why"]), (&json!("unreadable"), &json!("killed")));
        assert_eq!(reports[1]["at"], "2026-11-22T22:00:41.430Z");
        let listing = listing(&reports);
        assert!(listing.contains(OLD) && listing.contains(NEW), "{listing}");
    }

    #[test]
    fn a_text_from_outside_cannot_command_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2Jb\tc\n余")).unwrap(), "a\\u{1b}[2Jb c\n余");
    }
}
