//! A write sent twice with the same id takes effect once.

use gantry_tests::etc::{
    ADD, BLACKLIST, CARD_STATUS, ECHO_WRITE, ISSUE_CARD, ISSUE_TAG, OPEN_ACCOUNT, PASSAGE, RECHARGE, REFUND,
    SERIALS, SLEEP_WRITE, add, balance, counter, customer, expect_books_to_balance, number, passage,
    passage_body, unique,
};
use gantry_tests::{Client, Node, NodeOptions, Request, RequestId};
use serde_json::{Value, json};

/// Every write with a body that works once, and another body for the same id.
fn every_write(client: &mut Client) -> Vec<(u32, Value, Value)> {
    let (account, card) = customer(client, 50_000);
    let (_, first) = passage(client, &card, 100, 50);
    let (_, second) = passage(client, &card, 100, 51);
    let (plate, obu) = (unique("JA"), unique("OBU"));
    vec![
        (OPEN_ACCOUNT, json!({"customer": "A", "id_no": "1"}), json!({"customer": "B", "id_no": "1"})),
        (
            ISSUE_CARD,
            json!({"account": account, "plate": plate, "vehicle_class": 1}),
            json!({"account": account, "plate": plate, "vehicle_class": 2}),
        ),
        (ISSUE_TAG, json!({"card": card, "obu": obu}), json!({"card": card, "obu": unique("OBU")})),
        (
            RECHARGE,
            json!({"card": card, "amount": 100, "channel": "app"}),
            json!({"card": card, "amount": 200, "channel": "app"}),
        ),
        (PASSAGE, passage_body(&card, 300, 1), passage_body(&card, 301, 1)),
        (REFUND, json!({"serial": first, "reason": "r"}), json!({"serial": second, "reason": "r"})),
        (
            BLACKLIST,
            json!({"card": card, "listed": true, "reason": "r"}),
            json!({"card": card, "listed": false, "reason": "r"}),
        ),
        (CARD_STATUS, json!({"card": card, "status": "lost"}), json!({"card": card, "status": "active"})),
        (SERIALS, json!({"type": "card", "count": 3}), json!({"type": "card", "count": 4})),
        (ADD, json!({"key": "once", "add": 1}), json!({"key": "once", "add": 2})),
    ]
}

#[test]
fn repeat_of_every_write_gets_the_same_reply_and_changes_nothing() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for (service, body, _) in every_write(&mut client) {
        let request = Request::new(service, body.to_string());
        let first = client.exchange(&request).done();
        // Over the same connection, over another one, and with another budget: the id is what counts.
        assert_eq!(client.exchange(&request).done().body, first.body, "{service} repeated");
        assert_eq!(node.client().exchange(&request).done().body, first.body, "{service} repeated elsewhere");
        let with_budget = request.clone().budget_ms(9_000).checked();
        assert_eq!(client.exchange(&with_budget).done().body, first.body, "{service} repeated with a budget");
    }
    assert_eq!(counter(&mut client, "once"), 1);
    expect_books_to_balance(&mut client);
}

#[test]
fn id_of_a_write_with_another_body_is_refused_107() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for (service, body, other) in every_write(&mut client) {
        let request = Request::new(service, body.to_string());
        let first = client.exchange(&request).done();
        let reused = Request::new(service, other.to_string()).id(&request.id);
        client.exchange(&reused).expect_status(107);
        // The refusal left the record alone.
        assert_eq!(client.exchange(&request).done().body, first.body, "{service} after the refusal");
    }
    expect_books_to_balance(&mut client);
}

#[test]
fn id_of_a_write_with_another_service_is_refused_107() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let request = Request::new(ADD, json!({"key": "k", "add": 1}).to_string());
    client.exchange(&request).done();
    let mut elsewhere = request.clone();
    elsewhere.service = ECHO_WRITE;
    client.exchange(&elsewhere).expect_status(107);
}

#[test]
fn business_error_is_recorded_like_a_reply() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 0);
    let spoiled = Request::new(RECHARGE, json!({"card": card, "amount": 0, "channel": "app"}).to_string());
    let first = client.exchange(&spoiled);
    assert_eq!(first.error_code(), "amount_invalid");
    let again = client.exchange(&spoiled);
    assert_eq!((again.status, again.body), (304, first.body));
    // What would be right today still gets yesterday's answer: the id names the attempt.
    let corrected = Request::new(RECHARGE, json!({"card": card, "amount": 5, "channel": "app"}).to_string());
    client.exchange(&corrected.id(&spoiled.id)).expect_status(107);
    assert_eq!(balance(&mut client, &account), 0);
}

