//! Two nodes on one database: a request's id counts on both.

use gantry_test_servers::Kind;
use gantry_tests::etc::{ADD, RECHARGE, add, balance, counter, customer, expect_books_to_balance, outcome};
use gantry_tests::{Client, Node, Reply, Request};
use serde_json::json;
use std::sync::Barrier;
use std::thread;

use super::{options, server};

/// Requests that are sent to both nodes at the same time.
const ROUNDS: usize = 60;

fn one_after_the_other(kind: Kind) {
    let server = server(kind);
    let (first, second) = (Node::start(options(&server)), Node::start(options(&server)));
    let (mut here, mut there) = (first.client(), second.client());
    let (account, card) = customer(&mut here, 1_000);
    for amount in 1..=10 {
        let body = json!({"card": card, "amount": amount, "channel": "app"});
        let request = Request::new(RECHARGE, body.to_string());
        let reply = here.exchange(&request).done();
        assert_eq!(there.exchange(&request).done().body, reply.body, "the other node repeats the reply");
        let (state, told) = outcome(&mut there, &request.id);
        assert_eq!((state.as_str(), &told["reply"]), ("done", &reply.json()));
        std::mem::swap(&mut here, &mut there);
    }
    assert_eq!(balance(&mut here, &account), 1_055);
    let refused = Request::new(RECHARGE, json!({"card": card, "amount": 0, "channel": "app"}).to_string());
    let error = here.exchange(&refused);
    assert_eq!(error.error_code(), "amount_invalid");
    assert_eq!(there.exchange(&refused).body, error.body, "a business error is one on both");
    let other = Request::new(RECHARGE, json!({"card": card, "amount": 9, "channel": "app"}).to_string());
    there.exchange(&other.id(&refused.id)).expect_status(107);
    expect_books_to_balance(&mut there);
}

/// Sends each request to both nodes at the same moment and returns both replies.
fn at_once(nodes: [&Node; 2], requests: &[Request]) -> [Vec<Reply>; 2] {
    let together = Barrier::new(2);
    let send_all = |node: &Node| {
        let mut client = node.client();
        let send = |request: &Request| {
            together.wait();
            client.exchange(request)
        };
        requests.iter().map(send).collect::<Vec<Reply>>()
    };
    thread::scope(|scope| {
        nodes.map(|node| scope.spawn(|| send_all(node))).map(|thread| thread.join().expect("it ends well"))
    })
}

fn at_the_same_time(kind: Kind) {
    let server = server(kind);
    let (first, second) = (Node::start(options(&server)), Node::start(options(&server)));
    let mut client: Client = first.client();
    let (account, card) = customer(&mut client, 0);
    add(&mut client, "both", 0);
    let recharge = || {
        let body = json!({"card": card, "amount": 7, "channel": "app"});
        Request::new(RECHARGE, body.to_string())
    };
    let count = || Request::new(ADD, json!({"key": "both", "add": 1}).to_string());
    let requests: Vec<Request> = (0..ROUNDS).flat_map(|_| [recharge(), count()]).collect();
    let [here, there] = at_once([&first, &second], &requests);
    for (reply, other) in here.into_iter().zip(there) {
        let (reply, other) = (reply.done(), other.done());
        assert_eq!(reply.body, other.body, "both nodes give the one reply");
    }
    let rounds = i64::try_from(ROUNDS).expect("a small number");
    assert_eq!(balance(&mut client, &account), 7 * rounds);
    assert_eq!(counter(&mut second.client(), "both"), rounds);
    expect_books_to_balance(&mut client);
}

#[test]
fn request_sent_to_one_node_of_postgres_after_the_other_is_done_once() {
    one_after_the_other(Kind::Postgres);
}

#[test]
fn request_sent_to_one_node_of_mariadb_after_the_other_is_done_once() {
    one_after_the_other(Kind::MariaDb);
}

#[test]
fn request_sent_to_both_nodes_of_postgres_at_the_same_time_is_done_once() {
    at_the_same_time(Kind::Postgres);
}

#[test]
fn request_sent_to_both_nodes_of_mariadb_at_the_same_time_is_done_once() {
    at_the_same_time(Kind::MariaDb);
}
