//! Frames that are none: 101 and 104, then the connection is closed.

use gantry_tests::etc::{ECHO, SLEEP};
use gantry_tests::frame::{BODY_BYTES_MAX, HEADER_BYTES, ID_UNREADABLE};
use gantry_tests::{Client, Node, NodeOptions, Request};
use serde_json::json;

/// A good header with some bytes overwritten.
fn spoiled(at: usize, bytes: &str) -> Vec<u8> {
    let mut header = Request::new(ECHO, "").header();
    header[at..at + bytes.len()].copy_from_slice(bytes.as_bytes());
    header
}

/// What is wrong, from which byte on, and with which bytes.
const FAULTS: &[(&str, usize, &str)] = &[
    ("magic of another version", 3, "2"),
    ("no magic at all", 0, "GET "),
    ("lower-case magic", 0, "etc1"),
    ("letter in the body length", 4, "0000000a"),
    ("sign in the body length", 4, "+0000001"),
    ("blank in the body length", 4, "       1"),
    ("letter in the service number", 12, "1900000x"),
    ("minus in the service number", 12, "-9000001"),
    ("reply instead of a request", 20, "R"),
    ("unknown type", 20, "q"),
    ("status in a request", 21, "001"),
    ("letters as status", 21, "abc"),
    ("letter in the budget", 24, "0000000f"),
    ("blank in the id", 32, "an id with blanks within"),
    ("control character in the id", 40, "\n"),
    ("zero byte in the id", 55, "\0"),
    ("delete character in the id", 32, "\x7f"),
    ("upper-case hex in the checksum", 56, "ABCDEF01"),
    ("no hex in the checksum", 56, "0000000g"),
];

#[test]
fn malformed_header_is_answered_101_and_the_connection_is_closed() {
    let node = Node::start(NodeOptions::small());
    let mut neighbour = node.client();
    for (what, at, bytes) in FAULTS {
        let mut client = node.client();
        client.send_bytes(&spoiled(*at, bytes)).expect("a header can be sent");
        let reply = client.receive();
        assert_eq!(reply.status, 101, "{what}: {reply:?}");
        client.expect_closed();
        assert_eq!(neighbour.call(ECHO, "undisturbed").done().body, b"undisturbed", "{what}");
    }
    node.until_quiet();
}

/// The node says so at once and does not wait for the rest of a header that cannot become one.
#[test]
fn malformed_header_is_answered_at_its_first_wrong_byte() {
    let node = Node::start(NodeOptions::small());
    for (what, at, bytes) in FAULTS {
        let header = spoiled(*at, bytes);
        let good = Request::new(ECHO, "").header();
        // The id differs from request to request, so only what this fault wrote is compared.
        let wrong =
            (*at..at + bytes.len()).find(|index| !may_stand(&header, &good, *index)).expect("a wrong byte");
        let mut client = node.client();
        client.send_bytes(&header[..=wrong]).expect("a part of a header can be sent");
        let reply = client.receive();
        assert_eq!(reply.status, 101, "{what}: {reply:?}");
        if wrong < 20 {
            assert_eq!(reply.service, 0, "{what}: the number cannot be read");
        }
        if wrong < 56 {
            assert_eq!(reply.id, ID_UNREADABLE, "{what}: the id cannot be read");
        }
        client.expect_closed();
    }
}

/// Whether the byte at `index` is one that a sound header may have there.
fn may_stand(header: &[u8], good: &[u8], index: usize) -> bool {
    let byte = header[index];
    match index {
        4..20 | 24..32 => byte.is_ascii_digit(),
        32..56 => (0x21..=0x7E).contains(&byte),
        56..64 => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        _ => byte == good[index],
    }
}

#[test]
fn first_byte_alone_is_enough_to_be_malformed() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    client.send_bytes(b"X").expect("a byte can be sent");
    let reply = client.receive();
    assert_eq!((reply.status, reply.service, reply.id.as_str()), (101, 0, ID_UNREADABLE));
    client.expect_closed();
}

#[test]
fn body_over_the_limit_is_answered_104_to_its_id_and_the_connection_is_closed() {
    let node = Node::start(NodeOptions::small());
    for length in [BODY_BYTES_MAX + 1, 99_999_999] {
        let mut client = node.client();
        let request = Request::new(ECHO, "");
        let mut header = request.header();
        header[4..12].copy_from_slice(format!("{length:08}").as_bytes());
        client.send_bytes(&header).expect("a header can be sent");
        let reply = client.receive();
        assert_eq!((reply.status, reply.service, reply.id.as_str()), (104, ECHO, request.id.as_str()));
        client.expect_closed();
    }
    node.until_quiet();
}

#[test]
fn body_limit_can_be_configured() {
    let node = Node::start(NodeOptions::small().text("comm.body_max", "8KiB"));
    let mut client = node.client();
    assert_eq!(client.call(ECHO, vec![1; 8_192]).done().body.len(), 8_192);
    client.send(&Request::new(ECHO, vec![1; 8_193]));
    assert_eq!(client.receive().status, 104);
    client.expect_closed();
}

/// What is owed is sent: replies of requests before the bad frame come, then its own 101, then the end.
#[test]
fn replies_owed_before_a_malformed_frame_are_still_sent() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    let mut owed: Vec<Request> = (0..3).map(|number| Request::new(ECHO, format!("owed {number}"))).collect();
    owed.push(Request::new(SLEEP, json!({"ms": 300}).to_string()));
    let mut bytes: Vec<u8> = owed.iter().flat_map(Request::encode).collect();
    bytes.extend_from_slice(b"this is not a frame, and neither is the frame that follows it");
    bytes.extend_from_slice(&Request::new(ECHO, "too late").encode());
    client.send_bytes(&bytes).expect("the frames can be sent");
    let mut statuses = Vec::new();
    while let Some(reply) = client.try_receive().expect("whole replies, then the end") {
        if reply.status == 0 {
            assert!(owed.iter().any(|request| request.id.as_str() == reply.id), "{reply:?}");
        }
        statuses.push(reply.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [0, 0, 0, 0, 101]);
    node.until_quiet();
}

/// A client that goes on sending after its 101 is not held up by a reset: it can still read the answer.
#[test]
fn answer_to_a_malformed_frame_reaches_a_client_that_is_still_sending() {
    let node = Node::start(NodeOptions::small());
    for _ in 0..10 {
        let mut client = node.client();
        let mut bytes = spoiled(0, "XXXX");
        bytes.resize(200_000, b'x');
        // The node may have closed before everything was sent.
        let _all_or_part = client.send_bytes(&bytes);
        assert_eq!(client.receive().status, 101);
    }
}

#[test]
fn random_bytes_harm_nobody() {
    let node = Node::start(NodeOptions::small());
    let mut neighbour = node.client();
    // A small generator of its own (xorshift), so that the run can be repeated.
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    println!("seed {seed:#x}");
    for _ in 0..300 {
        let mut client = node.client();
        let mut bytes = Request::new(ECHO, "0123456789").encode();
        for _ in 0..3 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = usize::try_from(seed % HEADER_BYTES as u64).unwrap();
            bytes[at] = u8::try_from((seed >> 32) & 0xFF).unwrap();
        }
        client.send_bytes(&bytes).expect("bytes can be sent");
        client.finish_sending();
        drain(&mut client);
    }
    assert_eq!(neighbour.call(ECHO, "undisturbed").done().body, b"undisturbed");
    node.until_quiet();
}

/// Reads whatever comes, which must be sound replies, until the node closes.
fn drain(client: &mut Client) {
    loop {
        match client.try_receive() {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                return;
            }
        }
    }
}
