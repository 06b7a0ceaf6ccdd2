//! Admission at 80 %, with its way back at 65 %, and the refusals' bodies.

use gantry_tests::etc::{ADD, ECHO, SLEEP, SLEEP_WRITE, add, counter};
use gantry_tests::processes::send_signal;
use gantry_tests::{Client, Node, NodeOptions, Reply, Request, until};
use nix::sys::signal::Signal;
use serde_json::json;

/// A read queue of 20, so that 80 % are 16 requests.
fn narrow() -> NodeOptions {
    NodeOptions::small().set("ipc.read_queue", 20).set("ipc.write_queue", 20)
}

fn sleep(service: u32, ms: u32) -> Request {
    Request::new(service, json!({"ms": ms}).to_string())
}

#[track_caller]
fn expect_refusal(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    let body = reply.json();
    assert!(body["retry_after_ms"].is_u64(), "{body}");
    assert!(body["fill"].as_f64().is_some_and(|fill| (0.0..=1.0).contains(&fill)), "{body}");
}

/// Stops the only read worker in its tracks, so that what is queued stays queued.
fn freeze_reads(node: &Node) -> nix::unistd::Pid {
    let worker = node.pid("read");
    send_signal(worker, Signal::SIGSTOP);
    worker
}

#[test]
fn reads_over_the_threshold_are_refused_201_while_writes_pass() {
    let node = Node::start(narrow());
    let worker = freeze_reads(&node);
    let (mut reader, mut writer) = (node.client(), node.client());
    let requests: Vec<Request> = (0..40).map(|number| Request::new(ECHO, number.to_string())).collect();
    let mut refused = Vec::new();
    for request in &requests {
        reader.send(request);
    }
    // The refusals come at once, though nobody takes a read.
    for _ in 0..20 {
        refused.push(reader.receive());
    }
    for reply in &refused {
        expect_refusal(reply, 201);
        assert!(reply.json()["fill"].as_f64().is_some_and(|fill| fill >= 0.8), "{reply:?}");
    }
    for round in 1..=20 {
        assert_eq!(add(&mut writer, "passed", 1), round);
    }
    let queued = node.status().used("read");
    assert!((15..=18).contains(&queued), "80 % of 20 are 16, not {queued}");
    send_signal(worker, Signal::SIGCONT);
    let mut done = 0;
    for _ in 0..20 {
        let reply = reader.receive();
        assert!(!refused.iter().any(|refusal| refusal.id == reply.id), "answered twice: {reply:?}");
        if reply.status == 0 {
            done += 1;
        } else {
            expect_refusal(&reply, 201);
        }
    }
    assert!(done >= queued, "what was admitted is served: {done} of {queued}");
    assert_eq!(reader.call(ECHO, "again").done().body, b"again");
    node.until_quiet();
}

/// Between 80 % and 65 % the answer depends on where the queue came from.
#[test]
fn refused_reads_are_admitted_again_only_below_the_lower_mark() {
    let node = Node::start(narrow());
    let (mut filler, mut probe) = (node.client(), node.client());
    for _ in 0..30 {
        filler.send(&sleep(SLEEP, 250));
    }
    until("the queue is over its threshold", || (probe.call(ECHO, "x").status == 201).then_some(()));
    let mut between = 0;
    until("reads are admitted again", || {
        let before = node.status().used("read");
        let reply = probe_without_waiting(&node);
        let after = node.status().used("read");
        // 65 % of 20 are 13: as long as there were more before and after, it was refused.
        if before.min(after) > 13 {
            assert_eq!(reply, Some(201), "between the marks, {before} then {after} queued");
            between += usize::from(before < 16);
        }
        (reply != Some(201)).then_some(())
    });
    assert!(between > 0, "the queue was never seen between the marks");
    for _ in 0..30 {
        filler.receive();
    }
    node.until_quiet();
}

/// Sends a read with a small budget: a refusal comes at once, anything else means that it was admitted.
fn probe_without_waiting(node: &Node) -> Option<u16> {
    let mut client = node.client();
    client.send(&Request::new(ECHO, "probe").budget_ms(20));
    client.try_receive().ok().flatten().map(|reply| reply.status)
}

#[test]
fn below_the_threshold_no_read_is_refused() {
    let node = Node::start(narrow());
    let worker = freeze_reads(&node);
    let mut client = node.client();
    for _ in 0..14 {
        client.send(&Request::new(ECHO, "waits"));
    }
    until("fourteen are queued", || (node.status().used("read") == 14).then_some(()));
    send_signal(worker, Signal::SIGCONT);
    for _ in 0..14 {
        assert_eq!(client.receive().done().body, b"waits");
    }
}

#[test]
fn threshold_is_configurable() {
    let node =
        Node::start(narrow().set("admission.read_threshold", "0.30").set("admission.read_resume", "0.20"));
    let worker = freeze_reads(&node);
    let mut client = node.client();
    for _ in 0..12 {
        client.send(&Request::new(ECHO, "x"));
    }
    expect_refusal(&client.receive(), 201);
    let queued = node.status().used("read");
    assert!((5..=8).contains(&queued), "30 % of 20 are 6, not {queued}");
    send_signal(worker, Signal::SIGCONT);
}

#[test]
fn writes_are_refused_202_when_their_queue_is_full_and_nothing_of_them_is_executed() {
    let node = Node::start(narrow());
    let (mut blocker, mut writer) = (node.client(), node.client());
    blocker.send(&sleep(SLEEP_WRITE, 1_500));
    node.until_busy("write");
    let requests: Vec<Request> =
        (0..40).map(|_| Request::new(ADD, json!({"key": "full", "add": 1}).to_string())).collect();
    let replies = writer.exchange_all(&requests);
    let mut done = 0;
    for reply in &replies {
        if reply.status == 0 {
            done += 1;
        } else {
            expect_refusal(reply, 202);
        }
    }
    assert!((19..=21).contains(&done), "a queue of 20 holds 20, not {done}");
    blocker.receive().done();
    assert_eq!(counter(&mut writer, "full"), done);
    // A refused write was not recorded: the same id may come again.
    for (request, reply) in requests.iter().zip(&replies) {
        if reply.status == 202 {
            writer.exchange(request).done();
        }
    }
    assert_eq!(counter(&mut writer, "full"), 40);
}

/// Reads may hold three quarters of the slots and no more, so a write always finds one.
#[test]
fn reads_cannot_take_every_slot_from_the_writes() {
    let options =
        NodeOptions::small().set("ipc.slots", 64).set("ipc.read_queue", 64).set("ipc.write_queue", 64);
    let node =
        Node::start(options.set("admission.read_threshold", "1.0").set("admission.read_resume", "0.99"));
    let worker = freeze_reads(&node);
    let mut readers: Vec<Client> = (0..4).map(|_| node.client()).collect();
    for reader in &mut readers {
        for _ in 0..25 {
            reader.send(&Request::new(ECHO, "x"));
        }
    }
    until("reads hold what they may", || (node.status().used("read") >= 40).then_some(()));
    let mut writer = node.client();
    for round in 1..=30 {
        assert_eq!(add(&mut writer, "passed", 1), round);
    }
    let status = node.status();
    assert!(
        status.slots("free") >= 14,
        "a quarter of 64 slots is kept from the reads: {}",
        status.0["slots"]
    );
    send_signal(worker, Signal::SIGCONT);
    node.until_quiet();
}
