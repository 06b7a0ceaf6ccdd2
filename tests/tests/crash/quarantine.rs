//! A service version that keeps killing workers is taken out of service, and only that one.

use gantry_tests::etc::{ECHO, ECHO_WRITE, FAULT, FAULT_WRITE, SLEEP_WRITE, add};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Client, Node, NodeOptions, Request};

/// Calls the fault service until it is quarantined; returns the statuses before.
#[track_caller]
fn kill_until_quarantined(client: &mut Client, service: u32, body: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    loop {
        match client.call(service, body).status {
            303 => return statuses,
            status => statuses.push(status),
        }
        assert!(statuses.len() < 30, "never quarantined: {statuses:?}");
    }
}

#[test]
fn service_that_aborted_five_workers_is_quarantined_until_it_is_started() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let statuses = kill_until_quarantined(&mut client, FAULT_WRITE, r#"{"how":"abort"}"#);
    assert_eq!(statuses, [302; 5]);
    // Refused whatever it is asked for, and others are not touched.
    client.call(FAULT_WRITE, r#"{"how":"panic"}"#).expect_status(303);
    assert_eq!(client.call(ECHO_WRITE, "x").done().body, b"x");
    assert_eq!(add(&mut client, "k", 1), 1);
    node.gantry(&["service", "start", "29000003"]).expect_code(0);
    client.call(FAULT_WRITE, r#"{"how":"panic"}"#).expect_status(306);
    assert_eq!(kill_until_quarantined(&mut client, FAULT_WRITE, r#"{"how":"abort"}"#), [302; 5]);
}

#[test]
fn every_way_to_kill_a_worker_counts() {
    for how in ["segv", "exit"] {
        let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 2));
        let mut client = node.client();
        let body = format!(r#"{{"how":"{how}"}}"#);
        assert_eq!(kill_until_quarantined(&mut client, FAULT_WRITE, &body), [302; 2], "{how}");
        assert_eq!(client.call(ECHO, "x").done().body, b"x");
        node.until_quiet();
    }
}

/// A read is tried once more, so each call of it costs two workers.
#[test]
fn read_that_kills_its_worker_twice_is_answered_302() {
    let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 4));
    let mut client = node.client();
    assert_eq!(kill_until_quarantined(&mut client, FAULT, r#"{"how":"abort"}"#), [302; 2]);
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
    node.until_quiet();
}

/// Those behind the fifth were admitted before; they are told what they would be told now.
#[test]
fn requests_queued_when_their_service_is_quarantined_are_not_started() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let aborts: Vec<Request> = (0..8).map(|_| Request::new(FAULT_WRITE, r#"{"how":"abort"}"#)).collect();
    let mut statuses: Vec<u16> = client.exchange_all(&aborts).iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [302, 302, 302, 302, 302, 303, 303, 303]);
    assert_eq!(client.call(ECHO_WRITE, "x").done().body, b"x");
}

#[test]
fn time_out_kills_count_towards_quarantine() {
    let options = NodeOptions::small().text("service.timeout", "200ms").text("workers.kill_grace", "50ms");
    let node = Node::start(options.set("service.quarantine_deaths", 2));
    let mut client = node.client();
    for _ in 0..2 {
        // The caller is answered at its deadline; the worker is killed a little later, and only that counts.
        let victim = node.pid("write");
        client.call(FAULT_WRITE, r#"{"how":"spin"}"#).expect_status(301);
        node.successor("write", victim);
    }
    client.call(FAULT_WRITE, r#"{"how":"spin"}"#).expect_status(303);
}

#[test]
fn kills_from_outside_never_quarantine() {
    let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 2));
    let mut client = node.client();
    for _ in 0..5 {
        client.send(&Request::new(SLEEP_WRITE, r#"{"ms":10000}"#));
        node.until_busy("write");
        let victim = node.pid("write");
        kill_hard(victim);
        client.receive().expect_status(302);
        node.successor("write", victim);
    }
    client.call(SLEEP_WRITE, r#"{"ms":1}"#).done();
}

#[test]
fn quarantine_is_shown() {
    let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 1));
    kill_until_quarantined(&mut node.client(), FAULT_WRITE, r#"{"how":"abort"}"#);
    let shown = node.gantry(&["service", "show", "29000003"]).expect_code(0).text();
    assert!(shown.contains("quarantine"), "{shown}");
}
