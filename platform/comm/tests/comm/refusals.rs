//! Every refusal, with its reason.

use std::io::Write;

use gantry_comm::Counter;
use gantry_message::Status;
use gantry_sys::atomic::Ordering;

use crate::client::{frame, id, wait_until};
use crate::world::{QUARANTINED, READ_ECHO, READ_HOLD, STOPPED, WRITE_ECHO, WRITE_HOLD, World};

#[test]
fn unknown_stopped_and_quarantined_services_are_told_apart() {
    let world = World::new("");
    let mut client = world.client();
    for (service, status) in [
        (0, Status::NoSuchService),
        (4, Status::NoSuchService),
        (9_999_999, Status::NoSuchService),
        (99_999_999, Status::NoSuchService),
        (STOPPED, Status::ServiceStopped),
        (QUARANTINED, Status::Quarantined),
    ] {
        assert_eq!(client.call(service, id(1), b"{}").status(), Some(status), "{service}");
    }
    assert_eq!(world.counted(Counter::NoSuchService), 4);
    assert_eq!(world.executed(), 0);
}

#[test]
fn reads_are_refused_over_the_threshold_while_writes_pass() {
    let mut world = World::idle("[ipc]\nread_queue = 20\n");
    let mut client = world.client();
    for index in 0..30 {
        client.send(READ_ECHO, id(index), b"x");
    }
    for _ in 16..30 {
        let reply = client.receive();
        assert_eq!(reply.status(), Some(Status::ReadQueueOverThreshold));
        let body = String::from_utf8(reply.body).unwrap();
        assert!(body.starts_with("{\"retry_after_ms\":") && body.contains("\"fill\":0.80"), "{body}");
    }
    assert_eq!(world.counted(Counter::ReadThreshold), 14);
    client.send(WRITE_ECHO, id(100), b"w");
    world.start_workers();
    let mut done: Vec<_> = (0..17).map(|_| client.receive()).collect();
    done.retain(|reply| reply.status() == Some(Status::Done));
    assert_eq!(done.len(), 17);
    assert_eq!(client.call(READ_ECHO, id(200), b"x").status(), Some(Status::Done), "reads resume");
    world.check_nothing_is_held();
}

#[test]
fn writes_are_refused_when_their_queue_is_full() {
    let mut world = World::idle("[ipc]\nwrite_queue = 5\n");
    let mut client = world.client();
    for index in 0..7 {
        client.send(WRITE_ECHO, id(index), b"x");
    }
    for _ in 0..2 {
        let reply = client.receive();
        assert_eq!(reply.status(), Some(Status::Full));
        assert!(String::from_utf8(reply.body).unwrap().contains("\"queue\":\"write\""));
    }
    world.start_workers();
    assert!((0..5).all(|_| client.receive().status() == Some(Status::Done)));
}

#[test]
fn requests_are_refused_when_slots_or_blocks_are_out_and_pass_when_they_are_back() {
    let blocks = "blocks = [{ size = \"4KiB\", count = 8 }, { size = \"1MiB\", count = 4 }]";
    let mut world = World::idle(&format!("[ipc]\nslots = 16\nread_queue = 16\nwrite_queue = 16\n{blocks}\n"));
    let mut client = world.client();
    // Three quarters of both classes are for requests: 6 small blocks, and 3 large ones in place of small ones.
    for index in 0..10 {
        client.send(WRITE_ECHO, id(index), &[b'x'; 3000]);
    }
    let reply = client.receive();
    assert_eq!(reply.status(), Some(Status::Full));
    assert!(String::from_utf8(reply.body).unwrap().contains("\"queue\":\"memory\""));
    // A body needs no block when it is empty; slots are then the limit.
    for index in 20..28 {
        client.send(WRITE_ECHO, id(index), b"");
    }
    assert_eq!(client.receive().status(), Some(Status::Full));
    world.start_workers();
    for _ in 0..16 {
        assert_eq!(client.receive().status(), Some(Status::Done));
    }
    assert_eq!(client.call(WRITE_ECHO, id(50), &[b'x'; 3000]).status(), Some(Status::Done));
    world.check_nothing_is_held();
}

#[test]
fn reads_leave_slots_to_writes() {
    let mut world = World::idle(
        "[ipc]\nslots = 16\nread_queue = 16\nwrite_queue = 16\n[admission]\nread_threshold = 1.0\n",
    );
    let mut client = world.client();
    for index in 0..13 {
        client.send(READ_ECHO, id(index), b"");
    }
    assert_eq!(client.receive().status(), Some(Status::Full));
    for index in 20..25 {
        client.send(WRITE_ECHO, id(index), b"");
    }
    assert_eq!(client.receive().header.request_id, id(24), "only the fifth finds no slot");
    world.start_workers();
    assert!((0..16).all(|_| client.receive().status() == Some(Status::Done)));
}

