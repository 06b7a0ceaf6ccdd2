//! 20000004 and 20000006: recharge and refund.

use std::collections::HashSet;

use gantry_tests::etc::{
    CARD_STATUS, PASSAGE, RECHARGE, REFUND, balance, customer, expect_books_to_balance, number, passage,
    passage_body, recharge, text,
};
use gantry_tests::{Node, NodeOptions};
use serde_json::json;

#[test]
fn recharge_adds_to_the_balance_under_a_serial_of_its_own() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 0);
    let mut serials = HashSet::new();
    for round in 1..=5 {
        let body = json!({"card": card, "amount": 2_500, "channel": "app"});
        let reply = client.call_json(RECHARGE, body).done();
        assert_eq!(number(&reply, "balance"), round * 2_500);
        assert!(serials.insert(text(&reply, "serial")), "a serial came twice: {reply:?}");
    }
    assert_eq!(balance(&mut client, &account), 12_500);
    expect_books_to_balance(&mut client);
}

#[test]
fn recharge_of_no_or_negative_money_is_refused_and_changes_nothing() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 700);
    for amount in [0, -1, i64::MIN] {
        let body = json!({"card": card, "amount": amount, "channel": "app"});
        assert_eq!(client.call_json(RECHARGE, body).error_code(), "amount_invalid", "amount {amount}");
    }
    for amount in [json!("100"), json!(1.5), json!(null)] {
        let body = json!({"card": card, "amount": amount, "channel": "app"});
        assert_eq!(client.call_json(RECHARGE, body).error_code(), "bad_request", "amount {amount}");
    }
    assert_eq!(balance(&mut client, &account), 700);
    expect_books_to_balance(&mut client);
}

/// Callers know amounts, and not what they are read into.
#[test]
fn amount_beyond_64_bits_is_as_invalid_as_any_other_and_no_message_speaks_of_our_types() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 700);
    for (amount, code) in [
        ("9223372036854775807", "amount_invalid"),
        ("9223372036854775808", "amount_invalid"),
        ("-9223372036854775809", "amount_invalid"),
        ("100000000000000000000000000000000000000000", "amount_invalid"),
        ("1e+21", "amount_invalid"),
        ("1.5", "bad_request"),
        ("\"5\"", "bad_request"),
        ("true", "bad_request"),
        ("[]", "bad_request"),
    ] {
        let recharge = format!(r#"{{"card":"{card}","amount":{amount},"channel":"app"}}"#);
        let mut passage = passage_body(&card, 0, 1).to_string();
        passage = passage.replace("\"fee\":0", &format!("\"fee\":{amount}"));
        for (service, body, field) in [(RECHARGE, recharge, "amount"), (PASSAGE, passage, "fee")] {
            let reply = client.call(service, body);
            assert_eq!(reply.error_code(), code, "{field} {amount}: {reply:?}");
            let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
            assert!(message.contains(field), "the field is named: {message}");
            for ours in ["i64", "column", "expected", "invalid type"] {
                assert!(!message.contains(ours), "{field} {amount}: {message}");
            }
        }
    }
    assert_eq!(balance(&mut client, &account), 700);
    expect_books_to_balance(&mut client);
}

/// Two recharges whose sum does not fit 64 bits: the second is an error, and the books still add up.
#[test]
fn recharge_that_would_overflow_the_balance_is_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 700);
    let mut last = 700;
    for _ in 0..2 {
        let reply =
            client.call_json(RECHARGE, json!({"card": card, "amount": i64::MAX - 10, "channel": "app"}));
        match reply.status {
            0 => last = number(&reply, "balance"),
            _ => assert_eq!(reply.error_code(), "amount_invalid"),
        }
    }
    assert!(last >= 700, "a recharge never makes a balance smaller: {last}");
    assert_eq!(balance(&mut client, &account), last);
    expect_books_to_balance(&mut client);
}

#[test]
fn recharge_of_an_unknown_or_blocked_card_is_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 700);
    let body = json!({"card": "none", "amount": 100, "channel": "app"});
    assert_eq!(client.call_json(RECHARGE, body).error_code(), "card_unknown");
    client.call_json(CARD_STATUS, json!({"card": card, "status": "cancelled"})).done();
    let body = json!({"card": card, "amount": 100, "channel": "app"});
    assert_eq!(client.call_json(RECHARGE, body).error_code(), "card_blocked");
    assert_eq!(balance(&mut client, &account), 700);
}

#[test]
fn passage_is_refunded_once() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let (after_passage, serial) = passage(&mut client, &card, 1_500, 1);
    assert_eq!(after_passage, 8_500);
    let body = json!({"serial": serial, "reason": "charged for the wrong class"});
    let refund = client.call_json(REFUND, body.clone()).done();
    assert_eq!(number(&refund, "balance"), 10_000);
    assert_ne!(text(&refund, "serial"), serial, "a refund is a movement of its own");
    assert_eq!(client.call_json(REFUND, body).error_code(), "already_refunded");
    assert_eq!(balance(&mut client, &account), 10_000);
    expect_books_to_balance(&mut client);
}

#[test]
fn refund_of_an_unknown_passage_is_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let body = json!({"serial": "no-such-serial", "reason": "test"});
    assert_eq!(client.call_json(REFUND, body).error_code(), "passage_unknown");
    assert_eq!(client.call_json(REFUND, json!({"reason": "test"})).error_code(), "bad_request");
    let (account, card) = customer(&mut client, 0);
    // A recharge has a serial too, but there is no passage to give back.
    let serial = text(
        &client.call_json(RECHARGE, json!({"card": card, "amount": 5, "channel": "app"})).done(),
        "serial",
    );
    assert_eq!(
        client.call_json(REFUND, json!({"serial": serial, "reason": "test"})).error_code(),
        "passage_unknown"
    );
    assert_eq!((balance(&mut client, &account), recharge(&mut client, &card, 5)), (5, 10));
}
