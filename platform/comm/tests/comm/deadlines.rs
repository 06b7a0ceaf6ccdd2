//! 301 and 305, and who waits for what.

use std::io::Write;
use std::time::{Duration, Instant};

use gantry_message::Status;

use crate::client::{frame, id, wait_until};
use crate::world::{READ_ECHO, READ_HOLD, WRITE_HOLD, World};

#[test]
fn a_request_that_still_waits_at_its_deadline_never_started() {
    let mut world = World::idle("");
    let mut client = world.client();
    let started = Instant::now();
    client.stream.write_all(&frame(READ_ECHO, id(1), 300, b"x", true)).unwrap();
    let reply = client.receive();
    assert_eq!((reply.status(), reply.body.len()), (Some(Status::BudgetSpent), 0));
    assert!(started.elapsed() >= Duration::from_millis(300), "not before its time: {:?}", started.elapsed());
    world.check_nothing_is_held();
    world.start_workers();
    assert_eq!(client.call(READ_ECHO, id(2), b"x").status(), Some(Status::Done));
    assert_eq!(world.executed(), 1, "the first one was not run");
}

#[test]
fn a_request_that_runs_at_its_deadline_is_301_and_its_late_reply_goes_nowhere() {
    let world = World::new("");
    let mut client = world.client();
    for service in [READ_HOLD, WRITE_HOLD] {
        client.stream.write_all(&frame(service, id(1), 300, b"late", false)).unwrap();
        let reply = client.receive();
        assert_eq!((reply.status(), reply.body.len()), (Some(Status::TimedOut), 0));
    }
    assert_eq!(world.executed(), 2);
    world.gate.open();
    world.check_nothing_is_held();
    assert_eq!(client.call(READ_ECHO, id(2), b"next").body, b"next", "no late reply in between");
    // The write came to its end after its caller was told 301: a repeat gets the reply.
    assert_eq!(client.call(WRITE_HOLD, id(1), b"late").body, b"late");
    assert_eq!(world.executed(), 3, "the repeat was not run");
}

#[test]
fn the_services_time_out_counts_when_it_is_shorter_than_the_budget() {
    let world = World::new("[service]\ntimeout = \"10s\"\n");
    world.service(READ_HOLD).timeout_ms.store(100, gantry_sys::atomic::Ordering::Relaxed);
    let mut client = world.client();
    let started = Instant::now();
    client.stream.write_all(&frame(READ_HOLD, id(1), 60_000, b"x", false)).unwrap();
    assert_eq!(client.receive().status(), Some(Status::TimedOut));
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn the_budget_counts_from_the_whole_frames_arrival() {
    let world = World::new("");
    let mut client = world.client();
    let stream = frame(READ_ECHO, id(1), 50, &[b'x'; 20_000], false);
    client.stream.write_all(&stream[..15_000]).unwrap();
    // Longer than the budget, by the clock of others' exchanges.
    let started = Instant::now();
    wait_until("the budget would be over", || {
        world.client().call(READ_ECHO, id(9), b"y");
        started.elapsed() > Duration::from_millis(100)
    });
    client.stream.write_all(&stream[15_000..]).unwrap();
    assert_eq!(client.receive().status(), Some(Status::Done));
}

#[test]
fn many_deadlines_at_once_are_all_kept() {
    let world = World::idle("");
    let mut client = world.client();
    let mut bytes = Vec::new();
    for index in 0..500 {
        bytes.extend(frame(READ_ECHO, id(index), 100 + index as u32 % 50, b"x", false));
    }
    client.stream.write_all(&bytes).unwrap();
    for _ in 0..500 {
        assert_eq!(client.receive().status(), Some(Status::BudgetSpent));
    }
    world.check_nothing_is_held();
}
