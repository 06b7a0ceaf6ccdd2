//! `gantry status`: how the node is.

use std::process::ExitCode;

use gantry_settings::Settings;
use gantry_supervisor::protocol::Request;
use gantry_supervisor::{find_segments, living_rows};
use serde_json::{Value, json};

use crate::client::ask;
use crate::failure::Failure;
use crate::operations::say;
use crate::table::{Table, bytes, milliseconds};

/// Asks and prints.
pub(crate) fn run(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let mut status = match ask(settings, &Request::Status) {
        Ok(status) => status,
        Err(error) => {
            if Failure::is_not_running(&error) {
                show_unsupervised(settings, json)?;
            }
            return Err(error);
        }
    };
    name_counters(&mut status);
    say(json, &status, || words(&status))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows what runs while no supervisor answers, as the process table tells; nothing when nothing runs.
fn show_unsupervised(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let Ok(Some(segments)) = find_segments(settings) else { return Ok(()) };
    let processes = living_rows(segments.control());
    if processes.as_array().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let status = json!({ "node": settings.node.name, "state": "unsupervised", "processes": processes });
    Ok(say(json, &status, || process_table(&processes))?)
}

/// The supervisor only adds the counters up; what they are called is the communication process's knowledge.
fn name_counters(status: &mut Value) {
    let Some(counters) = status["counters"].as_array() else { return };
    let named = gantry_comm::Counter::ALL.iter().zip(counters);
    status["counters"] = named.map(|(counter, value)| (counter.name().to_owned(), value.clone())).collect();
}

fn words(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let figure = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let mut out = format!(
        "{} is {}, up {}, CPU {:.0} %, {} connections, {} services\n\n",
        text(&status["node"]),
        text(&status["state"]),
        milliseconds(status["uptime_ms"].as_u64().unwrap_or(0)),
        status["cpu_load"].as_f64().unwrap_or(0.0) * 100.0,
        figure(&status["connections"]),
        figure(&status["directory"]["numbers"]),
    );
    out.insert_str(out.len() - 1, &warnings(status));
    out += &process_table(&status["processes"]);
    for place in rows(&status["waiting"]) {
        out += &format!(
            "{} (row {}) is started again in {}\n",
            text(&place["role"]),
            figure(&place["row"]),
            milliseconds(place["restart_in_ms"].as_u64().unwrap_or(0))
        );
    }
    out += "\n";
    out += &memory_words(status);
    out
}

/// One line for each process.
fn process_table(processes: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let figure = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let mut table =
        Table::new(&["process", "queue", ">pid", "state", ">restarts", ">requests", ">private", "running"]);
    for process in rows(processes) {
        let running = process["service"].as_u64().map_or_else(String::new, |service| {
            let since = process["running_ms"].as_u64().map(|ms| format!(" for {}", milliseconds(ms)));
            format!("{service:08}{}", since.unwrap_or_default())
        });
        table.row([
            text(&process["role"]),
            text(&process["queue"]),
            figure(&process["pid"]),
            text(&process["state"]),
            figure(&process["restarts"]),
            figure(&process["requests"]),
            process["memory"]["rss_anon"].as_u64().map_or_else(|| "-".to_owned(), bytes),
            running,
        ]);
    }
    table.to_string()
}

/// What an operator has to know before anything else.
fn warnings(status: &Value) -> String {
    let mut out = String::new();
    if let Some(left) = status["upgrade"]["left"].as_u64() {
        out += &format!("an upgrade is under way: {left} processes of the earlier program are left\n");
    }
    if status["segments_removed"] == true {
        out += "the shared memory was removed under the node (ipcrm, or RemoveIPC of logind): it serves on, but restart it \
                at a quiet time\n";
    }
    if let Some(reason) = status["registry_fault"].as_str() {
        out += &format!("the services cannot be read, and those from before are served: {reason}\n");
    }
    out
}

/// Rings, slots, blocks and segments.
fn memory_words(status: &Value) -> String {
    let figure = |value: &Value| value.as_u64().unwrap_or(0);
    let mut out = String::new();
    for ring in rows(&status["rings"]) {
        let name = ring["name"].as_str().unwrap_or("-");
        out += &format!("{name} queue: {} of {}\n", figure(&ring["used"]), figure(&ring["capacity"]));
    }
    let slots = &status["slots"];
    out += &format!("slots: {} of {} free", figure(&slots["free"]), figure(&slots["total"]));
    let others = slots.as_object().into_iter().flatten().filter(|(name, count)| {
        !["free", "total"].contains(&name.as_str()) && count.as_u64().is_some_and(|count| count > 0)
    });
    for (name, count) in others {
        out += &format!(", {count} {name}");
    }
    out += "\n";
    for class in rows(&status["blocks"]) {
        let (taken, count) = (figure(&class["taken"]), figure(&class["count"]));
        out += &format!("blocks of {}: {taken} of {count} taken\n", bytes(figure(&class["bytes"])));
    }
    for segment in rows(&status["segments"]) {
        let name = segment["name"].as_str().unwrap_or("-");
        match segment["error"].as_str() {
            Some(error) => out += &format!("segment {name}: {error}\n"),
            None => {
                let resident = segment["resident_bytes"].as_u64().map_or_else(|| "?".to_owned(), bytes);
                out +=
                    &format!("segment {name}: {}, {resident} resident\n", bytes(figure(&segment["bytes"])));
            }
        }
    }
    let counted = status["counters"].as_object().into_iter().flatten();
    let counted: Vec<String> = counted
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !counted.is_empty() {
        out += &format!("counters: {}\n", counted.join(", "));
    }
    let waiting: Vec<&str> = rows(&status["needs_restart"]).filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        out += &format!("changed in the configuration, waits for a restart: {}\n", waiting.join(", "));
    }
    out
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_in_words_has_the_node_its_processes_and_what_waits() {
        let status = json!({"node": "gate", "state": "serving", "uptime_ms": 65_000, "cpu_load": 0.25, "connections": 7,
            "directory": {"numbers": 23}, "processes": [{"role": "worker", "queue": "read", "pid": 41, "state": "busy",
            "restarts": 2, "requests": 9, "service": 19000002, "running_ms": 1500, "memory": {"rss_anon": 5242880}}],
            "rings": [{"name": "read", "capacity": 128, "used": 3}], "slots": {"total": 256, "free": 252, "queued": 4},
            "segments": [{"name": "control", "bytes": 4096, "resident_bytes": 4096}], "counters": {"malformed": 2,
            "retried": 0}, "needs_restart": ["ipc.slots"], "waiting": [], "upgrade": {"left": 3},
            "segments_removed": true, "registry_fault": null});
        let words = words(&status);
        for part in [
            "gate is serving, up 65 s, CPU 25 %, 7 connections, 23 services",
            "19000002 for 1500 ms",
            "5.0 MiB",
            "read queue: 3 of 128",
            "slots: 252 of 256 free, 4 queued",
            "counters: malformed 2\n",
            "ipc.slots",
            "under way: 3 processes",
            "removed under the node",
        ] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }
}
