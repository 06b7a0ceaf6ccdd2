//! Frames of all sizes, in all pieces, right and wrong.

use std::io::{Read, Write};
use std::net::Shutdown;

use gantry_comm::Counter;
use gantry_frame::read_reply;
use gantry_message::Status;

use crate::client::{frame, id, number};
use crate::world::{READ_ECHO, WRITE_ECHO, World};

const NO_WORKERS: &str = "";

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8).collect()
}

#[test]
fn bodies_of_every_size_come_back_over_tcp_and_unix() {
    let world = World::new("");
    let (mut tcp, mut unix) = (world.client(), world.unix_client());
    let sizes = [0, 1, 144, 145, 4095, 4096, 4097, 16_383, 16_384, 65_536, 65_537, 1_048_576];
    for (index, bytes) in sizes.into_iter().enumerate() {
        for service in [READ_ECHO, WRITE_ECHO, 1] {
            let (body, id) = (pattern(bytes), id((index * 10) as u64 + u64::from(service)));
            for reply in [tcp.call(service, id, &body), unix.call(service, id, &body)] {
                assert_eq!(
                    (reply.status(), reply.body == body),
                    (Some(Status::Done), true),
                    "{bytes} to {service}"
                );
            }
        }
    }
    world.check_nothing_is_held();
}

#[test]
fn a_thousand_frames_in_one_go_are_all_answered() {
    let world = World::new("");
    let mut client = world.client();
    let mut bytes = Vec::new();
    for index in 0..1000 {
        let service = if index % 2 == 0 { READ_ECHO } else { WRITE_ECHO };
        bytes.extend(frame(service, id(index), 0, format!("body {index}").as_bytes(), index % 3 == 0));
    }
    client.stream.write_all(&bytes).unwrap();
    let mut seen = vec![false; 1000];
    for _ in 0..1000 {
        let reply = client.receive();
        assert_eq!(reply.status(), Some(Status::Done));
        let index: usize = std::str::from_utf8(&reply.body[5..]).unwrap().parse().unwrap();
        assert_eq!(reply.header.request_id, id(index as u64));
        assert_eq!(reply.header.checksum.is_some(), index.is_multiple_of(3));
        assert!(!std::mem::replace(&mut seen[index], true), "answered once");
    }
    world.check_nothing_is_held();
}

#[test]
fn frames_that_come_byte_by_byte_are_the_same_frames() {
    let world = World::new("");
    let mut client = world.client();
    client.stream.set_nodelay(true).unwrap();
    for (index, service) in [READ_ECHO, WRITE_ECHO, 1, READ_ECHO].into_iter().enumerate() {
        let body = pattern(index * 70);
        for byte in frame(service, id(index as u64), 0, &body, true) {
            client.stream.write_all(&[byte]).unwrap();
        }
        let reply = client.receive();
        assert_eq!((reply.status(), reply.body), (Some(Status::Done), body));
    }
}

#[test]
fn large_and_small_frames_share_a_stream_at_every_split() {
    let world = World::new("[comm]\nreceive_buffer = \"8KiB\"\n");
    let mut client = world.client();
    client.stream.set_nodelay(true).unwrap();
    let sizes = [10, 5000, 0, 4095, 4096, 20_000, 3, 8192, 64];
    let mut stream = Vec::new();
    for (index, bytes) in sizes.into_iter().enumerate() {
        stream.extend(frame(READ_ECHO, id(index as u64), 0, &pattern(bytes), true));
    }
    for piece in [1000, 63, 64, 65, 7, 8191, 8192, 8193, 40_000] {
        for chunk in stream.chunks(piece) {
            client.stream.write_all(chunk).unwrap();
        }
        let mut sizes_left: Vec<usize> = sizes.to_vec();
        for _ in sizes {
            let reply = client.receive();
            let index: usize = reply.header.request_id.as_str()[5..].parse().unwrap();
            assert_eq!(reply.status(), Some(Status::Done));
            assert!(reply.body == pattern(sizes[index]), "frame {index} in pieces of {piece}");
            sizes_left.retain(|bytes| *bytes != sizes[index]);
        }
        assert!(sizes_left.is_empty());
    }
    world.check_nothing_is_held();
}

