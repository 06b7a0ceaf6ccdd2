//! Very many connections, most of them saying nothing.

use std::net::TcpStream;

use gantry_tests::etc::{ECHO, add, counter};
use gantry_tests::processes::allow_open_files;
use gantry_tests::{Client, Node, NodeOptions, until};

/// Connections that say nothing. Below the limit of open files that a fresh machine gives its root user.
const SILENT: usize = 10_000;

#[test]
fn ten_thousand_silent_connections_leave_the_others_served() {
    allow_open_files(SILENT as u64 + 100);
    let node = Node::start(NodeOptions::small().set("comm.connections_max", 12_000));
    let mut first = node.client();
    let silent: Vec<TcpStream> =
        (0..SILENT).map(|_| TcpStream::connect(node.address()).expect("a connection")).collect();
    until("the node counts them", || (node.status().connections() >= SILENT as u64).then_some(()));
    let mut last = node.client();
    for round in 1..=50 {
        assert_eq!(first.call(ECHO, "x").done().body, b"x");
        assert_eq!(add(&mut last, "crowd", 1), round);
    }
    drop(silent);
    until("the closed connections are forgotten", || (node.status().connections() <= 2).then_some(()));
    assert_eq!(counter(&mut first, "crowd"), 50);
}

#[test]
fn connection_over_the_limit_is_closed_and_room_is_made_by_one_that_ends() {
    let node = Node::start(NodeOptions::small().set("comm.connections_max", 20));
    let mut clients: Vec<Client> = (0..20).map(|_| node.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(ECHO, "x").done().body, b"x");
    }
    let mut extra = node.client();
    extra.expect_closed();
    assert_eq!(clients[0].call(ECHO, "undisturbed").done().body, b"undisturbed");
    clients.pop();
    until("there is room again", || {
        let mut client = node.client();
        client.try_send(&gantry_tests::Request::new(ECHO, "x")).ok()?;
        client.try_receive().ok().flatten().filter(|reply| reply.status == 0)
    });
}

#[test]
fn idle_connection_is_closed_after_its_time_and_a_busy_one_is_not() {
    let node = Node::start(NodeOptions::small().text("comm.idle_timeout", "400ms"));
    let (mut idle, mut busy) = (node.client(), node.client());
    idle.call(ECHO, "once").done();
    busy.send(&gantry_tests::Request::new(gantry_tests::etc::SLEEP, r#"{"ms":1200}"#));
    idle.expect_closed();
    busy.receive().done();
}
