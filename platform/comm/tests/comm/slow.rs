//! Clients that do not read, do not write, or say nothing: they cost only themselves.

use std::io::Write;
use std::net::TcpStream;

use gantry_comm::Counter;
use gantry_message::Status;

use crate::client::{Client, frame, id, wait_until};
use crate::world::{READ_ECHO, READ_HOLD, WRITE_ECHO, WRITE_HOLD, World};
use gantry_sys::atomic::Ordering;

fn is_served(world: &World) {
    assert_eq!(world.client().call(READ_ECHO, id(999), b"x").status(), Some(Status::Done));
}

/// Sends on and on, without reading anything, until `is_enough`.
fn flood(
    client: &mut Client<TcpStream>,
    mut frame_of: impl FnMut(u64) -> Vec<u8>,
    is_enough: impl Fn() -> bool,
) {
    client.stream.set_nonblocking(true).unwrap();
    let (mut number, mut bytes, mut sent) = (0, Vec::new(), 0);
    wait_until("the node has enough", || {
        if sent == bytes.len() {
            (bytes, sent) = (frame_of(number), 0);
            number += 1;
        }
        // It is full for now, or closed: the condition tells.
        sent += client.stream.write(&bytes[sent..]).unwrap_or(0);
        is_enough()
    });
}

#[test]
fn a_header_or_body_that_never_comes_closes_the_connection_silently() {
    let world = World::new("[comm]\nheader_timeout = \"100ms\"\nbody_timeout = \"100ms\"\n");
    let cases: [(Vec<u8>, Counter); 5] = [
        (b"E".to_vec(), Counter::HeaderTimeout),
        (frame(READ_ECHO, id(1), 0, b"", false)[..63].to_vec(), Counter::HeaderTimeout),
        (frame(READ_ECHO, id(1), 0, b"abc", false)[..66].to_vec(), Counter::BodyTimeout),
        (frame(READ_ECHO, id(1), 0, &[0; 50_000], false)[..30_000].to_vec(), Counter::BodyTimeout),
        (frame(READ_ECHO + 50, id(1), 0, &[0; 50_000], false)[..30_000].to_vec(), Counter::BodyTimeout),
    ];
    for (bytes, counter) in cases {
        let before = world.counted(counter);
        let mut client = world.client();
        client.stream.write_all(&bytes).unwrap();
        assert!(client.is_closed());
        wait_until("it is counted", || world.counted(counter) == before + 1);
    }
    is_served(&world);
    world.check_nothing_is_held();
}

#[test]
fn a_silent_client_is_closed_after_the_idle_time_and_a_busy_one_is_not() {
    let world = World::new("[comm]\nidle_timeout = \"150ms\"\n");
    let (mut silent, mut busy) = (world.client(), world.client());
    busy.send(READ_HOLD, id(1), b"x");
    assert!(silent.is_closed());
    assert_eq!(world.counted(Counter::IdleTimeout), 1);
    world.gate.open();
    assert_eq!(busy.receive().status(), Some(Status::Done));
    assert!(busy.is_closed(), "now it is idle too");
}

#[test]
fn a_client_that_never_reads_is_bounded_and_then_closed() {
    let world = World::new(
        "[comm]\nwrite_timeout = \"300ms\"\nbody_max = \"64KiB\"\nbytes_in_flight_max = \"1MiB\"\n",
    );
    let mut client = world.client();
    let frame_of = |number| frame(1, id(number), 0, &[b'p'; 16_000], false);
    flood(&mut client, frame_of, || world.counted(Counter::FramesMax) > 0);
    wait_until("it is closed", || world.counted(Counter::WriteTimeout) == 1);
    wait_until("its row is free", || world.open_connections() == 0);
    is_served(&world);
    world.check_nothing_is_held();
}

#[test]
fn a_client_that_never_reads_cannot_keep_the_records_of_the_others() {
    let world = World::new("[comm]\nout_records = 64\nwrite_timeout = \"60s\"\n");
    let mut client = world.client();
    let frame_of = |number| frame(1, id(number), 0, &[b'p'; 100], false).repeat(50);
    flood(&mut client, frame_of, || world.counted(Counter::EvictedStalled) == 1);
    assert!(world.counted(Counter::RecordsOut) > 0);
    is_served(&world);
    drop(client);
    world.check_nothing_is_held();
}

#[test]
fn half_received_frames_cannot_keep_the_receive_buffers_of_the_others() {
    let world = World::new("[comm]\nreceive_buffers = 8\n");
    let mut slow: Vec<_> = (0..20).map(|_| world.client()).collect();
    for client in &mut slow {
        client.stream.write_all(b"ETC1").unwrap();
    }
    for _ in 0..5 {
        is_served(&world);
    }
    wait_until("some had to go", || world.counted(Counter::EvictedPartial) > 0);
}

