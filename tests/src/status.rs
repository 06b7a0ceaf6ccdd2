//! What `gantry status --json` says.

use nix::unistd::Pid;
use serde_json::Value;

/// A node's status at one moment.
#[derive(Clone, Debug)]
pub struct Status(pub Value);

/// One process of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// `supervisor`, `comm`, `worker` (of a queue), `spare` (a worker that waits) or `keeper`.
    pub role: String,
    /// `read` or `write` for a worker.
    pub queue: Option<String>,
    /// The process id.
    pub pid: Pid,
    /// `starting`, `idle`, `busy`, `draining` or `stopping`.
    pub state: String,
    /// How often this place was filled anew.
    pub restarts: u64,
    /// The service a busy worker runs, as it is printed.
    pub service: Option<String>,
}

impl Status {
    /// All processes.
    ///
    /// # Panics
    /// When the status is not as the contract says.
    #[must_use]
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        let rows = self.0["processes"].as_array().unwrap_or_else(|| panic!("no processes in {}", self.0));
        rows.iter().map(process).collect()
    }

    /// The processes of a role; `read` and `write` name the workers of one queue.
    #[must_use]
    #[track_caller]
    pub fn of(&self, role: &str) -> Vec<Process> {
        let mut processes = self.processes();
        processes.retain(|process| process.role == role || process.queue.as_deref() == Some(role));
        processes
    }

    /// How many slots are in a state: `total`, `free`, `filling`, `queued`, `running` or `done`.
    ///
    /// # Panics
    /// When the status is not as the contract says.
    #[must_use]
    #[track_caller]
    pub fn slots(&self, state: &str) -> u64 {
        self.0["slots"][state].as_u64().unwrap_or_else(|| panic!("no slots.{state} in {}", self.0))
    }

    /// How many requests wait in the ring `read` or `write`.
    ///
    /// # Panics
    /// When the status is not as the contract says.
    #[must_use]
    #[track_caller]
    pub fn used(&self, ring: &str) -> u64 {
        let rings = self.0["rings"].as_array().unwrap_or_else(|| panic!("no rings in {}", self.0));
        let found = rings.iter().find(|candidate| candidate["name"] == ring);
        found.and_then(|ring| ring["used"].as_u64()).unwrap_or_else(|| panic!("no ring {ring} in {}", self.0))
    }

    /// How many clients are connected.
    ///
    /// # Panics
    /// When the status is not as the contract says.
    #[must_use]
    #[track_caller]
    pub fn connections(&self) -> u64 {
        self.0["connections"].as_u64().unwrap_or_else(|| panic!("no connections in {}", self.0))
    }
}

fn process(row: &Value) -> Process {
    let text = |key: &str| match &row[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let pid = row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let required = |key: &str| text(key).unwrap_or_else(|| panic!("a process row without {key}: {row}"));
    Process {
        role: required("role"),
        queue: text("queue"),
        pid: Pid::from_raw(pid.unwrap_or_else(|| panic!("a process row without pid: {row}"))),
        state: required("state"),
        restarts: row["restarts"].as_u64().unwrap_or_else(|| panic!("a process row without restarts: {row}")),
        service: text("service"),
    }
}

#[cfg(test)]
mod tests {
    use super::Status;
    use serde_json::json;

    #[test]
    fn workers_are_found_by_role_and_by_queue() {
        let row = |role: &str, queue: serde_json::Value, pid: i32| {
            let (state, restarts) = ("idle", 0);
            json!({"role": role, "queue": queue, "pid": pid, "state": state, "restarts": restarts})
        };
        let rows = [
            row("supervisor", json!(null), 1),
            row("worker", json!("read"), 2),
            row("worker", json!("write"), 3),
        ];
        let status = Status(json!({"processes": rows}));
        let pids =
            |role: &str| status.of(role).iter().map(|process| process.pid.as_raw()).collect::<Vec<_>>();
        assert_eq!((pids("worker"), pids("write"), pids("supervisor")), (vec![2, 3], vec![3], vec![1]));
    }
}
