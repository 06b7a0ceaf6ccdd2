//! 10000003, 10000004 and 10000005: pages, newest first, with cursors.

use gantry_tests::etc::{
    BLACKLIST, BLACKLIST_PAGE, PASSAGES, REFUND, STATEMENT, balance, customer, expect_books_to_balance,
    passage, recharge,
};
use gantry_tests::{Client, Node, NodeOptions};
use serde_json::{Value, json};

/// Follows the cursors from the newest page to the oldest; returns the pages' rows.
fn pages(client: &mut Client, service: u32, body: &Value, list: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut body = body.clone();
    loop {
        let page = client.call_json(service, body.clone()).done().json();
        let rows = page[list].as_array().unwrap_or_else(|| panic!("no list {list} in {page}"));
        pages.push(rows.clone());
        assert!(pages.len() < 100, "the pages never end");
        if page["next"].is_null() {
            return pages;
        }
        body["after"] = page["next"].clone();
    }
}

#[test]
fn passages_come_newest_first_and_every_one_once() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 10_000);
    let mut serials: Vec<String> = (0..7).map(|minute| passage(&mut client, &card, 100, minute).1).collect();
    serials.reverse();
    let pages = pages(&mut client, PASSAGES, &json!({"card": card, "limit": 3}), "passages");
    assert!(pages[..2].iter().all(|page| page.len() == 3), "full pages but the last: {pages:?}");
    let shown: Vec<&str> = pages.iter().flatten().filter_map(|row| row["serial"].as_str()).collect();
    assert_eq!(shown, serials);
    for row in pages.iter().flatten() {
        assert_eq!(
            (&row["operator"], &row["exit"], &row["fee"]),
            (&json!("G4"), &json!("Zhuozhou"), &json!(100))
        );
    }
}

#[test]
fn passages_recorded_between_two_pages_do_not_shift_them() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 10_000);
    let serials: Vec<String> = (0..4).map(|minute| passage(&mut client, &card, 100, minute).1).collect();
    let first = client.call_json(PASSAGES, json!({"card": card, "limit": 2})).done().json();
    passage(&mut client, &card, 100, 30);
    let body = json!({"card": card, "limit": 2, "after": first["next"]});
    let second = client.call_json(PASSAGES, body).done().json();
    let shown: Vec<&str> = second["passages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["serial"].as_str())
        .collect();
    assert_eq!(shown, [serials[1].as_str(), serials[0].as_str()]);
}

#[test]
fn statement_shows_every_movement_with_the_balance_after_it() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 10_000);
    let (_, serial) = passage(&mut client, &card, 1_500, 1);
    client.call_json(REFUND, json!({"serial": serial, "reason": "test"})).done();
    passage(&mut client, &card, 700, 2);
    recharge(&mut client, &card, 300);
    for limit in [1, 2, 500] {
        let pages = pages(&mut client, STATEMENT, &json!({"account": account, "limit": limit}), "entries");
        let entries: Vec<&Value> = pages.iter().flatten().collect();
        let balances: Vec<i64> = entries.iter().filter_map(|entry| entry["balance"].as_i64()).collect();
        assert_eq!(balances, [9_600, 9_300, 10_000, 8_500, 10_000], "newest first: {entries:?}");
        let amounts: Vec<i64> =
            entries.iter().filter_map(|entry| entry["amount"].as_i64()).map(i64::abs).collect();
        assert_eq!(amounts, [300, 700, 1_500, 1_500, 10_000]);
        for entry in entries {
            let is_text = |key: &str| entry[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_text("at") && is_text("kind") && is_text("serial"), "{entry}");
        }
    }
    assert_eq!(balance(&mut client, &account), 9_600);
    expect_books_to_balance(&mut client);
}

#[test]
fn blacklist_pages_name_every_listed_card_once() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let mut cards: Vec<String> = Vec::new();
    for _ in 0..5 {
        let (_, card) = customer(&mut client, 0);
        client.call_json(BLACKLIST, json!({"card": card, "listed": true, "reason": "test"})).done();
        cards.push(card);
    }
    let pages = pages(&mut client, BLACKLIST_PAGE, &json!({"limit": 2}), "cards");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let mut shown: Vec<&str> = pages.iter().flatten().filter_map(|row| row["card"].as_str()).collect();
    shown.sort_unstable();
    cards.sort();
    assert_eq!(shown, cards);
}

#[test]
fn limits_outside_1_to_500_and_foreign_cursors_are_bad_requests() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, card) = customer(&mut client, 0);
    for limit in [json!(0), json!(501), json!(-1), json!("5")] {
        for (service, body) in [
            (PASSAGES, json!({"card": card, "limit": limit})),
            (STATEMENT, json!({"account": account, "limit": limit})),
            (BLACKLIST_PAGE, json!({"limit": limit})),
        ] {
            assert_eq!(
                client.call_json(service, body).error_code(),
                "bad_request",
                "{service} with limit {limit}"
            );
        }
    }
    let body = json!({"card": card, "after": "not a cursor"});
    assert_eq!(client.call_json(PASSAGES, body).error_code(), "bad_request");
    assert_eq!(client.call_json(PASSAGES, json!({"card": "none"})).error_code(), "card_unknown");
    assert_eq!(client.call_json(STATEMENT, json!({"account": "none"})).error_code(), "account_unknown");
}

#[test]
fn page_without_a_limit_has_fifty_rows() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 100_000);
    for minute in 0..55 {
        passage(&mut client, &card, 10, minute);
    }
    let pages = pages(&mut client, PASSAGES, &json!({"card": card}), "passages");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [50, 5]);
}
