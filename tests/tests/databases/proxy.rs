//! Two nodes behind nginx, as `deploy/nginx` configures it.

use gantry_test_servers::{Kind, Nginx};
use gantry_tests::etc::{ADD, ECHO};
use gantry_tests::{Answer, Client, Load, Node, Request, repository_root, tally, until};
use serde_json::json;
use std::fs;

use super::{expect_counted, options, repeat_until_done, server};

/// Connections of the load; each has a request in flight.
const CONNECTIONS: usize = 6;

/// nginx with the shipped configuration, in which only the addresses are others.
fn proxy(nodes: [&Node; 2]) -> Nginx {
    let file = repository_root().join("deploy/nginx/gantry.conf");
    let mut text = fs::read_to_string(file).expect("the configuration ships");
    for (shipped, here) in [
        ("listen 127.0.0.1:7900", "listen {listen}".to_owned()),
        ("server 127.0.0.1:7800", format!("server {}", nodes[0].address())),
        ("server 127.0.0.2:7800", format!("server {}", nodes[1].address())),
    ] {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped} in deploy/nginx/gantry.conf");
        text = text.replace(shipped, &here);
    }
    Nginx::start(&text)
}

/// One node is stopped in the middle, as an operator does or as a death does, and comes back.
fn node_leaves_under_load(ends: impl Fn(&mut Node), wanted_in_between: impl Fn(Answer) -> bool) {
    let server = server(Kind::Postgres);
    let (mut leaving, staying) = (Node::start(options(&server)), Node::start(options(&server)));
    let proxy = proxy([&leaving, &staying]);
    let load = Load::start(proxy.address(), CONNECTIONS, |number| {
        Request::new(ADD, json!({"key": format!("thread {number}"), "add": 1}).to_string())
    });
    load.go_on(200);
    ends(&mut leaving);
    load.go_on(200);
    leaving.run();
    // Clients stay where they are; new ones find their way back.
    until("the node that came back is given a client", || {
        let mut clients: Vec<Client> =
            (0..CONNECTIONS).filter_map(|_| Client::connect(proxy.address()).ok()).collect();
        for client in &mut clients {
            client.call(ECHO, "x").done();
        }
        (leaving.status().connections() > 0).then_some(())
    });
    load.go_on(200);
    let sent = load.stop();
    let answers = tally(&sent);
    println!("{answers:?}");
    for answer in answers.keys() {
        assert!(*answer == Answer::Status(0) || wanted_in_between(*answer), "{answers:?}");
    }
    repeat_until_done(|| Client::connect(proxy.address()).ok(), &sent);
    expect_counted(&staying, &sent);
    expect_counted(&leaving, &sent);
    // What was answered is what is recorded: the other node says the same.
    let sample: Vec<&Request> = sent.iter().rev().take(20).map(|one| &one.request).collect();
    let (mut here, mut there) = (staying.client(), leaving.client());
    for request in sample {
        assert_eq!(here.exchange(request).done().body, there.exchange(request).done().body);
    }
    expect_counted(&staying, &sent);
}

#[test]
fn nothing_is_lost_or_doubled_when_a_node_behind_nginx_is_stopped_under_load() {
    let draining = |answer| matches!(answer, Answer::Lost | Answer::Status(200..=299));
    node_leaves_under_load(|node| assert_eq!(node.stop(), Some(0)), draining);
}

#[test]
fn nothing_is_lost_or_doubled_when_a_node_behind_nginx_dies_under_load() {
    node_leaves_under_load(Node::kill_everything, |answer| answer == Answer::Lost);
}
