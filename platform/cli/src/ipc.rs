//! `gantry ipc …`: the shared memory of this configuration, seen from outside.

use std::process::ExitCode;

use anyhow::bail;
use gantry_segment::{Removal, SegmentError, Segments};
use gantry_settings::Settings;
use gantry_supervisor::{
    LivingProcess, backend, find_segments, forget_segments, living_processes, unprocessed_count,
};
use gantry_sys::lock::Holder;
use gantry_sys::shm::{self, SegmentId};
use serde_json::{Value, json};

use crate::arguments::IpcCommand;
use crate::client;
use crate::lock::StartLock;
use crate::operations::say;
use crate::table::{Table, bytes};

/// Lists or cleans.
pub(crate) fn run(settings: &Settings, command: &IpcCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        IpcCommand::List => list(settings, json),
        IpcCommand::Clean => clean(settings, json),
    }
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let name = &settings.node.name;
    let facts = match find_segments(settings) {
        Ok(Some(segments)) => facts(&segments),
        Ok(None) => json!({ "node": name, "segments": [] }),
        Err(error) => json!({ "node": name, "segments": [], "problem": error.to_string() }),
    };
    say(json, &facts, || words(&facts))?;
    Ok(ExitCode::SUCCESS)
}

fn facts(segments: &Segments) -> Value {
    let (control, handoff) = (segments.control(), segments.handoff());
    let ids = [("control", &handoff.control), ("blocks", &handoff.blocks), ("directory", &handoff.directory)];
    let dimensions = control.dimensions();
    json!({
        "node": control.header().node_name(),
        "creation": format!("{:016x}", control.header().creation()),
        "layout": gantry_segment::LAYOUT_VERSION,
        "slots": dimensions.slots,
        "processes": dimensions.processes,
        "connections": dimensions.connections,
        "services": dimensions.services,
        "living": living_processes(control).iter().map(LivingProcess::name).collect::<Vec<_>>(),
        "unprocessed": unprocessed_count(control),
        "segments": ids.map(|(name, id)| segment(name, id)),
    })
}

fn segment(name: &str, id: &SegmentId) -> Value {
    match shm::stat(id) {
        Ok(stat) => json!({
            "name": name,
            "id": id.to_string(),
            "bytes": stat.bytes,
            "resident_bytes": stat.resident_bytes,
            "attached": stat.attached,
            "mode": format!("{:04o}", stat.mode),
            "uid": stat.uid,
            "creator_pid": stat.creator_pid,
            "marked_for_removal": stat.marked_for_removal,
        }),
        Err(error) => json!({ "name": name, "id": id.to_string(), "error": error.to_string() }),
    }
}

