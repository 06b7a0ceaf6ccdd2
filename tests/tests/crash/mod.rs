//! Processes that die, hang or are stopped while requests are under way.
//!
//! One method runs through most of these tests: write down what every request was answered, then ask the
//! platform about the rest, and compare the diag counter with the sum. A lost request makes it too small, a
//! doubled one too large.

mod back_off;
mod comm;
mod quarantine;
mod reports;
mod supervisor;
mod time_out;
mod upgrade;
mod worker;

use std::collections::BTreeMap;

use gantry_tests::etc::{ADD, counter, outcome};
use gantry_tests::{Answer, Node, Request, Sent, until};
use serde_json::json;

/// A write that adds 1 to the counter `key`.
fn add_one(key: &str) -> Request {
    Request::new(ADD, json!({"key": key, "add": 1}).to_string())
}

/// Settles every write that has no certain answer and checks that the counter `key` holds exactly what was
/// promised.
///
/// A 302 or a lost connection is settled twice over: first by what the outcome query says, which must agree
/// with the counter, then by a repeat with the same id, after which every write must have counted exactly
/// once.
#[track_caller]
fn expect_each_counted_once(node: &Node, key: &str, sent: &[Sent]) {
    let mut client = node.client();
    let mut counted = 0;
    let mut open = Vec::new();
    for one in sent {
        match one.answer {
            Answer::Status(0) => counted += 1,
            Answer::Status(302) | Answer::Lost => open.push(&one.request),
            Answer::Status(other) => panic!("{other:03} is no answer to a write of this test: {one:?}"),
        }
    }
    let mut states = BTreeMap::new();
    for request in &open {
        let state = until("the outcome is settled", || {
            let (state, _) = outcome(&mut client, &request.id);
            (state != "queued" && state != "running").then_some(state)
        });
        counted += i64::from(state == "done");
        *states.entry(state).or_insert(0) += 1;
    }
    println!("{} writes, {} of them without an answer: {states:?}", sent.len(), open.len());
    assert_eq!(counter(&mut client, key), counted, "the outcomes agree with the counter");
    for request in open {
        client.exchange(request).done();
    }
    let all = i64::try_from(sent.len()).expect("a load fits an i64");
    assert_eq!(counter(&mut client, key), all, "after the repeats every write has counted exactly once");
}
