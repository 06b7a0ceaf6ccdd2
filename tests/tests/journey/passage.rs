//! 20000005: passages, which have already happened and are always recorded.

use gantry_tests::etc::{
    BLACKLIST_PAGE, CARD_STATUS, PASSAGE, PASSAGES, balance, customer, expect_books_to_balance, listed,
    number, passage, passage_body, recharge,
};
use gantry_tests::{Node, NodeOptions, Request};
use serde_json::json;

#[test]
fn passage_deducts_its_fee_under_a_serial_of_its_own() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let (first_balance, first) = passage(&mut client, &card, 1_500, 1);
    let (second_balance, second) = passage(&mut client, &card, 500, 2);
    assert_eq!((first_balance, second_balance), (8_500, 8_000));
    assert_ne!(first, second);
    assert_eq!(balance(&mut client, &account), 8_000);
    expect_books_to_balance(&mut client);
}

#[test]
fn passage_sent_again_under_a_new_id_is_the_same_passage() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let body = passage_body(&card, 1_500, 1).to_string();
    let first = client.exchange(&Request::new(PASSAGE, &body)).done();
    // Another movement in between: the first reply comes back as it was, not with today's balance.
    recharge(&mut client, &card, 100);
    let again = client.exchange(&Request::new(PASSAGE, &body)).done();
    assert_eq!(again.json(), first.json());
    // Card, operator, exit and time say which passage it is; what else differs does not make it another.
    let mut corrected = passage_body(&card, 1_600, 1);
    corrected["entry"] = json!("Tianjin");
    assert_eq!(client.call_json(PASSAGE, corrected).done().json(), first.json());
    assert_eq!(balance(&mut client, &account), 8_600);
    let page = client.call_json(PASSAGES, json!({"card": card})).done().json();
    assert_eq!(page["passages"].as_array().map(Vec::len), Some(1), "{page}");
    expect_books_to_balance(&mut client);
}

#[test]
fn the_same_instant_in_another_offset_is_the_same_passage() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let mut body = passage_body(&card, 1_500, 1);
    body["at"] = json!("2025-03-01T08:01:00+08:00");
    let first = client.call_json(PASSAGE, body.clone()).done();
    body["at"] = json!("2025-03-01T00:01:00Z");
    assert_eq!(client.call_json(PASSAGE, body).done().json(), first.json());
    assert_eq!(balance(&mut client, &account), 8_500);
}

/// The contract compares times, not milliseconds.
#[test]
fn passages_at_different_nanoseconds_are_different_and_all_times_are_shown_with_three_digits() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let times = [
        "2025-03-01T08:00:00Z",
        "2025-03-01T08:00:00.000000001Z",
        "2025-03-01T08:00:00.0001Z",
        "2025-03-01T08:00:00.12Z",
        "2025-03-01T08:00:00.120001Z",
    ];
    let mut body = passage_body(&card, 100, 1);
    let mut replies = Vec::new();
    for at in times {
        body["at"] = json!(at);
        replies.push(client.call_json(PASSAGE, body.clone()).done().json());
    }
    assert_eq!(balance(&mut client, &account), 9_500, "{replies:?}");
    // Written in another way they are the same ones: with zeros, and in another offset.
    let same = [
        "2025-03-01T08:00:00.000000000000Z",
        "2025-03-01T16:00:00.0000000010+08:00",
        "2025-03-01T07:00:00.000100-01:00",
        "2025-03-01t08:00:00.120z",
        "2025-03-01T08:00:00.120001000Z",
    ];
    for (at, reply) in same.into_iter().zip(&replies) {
        body["at"] = json!(at);
        assert_eq!(client.call_json(PASSAGE, body.clone()).done().json(), *reply, "{at}");
    }
    assert_eq!(balance(&mut client, &account), 9_500);
    let page = client.call_json(PASSAGES, json!({"card": card})).done().json();
    let shown: Vec<&str> =
        page["passages"].as_array().into_iter().flatten().filter_map(|row| row["at"].as_str()).collect();
    let (later, first) = ("2025-03-01T08:00:00.120Z", "2025-03-01T08:00:00.000Z");
    assert_eq!(shown, [later, later, first, first, first]);
}

