//! Rules on a service number: concurrency cap, rate, threshold, refuse.

use gantry_tests::etc::{ADD, ECHO, ECHO_WRITE, SLEEP, add, counter};
use gantry_tests::processes::{kill_hard, send_signal};
use gantry_tests::{Node, NodeOptions, Request, until};
use nix::sys::signal::Signal;
use serde_json::json;

#[track_caller]
fn rule(node: &Node, service: u32, rule: &str) {
    node.gantry(&["service", "rule", &service.to_string(), rule]).expect_code(0);
}

#[test]
fn concurrency_of_one_refuses_the_second_203_while_the_first_runs() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let (mut first, mut second) = (node.client(), node.client());
    rule(&node, SLEEP, "concurrency=1");
    first.send(&Request::new(SLEEP, r#"{"ms":1500}"#));
    until("the first runs", || (node.status().slots("running") == 1).then_some(()));
    let refusal = second.call(SLEEP, r#"{"ms":1}"#).expect_status(203);
    let body = refusal.json();
    assert!(body["retry_after_ms"].is_u64() && body["fill"].is_number(), "{body}");
    assert_eq!(second.call(ECHO, "other services pass").status, 0);
    first.receive().done();
    second.call(SLEEP, r#"{"ms":1}"#).done();
}

/// The place in the cap comes back however the request ended.
#[test]
fn concurrency_is_given_back_after_errors_time_outs_and_dead_clients() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    rule(&node, SLEEP, "concurrency=1");
    assert_eq!(client.call(SLEEP, "{}").error_code(), "bad_request");
    client.exchange(&Request::new(SLEEP, r#"{"ms":200}"#).budget_ms(50)).expect_status(301);
    node.until_quiet();
    let mut leaving = node.client();
    leaving.send(&Request::new(SLEEP, r#"{"ms":100}"#));
    node.until_busy("read");
    drop(leaving);
    node.until_quiet();
    client.call(SLEEP, r#"{"ms":1}"#).done();
}

/// A communication process that dies counts nothing out; its successor counts anew.
#[test]
fn concurrency_is_counted_right_after_deaths_of_comm() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    rule(&node, SLEEP, "concurrency=1");
    for _ in 0..2 {
        client.send(&Request::new(SLEEP, r#"{"ms":400}"#));
        node.until_busy("read");
        let victim = node.pid("comm");
        kill_hard(victim);
        node.successor("comm", victim);
        client.receive().done();
    }
    client.call(SLEEP, r#"{"ms":1}"#).done();
}

#[test]
fn rate_refuses_what_comes_too_fast_203_and_lets_later_ones_pass() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    rule(&node, ECHO, "rate=5");
    let replies = client.exchange_all(&(0..100).map(|_| Request::new(ECHO, "x")).collect::<Vec<_>>());
    let refused = replies.iter().filter(|reply| reply.status == 203).count();
    let done = replies.iter().filter(|reply| reply.status == 0).count();
    assert_eq!(refused + done, 100, "{replies:?}");
    assert!(done >= 1 && refused >= 50, "{done} passed and {refused} were refused at 5 a second");
    assert_eq!(client.call(ECHO_WRITE, "others pass").status, 0);
    until("the rate lets one pass again", || (client.call(ECHO, "x").status == 0).then_some(()));
}

#[test]
fn threshold_of_one_service_refuses_it_before_the_others() {
    let node = Node::start(NodeOptions::small().set("ipc.read_queue", 20));
    rule(&node, SLEEP, "threshold=0.20");
    let worker = node.pid("read");
    send_signal(worker, Signal::SIGSTOP);
    let mut client = node.client();
    for _ in 0..8 {
        client.send(&Request::new(ECHO, "x"));
    }
    until("eight are queued", || (node.status().used("read") == 8).then_some(()));
    node.client().call(SLEEP, r#"{"ms":1}"#).expect_status(201);
    client.send(&Request::new(ECHO, "x"));
    until("echo is still admitted", || (node.status().used("read") == 9).then_some(()));
    send_signal(worker, Signal::SIGCONT);
    for _ in 0..9 {
        client.receive().done();
    }
}

#[test]
fn refuse_refuses_every_call_203_until_it_is_taken_back() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    rule(&node, ADD, "refuse=true");
    let request = Request::new(ADD, json!({"key": "k", "add": 1}).to_string());
    client.exchange(&request).expect_status(203);
    assert_eq!(counter(&mut client, "k"), 0);
    rule(&node, ADD, "refuse=false");
    client.exchange(&request).done();
    assert_eq!(add(&mut client, "k", 1), 2);
}

#[test]
fn rules_are_shown_and_outlive_a_restart() {
    let mut node = Node::start(NodeOptions::small());
    rule(&node, ECHO, "refuse=true");
    let shown = node.gantry(&["service", "show", &ECHO.to_string()]).expect_code(0).text();
    assert!(shown.contains("refuse"), "{shown}");
    node.stop();
    node.run();
    node.client().call(ECHO, "x").expect_status(203);
}

#[test]
fn rule_for_an_unknown_service_or_with_a_bad_value_is_refused() {
    let node = Node::start(NodeOptions::small());
    assert_ne!(node.gantry(&["service", "rule", "12345678", "concurrency=1"]).code, Some(0));
    for bad in
        ["concurrency=-1", "threshold=2.0", "rate=fast", "refuse=perhaps", "concurrency", "=", "speed=5"]
    {
        let output = node.gantry(&["service", "rule", &ECHO.to_string(), bad]);
        assert!(matches!(output.code, Some(1 | 2)) && !output.stderr.trim().is_empty(), "{bad}: {output:?}");
    }
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
}
