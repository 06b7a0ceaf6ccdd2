//! Values that are each within their range and do not go together.

use super::{good, read, refused};
use crate::limits;

#[track_caller]
fn says(text: &str, expected: &str) {
    assert_eq!(refused(text), expected);
}

#[test]
fn queue_longer_than_the_slots_is_refused() {
    says(
        "[ipc]\nslots = 1024\nread_queue = 1025\nwrite_queue = 1024\n",
        "3:14: ipc.read_queue: 1025 requests cannot be queued in ipc.slots = 1024; write 1024 or less, or more slots",
    );
}

/// Goal: lowering the slots alone is told where the file has something to change, not at a key it leaves out.
#[test]
fn conflict_with_a_default_stands_at_the_key_that_the_file_has() {
    let message = refused("[ipc]\nslots = 1024\n");
    let places: Vec<_> =
        message.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(places, ["2:9 ipc.slots", "2:9 ipc.slots"], "{message}");
}

#[test]
fn conflict_with_a_key_that_has_a_fault_itself_is_not_reported() {
    let message = refused("[ipc]\nslots = 0\nread_queue = 60000\n");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("2:9: ipc.slots"), "{message}");
}

#[test]
fn large_body_above_half_of_a_receive_buffer_is_refused() {
    assert!(read("[comm]\nlarge_body = \"8KiB\"\n").is_ok());
    says(
        "[comm]\nlarge_body = 8193\n",
        "2:14: comm.large_body: 8193B is more than half of comm.receive_buffer, so a small body would not fit beside \
         the next header; write 8KiB or less, or a larger receive_buffer",
    );
}

#[test]
fn blocks_that_cannot_hold_the_largest_body_are_refused() {
    says(
        "[comm]\nbody_max = \"3MiB\"\n",
        "2:12: comm.body_max: the largest block has 1MiB, and comm.body_max is 3MiB; add a class of 4MiB, or write \
         body_max = \"1MiB\"",
    );
    assert!(read("[comm]\nbody_max = \"3MiB\"\n[ipc]\nblocks = [{ size = \"4MiB\", count = 8 }]\n").is_ok());
}

#[test]
fn bytes_in_flight_below_one_request_and_reply_are_refused() {
    says(
        "[comm]\nbytes_in_flight_max = \"1MiB\"\n",
        "2:23: comm.bytes_in_flight_max: 1MiB is less than a request and a reply of comm.body_max = 1MiB each; \
         write 2MiB or more, or a smaller body_max",
    );
}

#[test]
fn recorded_reply_above_the_largest_block_is_refused() {
    says(
        "[idempotency]\nreply_bytes_max = \"2MiB\"\n",
        "2:19: idempotency.reply_bytes_max: 2MiB is more than the largest block, 1MiB; write 1MiB or less",
    );
}

#[test]
fn reads_that_would_resume_at_the_threshold_are_refused() {
    says(
        "[admission]\nread_threshold = 0.5\nread_resume = 0.5\n",
        "3:15: admission.read_resume: reads would be admitted again at 0.5, which is not below read_threshold = 0.5; \
         write less than read_threshold, such as read_resume = 0.65 for read_threshold = 0.80",
    );
}

#[test]
fn retention_below_the_window_is_refused() {
    says(
        "[idempotency]\nretention = \"5m\"\n",
        "2:13: idempotency.retention: rows would be gone after 5m, before their entries in the window (10m); write \
         10m or more, or a shorter window",
    );
}

#[test]
fn heartbeat_within_one_tick_is_refused() {
    says(
        "[supervisor]\ntick = \"1s\"\nheartbeat_timeout = \"1s\"\n",
        "3:21: supervisor.heartbeat_timeout: 1s is not longer than supervisor.tick = 1s, so every child would look \
         dead; write a time of many ticks, such as heartbeat_timeout = \"10s\"",
    );
}

#[test]
fn workers_that_overfill_the_process_table_are_refused() {
    assert_eq!(good("[workers]\nread = 128\nwrite = 118\n").process_rows_needed(), limits::PROCESS_ROWS_MAX);
    says(
        "[workers]\nread = 128\nwrite = 119\n",
        "2:8: workers.read: 247 workers and 10 other processes need 257 rows, and the process table has 256; write \
         read and write so that they are 246 together at the most",
    );
}

#[test]
fn node_without_a_listener_is_refused() {
    assert!(read("[listen]\ntcp = []\nunix = [\"gantry.sock\"]\n").is_ok());
    says(
        "[listen]\ntcp = []\n",
        "2:7: listen.tcp: no client could connect; write an address, such as tcp = [\"127.0.0.1:7800\"], or a path \
         under unix",
    );
}

#[test]
fn address_or_path_given_twice_is_refused() {
    assert!(read("[listen]\ntcp = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n").is_ok());
    says(
        "[listen]\ntcp = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n",
        "2:23: listen.tcp: \"127.0.0.1:1\" is there twice; take one away",
    );
    says(
        "[listen]\nunix = [\"a.sock\", \"./a.sock\"]\n",
        "2:8: listen.unix: /srv/gantry/var/a.sock is there twice; take one away",
    );
}

#[test]
fn socket_whose_path_is_too_long_is_refused() {
    let name = "x".repeat(92);
    assert!(read(&format!("[listen]\nunix = [\"/{}\"]\n", "x".repeat(106))).is_ok());
    let message = refused(&format!("[listen]\nunix = [\"{name}\"]\n"));
    assert_eq!(
        message,
        format!(
            "2:8: listen.unix: /srv/gantry/var/{name} is longer than the 107 bytes of a socket's path; write a shorter path"
        )
    );
    let message = refused(&format!("[node]\nstate_dir = \"/{}\"\n", "x".repeat(97)));
    assert!(
        message.starts_with("2:13: node.state_dir: ") && message.contains("/admin.sock is longer"),
        "{message}"
    );
}

#[test]
fn socket_of_clients_at_the_place_of_the_operators_is_refused() {
    says(
        "[listen]\nunix = [\"admin.sock\"]\n",
        "2:8: listen.unix: /srv/gantry/var/admin.sock is the socket of the operator's commands; write another path",
    );
}

#[test]
fn database_file_of_another_source_or_of_the_registry_is_refused() {
    says(
        "[data.main]\n[data.other]\npath = \"./data.db\"\n",
        "3:8: data.other.path: /srv/gantry/var/data.db is the file of main already; write another path",
    );
    says(
        "[data.main]\npath = \"registry.db\"\n",
        "2:8: data.main.path: /srv/gantry/var/registry.db is the file of the registry already; write another path",
    );
}

#[test]
fn key_of_another_driver_is_refused() {
    says(
        "[data.main]\nuri = \"mongodb://h\"\n",
        "2:1: data.main.uri: driver sqlite has no \"uri\"; its keys are path, busy_timeout, synchronous; take this one \
         away or change the driver",
    );
}
