//! A version that kills workers again and again leaves the number that it kills with to the last good one.

use gantry_tests::processes::{is_running, kill_hard};
use gantry_tests::{Client, Node, NodeOptions, Request, until};
use serde_json::Value;

use super::middle::{begin, begin_deployment, helper, registry_helper};
use super::{deploy, plugin, version};

const READ: u32 = 19_900_001;
const WRITE: u32 = 29_900_001;

fn node() -> Node {
    Node::start(NodeOptions::small().set("service.quarantine_deaths", 2).set("workers.write", 2))
}

/// Calls with a body that kills, until the build that dies of it is out of service: until something else answers.
#[track_caller]
fn kill_until_another_serves(client: &mut Client) -> String {
    let mut deaths_count = 0;
    until("another build serves, or none", || {
        let reply = client.call(WRITE, "abort");
        match reply.status {
            302 => deaths_count += 1,
            303 => {}
            0 => return Some(reply.text()),
            status => panic!("answered {status}"),
        }
        assert!(deaths_count <= 2, "{deaths_count} workers died for a quarantine after two");
        None
    })
}

#[track_caller]
fn listed(node: &Node, number: u32) -> Value {
    let services = node.gantry(&["service", "list", "--json"]).expect_code(0).json();
    let mut services = services.as_array().into_iter().flatten().cloned();
    services.find(|service| service["number"] == number).expect("it is listed")
}

#[test]
fn number_goes_back_to_the_last_good_build_alone_until_it_is_started() {
    let mut node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    deploy(&node, &version(&node, "1.1", &["-DABORTS"])).expect_code(0);
    let mut client = node.client();
    assert_eq!(client.call(WRITE, "0").done().text(), "1.1");
    assert_eq!(kill_until_another_serves(&mut client), "1.0");
    // The other numbers of the library are not touched, whichever worker runs them.
    for _ in 0..20 {
        assert_eq!(client.call(READ, "0").done().text(), "1.1");
        assert_eq!(client.call(WRITE, "abort").done().text(), "1.0", "harmless there");
    }
    let (write, read) = (listed(&node, WRITE), listed(&node, READ));
    assert_eq!((&write["version"], &write["fallen_back"]), (&"1.0".into(), &true.into()));
    assert_eq!((&read["version"], &read["fallen_back"]), (&"1.1".into(), &false.into()));
    assert!(node.gantry(&["service", "list"]).expect_code(0).text().contains("fallen back"));
    let shown = node.gantry(&["service", "show", &WRITE.to_string()]).expect_code(0).text();
    assert!(
        shown.contains("fallback") && shown.contains("died too often") && shown.contains("by platform"),
        "{shown}"
    );

    node.stop();
    node.run();
    assert_eq!(node.client().call(WRITE, "0").done().text(), "1.0", "a restart keeps it");
    node.gantry(&["service", "start", &WRITE.to_string()]).expect_code(0);
    assert_eq!(node.client().call(WRITE, "0").done().text(), "1.1");
    assert_eq!(listed(&node, WRITE)["fallen_back"], false);
    assert_eq!(kill_until_another_serves(&mut node.client()), "1.0", "it is watched as before");

    deploy(&node, &version(&node, "1.2", &[])).expect_code(0);
    for number in [READ, WRITE] {
        assert_eq!(node.client().call(number, "0").done().text(), "1.2", "the next build serves everything");
    }
}

#[test]
fn build_that_is_no_better_is_passed_over_until_none_is_left() {
    let node = node();
    for number in ["1.0", "1.1", "1.2"] {
        deploy(&node, &version(&node, number, if number == "1.0" { &[] } else { &["-DABORTS"] }))
            .expect_code(0);
    }
    let mut client = node.client();
    // Two deaths each of 1.2 and of 1.1.
    until("1.0 serves", || {
        let status = client.call(WRITE, "abort").status;
        assert!([0, 302, 303].contains(&status), "answered {status}");
        (status == 0).then_some(())
    });
    assert_eq!(client.call(WRITE, "0").done().text(), "1.0");
    let history = node.gantry(&["service", "show", &WRITE.to_string(), "--json"]).expect_code(0).json();
    let fallbacks: Vec<&Value> = history["history"].as_array().into_iter().flatten().collect();
    let versions: Vec<_> = fallbacks
        .iter()
        .filter(|event| event["action"] == "fallback")
        .map(|event| &event["version"])
        .collect();
    assert_eq!(versions, ["1.0", "1.1"]);
}

/// The helper that finds the earlier build may be killed, and the supervisor too.
#[test]
fn interrupted_fall_back_is_made_up_for() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    for (round, next) in ["1.1", "1.2", "1.3", "1.4"].into_iter().enumerate() {
        deploy(&node, &version(&node, next, &["-DABORTS"])).expect_code(0);
        let mut client = node.client();
        until("it is quarantined", || {
            let status = client.call(WRITE, "abort").status;
            assert!([0, 302, 303].contains(&status), "answered {status}");
            (status != 302).then_some(())
        });
        if round % 2 == 0 {
            registry_helper(&node).into_iter().for_each(kill_hard);
        } else {
            let supervisor = node.pid("supervisor");
            kill_hard(supervisor);
            until("the supervisor is gone", || (!is_running(supervisor)).then_some(()));
            node.gantry(&["start"]).expect_code(0);
        }
        until("the last good build serves", || {
            let reply = node.client().call(WRITE, "abort");
            (reply.status == 0).then(|| assert_eq!(reply.text(), "1.0"))
        });
    }
}

