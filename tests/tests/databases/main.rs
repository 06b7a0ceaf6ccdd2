//! Nodes on real database servers: two on one database, behind a proxy, while the server is dead or deaf, and when it ends
//! a session in the middle of a write.
#![forbid(unsafe_code)]

mod doctor;
mod lost;
mod outage;
mod proxy;
mod two_nodes;

use gantry_test_servers::{Kind, Server};
use gantry_tests::{Answer, Client, Database, Node, NodeOptions, Sent, until};
use std::collections::BTreeMap;

/// The name of the database that the nodes of a test share.
const SHARED: &str = "shared";

/// Connections of a test's server.
const CONNECTIONS: usize = 100;

/// A server with the shared database.
fn server(kind: Kind) -> Server {
    let server = Server::start_wide(kind, CONNECTIONS);
    server.create_database(SHARED);
    server
}

/// What a node on the shared database is like.
fn options(server: &Server) -> NodeOptions {
    let options = NodeOptions::business().on_existing(Database::on(server), SHARED);
    options.set("workers.read", 2).set("workers.write", 2)
}

/// Repeats with the same ids whatever has no final answer yet, until everything is done.
fn repeat_until_done(connect: impl Fn() -> Option<Client>, sent: &[Sent]) {
    let mut client = None;
    for one in sent.iter().filter(|one| one.answer != Answer::Status(0)) {
        until("a request that was repeated is done", || {
            let connected = match client.take() {
                Some(connected) => connected,
                None => connect()?,
            };
            let connected = client.insert(connected);
            let reply = connected.try_send(&one.request).and_then(|()| connected.try_receive());
            match reply {
                Ok(Some(reply)) if reply.status == 0 => Some(()),
                Ok(Some(_)) => None,
                Ok(None) | Err(_) => {
                    client = None;
                    None
                }
            }
        });
    }
}

/// How often each counter was to be added to.
fn wanted(sent: &[Sent]) -> BTreeMap<Vec<u8>, i64> {
    let mut wanted = BTreeMap::new();
    for one in sent {
        *wanted.entry(one.request.body.clone()).or_default() += 1;
    }
    wanted
}

/// Compares the counters with what was sent.
fn expect_counted(node: &Node, sent: &[Sent]) {
    let mut client = node.client();
    for (body, count) in wanted(sent) {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("we made it");
        let key = body["key"].as_str().expect("we made it");
        assert_eq!(gantry_tests::etc::counter(&mut client, key), count, "{key}");
    }
}