#[test]
fn the_rules_of_a_service_refuse_it_with_203_until_they_allow_it() {
    let world = World::new("");
    let mut client = world.client();
    let service = world.service(READ_HOLD);
    service.rule_concurrency.store(2, Ordering::Relaxed);
    for index in 0..3 {
        client.send(READ_HOLD, id(index), b"x");
    }
    let refused = client.receive();
    assert_eq!((refused.status(), refused.header.request_id), (Some(Status::RefusedByRule), id(2)));
    world.gate.open();
    assert_eq!([client.receive().status(), client.receive().status()], [Some(Status::Done); 2]);
    assert_eq!(client.call(READ_HOLD, id(3), b"x").status(), Some(Status::Done));

    let service = world.service(READ_ECHO);
    service.rule_rate.store(1, Ordering::Relaxed);
    service.rule_burst.store(2, Ordering::Relaxed);
    let statuses: Vec<_> =
        (10..13).map(|index| client.call(READ_ECHO, id(index), b"x").status().unwrap()).collect();
    assert_eq!(statuses, [Status::Done, Status::Done, Status::RefusedByRule]);

    world.service(WRITE_ECHO).rule_refuse.store(1, Ordering::Relaxed);
    assert_eq!(client.call(WRITE_ECHO, id(20), b"x").status(), Some(Status::RefusedByRule));
    world.service(WRITE_ECHO).rule_refuse.store(0, Ordering::Relaxed);
    assert_eq!(client.call(WRITE_ECHO, id(21), b"x").status(), Some(Status::Done));
    world.check_nothing_is_held();
}

#[test]
fn a_drained_node_refuses_requests_answers_its_own_numbers_and_closes_idle_connections() {
    let world = World::new("");
    let (mut idle, mut busy) = (world.client(), world.client());
    idle.call(READ_ECHO, id(1), b"x");
    busy.send(WRITE_HOLD, id(2), b"held");
    wait_until("the write runs", || world.executed() == 2);
    world.control().node().draining.store(2, Ordering::Relaxed);
    assert!(idle.is_closed());
    assert_eq!(busy.call(READ_ECHO, id(3), b"x").status(), Some(Status::Draining));
    let (status, body) = busy.ask(3, id(4), b"");
    assert!(status == Status::Done && body.contains("\"draining\":true"), "{body}");
    world.gate.open();
    assert_eq!(busy.receive().body, b"held");
    assert!(busy.is_closed());
}

#[test]
fn a_stopping_process_ends_after_it_has_answered() {
    let mut world = World::new("");
    let mut client = world.client();
    client.send(WRITE_HOLD, id(1), b"held");
    wait_until("the write runs", || world.executed() == 1);
    world.control().node().stopping.store(1, Ordering::Relaxed);
    client.send(READ_ECHO, id(2), b"x");
    assert_eq!(client.receive().status(), Some(Status::Draining));
    world.gate.open();
    assert_eq!(client.receive().body, b"held");
    assert!(client.is_closed());
    world.stop_comm().unwrap();
}

#[test]
fn connections_over_the_limit_are_closed_at_once_and_the_others_stay() {
    let world = World::new("[comm]\nconnections_max = 3\n");
    let mut clients: Vec<_> = (0..3).map(|_| world.client()).collect();
    for client in &mut clients {
        client.call(READ_ECHO, id(1), b"x");
    }
    assert!(world.client().is_closed());
    assert_eq!(world.counted(Counter::ConnectionsMax), 1);
    assert_eq!(world.open_connections(), 3);
    drop(clients.pop());
    wait_until("a row is free again", || world.open_connections() == 2);
    assert_eq!(world.client().call(READ_ECHO, id(2), b"x").status(), Some(Status::Done));
}

#[test]
fn a_client_with_too_much_in_flight_is_not_read_until_there_is_room() {
    let mut world = World::idle("[comm]\nframes_in_flight_max = 10\n");
    let mut client = world.client();
    let mut bytes = Vec::new();
    for index in 0..50 {
        bytes.extend(frame(READ_ECHO, id(index), 0, b"x", false));
    }
    client.stream.write_all(&bytes).unwrap();
    wait_until("it is paused", || world.counted(Counter::FramesMax) > 0);
    let slots = gantry_ring::Slots::new(world.control().slots());
    let queued = || slots.words().filter(|(_, word)| word.is(gantry_ring::State::Queued)).count();
    wait_until("what may be in flight is queued", || queued() == 10);
    // Another client's exchange passes: the eleventh had every chance to be read.
    assert_eq!(world.client().call(3, id(99), b"").status(), Some(Status::Done));
    assert_eq!(queued(), 10);
    world.start_workers();
    for _ in 0..50 {
        assert_eq!(client.receive().status(), Some(Status::Done));
    }
    world.check_nothing_is_held();
}
