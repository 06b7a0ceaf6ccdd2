//! 00000001 and 00000003: ping and node; and numbers that are nobody's.

use gantry_tests::etc::{ECHO, NODE, PING};
use gantry_tests::{Node, NodeOptions, Request, until};

#[test]
fn ping_echoes_its_body() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for body in [vec![], b"ping".to_vec(), vec![0xA5; 100_000]] {
        assert_eq!(client.call(PING, &body).done().body, body);
    }
}

#[test]
fn node_says_its_name_its_load_and_that_it_does_not_drain() {
    let node = Node::start(NodeOptions::small());
    let reply = node.client().call(NODE, "").done().json();
    assert_eq!((reply["name"].as_str(), reply["draining"].as_bool()), (Some(node.name()), Some(false)));
    let load = reply["load"].as_f64().expect("the load is a number");
    assert!((0.0..=1.0).contains(&load), "{reply}");
}

#[test]
fn numbers_of_the_platform_without_a_meaning_and_unknown_services_are_102() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for service in [0, 4, 9_999_999, 10_000_000, 12_345_678, 99_999_999] {
        client.call(service, "body").expect_status(102);
    }
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
}

#[test]
fn reply_carries_a_checksum_exactly_when_the_request_did() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for service in [ECHO, PING] {
        let plain = client.exchange(&Request::new(service, "123456789")).done();
        assert_eq!(plain.checksum, None);
        let checked = client.exchange(&Request::new(service, "123456789").checked()).done();
        assert_eq!(checked.checksum, Some(0xE306_9283));
    }
    // Refusals as well, whatever their body is; the client has compared it.
    let refused = client.exchange(&Request::new(12_345_678, "123456789").checked()).expect_status(102);
    assert_eq!(refused.checksum.is_some(), !refused.body.is_empty());
}

#[test]
fn section_of_a_service_that_does_not_exist_is_said_in_the_log() {
    let options = NodeOptions::business()
        .text("service.diagg.greeting", "hello")
        .text("service.diag.greeting", "hello");
    let node = Node::start(options);
    let logs =
        until("the log speaks of it", || Some(node.logs()).filter(|logs| logs.contains("[service.diagg]")));
    assert!(!logs.contains("[service.diag]"), "the one that exists is not complained of: {logs}");
}
