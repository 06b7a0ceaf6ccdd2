//! Going on as another program: `gantry upgrade`, and a supervisor that was started as another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gantry_tests::etc::{ECHO, ECHO_WRITE};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally, until};
use serde_json::Value;

use super::supervisor::{expect_told, kill_supervisor, settled_children, start_again};
use super::{add_one, expect_each_counted_once};

#[test]
fn upgrade_replaces_every_process_and_no_request_fails() {
    let mut node = Node::prepare(NodeOptions::small().set("workers.read", 2));
    let copy = node.copy_binary();
    let other = copy.with_file_name("gantry-next");
    fs::copy(&copy, &other).expect("a binary can be copied");
    node.run();
    let before = settled_children(&node);
    let supervisor = node.pid("supervisor");
    let writes = Load::start(node.address(), 2, |_| add_one("upgrade"));
    let reads = Load::start(node.address(), 2, |_| Request::new(ECHO, "x"));
    writes.go_on(20);
    let receipt =
        node.gantry(&["upgrade", "--json", "--binary", &other.to_string_lossy()]).expect_code(0).json();
    writes.go_on(20);
    reads.go_on(20);
    assert_eq!(node.pid("supervisor"), supervisor, "it executes the other program in place");
    let after = settled_children(&node);
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} and then {after:?}");
    for pid in after.iter().chain([&supervisor]) {
        let runs = fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
        assert_eq!(runs, other, "process {pid}");
    }
    assert_eq!(receipt["replaced"].as_array().map(Vec::len), Some(before.len()), "{receipt}");
    assert_eq!(node.status().0["upgrade"], Value::Null);
    for load in [reads, writes] {
        let sent = load.stop();
        assert!(sent.iter().all(|one| one.answer == Answer::Status(0)), "{:?}", tally(&sent));
        if sent.first().is_some_and(|one| one.request.service == gantry_tests::etc::ADD) {
            expect_each_counted_once(&node, "upgrade", &sent);
        }
    }
    node.until_quiet();
    assert_eq!(node.stop(), Some(0));
}

/// As after a supervisor's death in the middle of an upgrade, or when a package replaced the file and systemd starts it.
#[test]
fn supervisor_of_another_program_takes_over_and_replaces_every_process() {
    let mut node = Node::prepare(NodeOptions::small().set("workers.read", 2));
    let copy = node.copy_binary();
    node.run();
    let before = settled_children(&node);
    let writes = Load::start(node.address(), 2, |_| add_one("another"));
    writes.go_on(20);
    kill_supervisor(&node);
    start_again(&node);
    let after = until("everybody is another", || {
        let after = settled_children(&node);
        (node.status().0["upgrade"].is_null() && after.iter().all(|pid| !before.contains(pid)))
            .then_some(after)
    });
    assert_eq!(after.len(), before.len());
    for pid in &after {
        let runs = fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
        assert_ne!(runs, copy, "process {pid}");
    }
    writes.go_on(20);
    let sent = writes.stop();
    assert!(sent.iter().all(|one| one.answer == Answer::Status(0)), "{:?}", tally(&sent));
    expect_each_counted_once(&node, "another", &sent);
    node.until_quiet();
}

#[test]
fn upgrade_to_what_cannot_take_over_is_refused_and_changes_nothing() {
    let node = Node::start(NodeOptions::small());
    let before = settled_children(&node);
    let script = node.folder().join("other-gantry");
    for (prints, words) in [
        (r#"echo '{"layout":999,"abi":1,"version":"9"}'"#, "gantry restart"),
        ("echo hello", "cannot be run"),
        ("echo broken >&2; exit 1", "broken"),
    ] {
        write_script(&script, prints);
        let output = node.gantry(&["upgrade", "--binary", &script.to_string_lossy()]).expect_code(1);
        expect_told(&output, words);
    }
    let missing = node.folder().join("no-such-binary");
    node.gantry(&["upgrade", "--binary", &missing.to_string_lossy()]).expect_code(1);
    assert_eq!(settled_children(&node), before);
    node.client().call(ECHO, "x").done();
}

/// One that says the right things of itself and then cannot be executed as the supervisor.
#[test]
fn upgrade_whose_program_vanishes_leaves_the_node_as_it_was() {
    let node = Node::start(NodeOptions::small());
    let before = settled_children(&node);
    let script = node.folder().join("vanishing-gantry");
    let layout = run_layout(&node);
    write_script(&script, &format!("rm -f {}; echo '{layout}'", script.display()));
    let output = node.gantry(&["upgrade", "--binary", &script.to_string_lossy()]).expect_code(1);
    expect_told(&output, "could not be executed");
    assert_eq!(settled_children(&node), before);
    node.client().call(ECHO, "x").done();
    let victim = node.pid("write");
    kill_hard(victim);
    node.client().call(ECHO_WRITE, "x").done();
}

fn run_layout(node: &Node) -> String {
    node.gantry(&["helper-layout"]).expect_code(0).text().trim().to_owned()
}

fn write_script(path: &Path, line: &str) {
    fs::write(path, format!("#!/bin/sh\n{line}\n")).expect("the script can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
}