#[test]
fn many_threads_serve_many_clients() {
    let world = World::new("[comm]\nthreads = 3\n");
    let mut clients: Vec<_> = (0..30).map(|_| world.client()).collect();
    for round in 0..5 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(WRITE_ECHO, id(round * 100 + index as u64), b"hello");
        }
        for client in &mut clients {
            assert_eq!(client.receive().body, b"hello");
        }
    }
    let connections = world.control().connections();
    let is_open = |row: &&gantry_segment::ConnectionRow| {
        row.word.load(gantry_sys::atomic::Ordering::Relaxed) & 0xff == 1
    };
    let mut by_thread = [0; 3];
    for row in connections.iter().filter(is_open) {
        by_thread[(row.word.load(gantry_sys::atomic::Ordering::Relaxed) >> 8 & 0xff) as usize] += 1;
    }
    assert_eq!(by_thread, [10, 10, 10]);
    drop(clients);
    world.check_nothing_is_held();
}

#[test]
fn a_malformed_frame_is_answered_at_its_first_wrong_byte_after_what_is_owed() {
    let world = World::new(NO_WORKERS);
    let mut client = world.client();
    client.send(READ_ECHO, id(1), b"before");
    client.stream.write_all(b"ETC10000x").unwrap();
    let replies = [client.receive(), client.receive()];
    let of = |status| replies.iter().find(|reply| reply.status() == Some(status)).unwrap();
    assert_eq!(of(Status::Done).body, b"before");
    let wrong = of(Status::Malformed);
    assert_eq!(
        (wrong.header.service, wrong.header.request_id.as_str()),
        (number(0), "000000000000000000000000")
    );
    assert_eq!(wrong.body, br#"{"error":"malformed","field":"body length","position":8}"#);
    assert!(client.is_closed());
    assert_eq!(world.counted(Counter::Malformed), 1);
}

#[test]
fn what_is_sent_behind_a_malformed_frame_is_not_executed_and_does_not_cost_the_reply() {
    let world = World::new("");
    let mut client = world.client();
    let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
    for index in 0..2000 {
        bytes.extend(frame(WRITE_ECHO, id(index), 0, &[b'x'; 500], false));
    }
    client.stream.write_all(&bytes).unwrap();
    assert_eq!(client.receive().status(), Some(Status::Malformed));
    assert!(client.is_closed());
    assert_eq!(world.executed(), 0);
}

#[test]
fn a_body_over_the_limit_is_104_with_its_id_and_the_end() {
    let world = World::new("");
    let mut client = world.client();
    let body = vec![0; 2_000_000];
    client.stream.write_all(&frame(WRITE_ECHO, id(7), 0, &body, true)).unwrap();
    let reply = client.receive();
    assert_eq!((reply.status(), reply.header.request_id), (Some(Status::BodyTooLarge), id(7)));
    assert_eq!(reply.body, br#"{"error":"body_too_large","limit_bytes":1048576}"#);
    assert!(client.is_closed());
    assert_eq!(world.executed(), 0);
}

#[test]
fn a_wrong_checksum_is_106_for_small_and_large_bodies_and_the_connection_goes_on() {
    let world = World::new("");
    let mut client = world.client();
    for (index, bytes) in [1, 200, 5000, 100_000].into_iter().enumerate() {
        for service in [READ_ECHO, WRITE_ECHO, 1, 3] {
            let mut bytes = frame(service, id(index as u64), 0, &pattern(bytes), true);
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            client.stream.write_all(&bytes).unwrap();
            let status = client.receive().status();
            // A large body that is not needed is thrown away unread, so its checksum is not looked at.
            let is_unread = service == 3 && bytes.len() > 4096;
            assert_eq!(
                status,
                Some(if is_unread { Status::Done } else { Status::ChecksumWrong }),
                "to {service}"
            );
        }
    }
    assert_eq!(client.call(READ_ECHO, id(99), b"still here").body, b"still here");
    assert_eq!(world.executed(), 1);
    world.check_nothing_is_held();
}

#[test]
fn a_refused_large_body_is_thrown_away_and_what_follows_is_served() {
    let world = World::new("[comm]\nreceive_buffer = \"8KiB\"\n");
    let mut client = world.client();
    for bytes in [100, 4096, 8128, 8192, 8193, 300_000] {
        let mut stream = frame(WRITE_ECHO + 50, id(1), 0, &pattern(bytes), false);
        stream.extend(frame(READ_ECHO, id(2), 0, b"next", false));
        let (first, rest) = stream.split_at(stream.len() / 2);
        client.stream.write_all(first).unwrap();
        client.stream.write_all(rest).unwrap();
        let replies = [client.receive(), client.receive()];
        assert_eq!(replies[0].status(), Some(Status::NoSuchService), "{bytes} bytes");
        assert_eq!(replies[1].body, b"next");
    }
    world.check_nothing_is_held();
}

#[test]
fn a_refusal_waits_for_the_body_that_it_throws_away() {
    let world = World::new("");
    let mut client = world.client();
    let stream = frame(WRITE_ECHO + 50, id(1), 0, &pattern(10_000), false);
    client.stream.write_all(&stream[..9_000]).unwrap();
    // Another connection's whole exchange passes meanwhile: the refusal had every chance to be early.
    for index in 0..50 {
        world.client().call(READ_ECHO, id(index), b"x");
    }
    client.stream.set_nonblocking(true).unwrap();
    assert!(client.stream.read(&mut [0]).is_err(), "nothing is sent before the body is through");
    client.stream.set_nonblocking(false).unwrap();
    client.stream.write_all(&stream[9_000..]).unwrap();
    assert_eq!(client.receive().status(), Some(Status::NoSuchService));
}

#[test]
fn the_node_tells_its_name_and_load() {
    let world = World::new("[node]\nname = \"north-1\"\n");
    let (status, body) = world.client().ask(3, id(1), b"");
    assert_eq!((status, &body[..]), (Status::Done, r#"{"name":"north-1","draining":false,"load":0.00}"#));
}

#[test]
fn a_client_that_closes_its_half_still_gets_what_it_is_owed() {
    let world = World::new("");
    let mut client = world.client();
    let mut bytes = Vec::new();
    for index in 0..300 {
        bytes.extend(frame(READ_ECHO, id(index), 0, &pattern(1000), false));
    }
    bytes.extend(b"ETC1half a header");
    bytes.truncate(bytes.len() - 13);
    client.stream.write_all(&bytes).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..300 {
        assert_eq!(read_reply(&mut client.stream).unwrap().body.len(), 1000);
    }
    assert!(client.is_closed());
    world.check_nothing_is_held();
    crate::client::wait_until("the row is free", || world.open_connections() == 0);
}

#[test]
fn a_client_that_goes_away_inside_a_large_body_leaves_nothing_behind() {
    let world = World::new("");
    for service in [READ_ECHO, WRITE_ECHO, 1, WRITE_ECHO + 50] {
        let mut client = world.client();
        let stream = frame(service, id(1), 0, &pattern(100_000), false);
        client.stream.write_all(&stream[..50_000]).unwrap();
    }
    crate::client::wait_until("all rows are free", || world.open_connections() == 0);
    world.check_nothing_is_held();
    assert_eq!(world.executed(), 0);
}

/// Goal: no byte is lost, doubled or moved, wherever frames begin in the receive buffer and however they arrive.
/// Method: random frames of all kinds in random pieces on several connections; each reply is checked against its id.
#[test]
fn random_frames_in_random_pieces_are_all_answered_with_their_own_bytes() {
    let seed = gantry_sys::clock::monotonic_ns();
    println!("seed {seed}");
    let mut random = Random(seed);
    let world = World::new("[comm]\nthreads = 2\nreceive_buffer = \"8KiB\"\nlarge_body = \"1KiB\"\n");
    let mut clients: Vec<_> = (0..4).map(|_| (world.client(), Vec::new(), 0_usize)).collect();
    for round in 0..15_u64 {
        for (index, (client, expected, _)) in clients.iter_mut().enumerate() {
            let mut stream = Vec::new();
            for position in 0..random.below(20) {
                let service = [READ_ECHO, WRITE_ECHO, 1, WRITE_ECHO + 50][random.below(4)];
                let bytes = [random.below(10), random.below(1100), random.below(30_000)][random.below(3)];
                let (id, body) =
                    (id((round * 10 + index as u64) * 100 + position as u64), random.bytes(bytes));
                stream.extend(frame(service, id, 0, &body, random.below(2) == 0));
                expected.push((id, service, body));
            }
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let most = [3, 100, 9_000, 100_000][random.below(4)];
                let (now, later) = rest.split_at((1 + random.below(most)).min(rest.len()));
                client.stream.write_all(now).unwrap();
                rest = later;
            }
        }
        for (client, expected, answered) in &mut clients {
            while *answered < expected.len() {
                let reply = client.receive();
                *answered += 1;
                let sent = expected.iter().find(|(id, ..)| *id == reply.header.request_id).unwrap();
                let (status, body) = match sent.1 {
                    READ_ECHO | WRITE_ECHO | 1 => (Status::Done, &sent.2[..]),
                    _ => (Status::NoSuchService, &[][..]),
                };
                assert_eq!(reply.status(), Some(status));
                assert!(reply.body == body, "{} bytes to {} came back as others", sent.2.len(), sent.1);
            }
        }
    }
    drop(clients);
    world.check_nothing_is_held();
}

/// Numbers that can be had again from the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}
