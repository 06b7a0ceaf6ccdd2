//! What is looked at when everything is over: the node's slots, blocks, buffers, connections, descriptors, processes,
//! segments and logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::{Value, json};

use super::hall::Hall;
use super::stage::{CONNECTIONS_MAX, READERS, RECEIVE_BUFFERS, Stage};
use crate::etc::{ADD, COUNTER, ECHO};
use crate::processes::{descriptors, kill_hard, mentioning};
use crate::{Client, Node, Status};

/// How long everything may take to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Twice as long as a half-received frame is let alone where buffers are short.
const CUT_OFF_AFTER: Duration = Duration::from_millis(250);

/// What no process of a sound node ever writes down.
const FORBIDDEN_WORDS: [&str; 6] = [
    "panicked",
    "taken from a living worker",
    "damaged",
    "names no I/O thread",
    "slot is corrupt",
    "ring is corrupt",
];

/// What the node counts and what clients that keep to the rules, and have room, never make it count.
const NEVER_COUNTED: [&str; 17] = [
    "accept_pauses",
    "body_too_large",
    "checksum_wrong",
    "closed_body_timeout",
    "closed_half_received",
    "closed_header_timeout",
    "closed_idle_timeout",
    "closed_stalled",
    "closed_write_timeout",
    "connections_over_limit",
    "malformed",
    "paused_in_flight",
    "paused_out_records",
    "quarantined",
    "refused_by_rule",
    "refused_draining",
    "service_stopped",
];

/// How many descriptors each process has when nothing is going on.
pub(super) type Idle = BTreeMap<(String, Pid), usize>;

/// Has every worker serve something, and counts the descriptors of all processes when no client is connected.
///
/// # Panics
/// When the node does not answer.
pub(super) fn idle_descriptors(node: &Node) -> Idle {
    let mut idle: Idle = BTreeMap::new();
    // A worker that was a spare once has opened more than one that was started for its place.
    for queue in ["read", "write"] {
        for victim in node.pids(queue) {
            kill_hard(victim);
            node.successor(queue, victim);
            crate::until("the node is at rest", || unrest(node).is_empty().then_some(()));
        }
    }
    warm_up(node);
    // A connection of a command that has just ended is none of the idle ones: the fewest count.
    for _ in 0..10 {
        for (name, pid, count) in counts(&node.status()) {
            let least = idle.entry((name, pid)).or_insert(count);
            *least = (*least).min(count);
        }
    }
    idle
}

/// Until every worker has run a statement: connections to data sources are opened when they are first used.
fn warm_up(node: &Node) {
    crate::until("every worker has served", || {
        let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
        for client in &mut clients {
            for number in 0..8 {
                let body = json!({"key": "idle", "add": 1}).to_string();
                client.send(&crate::Request::new(ADD, body));
                client.send(&crate::Request::new(COUNTER, json!({"key": "idle"}).to_string()));
                client.send(&crate::Request::new(ECHO, vec![number; 100]));
            }
        }
        for client in &mut clients {
            for _ in 0..24 {
                client.receive();
            }
        }
        let status = node.status();
        let has_served = |row: &Value| row["role"] != "worker" || row["requests"].as_u64() > Some(3);
        status.0["processes"].as_array().is_some_and(|rows| rows.iter().all(has_served)).then_some(())
    });
    expect_nobody_connected(node);
}

/// Waits until the node has seen all its clients leave.
fn expect_nobody_connected(node: &Node) {
    crate::until("no client is connected", || (node.status().connections() == 0).then_some(()));
}

/// Role (and queue), pid and number of descriptors of each process.
fn counts(status: &Status) -> Vec<(String, Pid, usize)> {
    // The supervisor notes only a little later that the command which has just asked it is gone.
    thread::sleep(Duration::from_millis(40));
    let name = |process: &crate::Process| match &process.queue {
        Some(queue) => format!("{} ({queue})", process.role),
        None => process.role.clone(),
    };
    let count = |process: &crate::Process| (name(process), process.pid, descriptors(process.pid).len());
    status.processes().iter().map(count).collect()
}

