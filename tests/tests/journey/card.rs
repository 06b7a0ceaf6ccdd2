//! 20000002, 20000003, 20000007, 20000008, 10000001 and 10000005: cards, tags, status and blacklist.

use gantry_tests::etc::{
    BLACKLIST, BLACKLIST_PAGE, CARD, CARD_STATUS, ISSUE_CARD, ISSUE_TAG, balance, customer, issue_card,
    listed, open_account, passage, recharge, text, unique,
};
use gantry_tests::{Client, Node, NodeOptions};
use serde_json::json;

#[test]
fn card_shows_its_account_plate_status_and_balance() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let account = open_account(&mut client);
    let plate = unique("京A");
    let body = json!({"account": account, "plate": plate, "vehicle_class": 6});
    let card = text(&client.call_json(ISSUE_CARD, body).done(), "card");
    let shown = client.call_json(CARD, json!({"card": card})).done().json();
    let expected = json!({
        "card": card, "account": account, "plate": plate, "status": "active", "balance": 0, "listed": false
    });
    assert_eq!(shown, expected);
}

#[test]
fn two_cards_of_an_account_share_its_balance() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (account, _) = customer(&mut client, 5_000);
    let second = issue_card(&mut client, &account);
    assert_eq!(client.call_json(CARD, json!({"card": second})).done().json()["balance"], 5_000);
}

#[test]
fn issue_card_refuses_an_unknown_account_a_used_plate_and_a_wrong_class() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let account = open_account(&mut client);
    let plate = unique("JA");
    let issue = |client: &mut Client, account: &str, class: serde_json::Value| {
        client.call_json(ISSUE_CARD, json!({"account": account, "plate": plate, "vehicle_class": class}))
    };
    assert_eq!(issue(&mut client, "nobody", json!(1)).error_code(), "account_unknown");
    for class in [json!(0), json!(7), json!(-1), json!("1"), json!(1.5), json!(null)] {
        let reply = issue(&mut client, &account, class.clone());
        assert_eq!(reply.error_code(), "bad_request", "vehicle class {class}");
        assert!(reply.text().contains("vehicle_class"), "the field is named: {reply:?}");
    }
    issue(&mut client, &account, json!(1)).done();
    assert_eq!(issue(&mut client, &account, json!(1)).error_code(), "duplicate");
}

#[test]
fn tag_is_issued_once_for_each_unit() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 0);
    let obu = unique("OBU");
    let tag = text(&client.call_json(ISSUE_TAG, json!({"card": card, "obu": obu})).done(), "tag");
    let other = text(&client.call_json(ISSUE_TAG, json!({"card": card, "obu": unique("OBU")})).done(), "tag");
    assert_ne!(tag, other);
    assert_eq!(client.call_json(ISSUE_TAG, json!({"card": card, "obu": obu})).error_code(), "duplicate");
    assert_eq!(
        client.call_json(ISSUE_TAG, json!({"card": "none", "obu": unique("OBU")})).error_code(),
        "card_unknown"
    );
    assert_eq!(client.call_json(ISSUE_TAG, json!({"card": card})).error_code(), "bad_request");
}

#[test]
fn card_status_goes_between_active_and_lost_and_is_shown() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 0);
    for status in ["lost", "active", "cancelled"] {
        let reply = client.call_json(CARD_STATUS, json!({"card": card, "status": status})).done();
        assert_eq!(reply.json(), json!({}));
        assert_eq!(client.call_json(CARD, json!({"card": card})).done().json()["status"], status);
    }
}

#[test]
fn card_status_refuses_an_unknown_card_and_an_unknown_word() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 0);
    let set = |client: &mut Client, card: &str, status: &str| {
        client.call_json(CARD_STATUS, json!({"card": card, "status": status}))
    };
    assert_eq!(set(&mut client, "none", "lost").error_code(), "card_unknown");
    assert_eq!(set(&mut client, &card, "asleep").error_code(), "bad_request");
    assert_eq!(client.call_json(CARD, json!({"card": "none"})).error_code(), "card_unknown");
}

