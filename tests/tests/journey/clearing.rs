//! 30000003 and 10000006: clearing.

use gantry_tests::etc::{
    CLEARING_REPORT, PASSAGE, REFUND, RUN_CLEARING, customer, expect_books_to_balance, number, text,
};
use gantry_tests::{Client, Node, NodeOptions};
use serde_json::{Value, json};

const DAY: &str = "2025-03-01";

/// Records a passage at an operator and returns its serial.
fn pass(client: &mut Client, card: &str, operator: &str, at: &str, fee: i64) -> String {
    let body = json!({"card": card, "operator": operator, "entry": "Beijing", "exit": "Zhuozhou", "at": at, "fee": fee});
    text(&client.call_json(PASSAGE, body).done(), "serial")
}

fn refund(client: &mut Client, serial: &str) {
    client.call_json(REFUND, json!({"serial": serial, "reason": "charged twice"})).done();
}

fn run(client: &mut Client) -> Value {
    client.call_json(RUN_CLEARING, json!({"date": DAY})).done().json()
}

fn report(client: &mut Client) -> Value {
    client.call_json(CLEARING_REPORT, json!({"date": DAY})).done().json()
}

#[test]
fn clearing_adds_up_the_passages_of_a_day_by_operator_and_run_again_changes_nothing() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 100_000);
    assert_eq!(report(&mut client), json!({"operators": [], "total": 0}), "it was never cleared");

    pass(&mut client, &card, "G4", "2025-02-28T23:59:59.999+08:00", 7);
    pass(&mut client, &card, "G4", "2025-03-01T00:00:00+08:00", 1_500);
    pass(&mut client, &card, "S50", "2025-03-01T15:59:59.999Z", 300);
    pass(&mut client, &card, "G4", "2025-03-01T12:00:00+08:00", 200);
    pass(&mut client, &card, "S50", "2025-03-02T00:00:00+08:00", 9);
    let taken_back = pass(&mut client, &card, "G4", "2025-03-01T13:00:00+08:00", 50);
    refund(&mut client, &taken_back);

    let cleared = json!({"operators": [
        {"operator": "G4", "count": 2, "amount": 1_700}, {"operator": "S50", "count": 1, "amount": 300},
    ], "total": 2_000});
    for _ in 0..2 {
        assert_eq!(run(&mut client), cleared);
        assert_eq!(report(&mut client), cleared);
    }
    expect_books_to_balance(&mut client);
}

/// Two first runs of a day: whoever is slower finds the day begun, and what it counts is not counted twice.
#[test]
fn first_runs_at_the_same_time_clear_once_and_are_all_answered() {
    let node = Node::start(NodeOptions::business().set("workers.write", 4));
    let mut client = node.client();
    let (_, card) = customer(&mut client, 100_000);
    pass(&mut client, &card, "G4", "2025-03-01T08:00:00+08:00", 1_500);
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let mut client = node.client();
            std::thread::spawn(move || run(&mut client))
        })
        .collect();
    let cleared = json!({"operators": [{"operator": "G4", "count": 1, "amount": 1_500}], "total": 1_500});
    for run in runs {
        assert_eq!(run.join().expect("every run is answered 000"), cleared);
    }
    assert_eq!(report(&mut client), cleared);
}

#[test]
fn what_comes_late_is_cleared_once_by_the_next_run() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    let (_, card) = customer(&mut client, 100_000);
    let serial = pass(&mut client, &card, "G4", "2025-03-01T08:00:00+08:00", 1_500);
    pass(&mut client, &card, "S50", "2025-03-01T08:30:00+08:00", 10);
    assert_eq!(run(&mut client)["total"], json!(1_510));

    pass(&mut client, &card, "G20", "2025-03-01T09:00:00+08:00", 40);
    refund(&mut client, &serial);
    assert_eq!(report(&mut client)["total"], json!(1_510), "a report only reads what was cleared");
    let late = json!({"operators": [
        {"operator": "G20", "count": 1, "amount": 40},
        {"operator": "G4", "count": 0, "amount": 0},
        {"operator": "S50", "count": 1, "amount": 10},
    ], "total": 50});
    for _ in 0..2 {
        assert_eq!(run(&mut client), late);
    }
}

#[test]
fn days_that_are_not_over_and_dates_that_are_none_are_refused() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for date in ["9998-12-31", "2999-01-01"] {
        assert_eq!(
            client.call_json(RUN_CLEARING, json!({"date": date})).error_code(),
            "day_not_over",
            "{date}"
        );
    }
    for date in [json!("2025-02-30"), json!("1.3.2025"), json!(20_250_301), json!(null)] {
        for service in [RUN_CLEARING, CLEARING_REPORT] {
            let reply = client.call_json(service, json!({"date": date}));
            assert_eq!(reply.error_code(), "bad_request", "{date}");
            assert_eq!(reply.json()["field"], json!("date"));
        }
    }
    let reply = client.call_json(CLEARING_REPORT, json!({"date": "2999-01-01"})).done();
    assert_eq!(number(&reply, "total"), 0, "nothing is cleared yet");
}
