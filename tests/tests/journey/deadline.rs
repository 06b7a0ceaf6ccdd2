//! Time budgets and time-outs: 301 while running, 305 while queued, at the deadline and not later.

use std::time::{Duration, Instant};

use gantry_tests::etc::{ADD, ECHO, SLEEP, SLEEP_WRITE, counter, number, outcome};
use gantry_tests::{Node, NodeOptions, Request};
use serde_json::json;

fn sleep(service: u32, ms: u32) -> Request {
    Request::new(service, json!({"ms": ms}).to_string())
}

#[test]
fn budget_of_300_ms_is_answered_301_while_the_service_still_runs() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = sleep(SLEEP_WRITE, 3_000).budget_ms(300);
    let begin = Instant::now();
    client.exchange(&request).expect_status(301);
    assert!(begin.elapsed() >= Duration::from_millis(300), "not before the deadline: {:?}", begin.elapsed());
    // Not later either, told by the order of events instead of a clock: the service has not ended.
    assert_eq!(outcome(&mut client, &request.id).0, "running");
}

/// A budget is the caller's; only the service's own time-out ends its worker.
#[test]
fn budget_that_runs_out_kills_nobody() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let before = node.pids("worker");
    client.exchange(&sleep(SLEEP, 600).budget_ms(100)).expect_status(301);
    client.call(ECHO, "after it").done();
    assert_eq!(node.pids("worker"), before);
    node.until_quiet();
}

#[test]
fn write_answered_301_still_takes_effect_and_its_repeat_gets_the_reply() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = sleep(SLEEP_WRITE, 600).budget_ms(100);
    client.exchange(&request).expect_status(301);
    // The repeat with a longer budget joins the one that runs.
    let reply = client.exchange(&request.budget_ms(10_000)).done();
    assert_eq!(number(&reply, "slept_ms"), 600);
}

#[test]
fn budget_spent_in_the_queue_is_answered_305_and_the_request_never_starts() {
    let node = Node::start(NodeOptions::small());
    let (mut blocker, mut client) = (node.client(), node.client());
    blocker.send(&sleep(SLEEP_WRITE, 1_500));
    node.until_busy("write");
    let request = Request::new(ADD, json!({"key": "late", "add": 1}).to_string()).budget_ms(200);
    let begin = Instant::now();
    client.exchange(&request).expect_status(305);
    assert!(begin.elapsed() >= Duration::from_millis(200), "not before the deadline: {:?}", begin.elapsed());
    blocker.receive().done();
    // Whatever was queued behind it has run by now.
    client.call_json(ADD, json!({"key": "later", "add": 1})).done();
    assert_eq!(counter(&mut client, "late"), 0, "a request answered 305 was executed");
    assert_eq!(
        number(&client.exchange(&request.budget_ms(0)).done(), "value"),
        1,
        "it may be repeated at will"
    );
}

#[test]
fn read_spent_in_the_queue_is_answered_305_too() {
    let node = Node::start(NodeOptions::small());
    let (mut blocker, mut client) = (node.client(), node.client());
    blocker.send(&sleep(SLEEP, 1_000));
    node.until_busy("read");
    client.exchange(&Request::new(ECHO, "x").budget_ms(100)).expect_status(305);
    blocker.receive().done();
    node.until_quiet();
}

#[test]
fn service_time_out_is_answered_301_and_the_worker_is_replaced() {
    let node = Node::start(
        NodeOptions::small().text("service.timeout", "500ms").text("workers.kill_grace", "100ms"),
    );
    let mut client = node.client();
    for (service, queue) in [(SLEEP, "read"), (SLEEP_WRITE, "write")] {
        let before = node.pid(queue);
        client.exchange(&sleep(service, 30_000)).expect_status(301);
        node.successor(queue, before);
        client.exchange(&sleep(service, 1)).done();
    }
    node.until_quiet();
}

#[test]
fn budget_longer_than_the_time_out_does_not_lengthen_it() {
    let node = Node::start(NodeOptions::small().text("service.timeout", "400ms"));
    let mut client = node.client();
    client.exchange(&sleep(SLEEP, 30_000).budget_ms(60_000)).expect_status(301);
}

#[test]
fn policy_answer_leaves_the_worker_alone() {
    let options = NodeOptions::small().text("service.timeout", "300ms").text("service.policy", "answer");
    let node = Node::start(options.set("workers.read", 2));
    let mut client = node.client();
    let before = node.pids("read");
    client.exchange(&sleep(SLEEP, 900)).expect_status(301);
    assert_eq!(client.exchange(&Request::new(ECHO, "x").budget_ms(0)).done().body, b"x");
    assert_eq!(node.pids("read"), before);
}

#[test]
fn late_end_of_a_request_answered_301_disturbs_no_later_reply() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let mut client = node.client();
    for round in 0..5 {
        client.exchange(&sleep(SLEEP, 150).budget_ms(50)).expect_status(301);
        let body = format!("round {round}");
        assert_eq!(client.call(ECHO, &body).done().text(), body);
    }
    node.until_quiet();
}
