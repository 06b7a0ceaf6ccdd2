//! Segments that are removed while the node runs, as `ipcrm` or systemd-logind do.

use std::process::Command;
use std::time::Instant;

use gantry_tests::etc::{ADD, counter};
use gantry_tests::processes::{is_running, kill_hard, mentioning};
use gantry_tests::{Answer, Backend, Load, Node, NodeOptions, Request, run_command, tally, until};
use serde_json::json;

use super::{expect_said, expect_service, patient_counter};

/// Removes all segments of a running node from under it.
fn remove_segments(node: &Node) {
    for name in ["control", "blocks", "directory"] {
        let id = node.segment_id(name);
        match id.split_once(':') {
            Some(("sysv", number)) => {
                run_command(Command::new("ipcrm").args(["-m", number])).expect_code(0);
            }
            Some(("posix", name)) => {
                let path = format!("/dev/shm/{}", name.trim_start_matches('/'));
                std::fs::remove_file(path).expect("a segment's file can be removed");
            }
            _ => panic!("a segment's id is sysv:NUMBER or posix:NAME, not {id}"),
        }
    }
}

#[test]
fn segments_removed_behind_our_back_are_missed_and_said_while_requests_go_on() {
    let node = Node::start(NodeOptions::small());
    let load =
        Load::start(node.address(), 2, |_| Request::new(ADD, json!({"key": "on", "add": 1}).to_string()));
    load.go_on(20);
    remove_segments(&node);
    expect_said(&node, &["removed", "was deleted", "are gone"]);
    load.go_on(50);
    let sent = load.stop();
    let answers = tally(&sent);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [Answer::Status(0)], "{answers:?}");
    assert_eq!(counter(&mut node.client(), "on"), i64::try_from(sent.len()).unwrap_or(-1));
    let status = node.gantry(&["status"]).expect_code(0).text();
    assert!(status.contains("removed") || status.contains("gone"), "status says it too: {status}");
}

/// A process that dies then is replaced, or the node says what it cannot do and ends rather than serve by halves.
#[test]
fn processes_killed_after_the_segments_were_removed_are_replaced_or_it_is_said() {
    for role in ["write", "read", "comm"] {
        let node = Node::start(NodeOptions::small());
        expect_service(&node);
        remove_segments(&node);
        let victim = node.pid(role);
        kill_hard(victim);
        let begin = Instant::now();
        node.successor(role, victim);
        println!("{role} was replaced {:?} after the segments were removed", begin.elapsed());
        expect_service(&node);
        node.until_quiet();
    }
}

/// A supervisor that starts anew finds nothing under its keys. It must not start a second node beside what lives.
#[test]
fn supervisor_killed_after_the_segments_were_removed_does_not_start_a_second_node() {
    let node = Node::start(NodeOptions::small());
    expect_service(&node);
    remove_segments(&node);
    let supervisor = node.pid("supervisor");
    kill_hard(supervisor);
    until("the supervisor is dead", || (!is_running(supervisor)).then_some(()));
    let output = node.gantry(&["start"]);
    println!("`gantry start` ended with {:?}: {}{}", output.code, output.text(), output.stderr);
    if output.code == Some(0) {
        // Whoever serves now is known to the new supervisor, and nobody else is left.
        let status = node.status();
        let known: Vec<_> = status.processes().iter().map(|process| process.pid).collect();
        until("nobody is left beside the new node", || {
            let living = mentioning(&node.config().to_string_lossy());
            let strangers: Vec<_> =
                living.into_iter().filter(|pid| is_running(*pid) && !known.contains(pid)).collect();
            strangers.is_empty().then_some(())
        });
        expect_service(&node);
        assert_eq!(patient_counter(&mut node.client(), "service"), 2);
    } else {
        assert!(output.stderr.contains("stop --now"), "what to do is said: {}", output.stderr);
        node.gantry(&["stop", "--now"]).expect_code(0);
        node.gantry(&["start"]).expect_code(0);
        expect_service(&node);
    }
    if Backend::chosen() == Backend::SysV {
        let own = node.segments();
        assert!(own.len() <= 3, "one node has three segments: {own:?}");
    }
}