/// A business error recorded before its cause went away stays the answer of that id.
#[test]
fn repeat_of_a_business_error_is_not_tried_again() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 1_000);
    client.call_json(CARD_STATUS, json!({"card": card, "status": "lost"})).done();
    let request = Request::new(PASSAGE, passage_body(&card, 100, 1).to_string());
    assert_eq!(client.exchange(&request).error_code(), "card_blocked");
    client.call_json(CARD_STATUS, json!({"card": card, "status": "active"})).done();
    assert_eq!(client.exchange(&request).error_code(), "card_blocked");
    client.exchange(&Request::new(PASSAGE, passage_body(&card, 100, 1).to_string())).done();
}

/// As above, when only the database can know.
#[test]
fn repeat_of_a_business_error_after_a_restart_of_the_node_is_not_tried_again() {
    let mut node = Node::start(NodeOptions::business());
    let (_, card) = customer(&mut node.client(), 1_000);
    let request = Request::new(PASSAGE, passage_body(&card, 100, 1).to_string());
    node.client().call_json(CARD_STATUS, json!({"card": card, "status": "lost"})).done();
    assert_eq!(node.client().exchange(&request).error_code(), "card_blocked");
    node.client().call_json(CARD_STATUS, json!({"card": card, "status": "active"})).done();
    node.stop();
    node.gantry(&["ipc", "clean"]).expect_code(0);
    node.run();
    assert_eq!(node.client().exchange(&request).error_code(), "card_blocked");
}

#[test]
fn repeats_that_meet_in_the_queue_are_one_write() {
    let node = Node::start(NodeOptions::small());
    let mut blocker = node.client();
    blocker.send(&Request::new(SLEEP_WRITE, json!({"ms": 500}).to_string()));
    node.until_busy("write");
    let request = Request::new(ADD, json!({"key": "joined", "add": 1}).to_string());
    let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
    for client in &mut clients {
        client.send(&request);
    }
    for client in &mut clients {
        assert_eq!(number(&client.receive().done(), "value"), 1);
    }
    blocker.receive().done();
    assert_eq!(counter(&mut blocker, "joined"), 1);
}

#[test]
fn repeat_on_the_same_connection_while_the_first_runs_is_joined_to_it() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let request = Request::new(SLEEP_WRITE, json!({"ms": 400}).to_string());
    client.send(&request);
    node.until_busy("write");
    client.send(&request);
    for _ in 0..2 {
        let reply = client.receive().done();
        assert_eq!((reply.id.as_str(), number(&reply, "slept_ms")), (request.id.as_str(), 400));
    }
    node.until_quiet();
}

/// The window is one thing, the row in the database the other: this is the row's turn.
#[test]
fn repeat_after_a_restart_of_the_node_gets_the_recorded_reply() {
    let mut node = Node::start(NodeOptions::business());
    let (account, card) = customer(&mut node.client(), 1_000);
    let request = Request::new(PASSAGE, passage_body(&card, 400, 1).to_string());
    let first = node.client().exchange(&request).done();
    node.stop();
    node.gantry(&["ipc", "clean"]).expect_code(0);
    node.run();
    let mut client = node.client();
    assert_eq!(client.exchange(&request).done().body, first.body);
    let other = Request::new(PASSAGE, passage_body(&card, 401, 1).to_string()).id(&request.id);
    client.exchange(&other).expect_status(107);
    assert_eq!(balance(&mut client, &account), 600);
}

#[test]
fn repeat_that_the_small_window_has_forgotten_is_found_in_the_database() {
    let options = NodeOptions::small().set("idempotency.entries", 64);
    let node = Node::start(options);
    let mut client = node.client();
    let first = Request::new(ADD, json!({"key": "k", "add": 1}).to_string());
    client.exchange(&first).done();
    for _ in 0..200 {
        add(&mut client, "k", 1);
    }
    assert_eq!(number(&client.exchange(&first).done(), "value"), 1);
    assert_eq!(counter(&mut client, "k"), 201);
}

/// Reads are not recorded: the same id may ask anything.
#[test]
fn id_of_a_read_can_be_used_again() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let id = RequestId::fresh();
    for body in ["one", "two", "two"] {
        let reply = client.exchange(&Request::new(gantry_tests::etc::ECHO, body).id(&id)).done();
        assert_eq!(reply.text(), body);
    }
}

/// The longest reply that a record holds whole is configured; a longer one still takes effect once.
#[test]
fn write_with_a_long_reply_takes_effect_once() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let request = Request::new(SERIALS, json!({"type": "card", "count": 10_000}).to_string());
    let first = client.exchange(&request).done();
    assert!(first.body.len() > 64 * 1024, "the reply is longer than a record: {} bytes", first.body.len());
    let again = client.exchange(&request);
    assert!(again.status != 0 || again.body == first.body, "a repeat never gets other serials");
}