#[test]
fn large_bodies_that_do_not_come_cannot_keep_the_blocks_of_the_others() {
    let blocks = "blocks = [{ size = \"4KiB\", count = 64 }, { size = \"64KiB\", count = 8 }]";
    let world = World::new(&format!("[comm]\nbody_max = \"64KiB\"\n[ipc]\n{blocks}\n"));
    let stream = frame(WRITE_ECHO, id(1), 0, &[0; 60_000], false);
    let mut slow: Vec<_> = (0..6).map(|_| world.client()).collect();
    for client in &mut slow {
        client.stream.write_all(&stream[..30_000]).unwrap();
    }
    let mut client = world.client();
    let mut number = 10;
    wait_until("a large body is admitted again", || {
        number += 1;
        client.call(WRITE_ECHO, id(number), &[7; 60_000]).status() == Some(Status::Done)
    });
    assert!(world.counted(Counter::EvictedPartial) >= 1);
}

#[test]
fn connections_that_say_nothing_cost_the_others_nothing() {
    let world = World::new("[comm]\nreceive_buffers = 8\n");
    let silent: Vec<_> = (0..500).map(|_| world.client()).collect();
    wait_until("all are accepted", || world.open_connections() == 500);
    is_served(&world);
    assert_eq!(world.counted(Counter::EvictedPartial), 0);
    drop(silent);
    wait_until("all rows are free", || world.open_connections() == 0);
}

#[test]
fn a_client_that_reads_late_gets_every_byte() {
    let world = World::new("[comm]\nbody_max = \"64KiB\"\nbytes_in_flight_max = \"256KiB\"\n");
    let client = world.client();
    let mut writer = Client { stream: client.stream.try_clone().unwrap() };
    let mut reader = client;
    let sender = std::thread::spawn(move || {
        for index in 0..300 {
            writer.send(WRITE_ECHO, id(index), &vec![index as u8; 20_000]);
        }
    });
    wait_until("the node reads no more", || world.counted(Counter::FramesMax) > 0);
    for _ in 0..300 {
        let reply = reader.receive();
        let index: u64 = reply.header.request_id.as_str()[5..].parse().unwrap();
        assert!(reply.body == vec![index as u8; 20_000]);
    }
    sender.join().unwrap();
    world.check_nothing_is_held();
}

#[test]
fn a_connection_that_is_gone_gets_no_reply_and_its_write_is_settled() {
    let world = World::new("");
    // A Unix client that closes, and a TCP client that resets because it leaves a reply unread.
    let mut unix = world.unix_client();
    unix.send(WRITE_HOLD, id(1), b"w");
    let mut tcp = world.client();
    tcp.send(1, id(9), b"never read");
    tcp.send(WRITE_HOLD, id(2), b"w");
    wait_until("one runs and one is queued", || {
        world.executed() == 1 && world.service(WRITE_HOLD).in_flight.load(Ordering::Relaxed) == 2
    });
    wait_until("the unread reply has come", || tcp.stream.peek(&mut [0]).is_ok());
    drop((unix, tcp));
    wait_until("the rows are free", || world.open_connections() == 0);
    world.gate.open();
    wait_until("both replies were dropped", || world.counted(Counter::Dropped) == 2);
    let mut client = world.client();
    for number in [1, 2] {
        assert_eq!(client.call(WRITE_HOLD, id(number), b"w").body, b"w");
    }
    assert_eq!(world.executed(), 2);
    world.check_nothing_is_held();
}

/// Goal: running out of descriptors pauses accepting and ends nothing. Method: the test runs itself again in a process
/// of its own, lowers that one's limit and takes all descriptors that are left.
#[test]
fn a_process_without_descriptors_serves_on_and_accepts_again_when_there_are_some() {
    const MARK: &str = "GANTRY_COMM_TEST_FEW_DESCRIPTORS";
    const NAME: &str = "slow::a_process_without_descriptors_serves_on_and_accepts_again_when_there_are_some";
    if std::env::var_os(MARK).is_none() {
        let own = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(own);
        child.args(["--exact", NAME, "--nocapture"]).env(MARK, "1");
        assert!(child.status().unwrap().success());
        return;
    }
    let world = World::new("");
    let mut served = world.client();
    served.call(READ_ECHO, id(1), b"x");
    // After the start, which refuses to promise more connections than there are descriptors.
    let mut few = std::process::Command::new("prlimit");
    few.args(["--pid", &std::process::id().to_string(), "--nofile=100:100"]);
    assert!(few.status().unwrap().success());
    let mut clients = Vec::new();
    wait_until("no descriptor is left to accept with", || {
        clients.extend(world.try_client());
        world.counted(Counter::AcceptPaused) > 0
    });
    assert_eq!(served.call(READ_ECHO, id(2), b"x").status(), Some(Status::Done));
    drop(clients);
    is_served(&world);
}
