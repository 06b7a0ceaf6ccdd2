//! 1900000x and 2900000x: echo, sleep, fault and counter.

use gantry_tests::etc::{
    ADD, COUNTER, ECHO, ECHO_WRITE, FAULT, FAULT_WRITE, SLEEP, SLEEP_WRITE, add, counter, number,
};
use gantry_tests::{Node, NodeOptions, Request};
use serde_json::json;

#[test]
fn echo_returns_any_bytes_on_both_queues() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let every_byte: Vec<u8> = (0..=255).collect();
    for service in [ECHO, ECHO_WRITE] {
        for body in [&b""[..], b"hello", b"\0\0\n\r", &every_byte] {
            assert_eq!(client.call(service, body).done().body, body);
        }
    }
}

#[test]
fn sleep_says_how_long_it_slept_on_both_queues() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for service in [SLEEP, SLEEP_WRITE] {
        for ms in [0, 30] {
            assert_eq!(number(&client.call_json(service, json!({"ms": ms})).done(), "slept_ms"), ms);
        }
    }
}

#[test]
fn counter_counts_per_key_and_starts_at_zero() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    assert_eq!(counter(&mut client, "apples"), 0);
    assert_eq!(add(&mut client, "apples", 3), 3);
    assert_eq!(add(&mut client, "pears", 10), 10);
    assert_eq!(add(&mut client, "apples", -1), 2);
    assert_eq!((counter(&mut client, "apples"), counter(&mut client, "pears")), (2, 10));
}

#[test]
fn diag_refuses_bodies_it_cannot_read() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let wrong = [
        (SLEEP, json!({})),
        (SLEEP, json!({"ms": -1})),
        (SLEEP_WRITE, json!({"ms": "long"})),
        (FAULT, json!({"how": "politely"})),
        (FAULT_WRITE, json!({})),
        (ADD, json!({"key": "k"})),
        (ADD, json!({"add": 1})),
        (COUNTER, json!({})),
    ];
    for (service, body) in wrong {
        assert_eq!(
            client.call_json(service, body.clone()).error_code(),
            "bad_request",
            "{service} with {body}"
        );
    }
}

#[test]
fn service_that_panics_is_answered_306_and_its_worker_lives_on() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let before = node.pids("worker");
    for service in [FAULT, FAULT_WRITE] {
        client.call_json(service, json!({"how": "panic"})).expect_status(306);
    }
    assert_eq!(node.pids("worker"), before);
    assert_eq!(client.call(ECHO, "still here").done().body, b"still here");
}

/// A panic counts as no effect, so the same id is a new attempt.
#[test]
fn write_that_failed_inside_is_run_again_under_the_same_id() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(FAULT_WRITE, json!({"how": "panic"}).to_string());
    client.exchange(&request).expect_status(306);
    client.exchange(&request).expect_status(306);
}

#[test]
fn service_that_leaks_harms_nobody() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for _ in 0..5 {
        client.call_json(FAULT, json!({"how": "leak"})).done();
    }
    assert_eq!(client.call(ECHO, "still here").done().body, b"still here");
}

/// Each write service keeps its own name for the same work: a read cannot add.
#[test]
fn read_counter_changes_nothing() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    add(&mut client, "k", 5);
    for _ in 0..3 {
        let reply = client.call_json(COUNTER, json!({"key": "k", "add": 7})).done();
        assert_eq!(number(&reply, "value"), 5);
    }
}
