//! Frames that are sound and cannot be served: which check speaks first, and the connection goes on.

use gantry_tests::etc::{ADD, ECHO, ECHO_WRITE, counter};
use gantry_tests::frame::BODY_BYTES_MAX;
use gantry_tests::{Node, NodeOptions, Request};
use serde_json::json;

const UNKNOWN: u32 = 55_555_555;

#[test]
fn unknown_service_is_answered_102_and_its_body_is_thrown_away() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for size in [0, 10, 5_000, BODY_BYTES_MAX] {
        // The next frame stands right behind the body: were a byte lost, it would be malformed.
        let requests = [Request::new(UNKNOWN, vec![b'x'; size]), Request::new(ECHO, "next")];
        let replies = client.exchange_all(&requests);
        assert_eq!((replies[0].status, replies[1].status), (102, 0), "a body of {size} bytes");
        assert_eq!(replies[0].service, UNKNOWN);
    }
    node.until_quiet();
}

#[test]
fn stopped_service_is_answered_103_until_it_is_started() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    node.gantry(&["service", "stop", "19000001"]).expect_code(0);
    client.call(ECHO, "x").expect_status(103);
    assert_eq!(client.call(ECHO_WRITE, "others go on").done().body, b"others go on");
    node.gantry(&["service", "start", "19000001"]).expect_code(0);
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
}

#[test]
fn wrong_checksum_is_answered_106_and_nothing_is_executed() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for (body_bytes, service) in [(30, ADD), (5_000, ECHO), (100_000, ECHO_WRITE)] {
        let mut body = json!({"key": "sum", "add": 1}).to_string().into_bytes();
        body.resize(body_bytes, b' ');
        let request = Request::new(service, &body).checked();
        let mut bytes = request.encode();
        *bytes.last_mut().expect("a frame has bytes") ^= 1;
        client.send_bytes(&bytes).expect("a frame can be sent");
        let reply = client.receive();
        assert_eq!((reply.status, reply.id.as_str()), (106, request.id.as_str()), "{service}");
        assert_eq!(client.exchange(&request).status, 0, "the same frame unharmed is taken under the same id");
    }
    assert_eq!(counter(&mut client, "sum"), 1);
    node.until_quiet();
}

#[test]
fn header_checks_come_in_their_order_and_before_those_of_the_body() {
    let node = Node::start(NodeOptions::small());
    node.gantry(&["service", "stop", "29000001"]).expect_code(0);
    // Too long and unknown: 104 speaks before 102.
    let mut client = node.client();
    let mut header = Request::new(UNKNOWN, "").header();
    header[4..12].copy_from_slice(b"99999999");
    client.send_bytes(&header).expect("a header can be sent");
    assert_eq!(client.receive().status, 104);
    // Malformed at its very end, and too long: 101 speaks before 104.
    let mut client = node.client();
    header[63] = b'X';
    client.send_bytes(&header).expect("a header can be sent");
    assert_eq!(client.receive().status, 101);
    // Unknown or stopped, and a wrong checksum: the header's check speaks.
    let mut client = node.client();
    for (service, status) in [(UNKNOWN, 102), (ECHO_WRITE, 103)] {
        let mut bytes = Request::new(service, "body").checked().encode();
        *bytes.last_mut().expect("a frame has bytes") ^= 1;
        client.send_bytes(&bytes).expect("a frame can be sent");
        assert_eq!(client.receive().status, status);
    }
    // A reused id and a wrong checksum: 106 speaks before 107.
    let request = Request::new(ADD, json!({"key": "k", "add": 1}).to_string()).checked();
    client.exchange(&request).done();
    let mut bytes =
        Request::new(ADD, json!({"key": "k", "add": 2}).to_string()).id(&request.id).checked().encode();
    bytes[56..64].copy_from_slice(b"00000001");
    client.send_bytes(&bytes).expect("a frame can be sent");
    assert_eq!(client.receive().status, 106);
}

#[test]
fn checksum_of_zeros_means_not_checked() {
    let node = Node::start(NodeOptions::small());
    let request = Request::new(ECHO, "anything");
    assert!(request.header().ends_with(b"00000000"));
    assert_eq!(node.client().exchange(&request).done().checksum, None);
}

#[test]
fn every_printable_byte_may_stand_in_an_id() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let printable: Vec<u8> = (0x21..=0x7E).collect();
    for chunk in printable.chunks(24) {
        let mut id = String::from_utf8(chunk.to_vec()).expect("ASCII");
        while id.len() < 24 {
            id.push('~');
        }
        client.exchange(&Request::new(ECHO, "x").id(&gantry_tests::RequestId::new(&id))).done();
    }
}
