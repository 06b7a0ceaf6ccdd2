//! `gantry service list | show | stop | start | reload | deploy`.

use std::path::PathBuf;

use gantry_tests::etc::{ECHO, ECHO_WRITE, FAULT_WRITE};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally, until};
use serde_json::Value;

use super::{deploy, plugin};

pub(super) const READ: u32 = 19_900_001;
pub(super) const WRITE: u32 = 29_900_001;

#[track_caller]
fn version(node: &Node, version: &str) -> PathBuf {
    plugin(node, "versioned.c", version, &[&format!("-DVERSION=\"{version}\"")])
}

#[track_caller]
fn list(node: &Node) -> Vec<Value> {
    let services = node.gantry(&["service", "list", "--json"]).expect_code(0).json();
    services.as_array().expect("a list of services").clone()
}

#[track_caller]
pub(super) fn listed(node: &Node, number: u32) -> Value {
    let found = list(node).into_iter().find(|service| service["number"] == number);
    found.unwrap_or_else(|| panic!("{number} is not listed"))
}

#[test]
fn list_shows_every_service_with_its_library_and_counts() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for _ in 0..3 {
        client.call(ECHO, "x").done();
    }
    client.call(FAULT_WRITE, r#"{"how":"panic"}"#).expect_status(306);
    let services = list(&node);
    let mut numbers: Vec<u64> = services.iter().filter_map(|service| service["number"].as_u64()).collect();
    numbers.sort_unstable();
    let expected = [
        10_000_001, 10_000_002, 10_000_003, 10_000_004, 10_000_005, 10_000_006, 10_000_007, 19_000_001,
        19_000_002, 19_000_003, 19_000_004, 20_000_001, 20_000_002, 20_000_003, 20_000_004, 20_000_005,
        20_000_006, 20_000_007, 20_000_008, 20_000_009, 29_000_001, 29_000_002, 29_000_003, 29_000_004,
        30_000_001, 30_000_002, 30_000_003,
    ];
    assert_eq!(numbers, expected);
    for service in &services {
        let is_text = |key: &str| service[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("name") && is_text("library") && is_text("version") && is_text("build"), "{service}");
        let kind = match service["number"].as_u64().unwrap_or_default() / 10_000_000 {
            1 => "read",
            2 => "write",
            _ => "other",
        };
        assert_eq!((&service["kind"], &service["enabled"]), (&kind.into(), &true.into()), "{service}");
        assert!(service["timeout_ms"].is_u64() && service["errors"].is_u64(), "{service}");
    }
    until("the calls are counted", || (listed(&node, ECHO)["calls"].as_u64() >= Some(3)).then_some(()));
    until("the error is counted", || {
        (listed(&node, FAULT_WRITE)["errors"].as_u64() >= Some(1)).then_some(())
    });
    let words = node.gantry(&["service", "list"]).expect_code(0).text();
    assert!(words.contains("19000001") && words.contains("30000001"), "{words}");
}

#[test]
fn show_tells_about_one_service_and_refuses_an_unknown_one() {
    let node = Node::start(NodeOptions::small());
    let shown = node.gantry(&["service", "show", "29000004"]).expect_code(0).text();
    assert!(shown.contains("29000004") && shown.contains("diag"), "{shown}");
    let one = node.gantry(&["service", "show", "29000004", "--json"]).expect_code(0).json();
    assert_eq!(one["number"], 29_000_004);
    let unknown = node.gantry(&["service", "show", "12345678"]).expect_code(1);
    assert!(unknown.stderr.contains("12345678"), "{}", unknown.stderr);
}

#[test]
fn stop_and_start_under_load_touch_only_their_service() {
    let node = Node::start(NodeOptions::small());
    let stopped = Load::start(node.address(), 2, |_| Request::new(ECHO, "x"));
    let others = Load::start(node.address(), 2, |_| Request::new(ECHO_WRITE, "x"));
    for _ in 0..3 {
        node.gantry(&["service", "stop", "19000001"]).expect_code(0);
        // In force in all workers when the command returns: no later call is served.
        for _ in 0..20 {
            node.client().call(ECHO, "x").expect_status(103);
        }
        assert_eq!(listed(&node, ECHO)["enabled"], false);
        node.gantry(&["service", "start", "19000001"]).expect_code(0);
        for _ in 0..20 {
            node.client().call(ECHO, "x").done();
        }
    }
    let stopped = tally(&stopped.stop());
    assert!(stopped.keys().all(|answer| matches!(answer, Answer::Status(0 | 103))), "{stopped:?}");
    let others = tally(&others.stop());
    assert!(others.keys().all(|answer| *answer == Answer::Status(0)), "{others:?}");
}

