//! Passages as documents: the same answers whatever dies between the documents and the ledger, and a node of this kind
//! beside one of the other. The ordinary way is the journeys', run by `with-server mongo`.
#![forbid(unsafe_code)]

mod deaf;
mod killed;
mod outage;
mod refused;
#[cfg(feature = "odbc")]
mod shipped;
mod side_by_side;
mod transactions;

use gantry_test_servers::MongoServer;
use gantry_tests::etc::{PASSAGES, balance};
use gantry_tests::{Client, NodeOptions, Request, until};
use serde_json::{Value, json};

/// What an account of these tests begins with, in fen.
const MONEY: i64 = 10_000_000;

/// A node whose passages are on the server.
fn options(server: &MongoServer) -> NodeOptions {
    NodeOptions::business().with_documents(&server.place())
}

/// A passage of a card; the number tells it from others of the card.
fn passage(card: &str, number: usize) -> Value {
    let (hour, minute, second) = (number / 3600, number / 60 % 60, number % 60);
    let at = format!("2025-03-01T{hour:02}:{minute:02}:{second:02}Z");
    json!({"card": card, "operator": "G4", "entry": "北京", "exit": "涿州", "at": at, "fee": 100})
}

/// All passages that are listed for a card, page by page.
fn listed(client: &mut Client, card: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let page =
            client.call_json(PASSAGES, json!({"card": card, "limit": 50, "after": after})).done().json();
        all.extend(page["passages"].as_array().expect("a page has passages").iter().cloned());
        after = page["next"].clone();
        if after.is_null() {
            return all;
        }
    }
}

/// What is listed is what was booked: no passage more, none less, and refunds likewise. Gives what is listed.
#[track_caller]
fn expect_agreement(client: &mut Client, account: &str, card: &str, place: &str) -> Vec<Value> {
    let listed = listed(client, card);
    let owed = listed.iter().filter(|passage| passage["refunded"] == false);
    let owed: i64 = owed.map(|passage| passage["fee"].as_i64().expect("a fee")).sum();
    assert_eq!(balance(client, account), MONEY - owed, "{place}: {listed:#?}");
    listed
}

/// Sends a request again, each time as a new one, until it is done or refused by the business.
fn insist(client: &mut Client, service: u32, body: &Value) -> Value {
    until("the request is done", || {
        let reply = client.exchange(&Request::new(service, body.to_string()));
        match reply.status {
            0 | 304 => Some(reply.json()),
            202 | 301 | 302 | 305 | 306 | 500 => None,
            other => panic!("{other:03} to {body}"),
        }
    })
}