#[test]
fn passage_in_any_year_of_four_digits_is_taken_and_a_time_that_cannot_be_kept_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let mut body = passage_body(&card, 100, 1);
    for at in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"] {
        body["at"] = json!(at);
        client.call_json(PASSAGE, body.clone()).done();
    }
    let page = client.call_json(PASSAGES, json!({"card": card})).done().json();
    let shown = [&page["passages"][0]["at"], &page["passages"][1]["at"]];
    assert_eq!(shown, [&json!("9999-12-31T23:59:59.999Z"), &json!("0000-01-01T00:00:00.000Z")]);
    for at in [
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00+00:01",
        "2025-03-01T08:00:00.0000000001Z",
        "2016-12-31T23:59:60Z",
    ] {
        body["at"] = json!(at);
        let reply = client.call_json(PASSAGE, body.clone());
        assert_eq!(reply.error_code(), "bad_request", "{at}");
        assert_eq!(reply.json()["field"], "at", "{at}");
    }
    assert_eq!(balance(&mut client, &account), 9_800);
}

#[test]
fn passages_that_differ_in_exit_operator_or_time_are_different_passages() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let mut body = passage_body(&card, 100, 1);
    client.call_json(PASSAGE, body.clone()).done();
    for (field, value) in [("exit", "Baoding"), ("operator", "G5"), ("at", "2025-03-01T09:00:00+08:00")] {
        body[field] = json!(value);
        client.call_json(PASSAGE, body.clone()).done();
    }
    assert_eq!(balance(&mut client, &account), 9_600);
    expect_books_to_balance(&mut client);
}

#[test]
fn passage_beyond_the_balance_is_recorded_and_blacklists_the_card_until_a_recharge() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 1_000);
    let (below_zero, _) = passage(&mut client, &card, 1_500, 1);
    assert_eq!(below_zero, -500);
    assert!(listed(&mut client, &card));
    let page = client.call_json(BLACKLIST_PAGE, json!({})).done();
    assert!(page.text().contains(&card) && page.text().contains("overdrawn"), "{page:?}");
    // It has already happened, so the next one is recorded as well.
    assert_eq!(passage(&mut client, &card, 100, 2).0, -600);
    assert_eq!(recharge(&mut client, &card, 2_000), 1_400);
    assert!(!listed(&mut client, &card), "a recharge lifts what the overdraft did");
    assert!(!client.call_json(BLACKLIST_PAGE, json!({})).done().text().contains(&card));
    assert_eq!(balance(&mut client, &account), 1_400);
    expect_books_to_balance(&mut client);
}

#[test]
fn passage_of_an_unknown_or_blocked_card_is_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 1_000);
    assert_eq!(client.call_json(PASSAGE, passage_body("none", 100, 1)).error_code(), "card_unknown");
    for status in ["lost", "cancelled"] {
        client.call_json(CARD_STATUS, json!({"card": card, "status": status})).done();
        assert_eq!(
            client.call_json(PASSAGE, passage_body(&card, 100, 1)).error_code(),
            "card_blocked",
            "{status}"
        );
    }
    assert_eq!(balance(&mut client, &account), 1_000);
    expect_books_to_balance(&mut client);
}

#[test]
fn passage_with_a_bad_fee_time_or_missing_field_is_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 1_000);
    assert_eq!(client.call_json(PASSAGE, passage_body(&card, -1, 1)).error_code(), "amount_invalid");
    for at in ["yesterday", "2025-03-01", "2025-02-30T08:00:00Z", "2025-03-01T08:00:00", ""] {
        let mut body = passage_body(&card, 100, 1);
        body["at"] = json!(at);
        let reply = client.call_json(PASSAGE, body);
        assert_eq!(reply.error_code(), "bad_request", "at {at:?}");
        assert!(reply.text().contains("at"), "the field is named: {reply:?}");
    }
    for field in ["card", "operator", "entry", "exit", "at", "fee"] {
        let mut body = passage_body(&card, 100, 1);
        body.as_object_mut().expect("a passage is an object").remove(field);
        assert_eq!(client.call_json(PASSAGE, body).error_code(), "bad_request", "without {field}");
    }
    assert_eq!(balance(&mut client, &account), 1_000);
}

/// Many gantries at once: each passage counts once, and no movement is lost between two connections.
#[test]
fn passages_of_one_card_from_many_connections_all_count_once() {
    let node = Node::start(NodeOptions::business().set("workers.write", 2));
    let mut client = node.client();
    let (account, card) = customer(&mut client, 100_000);
    let requests: Vec<Request> =
        (0..40).map(|minute| Request::new(PASSAGE, passage_body(&card, 100, minute).to_string())).collect();
    std::thread::scope(|scope| {
        // Each half of the passages comes twice, over two connections.
        for part in [&requests[..20], &requests[20..], &requests[10..30], &requests[..]] {
            let node = &node;
            scope.spawn(move || {
                for reply in node.client().exchange_all(part) {
                    assert!(number(&reply.done(), "balance") >= 96_000);
                }
            });
        }
    });
    assert_eq!(balance(&mut client, &account), 96_000);
    expect_books_to_balance(&mut client);
}
