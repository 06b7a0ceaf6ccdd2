//! `kill -9` of the communication process: back at once on the same socket, and what was accepted is
//! executed.

use std::time::Instant;

use gantry_tests::etc::{ECHO, SLEEP_WRITE, counter};
use gantry_tests::processes::{kill_hard, send_signal};
use gantry_tests::{Answer, Client, Load, Node, NodeOptions, Request, tally, until};
use nix::sys::signal::Signal;

use super::{add_one, expect_each_counted_once};

#[test]
fn killed_comm_is_back_on_the_same_socket_and_nothing_is_lost_or_doubled() {
    let node = Node::start(NodeOptions::small());
    // A load's threads fail when a connection is refused: the listening socket outlives its process.
    let writes = Load::start(node.address(), 4, |_| add_one("comm"));
    let reads = Load::start(node.address(), 2, |_| Request::new(ECHO, "x"));
    writes.go_on(20);
    for _ in 0..6 {
        let victim = node.pid("comm");
        kill_hard(victim);
        let begin = Instant::now();
        node.successor("comm", victim);
        println!("comm {victim} was replaced after {:?}", begin.elapsed());
        writes.go_on(40);
        reads.go_on(40);
    }
    let reads = tally(&reads.stop());
    assert!(reads.keys().all(|answer| matches!(answer, Answer::Status(0) | Answer::Lost)), "{reads:?}");
    let sent = writes.stop();
    println!("writes under kills of comm: {:?}", tally(&sent));
    expect_each_counted_once(&node, "comm", &sent);
    node.until_quiet();
}

/// A keeper that nobody has written down ends after 5 s; one that is written down stays as long as its process.
#[test]
fn keeper_stays_as_long_as_its_process() {
    let node = Node::start(NodeOptions::small());
    let before = node.pid("keeper");
    node.client().call(SLEEP_WRITE, r#"{"ms":6000}"#).done();
    assert_eq!(node.pid("keeper"), before);
}

/// Nobody repeats anything here: being accepted is enough.
#[test]
fn requests_accepted_before_comm_was_killed_are_still_executed() {
    let node = Node::start(NodeOptions::small());
    let (mut running, mut queued) = (node.client(), node.client());
    running.send(&Request::new(SLEEP_WRITE, r#"{"ms":1000}"#));
    node.until_busy("write");
    for _ in 0..50 {
        queued.send(&add_one("accepted"));
    }
    until("all are accepted", || (node.status().used("write") == 50).then_some(()));
    let workers = node.pids("worker");
    let victim = node.pid("comm");
    kill_hard(victim);
    node.successor("comm", victim);
    let mut client = node.client();
    until("all are executed", || (counter(&mut client, "accepted") == 50).then_some(()));
    assert_eq!(node.pids("worker"), workers, "the workers never noticed");
    node.until_quiet();
}

/// Requests half received when comm dies are gone, and so are their slots and blocks.
#[test]
fn killed_comm_leaves_no_slot_of_a_half_received_frame_behind() {
    let node = Node::start(NodeOptions::small());
    let mut halves: Vec<Client> = (0..6).map(|_| node.client()).collect();
    for half in &mut halves {
        let frame = Request::new(ECHO, vec![b'h'; 500_000]).encode();
        half.send_bytes(&frame[..200_000]).expect("a part can be sent");
    }
    until("blocks are held", || (node.status().slots("free") < node.status().slots("total")).then_some(()));
    let victim = node.pid("comm");
    kill_hard(victim);
    node.successor("comm", victim);
    drop(halves);
    node.until_quiet();
    let mut client = node.client();
    for _ in 0..10 {
        assert_eq!(client.call(ECHO, vec![b'w'; 1_000_000]).done().body.len(), 1_000_000);
    }
}

#[test]
fn comm_and_workers_killed_together_lose_nothing() {
    let node = Node::start(NodeOptions::small().set("workers.write", 2));
    let writes = Load::start(node.address(), 4, |_| add_one("all"));
    writes.go_on(20);
    for _ in 0..4 {
        let victims: Vec<_> = ["comm", "worker"].iter().flat_map(|role| node.pids(role)).collect();
        let comm = node.pid("comm");
        for victim in victims {
            kill_hard(victim);
        }
        node.successor("comm", comm);
        writes.go_on(40);
    }
    expect_each_counted_once(&node, "all", &writes.stop());
    node.until_quiet();
}

/// A process that hangs is as bad as a dead one.
#[test]
fn comm_that_hangs_is_killed_and_replaced() {
    let node = Node::start(NodeOptions::small().text("supervisor.heartbeat_timeout", "1s"));
    let victim = node.pid("comm");
    send_signal(victim, Signal::SIGSTOP);
    node.successor("comm", victim);
    assert_eq!(node.client().call(ECHO, "again").done().body, b"again");
}

#[test]
fn unix_socket_is_served_again_after_comm_was_killed() {
    let node = Node::start(NodeOptions::small());
    assert_eq!(node.unix_client().call(ECHO, "before").done().body, b"before");
    let victim = node.pid("comm");
    kill_hard(victim);
    node.successor("comm", victim);
    assert_eq!(node.unix_client().call(ECHO, "after").done().body, b"after");
}
