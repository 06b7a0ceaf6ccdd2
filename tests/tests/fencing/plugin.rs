//! A service that stops its own process as its last act.

use gantry_tests::etc::{counter, outcome};
use gantry_tests::processes::{is_stopped, send_signal};
use gantry_tests::{Node, NodeOptions, Request, compile_plugin, repository_root, until};
use nix::sys::signal::Signal;

use super::{Place, places};

/// The service of `plugins/stops.c`.
const STOPS: u32 = 29_900_011;

fn node(place: &Place, policy: &str) -> Node {
    let options: NodeOptions = place.options();
    let node = Node::start(options.text("workers.kill_grace", "50ms"));
    let source = repository_root().join("tests/plugins/stops.c");
    let library = compile_plugin(&source, &node.folder().join("stops"), &[]);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
    let policy = format!("policy={policy}");
    node.gantry(&["service", "rule", &STOPS.to_string(), "timeout=400ms", &policy]).expect_code(0);
    node
}

#[test]
fn write_that_stopped_before_its_commit_and_was_killed_has_failed_for_good() {
    for place in &places() {
        let node = node(place, "kill");
        let (mut client, mut asking) = (node.client(), node.client());
        let request = Request::new(STOPS, "killed");
        let worker = node.pid("write");
        client.send(&request);
        until("the service has stopped itself", || is_stopped(worker).then_some(()));
        assert_eq!(outcome(&mut asking, &request.id).0, "running", "{}", place.name);
        client.receive().expect_status(301);
        let said = until("the outcome is final", || {
            let (state, _) = outcome(&mut asking, &request.id);
            (state != "running").then_some(state)
        });
        send_signal(worker, Signal::SIGCONT);
        node.successor("write", worker);
        assert_eq!(said, "failed", "{}", place.name);
        assert_eq!(counter(&mut asking, "killed"), 0, "{}", place.name);
        assert_eq!(outcome(&mut asking, &request.id).0, "failed", "{}", place.name);
        node.until_quiet();
    }
}

#[test]
fn write_that_stopped_before_its_commit_and_goes_on_is_running_until_it_is_done() {
    for place in &places() {
        let node = node(place, "answer");
        let (mut client, mut asking) = (node.client(), node.client());
        let request = Request::new(STOPS, "goes on");
        let worker = node.pid("write");
        client.send(&request);
        client.receive().expect_status(301);
        assert!(is_stopped(worker), "the service has stopped itself");
        for _ in 0..20 {
            assert_eq!(outcome(&mut asking, &request.id).0, "running", "{}", place.name);
        }
        send_signal(worker, Signal::SIGCONT);
        let said = until("the outcome is final", || {
            let (state, _) = outcome(&mut asking, &request.id);
            (state != "running").then_some(state)
        });
        let counted = counter(&mut asking, "goes on");
        assert_eq!(
            (said == "done", said == "failed"),
            (counted == 1, counted == 0),
            "{}: {said}",
            place.name
        );
        assert_eq!(node.pid("write"), worker);
        node.until_quiet();
    }
}
