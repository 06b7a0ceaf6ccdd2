//! A node's life: start, status, drain, stop, restart; and what it leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use gantry_tests::etc::{ADD, ECHO, NODE, SLEEP, SLEEP_WRITE, counter, number};
use gantry_tests::processes::{is_running, process_group};
use gantry_tests::{Node, NodeOptions, Request, gantry_binary, until};
use serde_json::json;

#[test]
fn start_returns_when_ready_and_stop_ends_every_process() {
    let node = Node::prepare(NodeOptions::small());
    node.gantry(&["status"]).expect_code(3);
    node.gantry(&["start"]).expect_code(0);
    assert_eq!(node.client().call(ECHO, "ready").done().body, b"ready");
    let processes = node.status().processes();
    node.gantry(&["stop"]).expect_code(0);
    for process in processes {
        assert!(!is_running(process.pid), "{process:?} still runs");
    }
    node.gantry(&["status", "--json"]).expect_code(3);
    node.gantry(&["stop"]).expect_code(3);
}

#[test]
fn daemon_outlives_its_starter_and_keeps_no_terminal() {
    let node = Node::prepare(NodeOptions::small());
    node.gantry(&["start"]).expect_code(0);
    let supervisor = node.pid("supervisor");
    let own = nix::unistd::getpgrp();
    assert_ne!(process_group(supervisor), Some(own), "a daemon leaves its starter's process group");
    for descriptor in 0..3 {
        let target =
            fs::read_link(format!("/proc/{supervisor}/fd/{descriptor}")).expect("the descriptor is open");
        assert!(
            !target.to_string_lossy().contains("pipe:"),
            "descriptor {descriptor} is {}",
            target.display()
        );
    }
    node.gantry(&["stop"]).expect_code(0);
}

#[test]
fn second_supervisor_of_the_same_node_is_refused() {
    let node = Node::start(NodeOptions::small());
    for command in ["run", "start"] {
        let output = node.gantry(&[command]).expect_code(1);
        assert!(!output.stderr.trim().is_empty(), "the refusal says why");
    }
    assert_eq!(node.client().call(ECHO, "undisturbed").done().body, b"undisturbed");
}

/// A configuration copied to another folder, with the name and so the segments of the first node: its processes have a
/// supervisor, which only the lock of the first state folder would have told.
#[test]
fn node_of_the_same_name_in_another_folder_is_refused_and_the_first_serves_on() {
    let node = Node::start(NodeOptions::small());
    let text = fs::read_to_string(node.config()).expect("the configuration is there");
    let folder = node.folder().join("another");
    fs::create_dir(&folder).expect("a folder can be made");
    let other = folder.join("gantry.toml");
    fs::write(&other, text).expect("a copy can be written");
    let supervisor = node.pid("supervisor");
    let output = Command::new(gantry_binary()).arg("-c").arg(&other).arg("start").output();
    let output = output.expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains(&supervisor.to_string()), "{told}");
    assert_eq!(node.pid("supervisor"), supervisor);
    assert_eq!(node.client().call(ECHO, "undisturbed").done().body, b"undisturbed");
}

/// A configuration copied for a second node, with the state folder of the first: a command for one must not end the
/// other.
#[test]
fn command_for_another_node_of_the_same_state_folder_is_refused() {
    let node = Node::start(NodeOptions::small());
    let text = fs::read_to_string(node.config()).expect("the configuration is there");
    let name = node.name();
    let other = node.folder().join("other.toml");
    fs::write(&other, text.replace(&format!("\"{name}\""), "\"another\"")).expect("a copy can be written");
    for arguments in [&["stop"][..], &["stop", "--now"], &["drain"]] {
        let output = Command::new(gantry_binary()).arg("-c").arg(&other).args(arguments).output();
        let output = output.expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(name), "{arguments:?}: {told}");
    }
    assert_eq!(node.client().call(ECHO, "undisturbed").done().body, b"undisturbed");
}

#[test]
fn restart_brings_the_node_back_with_its_data() {
    let node = Node::prepare(NodeOptions::small());
    node.gantry(&["start"]).expect_code(0);
    let before = node.pid("supervisor");
    node.client().call_json(ADD, json!({"key": "k", "add": 9})).done();
    node.gantry(&["restart"]).expect_code(0);
    assert_ne!(node.pid("supervisor"), before);
    assert!(!is_running(before));
    assert_eq!(counter(&mut node.client(), "k"), 9);
    node.gantry(&["stop"]).expect_code(0);
}