#[test]
fn blacklisted_card_is_on_the_page_until_it_is_taken_off() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 1_000);
    let set = |client: &mut Client, card: &str, on: bool| {
        client.call_json(BLACKLIST, json!({"card": card, "listed": on, "reason": "reported stolen"}))
    };
    assert_eq!(set(&mut client, &card, true).done().json(), json!({}));
    assert!(listed(&mut client, &card));
    let page = client.call_json(BLACKLIST_PAGE, json!({})).done();
    assert!(page.text().contains(&card), "the page names the card: {page:?}");
    // Saying it twice is no error and lists it once.
    set(&mut client, &card, true).done();
    assert_eq!(client.call_json(BLACKLIST_PAGE, json!({})).done().text().matches(&card).count(), 1);
    set(&mut client, &card, false).done();
    assert!(!listed(&mut client, &card));
    assert!(!client.call_json(BLACKLIST_PAGE, json!({})).done().text().contains(&card));
    assert_eq!(set(&mut client, "none", true).error_code(), "card_unknown");
    assert_eq!(
        client.call_json(BLACKLIST, json!({"card": card, "listed": "yes"})).error_code(),
        "bad_request"
    );
}

/// Puts a card on the blacklist by hand or takes it off.
fn list_by_hand(client: &mut Client, card: &str, on: bool) {
    client.call_json(BLACKLIST, json!({"card": card, "listed": on, "reason": "police"})).done();
}

/// The reasons on the blacklist page for a card.
fn reasons(client: &mut Client, card: &str) -> Vec<String> {
    let page = client.call_json(BLACKLIST_PAGE, json!({})).done().json();
    let rows = page["cards"].as_array().into_iter().flatten().filter(|row| row["card"] == card);
    rows.filter_map(|row| row["reason"].as_str().map(str::to_owned)).collect()
}

#[test]
fn card_taken_off_by_hand_stays_listed_while_its_account_is_overdrawn() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 100);
    assert_eq!(passage(&mut client, &card, 500, 1).0, -400);
    // Nobody listed it by hand, and nobody takes it off by hand.
    list_by_hand(&mut client, &card, false);
    assert!(listed(&mut client, &card));
    assert_eq!(reasons(&mut client, &card), ["overdrawn"]);
    // Listed by hand besides, and taken off again: what the balance did is left.
    list_by_hand(&mut client, &card, true);
    assert_eq!(reasons(&mut client, &card), ["police"]);
    list_by_hand(&mut client, &card, false);
    assert_eq!(reasons(&mut client, &card), ["overdrawn"]);
    assert_eq!(recharge(&mut client, &card, 400), 0);
    assert!(!listed(&mut client, &card) && reasons(&mut client, &card).is_empty());
}

#[test]
fn card_listed_by_hand_stays_listed_when_a_recharge_lifts_the_overdraft() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    // Whichever of the two came first.
    for by_hand_first in [true, false] {
        let (_, card) = customer(&mut client, 100);
        if by_hand_first {
            list_by_hand(&mut client, &card, true);
        }
        passage(&mut client, &card, 500, 1);
        if !by_hand_first {
            list_by_hand(&mut client, &card, true);
        }
        assert_eq!(reasons(&mut client, &card), ["police"]);
        assert_eq!(recharge(&mut client, &card, 400), 0);
        assert_eq!(reasons(&mut client, &card), ["police"]);
        list_by_hand(&mut client, &card, false);
        assert!(!listed(&mut client, &card) && reasons(&mut client, &card).is_empty());
    }
}

/// Goal: an operator and the balance, who write the same row, never undo each other's word. Method: both change it
/// over several connections and two write workers; in the end each says its last word.
#[test]
fn listings_by_hand_and_by_balance_from_many_connections_end_as_both_said_last() {
    let node = Node::start(NodeOptions::business().set("workers.write", 2));
    let mut client = node.client();
    let (account, card) = customer(&mut client, 100);
    std::thread::scope(|scope| {
        let (node, card) = (&node, card.as_str());
        scope.spawn(move || {
            let mut client = node.client();
            for minute in 0..20 {
                // Below zero and back: 100 - 500 + 500.
                passage(&mut client, card, 500, minute);
                recharge(&mut client, card, 500);
            }
            passage(&mut client, card, 500, 20);
        });
        for _ in 0..2 {
            scope.spawn(move || {
                let mut client = node.client();
                for round in 0..20 {
                    list_by_hand(&mut client, card, round % 2 == 0);
                }
            });
        }
    });
    assert_eq!(balance(&mut client, &account), -400);
    assert_eq!(reasons(&mut client, &card), ["overdrawn"]);
    assert_eq!(recharge(&mut client, &card, 400), 0);
    assert!(!listed(&mut client, &card));
}
