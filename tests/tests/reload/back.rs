//! `gantry service rollback | unload`, and what `show` tells of a library's history.

use std::path::PathBuf;

use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally};
use serde_json::Value;

use super::{deploy, numbers};

const READ: u32 = 19_900_001;
const WRITE: u32 = 29_900_001;

#[track_caller]
fn version(node: &Node, version: &str) -> PathBuf {
    super::version(node, version, &[])
}

/// The library's name, which the plug-in gives itself.
#[track_caller]
fn library(node: &Node) -> String {
    let shown = node.gantry(&["service", "show", &READ.to_string(), "--json"]).expect_code(0).json();
    shown["library"].as_str().expect("a service has a library").to_owned()
}

#[test]
fn rollback_under_load_goes_back_one_build_at_a_time_and_fails_no_request() {
    let mut node = Node::start(NodeOptions::small().set("workers.read", 2));
    for next in ["1.0", "1.1", "1.2"] {
        deploy(&node, &version(&node, next)).expect_code(0);
    }
    let name = library(&node);
    let reads = Load::start(node.address(), 2, |_| Request::new(READ, "1"));
    let writes = Load::start(node.address(), 2, |_| Request::new(WRITE, "1"));
    for (arguments, expected) in [
        (&[][..], "1.1"),
        (&["--why", "still wrong"], "1.0"),
        (&["--to", "1.2"], "1.2"),
        (&["--to", "1.1"], "1.1"),
    ] {
        let command = [&["service", "rollback", &name, "--json"], arguments].concat();
        let receipt = node.gantry(&command).expect_code(0).json();
        assert_eq!(receipt["version"], expected);
        let told: Vec<_> =
            receipt["workers"].as_array().into_iter().flatten().map(|worker| worker["pid"].clone()).collect();
        assert!(node.pids("worker").iter().all(|pid| told.contains(&pid.as_raw().into())), "{receipt}");
        for _ in 0..20 {
            assert_eq!(node.client().call(READ, "0").done().text(), expected);
            assert_eq!(node.client().call(WRITE, "0").done().text(), expected);
        }
        reads.go_on(20);
    }
    for load in [reads, writes] {
        let answers = tally(&load.stop());
        assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    }
    let none = node.gantry(&["service", "rollback", &name, "--to", "9.9"]).expect_code(1).stderr;
    assert!(none.contains("1.0") && none.contains("1.2"), "those that are kept are named: {none}");
    assert!(node.gantry(&["service", "rollback", "nothing"]).expect_code(1).stderr.contains("nothing"));

    let shown = node.gantry(&["service", "show", &READ.to_string(), "--json"]).expect_code(0).json();
    let history = shown["history"].as_array().expect("a history");
    let actions: Vec<&str> = history.iter().filter_map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, ["rollback", "rollback", "rollback", "rollback", "deploy", "deploy", "deploy"]);
    assert_eq!(history[2]["why"], "still wrong");
    assert!(
        history.iter().all(|event| event["asker"].as_str().is_some_and(|asker| asker.starts_with("uid ")))
    );
    let text = node.gantry(&["service", "show", &READ.to_string()]).expect_code(0).text();
    assert!(text.contains("still wrong") && text.contains("in place of 1.1"), "{text}");
    node.stop();
    node.run();
    assert_eq!(node.client().call(READ, "0").done().text(), "1.1", "a restart keeps what was rolled back to");
}

#[test]
fn staged_file_that_was_damaged_is_not_rolled_back_to() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    deploy(&node, &version(&node, "1.1")).expect_code(0);
    let (name, crashing) = (library(&node), super::plugin(&node, "crash_on_load.c", "crashing", &[]));
    let staged = std::fs::read_dir(node.state_folder().join("libraries")).expect("the folder is there");
    let staged = staged.map(|entry| entry.expect("it can be read").path());
    let first = staged.into_iter().find(|path| path.to_string_lossy().contains("-1.0-")).expect("it is kept");
    std::fs::remove_file(&first).expect("it can be removed");
    // None of the second one's code runs.
    let crashing = std::fs::read(&crashing).expect("it was just compiled");
    for (content, why) in [(b"gone".to_vec(), "not a shared library"), (crashing, "was changed since")] {
        std::fs::write(&first, content).expect("it can be written");
        let words = node.gantry(&["service", "rollback", &name]).expect_code(1).stderr;
        assert!(words.contains("-1.0-") && words.contains(why), "{words}");
    }
    assert_eq!(node.client().call(READ, "0").done().text(), "1.1");
}

#[test]
fn unloaded_library_is_unknown_until_it_is_back() {
    let mut node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0")).expect_code(0);
    let name = library(&node);
    let before = numbers(&node);
    let mut client = node.client();
    client.send(&Request::new(WRITE, "500"));
    node.until_busy("write");
    node.gantry(&["service", "unload", &name, "--why", "not needed"]).expect_code(0);
    assert_eq!(client.receive().done().text(), "1.0", "what ran goes on to its end");
    client.call(READ, "0").expect_status(102);
    assert!(numbers(&node).len() < before.len());
    node.stop();
    node.run();
    node.client().call(READ, "0").expect_status(102);
    let words = node.gantry(&["service", "unload", &name]).expect_code(1).stderr;
    assert!(words.contains(&name), "{words}");
    node.gantry(&["service", "rollback", &name]).expect_code(0);
    assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
    assert_eq!(numbers(&node), before);
    let shown: Value = node.gantry(&["service", "show", &READ.to_string(), "--json"]).expect_code(0).json();
    assert_eq!(
        (&shown["history"][1]["action"], &shown["history"][1]["why"]),
        (&"unload".into(), &"not needed".into())
    );
}