#[test]
fn stopped_service_stays_stopped_after_a_restart() {
    let mut node = Node::start(NodeOptions::small());
    node.gantry(&["service", "stop", "19000001"]).expect_code(0);
    node.stop();
    node.run();
    node.client().call(ECHO, "x").expect_status(103);
    node.gantry(&["service", "start", "19000001"]).expect_code(0);
    node.client().call(ECHO, "x").done();
}

#[test]
fn deployed_library_serves_in_every_worker_when_the_command_returns() {
    let node = Node::start(NodeOptions::small().set("workers.read", 3));
    node.client().call(READ, "0").expect_status(102);
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    for _ in 0..30 {
        assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
    }
    assert_eq!(node.client().call(WRITE, "0").done().text(), "1.0");
    assert_eq!(listed(&node, READ)["version"], "1.0");
}

#[test]
fn new_version_replaces_the_old_under_load_without_a_failed_request() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    let reads = Load::start(node.address(), 2, |_| Request::new(READ, "1"));
    let writes = Load::start(node.address(), 2, |_| Request::new(WRITE, "1"));
    let others = Load::start(node.address(), 1, |_| Request::new(ECHO, "x"));
    let workers = node.pids("worker");
    for next in ["1.1", "1.2", "2.0"] {
        deploy(&node, &version(&node, next)).expect_code(0);
        for _ in 0..20 {
            assert_eq!(node.client().call(READ, "0").done().text(), next);
            assert_eq!(node.client().call(WRITE, "0").done().text(), next);
        }
        reads.go_on(20);
    }
    for load in [reads, writes, others] {
        let answers = tally(&load.stop());
        assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    }
    assert_eq!(node.pids("worker"), workers, "no worker was lost over it");
}

/// Requests in flight end on the instance they began on.
#[test]
fn request_in_flight_ends_on_the_old_version() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    let next = version(&node, "1.1");
    let mut client = node.client();
    client.send(&Request::new(WRITE, "1000"));
    node.until_busy("write");
    deploy(&node, &next).expect_code(0);
    assert_eq!(client.receive().done().text(), "1.0");
    assert_eq!(client.call(WRITE, "0").done().text(), "1.1");
}

/// Trap 1: the dynamic linker hands out what it has when a path comes again.
#[test]
fn library_overwritten_at_its_path_serves_its_new_code() {
    let node = Node::start(NodeOptions::small());
    for next in ["1.0", "1.1"] {
        let library = plugin(&node, "versioned.c", "same", &[&format!("-DVERSION=\"{next}\"")]);
        deploy(&node, &library).expect_code(0);
        assert_eq!(node.client().call(READ, "0").done().text(), next);
        // What runs is a copy: the operator's file may go.
        std::fs::remove_file(&library).expect("the library can be removed");
        assert_eq!(node.client().call(READ, "0").done().text(), next);
    }
}

#[test]
fn deployed_library_is_there_after_a_restart() {
    let mut node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    deploy(&node, &version(&node, "1.1")).expect_code(0);
    node.stop();
    node.run();
    assert_eq!(node.client().call(READ, "0").done().text(), "1.1");
}

#[test]
fn reload_under_load_fails_no_request() {
    let node = Node::start(NodeOptions::small());
    let name = listed(&node, ECHO)["library"].as_str().expect("a library has a name").to_owned();
    let reads = Load::start(node.address(), 2, |_| Request::new(ECHO, "x"));
    let writes = Load::start(node.address(), 2, |_| Request::new(ECHO_WRITE, "x"));
    for _ in 0..3 {
        node.gantry(&["service", "reload", &name]).expect_code(0);
        reads.go_on(50);
    }
    for load in [reads, writes] {
        let answers = tally(&load.stop());
        assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    }
    node.gantry(&["service", "reload", "no_such_library"]).expect_code(1);
}

