//! 00000002: what became of a request.

use gantry_tests::etc::{
    ADD, ECHO, ECHO_WRITE, FAULT_WRITE, OUTCOME, PASSAGE, SLEEP_WRITE, add, customer, outcome, passage_body,
};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Node, NodeOptions, Request, RequestId, until};
use serde_json::json;

#[test]
fn outcome_of_a_write_that_is_done_is_its_recorded_reply() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(ADD, json!({"key": "k", "add": 4}).to_string());
    client.exchange(&request).done();
    let (state, whole) = outcome(&mut client, &request.id);
    assert_eq!(
        (state.as_str(), &whole["status"], &whole["reply"]),
        ("done", &json!("000"), &json!({"value": 4}))
    );
    // Every connection without a name is the same caller.
    assert_eq!(outcome(&mut node.client(), &request.id).0, "done");
}

#[test]
fn outcome_of_a_business_error_is_done_with_its_status() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(ADD, "{}");
    let first = client.exchange(&request);
    assert_eq!(first.error_code(), "bad_request");
    let (state, whole) = outcome(&mut client, &request.id);
    assert_eq!((state.as_str(), &whole["status"], &whole["reply"]), ("done", &json!("304"), &first.json()));
}

#[test]
fn outcome_of_a_reply_that_is_no_json_is_base64() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(ECHO_WRITE, [0xFF, 0x00, 0x10]);
    client.exchange(&request).done();
    let (state, whole) = outcome(&mut client, &request.id);
    assert_eq!((state.as_str(), &whole["reply"]), ("done", &json!({"base64": "/wAQ"})));
}

#[test]
fn outcome_follows_a_write_from_queued_over_running_to_done() {
    let node = Node::start(NodeOptions::small());
    let (mut first, mut second, mut asking) = (node.client(), node.client(), node.client());
    let running = Request::new(SLEEP_WRITE, json!({"ms": 700}).to_string());
    let queued = Request::new(ADD, json!({"key": "k", "add": 1}).to_string());
    first.send(&running);
    node.until_busy("write");
    second.send(&queued);
    until("the second write is queued", || (outcome(&mut asking, &queued.id).0 == "queued").then_some(()));
    assert_eq!(outcome(&mut asking, &running.id).0, "running");
    first.receive().done();
    second.receive().done();
    assert_eq!(outcome(&mut asking, &running.id).0, "done");
    assert_eq!(outcome(&mut asking, &queued.id).0, "done");
}

#[test]
fn outcome_of_what_was_never_sent_or_only_read_is_unknown() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    assert_eq!(outcome(&mut client, &RequestId::fresh()).0, "unknown");
    let refused = Request::new(99_999_999, "");
    client.exchange(&refused).expect_status(102);
    assert_eq!(outcome(&mut client, &refused.id).0, "unknown");
    let read = Request::new(ECHO, "x");
    client.exchange(&read).done();
    assert_eq!(outcome(&mut client, &read.id).0, "unknown");
}

#[test]
fn outcome_of_a_write_that_panicked_is_that_it_can_no_longer_commit() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(FAULT_WRITE, json!({"how": "panic"}).to_string());
    client.exchange(&request).expect_status(306);
    let (state, whole) = outcome(&mut client, &request.id);
    assert!(state == "failed" || state == "unknown", "{whole}");
}

#[test]
fn outcome_of_a_write_whose_worker_was_killed_is_failed_and_a_repeat_is_a_new_attempt() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(SLEEP_WRITE, json!({"ms": 1_000}).to_string());
    client.send(&request);
    node.until_busy("write");
    kill_hard(node.pid("write"));
    assert_eq!(client.receive().status, 302);
    until("the outcome is settled", || (outcome(&mut client, &request.id).0 == "failed").then_some(()));
    client.exchange(&request).done();
    assert_eq!(outcome(&mut client, &request.id).0, "done");
}

/// `failed` speaks of every attempt under the id, also of one that this node has forgotten.
#[test]
fn outcome_of_a_committed_write_whose_later_repeat_expired_is_done() {
    let mut node = Node::start(NodeOptions::small());
    let request = Request::new(ADD, json!({"key": "k", "add": 7}).to_string());
    node.client().exchange(&request).done();
    node.stop();
    node.gantry(&["ipc", "clean"]).expect_code(0);
    node.run();
    let (mut busy, mut client) = (node.client(), node.client());
    busy.send(&Request::new(SLEEP_WRITE, json!({"ms": 700}).to_string()));
    node.until_busy("write");
    client.exchange(&request.clone().budget_ms(30)).expect_status(305);
    let (state, whole) = outcome(&mut client, &request.id);
    assert_eq!((state.as_str(), &whole["reply"]["value"]), ("done", &json!(7)));
    busy.receive().done();
    assert_eq!(add(&mut client, "k", 1), 8);
}

/// Echo touches no data, and its reply is longer than what shared memory keeps.
#[test]
fn outcome_of_a_write_without_data_and_with_a_long_reply_is_done_and_its_repeat_is_the_same() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(ECHO_WRITE, vec![b'x'; 5_000]);
    client.exchange(&request).done();
    assert_eq!(outcome(&mut client, &request.id).0, "done");
    assert_eq!(client.exchange(&request).done().body, request.body);
    client.exchange(&Request::new(ECHO_WRITE, "other").id(&request.id)).expect_status(107);
}

/// A failed attempt is not recorded, so its id is free.
#[test]
fn id_of_a_failed_write_may_be_used_for_another_body() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let failed = Request::new(FAULT_WRITE, json!({"how": "panic"}).to_string());
    client.exchange(&failed).expect_status(306);
    let other = Request::new(ADD, json!({"key": "k", "add": 1}).to_string()).id(&failed.id);
    client.exchange(&other).done();
    assert_eq!(outcome(&mut client, &failed.id).0, "done");
}

/// From the database alone: a new node over the same state answers for what the old one did.
#[test]
fn outcome_survives_the_node() {
    let mut node = Node::start(NodeOptions::business());
    let (_, card) = customer(&mut node.client(), 1_000);
    let request = Request::new(PASSAGE, passage_body(&card, 400, 1).to_string());
    let first = node.client().exchange(&request).done();
    node.stop();
    node.gantry(&["ipc", "clean"]).expect_code(0);
    node.run();
    let (state, whole) = outcome(&mut node.client(), &request.id);
    assert_eq!((state.as_str(), &whole["reply"]), ("done", &first.json()));
}

#[test]
fn outcome_query_whose_body_is_no_id_is_refused_and_the_connection_stays() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for body in ["", "short", "this is a body of more than 24 bytes", "an id with blanks in it."] {
        let reply = client.call(OUTCOME, body);
        assert_ne!(reply.status, 0, "{reply:?}");
    }
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
}
