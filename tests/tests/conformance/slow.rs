//! Slow, silent and half-dead clients cost only themselves.

use std::io::ErrorKind;
use std::thread;

use gantry_tests::etc::{ECHO, ECHO_WRITE, SLEEP};
use gantry_tests::{Node, NodeOptions, Request, until};
use serde_json::json;

#[test]
fn frame_sent_byte_by_byte_is_served() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for service in [ECHO, ECHO_WRITE] {
        let request = Request::new(service, "slowly but surely").checked();
        for byte in request.encode() {
            client.send_bytes(&[byte]).expect("a byte can be sent");
            thread::yield_now();
        }
        assert_eq!(client.receive().done().text(), "slowly but surely");
    }
}

#[test]
fn large_body_in_small_pieces_is_served_while_others_go_on() {
    let node = Node::start(NodeOptions::small());
    let (mut slow, mut quick) = (node.client(), node.client());
    let request = Request::new(ECHO, vec![0x42; 70_000]).checked();
    for piece in request.encode().chunks(997) {
        slow.send_bytes(piece).expect("a piece can be sent");
        assert_eq!(quick.call(ECHO, "quick").done().body, b"quick");
    }
    assert!(slow.receive().done().body == request.body);
}

#[test]
fn truncated_frames_are_closed_in_silence_and_leave_nothing_behind() {
    let node = Node::start(NodeOptions::small());
    let bytes = Request::new(ECHO, vec![b'b'; 9_000]).encode();
    for length in [1, 4, 12, 63, 64, 65, 5_000, bytes.len() - 1] {
        let mut client = node.client();
        client.send_bytes(&bytes[..length]).expect("a part can be sent");
        client.finish_sending();
        client.expect_closed();
    }
    node.until_quiet();
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
}

#[test]
fn header_that_never_ends_closes_the_connection_in_silence() {
    let node = Node::start(NodeOptions::small().text("comm.header_timeout", "300ms"));
    let mut neighbour = node.client();
    let mut client = node.client();
    client.send_bytes(&Request::new(ECHO, "").header()[..40]).expect("a part can be sent");
    client.expect_closed();
    assert_eq!(neighbour.call(ECHO, "x").done().body, b"x");
}

#[test]
fn body_that_never_comes_closes_the_connection_and_frees_its_block() {
    let node = Node::start(NodeOptions::small().text("comm.body_timeout", "300ms"));
    let mut neighbour = node.client();
    for service in [ECHO, ECHO_WRITE] {
        for announced in [100, 5_000, 1_000_000] {
            let frame = Request::new(service, vec![b'x'; announced]).encode();
            let mut client = node.client();
            client.send_bytes(&frame[..64 + announced / 2]).expect("half a frame can be sent");
            assert_eq!(neighbour.call(ECHO, "x").done().body, b"x");
            client.expect_closed();
        }
    }
    node.until_quiet();
    // More large bodies than there are large blocks: all came back.
    for _ in 0..20 {
        assert_eq!(neighbour.call(ECHO, vec![1; 1_000_000]).done().body.len(), 1_000_000);
    }
}

/// A frame that is broken off with a reset, at every stage of its body.
#[test]
fn connection_that_breaks_off_inside_a_body_frees_everything() {
    let node = Node::start(NodeOptions::small());
    for round in 0..30 {
        let mut client = node.client();
        let frame = Request::new(ECHO_WRITE, vec![b'x'; 40_000]).encode();
        client.send_bytes(&frame[..64 + round * 1_000]).expect("a part can be sent");
        drop(client);
    }
    node.until_quiet();
    until("the connections are forgotten", || (node.status().connections() <= 1).then_some(()));
}

#[test]
fn client_that_goes_away_before_its_reply_disturbs_nobody() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    for _ in 0..10 {
        let mut client = node.client();
        client.send(&Request::new(SLEEP, json!({"ms": 30}).to_string()));
        client.send(&Request::new(ECHO_WRITE, vec![b'x'; 100_000]));
    }
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
    node.until_quiet();
}

#[test]
fn client_that_never_reads_is_bounded_and_then_closed() {
    let options =
        NodeOptions::small().text("comm.write_timeout", "1s").text("comm.bytes_in_flight_max", "2MiB");
    let node = Node::start(options);
    let mut neighbour = node.client();
    let mut deaf = node.client();
    let frame = Request::new(ECHO, vec![b'd'; 60_000]);
    // Far more than socket buffers and the node's bound together can hold, so sending must fail in the end.
    let mut sent_bytes = 0_u64;
    let error = loop {
        if let Err(error) = deaf.try_send(&Request { id: gantry_tests::RequestId::fresh(), ..frame.clone() })
        {
            break error;
        }
        sent_bytes += 60_000;
        assert!(sent_bytes < 1 << 30, "a gigabyte was taken from a client that reads nothing");
    };
    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(closed.contains(&error.kind()), "the node closes, it does not only stop reading: {error}");
    assert_eq!(neighbour.call(ECHO, "x").done().body, b"x");
    drop(deaf);
    node.until_quiet();
}

/// Half-closed is not gone: who has nothing more to ask may still wait for answers.
#[test]
fn client_that_finishes_sending_still_gets_its_replies() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let requests: Vec<Request> = (0..10).map(|number| Request::new(ECHO, number.to_string())).collect();
    for request in &requests {
        client.send(request);
    }
    client.send(&Request::new(SLEEP, json!({"ms": 200}).to_string()));
    client.finish_sending();
    for _ in 0..11 {
        client.receive().done();
    }
    client.expect_closed();
}