#[test]
fn commands_on_unknown_services_and_files_are_refused_with_their_name() {
    let node = Node::start(NodeOptions::small());
    for arguments in [
        &["service", "stop", "12345678"][..],
        &["service", "start", "12345678"],
        &["service", "deploy", "/no/such/lib.so"],
        &["service", "deploy", "no_such_library"],
    ] {
        let output = node.gantry(arguments).expect_code(1);
        let named = arguments.last().copied().unwrap_or_default();
        assert!(output.stderr.contains(named), "{arguments:?}: {}", output.stderr);
    }
}

/// Goal: a folder that is reached through a link is the folder. Method: more libraries than old versions are allowed; were
/// the served ones taken for old, the workers would leave one after the other.
#[test]
fn state_folder_behind_a_link_serves_as_any_other() {
    let mut node = Node::prepare(NodeOptions::small().set("workers.versions_max", 1));
    let real = node.folder().join("real-state");
    std::fs::create_dir(&real).expect("a folder");
    std::os::unix::fs::symlink(&real, node.state_folder()).expect("a link");
    node.run();
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    let calls = super::plugin(&node, "calls.c", "calls", &[]);
    deploy(&node, &calls).expect_code(0);
    let workers = node.pids("worker");
    for _ in 0..20 {
        assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(node.pids("worker"), workers);
}

/// All workers adopt the same deployments, and so reach their limit together.
#[test]
fn workers_that_hold_too_many_versions_are_replaced_one_at_a_time() {
    let options = NodeOptions::small().set("workers.versions_max", 1).set("workers.read", 3);
    let node = Node::start(options);
    // Long enough for the next one to be asked before this one has left, were nobody waited for.
    let load = Load::start(node.address(), 3, |_| Request::new(READ, "200"));
    let before = node.pids("worker");
    for next in ["1.0", "1.1", "1.2", "1.3"] {
        deploy(&node, &version(&node, next)).expect_code(0);
    }
    until("every worker is another one", || {
        let now = node.pids("worker");
        (now.len() == before.len() && now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    load.go_on(20);
    let answers = tally(&load.stop());
    assert!(
        answers.keys().all(|answer| [Answer::Status(0), Answer::Status(102)].contains(answer)),
        "{answers:?}"
    );
    let mut replaced = None;
    for line in node.logs().lines().filter(|line| line.contains(r#""role":"supervisor""#)) {
        let event: Value = serde_json::from_str(line).expect("a line of a log is JSON");
        let pid = event["fields"]["pid"].as_u64();
        match event["message"].as_str() {
            Some("child is replaced") => {
                assert_eq!(replaced, None, "the one before has not left yet: {line}");
                replaced = pid;
            }
            Some("child left") if pid == replaced => replaced = None,
            _ => {}
        }
    }
}

/// Workers that cannot load a library serve others; the places of builds are not used up by what they serve no more.
#[test]
fn builds_that_are_replaced_free_their_places_although_another_library_cannot_be_loaded() {
    let node = Node::start(NodeOptions::small());
    let file = node.folder().join("no-work");
    deploy(&node, &super::version(&node, "1.0", &[&format!("-DNOWORK=\"{}\"", file.display())]))
        .expect_code(0);
    std::fs::write(&file, "").expect("a file can be written");
    let before = [node.pids("worker"), node.pids("spare")].concat();
    before.into_iter().for_each(kill_hard);
    node.client().call(READ, "0").expect_status(103);
    let builds =
        || node.gantry(&["status", "--json"]).expect_code(0).json()["directory"]["builds"]["count"].as_u64();
    let first = builds();
    for number in 1..=6 {
        let id = format!("-Wl,--build-id=0x0{number}");
        deploy(&node, &plugin(&node, "calls.c", &format!("calls{number}"), &[&id])).expect_code(0);
    }
    // The last one and the one before it, of which workers may still run a request.
    assert_eq!(builds(), first.map(|first| first + 2));
}
