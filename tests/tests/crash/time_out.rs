//! Services that never end: the caller is answered at the deadline, the worker is replaced.

use gantry_tests::etc::{ECHO, FAULT, FAULT_WRITE, SLEEP, add, outcome};
use gantry_tests::processes::{is_running, kill_hard, send_signal};
use gantry_tests::{Node, NodeOptions, Request, until};
use nix::sys::signal::Signal;

fn quick() -> NodeOptions {
    NodeOptions::small().text("service.timeout", "500ms").text("workers.kill_grace", "200ms")
}

#[test]
fn service_that_spins_is_answered_301_and_its_worker_is_killed() {
    let node = Node::start(quick());
    let mut client = node.client();
    for (service, queue) in [(FAULT, "read"), (FAULT_WRITE, "write")] {
        let victim = node.pid(queue);
        client.call(service, r#"{"how":"spin"}"#).expect_status(301);
        node.successor(queue, victim);
        until("the spinning worker is gone", || (!is_running(victim)).then_some(()));
    }
    assert_eq!(client.call(ECHO, "others go on").done().body, b"others go on");
    assert_eq!(add(&mut client, "k", 1), 1);
    node.until_quiet();
}

#[test]
fn requests_queued_behind_a_spinning_one_are_served_by_the_next_worker() {
    let node = Node::start(quick());
    let (mut spinning, mut behind) = (node.client(), node.client());
    spinning.send(&Request::new(FAULT, r#"{"how":"spin"}"#));
    node.until_busy("read");
    // A budget of theirs, since the time-out of echo would run out in the queue.
    let requests: Vec<Request> = (0..10).map(|number| Request::new(ECHO, number.to_string())).collect();
    let statuses: Vec<u16> = behind.exchange_all(&requests).iter().map(|reply| reply.status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 0 | 305)), "{statuses:?}");
    spinning.receive().expect_status(301);
    assert_eq!(behind.call(ECHO, "after").done().body, b"after");
}

/// The communication process notices the death before it looks at its clock: what was killed for its time-out has
/// timed out all the same, and no caller is told of a worker that was lost.
#[test]
fn write_killed_for_its_time_out_is_answered_301_also_when_its_death_is_noticed_first() {
    let node = Node::start(quick());
    let (mut client, mut asking) = (node.client(), node.client());
    for (service, queue) in [(FAULT_WRITE, "write"), (FAULT, "read")] {
        let (victim, comm) = (node.pid(queue), node.pid("comm"));
        let request = Request::new(service, r#"{"how":"spin"}"#);
        client.send(&request);
        node.until_busy(queue);
        send_signal(comm, Signal::SIGSTOP);
        // Its slot was given back before the successor was started.
        node.successor(queue, victim);
        send_signal(comm, Signal::SIGCONT);
        client.receive().expect_status(301);
        if queue == "write" {
            assert_eq!(outcome(&mut asking, &request.id).0, "failed");
        }
        assert_eq!(node.pid("comm"), comm, "it was stopped for a moment only");
    }
    node.until_quiet();
}

/// TERM means nothing to a stopped process; KILL does.
#[test]
fn worker_that_hears_no_signal_is_killed_after_its_grace() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.send(&Request::new(SLEEP, r#"{"ms":60000}"#));
    node.until_busy("read");
    let victim = node.pid("read");
    send_signal(victim, Signal::SIGSTOP);
    client.receive().expect_status(301);
    node.successor("read", victim);
    until("the stopped worker is gone", || (!is_running(victim)).then_some(()));
}

/// It still writes into its slot and its blocks, so nothing of it is given to others before it is dead.
#[test]
fn worker_that_is_asked_to_end_keeps_its_request_until_it_is_dead() {
    let node = Node::start(quick().text("workers.kill_grace", "60s"));
    let mut client = node.client();
    client.send(&Request::new(SLEEP, r#"{"ms":60000}"#));
    node.until_busy("read");
    let victim = node.pid("read");
    send_signal(victim, Signal::SIGSTOP);
    client.receive().expect_status(301);
    until("it is asked to end", || node.logs().contains("child is asked to end").then_some(()));
    assert_eq!(node.status().slots("running"), 1);
    kill_hard(victim);
    node.successor("read", victim);
    node.until_quiet();
}