#[test]
fn stop_lets_requests_in_flight_end() {
    let mut node = Node::start(NodeOptions::small());
    let mut client = node.client();
    client.send(&Request::new(SLEEP_WRITE, json!({"ms": 800}).to_string()));
    client.send(&Request::new(SLEEP, json!({"ms": 800}).to_string()));
    node.until_busy("read");
    node.until_busy("write");
    assert_eq!(node.stop(), Some(0));
    for _ in 0..2 {
        assert_eq!(number(&client.receive().done(), "slept_ms"), 800);
    }
    client.expect_closed();
}

#[test]
fn draining_node_says_so_refuses_204_and_comes_back() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    node.gantry(&["drain"]).expect_code(0);
    until("the node refuses", || {
        let mut client = node.client();
        client.try_send(&Request::new(ECHO, "x")).ok()?;
        let reply = client.try_receive().ok().flatten()?;
        (reply.status == 204).then(|| {
            let body = reply.json();
            assert!(body["retry_after_ms"].is_u64() && body["fill"].is_number(), "{body}");
        })
    });
    let told = node.client().call(NODE, "").done().json();
    assert_eq!(told["draining"], true);
    // Nothing is in flight on it, so the connection that was open from before is closed, at most after one
    // refusal.
    drop(client.try_receive());
    node.gantry(&["undrain"]).expect_code(0);
    node.until_serving();
}

#[test]
fn drain_lets_a_request_in_flight_end_before_its_connection_is_closed() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    client.send(&Request::new(SLEEP, json!({"ms": 700}).to_string()));
    node.until_busy("read");
    node.gantry(&["drain"]).expect_code(0);
    assert_eq!(number(&client.receive().done(), "slept_ms"), 700);
    client.expect_closed();
}

#[test]
fn status_shows_every_process_ring_and_slot() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let status = node.status();
    assert_eq!(status.0["node"], node.name());
    let count = |role: &str| status.of(role).len();
    assert_eq!((count("supervisor"), count("comm"), count("read"), count("write")), (1, 1, 2, 1));
    for process in status.processes() {
        assert!(is_running(process.pid), "{process:?}");
        let known = ["starting", "idle", "busy", "draining", "stopping"];
        assert!(known.contains(&process.state.as_str()), "{process:?}");
        assert_eq!(process.restarts, 0, "{process:?}");
        assert_eq!(process.queue.is_some(), process.role == "worker", "{process:?}");
    }
    assert_eq!((status.slots("total"), status.used("read"), status.used("write")), (256, 0, 0));
    for state in ["free", "filling", "queued", "running", "done"] {
        assert!(status.slots(state) <= 256);
    }
    for ring in status.0["rings"].as_array().expect("rings are a list") {
        assert!(ring["name"].is_string() && ring["capacity"].is_u64() && ring["used"].is_u64(), "{ring}");
    }
    let words = node.gantry(&["status"]).expect_code(0).text();
    assert!(words.contains(node.name()), "{words}");
}

#[test]
fn busy_worker_is_shown_with_its_service() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    client.send(&Request::new(SLEEP, json!({"ms": 1_000}).to_string()));
    node.until_busy("read");
    let worker = node.status().of("read").remove(0);
    assert!(worker.service.as_deref().is_some_and(|service| service.contains("19000002")), "{worker:?}");
    client.receive().done();
}

#[test]
fn worker_leads_its_own_process_group() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    for worker in node.pids("worker") {
        assert_eq!(process_group(worker), Some(worker));
    }
}

#[test]
fn segments_and_admin_socket_are_private_and_stop_now_removes_the_segments() {
    let options = NodeOptions::small();
    let is_sysv = options.is_sysv();
    let mut node = Node::start(options);
    let socket = node.state_folder().join("admin.sock");
    let mode = fs::metadata(&socket).expect("the admin socket is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let segments = node.segments();
    assert_eq!(segments.is_empty(), !is_sysv, "{segments:?}");
    for segment in segments {
        assert_eq!(segment.mode & 0o777, 0o600, "{segment:?}");
    }
    let listed = node.gantry(&["ipc", "list"]).expect_code(0).text();
    assert!(listed.contains(node.name()), "{listed}");
    // `ipc clean` leaves what a running node uses alone.
    node.gantry(&["ipc", "clean"]);
    assert_eq!(node.client().call(ECHO, "still here").done().body, b"still here");
    node.gantry(&["stop", "--now"]).expect_code(0);
    until("the segments are removed", || node.segments().is_empty().then_some(()));
    // The child has ended by itself; this only collects it.
    node.stop();
}