fn words(facts: &Value) -> String {
    let name = facts["node"].as_str().unwrap_or("-");
    if let Some(problem) = facts["problem"].as_str() {
        return format!("what lies under the keys of {name} cannot be used: {problem}");
    }
    let segments = facts["segments"].as_array().map_or(&[][..], Vec::as_slice);
    if segments.is_empty() {
        return format!("{name} has no segments");
    }
    let figure = |value: &Value| value.as_u64().map_or_else(|| "?".to_owned(), |figure| figure.to_string());
    let size = |value: &Value| value.as_u64().map_or_else(|| "?".to_owned(), bytes);
    let mut table = Table::new(&["segment", "id", ">size", ">resident", ">attached", "mode", "remark"]);
    for segment in segments {
        let text = |key: &str| segment[key].as_str().unwrap_or("").to_owned();
        let remark = if segment["marked_for_removal"] == true {
            "removed, still attached".to_owned()
        } else {
            text("error")
        };
        table.row([
            text("name"),
            text("id"),
            size(&segment["bytes"]),
            size(&segment["resident_bytes"]),
            figure(&segment["attached"]),
            text("mode"),
            remark,
        ]);
    }
    let living: Vec<&str> =
        facts["living"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let living = if living.is_empty() { "nobody".to_owned() } else { living.join(", ") };
    format!(
        "node {name}, creation {}, layout {}, {} slots, {} unprocessed requests inside\nliving on them: {living}\n\n{}",
        facts["creation"].as_str().unwrap_or("-"),
        figure(&facts["layout"]),
        figure(&facts["slots"]),
        figure(&facts["unprocessed"]),
        table.to_string().trim_end()
    )
}

fn clean(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let (backend, name) = (backend(settings), &settings.node.name);
    if client::holder(settings)? != Holder::Nobody {
        bail!("\"{name}\" is running; its segments stay. End it with `gantry stop` first");
    }
    // Held meanwhile, so that nobody starts a node on what is being removed.
    let _lock = StartLock::take(settings)?;
    match Segments::look_up(backend, name) {
        Ok(None) => {}
        Ok(Some(handoff)) => {
            refuse_in_use(&handoff.control)?;
            match Segments::attach(&handoff) {
                Ok(segments) => refuse_ours(name, &segments)?,
                Err(error) => refuse_foreign_in_use(&error)?,
            }
        }
        Err(error) => refuse_foreign_in_use(&error)?,
    }
    // Those that somebody removed while processes live on them have no key any more.
    if let Ok(Some(segments)) = find_segments(settings) {
        refuse_ours(name, &segments)?;
    }
    let Removal { removed, foreign } = Segments::remove_all(backend, name)?;
    forget_segments(settings);
    let ids: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let foreign: Vec<String> = foreign.iter().map(ToString::to_string).collect();
    say(json, &json!({ "removed": ids, "foreign": foreign }), || {
        let mut words = match ids.as_slice() {
            [] => format!("{name} has no segments; nothing to remove"),
            ids => format!("removed {}", ids.join(", ")),
        };
        for id in &foreign {
            words += &format!("\nsegment {id} under our key is not Gantry's; left alone");
        }
        words
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever is attached may be living on them. Looked at before this command itself attaches.
fn refuse_in_use(id: &SegmentId) -> anyhow::Result<()> {
    match shm::stat(id)?.attached {
        Some(count @ 1..) => {
            bail!(
                "segment {id} is attached {count} times; end those processes with `gantry stop --now` first"
            )
        }
        _ => Ok(()),
    }
}

fn refuse_ours(name: &str, segments: &Segments) -> anyhow::Result<()> {
    let found = segments.control().header().node_name();
    if found != *name {
        bail!(
            "the segments belong to the node \"{found}\", whose key is the same; set ipc.key of one of the two"
        );
    }
    let living: Vec<String> = living_processes(segments.control()).iter().map(LivingProcess::name).collect();
    if !living.is_empty() {
        bail!(
            "processes of a dead supervisor live on them ({}); end them with `gantry stop --now`",
            living.join(", ")
        );
    }
    Ok(())
}

/// What cannot be read as segments of ours may be removed when nobody uses it.
fn refuse_foreign_in_use(error: &SegmentError) -> anyhow::Result<()> {
    let id = match error {
        SegmentError::Foreign { id, .. }
        | SegmentError::Version { id, .. }
        | SegmentError::Mixed { id, .. } => id,
        other => bail!("{other}"),
    };
    match id.parse::<SegmentId>() {
        Ok(id) => refuse_in_use(&id),
        Err(_) => bail!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_in_words() {
        let facts = json!({"node": "gate", "creation": "00ff", "layout": 1, "slots": 16, "unprocessed": 2,
            "living": ["worker 41"], "segments": [{"name": "control", "id": "sysv:7", "bytes": 8192, "resident_bytes": 4096,
            "attached": 3, "mode": "0600", "marked_for_removal": true}]});
        let words = words(&facts);
        for part in [
            "node gate, creation 00ff, layout 1, 16 slots, 2 unprocessed",
            "worker 41",
            "sysv:7",
            "8.0 KiB",
            "removed, still",
        ] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }

    #[test]
    fn a_node_without_segments_says_so_by_name() {
        assert_eq!(words(&json!({"node": "gate", "segments": []})), "gate has no segments");
        let problem = json!({"node": "gate", "segments": [], "problem": "it is foreign"});
        assert!(words(&problem).contains("it is foreign"));
    }
}
