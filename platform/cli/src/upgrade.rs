//! `gantry upgrade`: another program takes the node over while it serves.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_supervisor::protocol::Request;
use gantry_sys::process::own_executable;
use serde_json::{Value, json};

use crate::client::ask;
use crate::operations::say;
use crate::table::Table;

/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long the supervisor may be silent while it executes the other program and takes over.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long nothing may come of it before this command gives up looking. A worker leaves when its present request is over.
const STALL_LIMIT: Duration = Duration::from_secs(300);

/// Has the node go on as `binary`; returns when every process was replaced.
pub(crate) fn run(settings: &Settings, binary: Option<PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let binary = match binary {
        Some(path) => std::path::absolute(&path)
            .and_then(|path| path.canonicalize())
            .with_context(|| format!("there is no program {}", path.display()))?,
        None => {
            own_executable().context("the path of this program cannot be found; name one with --binary")?
        }
    };
    let before = ask(settings, &Request::Status)?;
    ask(settings, &Request::Upgrade { binary: binary.clone() })?;
    let after = wait(settings)?;
    if after["executable"].as_str() != binary.to_str() {
        bail!("{} could not be executed; the node runs on as it was, and its log says why", binary.display());
    }
    let replaced = replaced(&before["processes"], &after["processes"]);
    let result =
        json!({ "executable": after["executable"], "version": after["version"], "replaced": replaced });
    say(json, &result, || words(&result))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until no process of the earlier program is left, and gives the status then.
fn wait(settings: &Settings) -> anyhow::Result<Value> {
    let (mut heard, mut moved, mut last_left) = (Instant::now(), Instant::now(), None);
    loop {
        std::thread::sleep(LOOK_AGAIN);
        match ask(settings, &Request::Status) {
            Ok(status) => {
                heard = Instant::now();
                let left = status["upgrade"]["left"].as_u64();
                if status["upgrade"].is_null() && status["state"] != "starting" {
                    return Ok(status);
                }
                if left != last_left {
                    (moved, last_left) = (Instant::now(), left);
                }
                if moved.elapsed() > STALL_LIMIT {
                    bail!(
                        "{} processes of the earlier program are left; the upgrade goes on by itself, see `gantry status` and \
                         the log",
                        left.unwrap_or(0)
                    );
                }
            }
            Err(error) if heard.elapsed() > SILENCE_LIMIT => return Err(error),
            // It is just executing the other program.
            Err(_) => {}
        }
    }
}

/// Who took the place of whom, by role.
fn replaced(before: &Value, after: &Value) -> Vec<Value> {
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut fresh: Vec<Value> = rows(after).into_iter().filter(|row| !has_pid(before, &row["pid"])).collect();
    let gone = rows(before).into_iter().filter(|row| !has_pid(after, &row["pid"]));
    gone.map(|old| {
        let is_same = |new: &Value| new["role"] == old["role"] && new["queue"] == old["queue"];
        let new = fresh.iter().position(is_same).map(|at| fresh.remove(at));
        json!({
            "role": old["role"],
            "queue": old["queue"],
            "before": old["pid"],
            "after": new.map_or(Value::Null, |new| new["pid"].clone()),
        })
    })
    .collect()
}

fn has_pid(processes: &Value, pid: &Value) -> bool {
    processes.as_array().into_iter().flatten().any(|row| row["pid"] == *pid)
}

fn words(result: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut table = Table::new(&["replaced", "queue", ">before", ">after"]);
    for row in result["replaced"].as_array().into_iter().flatten() {
        table.row([text(&row["role"]), text(&row["queue"]), text(&row["before"]), text(&row["after"])]);
    }
    format!("{table}every process runs {} {}", text(&result["executable"]), text(&result["version"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_whose_place_is_told_by_role_and_queue() {
        let row = |role: &str, queue: &str, pid: u32| json!({"role": role, "queue": queue, "pid": pid});
        let before = json!([
            row("supervisor", "", 1),
            row("comm", "", 2),
            row("worker", "read", 3),
            row("worker", "write", 4)
        ]);
        let after = json!([
            row("supervisor", "", 1),
            row("comm", "", 12),
            row("worker", "write", 14),
            row("worker", "read", 13)
        ]);
        let replaced = replaced(&before, &after);
        let pids: Vec<(u64, u64)> = replaced
            .iter()
            .map(|row| (row["before"].as_u64().unwrap(), row["after"].as_u64().unwrap()))
            .collect();
        assert_eq!(pids, [(2, 12), (3, 13), (4, 14)]);
        let words = words(&json!({"executable": "/x/gantry", "version": "2.1.0", "replaced": replaced}));
        assert!(words.contains("13") && words.ends_with("every process runs /x/gantry 2.1.0"), "{words}");
    }
}
