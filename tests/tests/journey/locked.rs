//! An embedded database whose write lock somebody else holds for a while. Servers have no such lock.

use gantry_tests::etc::{ADD, add, counter};
use gantry_tests::{Database, Node, NodeOptions, Request, until};
use rusqlite::Connection;

const AGAIN: &str = "it is run again";

/// Takes the write lock of the node's database past the platform.
fn lock(node: &Node) -> Connection {
    let connection =
        Connection::open(node.state_folder().join("data.db")).expect("the database can be opened");
    connection.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    connection
}

fn node() -> Node {
    let options = NodeOptions::business().on(Database::Sqlite);
    Node::start(options.text("data.main.busy_timeout", "20ms").text("log.level", "debug"))
}

#[test]
fn write_waits_for_a_lock_longer_than_the_database_does_and_is_done_once() {
    let node = node();
    let mut client = node.client();
    add(&mut client, "locked", 1);
    let lock = lock(&node);
    client.send(&Request::new(ADD, r#"{"key":"locked","add":10}"#));
    until("the platform has run it again twice", || (node.logs().matches(AGAIN).count() >= 2).then_some(()));
    assert!(!client.has_reply(), "it cannot be done yet");
    lock.execute_batch("ROLLBACK").expect("the lock is given back");
    client.receive().done();
    assert_eq!(counter(&mut client, "locked"), 11);
}

#[test]
fn write_that_gets_no_lock_in_its_time_is_answered_and_not_done() {
    let node = node();
    let mut client = node.client();
    add(&mut client, "locked", 1);
    let lock = lock(&node);
    let request = Request::new(ADD, r#"{"key":"locked","add":10}"#).budget_ms(300);
    let reply = client.exchange(&request);
    assert!(matches!(reply.status, 301 | 306), "{reply:?}");
    assert!(node.logs().contains(AGAIN), "it was tried more than once");
    lock.execute_batch("ROLLBACK").expect("the lock is given back");
    until("its outcome is final", || {
        let (outcome, _) = gantry_tests::etc::outcome(&mut client, &request.id);
        (outcome == "failed").then_some(())
    });
    assert_eq!(counter(&mut client, "locked"), 1);
    node.until_quiet();
}