/// It is stopped for another reason, and whoever starts it again does not mean the build that kills.
#[test]
fn service_that_fell_back_and_was_stopped_starts_with_the_good_build() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    deploy(&node, &version(&node, "1.1", &["-DABORTS"])).expect_code(0);
    assert_eq!(kill_until_another_serves(&mut node.client()), "1.0");
    for (command, version) in [("stop", None), ("start", Some("1.0")), ("start", Some("1.1"))] {
        node.gantry(&["service", command, &WRITE.to_string()]).expect_code(0);
        let reply = node.client().call(WRITE, "0");
        assert_eq!((reply.status == 0).then(|| reply.text()).as_deref(), version);
    }
}

/// Goal: what takes out of force waits for no library that is tried out. Method: a deployment whose library never comes back
/// from `create`, which holds its probe for half a minute.
#[test]
fn fall_back_waits_for_no_library_that_hangs() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    deploy(&node, &version(&node, "1.1", &["-DABORTS"])).expect_code(0);
    let mut hanging = begin_deployment(&node, &plugin(&node, "hang_in_create.c", "hanging", &[]));
    until("it is being tried out", || helper(&node));
    assert_eq!(kill_until_another_serves(&mut node.client()), "1.0");
    node.gantry(&["service", "stop", &READ.to_string()]).expect_code(0);
    node.client().call(READ, "0").expect_status(103);
    assert!(hanging.try_wait().expect("it can be asked").is_none(), "the deployment is not over yet");
    helper(&node).into_iter().for_each(kill_hard);
    assert_eq!(hanging.wait().expect("a child can be waited for").code(), Some(1));
    deploy(&node, &version(&node, "1.2", &[])).expect_code(0);
    assert_eq!(node.client().call(WRITE, "0").done().text(), "1.2");
}

/// A start that waits behind a deployment must not undo the stop that came after it.
#[test]
fn start_and_stop_of_a_service_stay_in_their_order() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let number = WRITE.to_string();
    node.gantry(&["service", "stop", &number]).expect_code(0);
    let mut hanging = begin_deployment(&node, &plugin(&node, "hang_in_create.c", "hanging", &[]));
    until("it is being tried out", || helper(&node));
    let mut waiting = Vec::new();
    for command in ["start", "stop"] {
        waiting.push(begin(&node, &["service", command, &number]));
        // The node has heard of it; a command that is slower than that would make the test say nothing, not fail.
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    helper(&node).into_iter().for_each(kill_hard);
    for command in std::iter::once(&mut hanging).chain(&mut waiting) {
        command.wait().expect("a child can be waited for");
    }
    node.client().call(WRITE, "0").expect_status(103);
    assert_eq!(listed(&node, WRITE)["enabled"], false);
}

/// Workers that die in a build after it was replaced say nothing about the one that serves now.
#[test]
fn deaths_in_a_build_that_was_replaced_do_not_quarantine_its_successor() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &["-DABORTS"])).expect_code(0);
    let good = version(&node, "1.1", &[]);
    let mut dying: Vec<Client> = (0..2).map(|_| node.client()).collect();
    dying.iter_mut().for_each(|client| client.send(&Request::new(WRITE, "late 4000")));
    until("both run", || {
        let workers = node.status().of("write");
        (workers.iter().filter(|worker| worker.state == "busy").count() == 2).then_some(())
    });
    node.gantry(&["service", "deploy", &good.to_string_lossy(), "--wait", "100ms"]).expect_code(1);
    for client in &mut dying {
        client.receive().expect_status(302);
    }
    for _ in 0..20 {
        assert_eq!(node.client().call(WRITE, "0").done().text(), "1.1");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn build_whose_file_is_gone_cannot_take_over_and_the_service_is_quarantined() {
    let node = node();
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    deploy(&node, &version(&node, "1.1", &["-DABORTS"])).expect_code(0);
    let folder = node.state_folder().join("libraries");
    let old = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let old: Vec<_> = old.filter(|path| path.to_string_lossy().contains("versioned-1.0")).collect();
    assert_eq!(old.len(), 1);
    std::fs::remove_file(&old[0]).expect("it can be removed");
    let mut client = node.client();
    for _ in 0..2 {
        client.call(WRITE, "abort").expect_status(302);
    }
    until("the registry says so", || (listed(&node, WRITE)["quarantined"] == true).then_some(()));
    client.call(WRITE, "0").expect_status(303);
    assert_eq!(client.call(READ, "0").done().text(), "1.1");
}
