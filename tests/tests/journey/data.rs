//! `gantry data`: tables and rows without a node.

use gantry_tests::etc::{
    BALANCE, BLACKLIST_PAGE, CARD, CLEARING_REPORT, PASSAGES, RUN_CLEARING, STATEMENT, customer,
    expect_books_to_balance, number, passage, recharge,
};
use gantry_tests::{Node, NodeOptions};
use serde_json::json;

#[test]
fn seeded_database_serves_like_one_that_the_services_filled() {
    let mut node = Node::start(NodeOptions::business());
    node.stop();
    let seed =
        ["data", "seed", "--accounts", "120", "--passages", "900", "--days", "3", "--until", "2025-03-04"];
    let said = node.gantry(&[&seed[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!((&said["accounts"], &said["passages"]), (&json!(120), &json!(900)));
    let refused = node.gantry(&seed).expect_code(2);
    assert!(refused.stderr.contains("--append"), "{}", refused.stderr);
    let mut more = seed.to_vec();
    (more[3], more[5]) = ("5", "60");
    more.push("--append");
    let said = node.gantry(&more).expect_code(0).text();
    assert!(said.contains("SA00000000121"), "{said}");

    node.run();
    let mut client = node.client();
    expect_books_to_balance(&mut client);
    for number_of in [1, 60, 120, 125] {
        let account = format!("SA{number_of:011}");
        let card = format!("SC{number_of:011}");
        let shown = client.call_json(CARD, json!({"card": card})).done().json();
        let balance = number(&client.call_json(BALANCE, json!({"account": account})).done(), "balance");
        assert_eq!((&shown["account"], &shown["balance"]), (&json!(account), &json!(balance)));
        assert_eq!(shown["listed"], json!(balance < 0));
        let statement = client.call_json(STATEMENT, json!({"account": account})).done().json();
        assert_eq!(statement["entries"][0]["balance"], json!(balance));
        client.call_json(PASSAGES, json!({"card": card})).done();
    }
    client.call_json(BLACKLIST_PAGE, json!({})).done();

    // Each passage is within one of the days, and those that are not refunded are cleared.
    let mut counted = 0;
    for day in ["2025-03-01", "2025-03-02", "2025-03-03"] {
        let cleared = client.call_json(RUN_CLEARING, json!({"date": day})).done().json();
        assert_eq!(client.call_json(CLEARING_REPORT, json!({"date": day})).done().json(), cleared);
        let operators = cleared["operators"].as_array().expect("a list");
        counted += operators.iter().filter_map(|operator| operator["count"].as_i64()).sum::<i64>();
    }
    assert!((900..=960).contains(&counted), "960 less a few refunds: {counted}");

    // What is new goes on beside it.
    let (_, card) = customer(&mut client, 5_000);
    assert_eq!(passage(&mut client, &card, 100, 1).0, 4_900);
    recharge(&mut client, "SC00000000060", 100);
    expect_books_to_balance(&mut client);
}

#[test]
fn tables_can_be_made_before_the_first_start() {
    let mut node = Node::prepare(NodeOptions::business());
    let dry = node.gantry(&["data", "migrate", "--dry-run", "--json"]).expect_code(0).json();
    let owners = |said: &serde_json::Value| -> Vec<String> {
        let steps = said["steps"].as_array().expect("a list").iter();
        steps.filter_map(|step| step["owner"].as_str().map(str::to_owned)).collect()
    };
    for owner in ["platform/request", "platform/serial", "passage_day"] {
        assert!(owners(&dry).contains(&owner.to_owned()), "{owner}: {dry}");
    }
    let done = node.gantry(&["data", "migrate", "--source", "main", "--json"]).expect_code(0).json();
    for owner in [
        "platform/request",
        "platform/serial",
        "ledger",
        "card",
        "passage",
        "passage_day",
        "bank",
        "clearing",
    ] {
        assert!(owners(&done).contains(&owner.to_owned()), "{owner}: {done}");
    }
    let again = node.gantry(&["data", "migrate"]).expect_code(0).text();
    assert!(again.contains("up to date"), "{again}");
    let unknown = node.gantry(&["data", "migrate", "--source", "elsewhere"]).expect_code(2);
    assert!(unknown.stderr.contains("[data.elsewhere]"), "{}", unknown.stderr);
    node.run();
    expect_books_to_balance(&mut node.client());
}