/// Waits until the node is at rest, and notes what does not come back.
pub(super) fn expect_rest(hall: &Hall, stage: &Stage, idle: &Idle) {
    let fault = |words: String| hall.chronicle.fault(&words);
    let begin = Instant::now();
    loop {
        let unrest = unrest(&stage.node);
        if unrest.is_empty() {
            break;
        }
        if begin.elapsed() > REST_LIMIT {
            return fault(format!("not at rest after {REST_LIMIT:?}: {unrest}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let status = stage.node.status();
    let counts = |class: &Value| format!("{} of {} bytes", class["count"], class["bytes"]);
    let blocks: Vec<String> = status.0["blocks"].as_array().into_iter().flatten().map(counts).collect();
    let slots = status.slots("free");
    hall.find(format!("at rest: all {slots} slots are free, and all blocks ({})", blocks.join(", ")));
    warm_up(&stage.node);
    loop {
        let (grown, held) = grown(&stage.node, idle);
        if grown.is_empty() {
            return hall.find(format!("descriptors: {held}"));
        }
        if begin.elapsed() > REST_LIMIT {
            return fault(format!("descriptors are left open: {grown}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Holds every receive buffer at once with frames that are cut off, and then sends the rest of each. Where one is missing,
/// somebody waits for it, and after a while the node cuts off whoever has waited longest in the middle of a frame.
pub(super) fn expect_every_receive_buffer(hall: &Hall, stage: &Stage) {
    let mut halves: Vec<Client> = (0..RECEIVE_BUFFERS - 1).map(|_| stage.node.client()).collect();
    let frame = crate::Request::new(ECHO, vec![b'h'; 600]).encode();
    let (front, rest) = frame.split_at(300);
    let faults = |halves: &mut Vec<Client>, part: &[u8]| {
        halves.iter_mut().filter_map(|half| half.send_bytes(part).err()).count()
    };
    let mut broken = faults(&mut halves, front);
    // One buffer is left for this client; meanwhile those who would have to be cut off are.
    let mut other = stage.node.client();
    let begin = Instant::now();
    while begin.elapsed() < CUT_OFF_AFTER {
        other.call(ECHO, "meanwhile").done();
    }
    broken += faults(&mut halves, rest);
    for half in &mut halves {
        if !matches!(half.try_receive(), Ok(Some(reply)) if reply.status == 0 && reply.body.len() == 600) {
            broken += 1;
        }
    }
    if broken > 0 {
        hall.chronicle.fault(&format!("of {RECEIVE_BUFFERS} receive buffers, {broken} were not to be had"));
    } else {
        hall.find(format!("receive buffers: all {RECEIVE_BUFFERS} in use at once"));
    }
}

/// Has as many connections at once as the node may have, each of which is served: a row that was not given back would be
/// missed.
pub(super) fn expect_every_connection(hall: &Hall, stage: &Stage) {
    expect_nobody_connected(&stage.node);
    let mut clients: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| stage.node.client()).collect();
    let request = || crate::Request::new(ECHO, "all at once");
    let sent = clients.iter_mut().filter_map(|client| client.try_send(&request()).ok()).count();
    let mut served = 0;
    for client in &mut clients {
        served += u32::from(matches!(client.try_receive(), Ok(Some(reply)) if reply.status == 0));
    }
    drop(clients);
    // Whoever came before that is seen would be one too many.
    expect_nobody_connected(&stage.node);
    if served == CONNECTIONS_MAX {
        hall.find(format!("connection rows: all {CONNECTIONS_MAX} served at once"));
    } else {
        hall.chronicle.fault(&format!(
            "of {CONNECTIONS_MAX} connections at once {sent} could be written to and {served} were served"
        ));
    }
}

/// Looks at what the node says of itself.
pub(super) fn expect_counts(hall: &Hall, stage: &Stage) {
    let counters = stage.node.status().0["counters"].take();
    for name in NEVER_COUNTED {
        if counters[name] != 0 {
            hall.chronicle.fault(&format!("the node counts {name}: {}", counters[name]));
        }
    }
    let counted = |name: &str| counters[name].as_u64().unwrap_or(0);
    hall.find(format!(
        "the node's own counts: {} repeats, {} retried, {} of lost workers, {} timed out, {} replies whose client had left",
        counted("repeats"),
        counted("retried"),
        counted("worker_lost"),
        counted("timed_out"),
        counted("replies_dropped")
    ));
}

/// Which processes have more descriptors than their like had before, and how many all have, in words.
fn grown(node: &Node, idle: &Idle) -> (String, String) {
    let (mut words, mut all) = (String::new(), String::new());
    for (name, pid, count) in counts(&node.status()) {
        let before = idle.iter().filter(|((role, _), _)| *role == name).map(|(_, count)| *count).max();
        let before = before.unwrap_or(0);
        all.push_str(&format!("{name} {count} of {before}, "));
        if count > before {
            let held = descriptors(pid);
            words.push_str(&format!("{name} {pid} has {count}, {before} when idle before: {held:?}; "));
        }
    }
    (words, all.trim_end_matches(", ").to_owned())
}

/// Who is missing or too many, in words.
fn unrest_of_cast(status: &Status) -> String {
    let mut words = String::new();
    for (role, wanted) in [("supervisor", 1), ("comm", 1), ("keeper", 1), ("read", READERS), ("spare", 1)] {
        let found = status.of(role).len();
        if found != wanted as usize {
            words.push_str(&format!("{found} processes are {role}, not {wanted}; "));
        }
    }
    words
}

/// What is not as in an idle node, in words.
fn unrest(node: &Node) -> String {
    let output = node.gantry(&["status", "--json"]);
    if output.code != Some(0) {
        return format!("status ended with {:?}: {}", output.code, output.stderr);
    }
    unrest_of(&Status(output.json()))
}

fn unrest_of(status: &Status) -> String {
    let mut words = unrest_of_cast(status);
    let (free, total) = (status.slots("free"), status.slots("total"));
    if free != total {
        words.push_str(&format!("{} slots are not free: {}; ", total - free, status.0["slots"]));
    }
    for ring in ["read", "write"] {
        let used = status.used(ring);
        if used != 0 {
            words.push_str(&format!("{used} in the {ring} ring; "));
        }
    }
    if status.connections() != 0 {
        words.push_str(&format!("{} connections; ", status.connections()));
    }
    let classes = status.0["blocks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if classes.len() != 3 {
        words.push_str("there are three sizes of blocks; ");
    }
    for class in classes {
        if class["taken"] != 0 {
            words.push_str(&format!("blocks {class}; "));
        }
    }
    for process in status.processes() {
        if process.state != "idle" && process.role != "supervisor" {
            words.push_str(&format!("{} {} is {}; ", process.role, process.pid, process.state));
        }
    }
    if let Some(waiting) = status.0.get("waiting") {
        words.push_str(&format!("places wait to be filled: {waiting}; "));
    }
    words
}

/// Looks for what a stopped node must not leave, and for what must not stand in its logs.
pub(super) fn expect_nothing_left(hall: &Hall, stage: &Stage) {
    let folder = stage.node.folder();
    let left: Vec<Pid> = mentioning(&folder.to_string_lossy());
    if !left.is_empty() {
        let words: Vec<_> = left.iter().map(|pid| crate::processes::command_line(*pid)).collect();
        hall.chronicle.fault(&format!("processes are left after the stop: {left:?} {words:?}"));
    }
    let segments = stage.node.segments();
    if !segments.is_empty() {
        hall.chronicle.fault(&format!("segments are left after the stop: {segments:?}"));
    }
    let files = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let prefix = format!("gantry-{}-", stage.node.name());
    let files: Vec<_> = files.filter(|name| name.to_string_lossy().starts_with(&prefix)).collect();
    if !files.is_empty() {
        hall.chronicle.fault(&format!("shared memory is left after the stop: {files:?}"));
    }
    if left.is_empty() && segments.is_empty() && files.is_empty() {
        hall.find("after the stop: no process and no segment is left".to_owned());
    }
    look_for_words(hall, &stage.node.state_folder());
}

fn look_for_words(hall: &Hall, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look_for_words(hall, &path);
        } else if path.to_string_lossy().contains(".log")
            || path.extension().is_some_and(|end| end == "stderr")
        {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let bad = |line: &&str| FORBIDDEN_WORDS.iter().any(|word| line.contains(word));
            if let Some(line) = text.lines().find(bad) {
                hall.chronicle.fault(&format!("{}: {line}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unrest_of;
    use crate::Status;
    use serde_json::{Value, json};

    fn row(role: &str, queue: Value, pid: i32) -> Value {
        json!({"role": role, "queue": queue, "pid": pid, "state": "idle", "restarts": 0})
    }

    fn idle() -> Value {
        let block = |bytes: u32| json!({"bytes": bytes, "count": 8, "taken": 0});
        let ring = |name: &str| json!({"name": name, "used": 0});
        json!({
            "slots": {"free": 8, "total": 8},
            "rings": [ring("read"), ring("write")],
            "connections": 0,
            "blocks": [block(1), block(2), block(3)],
            "processes": [
                row("supervisor", json!(null), 1),
                row("comm", json!(null), 2),
                row("keeper", json!(null), 3),
                row("worker", json!("read"), 4),
                row("worker", json!("read"), 5),
                row("worker", json!("write"), 6),
                row("spare", json!(null), 7),
            ],
        })
    }

    #[test]
    fn each_thing_that_is_not_given_back_or_not_there_is_unrest() {
        assert_eq!(unrest_of(&Status(idle())), "");
        for (place, value) in [
            ("/slots/free", json!(7)),
            ("/rings/0/used", json!(1)),
            ("/rings/1/used", json!(1)),
            ("/connections", json!(1)),
            ("/blocks/0/taken", json!(1)),
            ("/blocks/2/taken", json!(1)),
            ("/blocks", json!([])),
            ("/processes/2/role", json!("spare")),
            ("/processes/3/queue", json!("write")),
            ("/processes/6/state", json!("starting")),
            ("/processes/6/role", json!("keeper")),
        ] {
            let mut status = idle();
            *status.pointer_mut(place).unwrap() = value;
            assert_ne!(unrest_of(&Status(status)), "", "{place}");
        }
    }
}
