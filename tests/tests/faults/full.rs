//! No slot and no block left.

use gantry_tests::etc::{ECHO, SLEEP, SLEEP_WRITE, add};
use gantry_tests::{Client, Node, NodeOptions, Request, until};

use super::expect_service;

/// Statuses that a node without room may give: each says that nothing was executed.
fn is_honest(status: u16) -> bool {
    matches!(status, 0 | 201 | 202)
}

#[test]
fn node_without_a_free_slot_refuses_202_and_forgets_nobody() {
    let options =
        NodeOptions::small().set("ipc.slots", 16).set("ipc.read_queue", 16).set("ipc.write_queue", 16);
    let node = Node::start(options);
    let mut busy: Vec<Client> = (0..24).map(|_| node.client()).collect();
    for (number, client) in busy.iter_mut().enumerate() {
        let service = if number % 2 == 0 { SLEEP } else { SLEEP_WRITE };
        client.send(&Request::new(service, r#"{"ms":100}"#));
    }
    let statuses: Vec<u16> = busy.iter_mut().map(|client| client.receive().status).collect();
    assert!(statuses.iter().all(|status| is_honest(*status)), "{statuses:?}");
    assert!(
        statuses.contains(&202) || statuses.contains(&201),
        "24 requests do not fit 16 slots: {statuses:?}"
    );
    assert!(statuses.contains(&0), "{statuses:?}");
    node.until_quiet();
    expect_service(&node);
}

/// Large bodies hold blocks from their first byte on.
#[test]
fn node_without_a_free_block_refuses_or_waits_and_small_requests_go_on() {
    let node = Node::start(NodeOptions::small().blocks(256, 8, 4));
    let mut large: Vec<Client> = (0..6).map(|_| node.client()).collect();
    let frame = Request::new(ECHO, vec![b'l'; 300_000]);
    for client in &mut large {
        client.send_bytes(&frame.encode()[..100_000]).expect("a part can be sent");
    }
    until("blocks are held", || (node.status().slots("free") < node.status().slots("total")).then_some(()));
    let mut small = node.client();
    for number in 0..50 {
        assert_eq!(small.call(ECHO, format!("small {number}")).done().text(), format!("small {number}"));
    }
    add(&mut small, "small", 1);
    // Who was refused or thrown out may come again; who is served gets every byte.
    let mut served = 0;
    for client in &mut large {
        if client.send_bytes(&frame.encode()[100_000..]).is_err() {
            continue;
        }
        if let Ok(Some(reply)) = client.try_receive() {
            assert!(is_honest(reply.status), "{reply:?}");
            assert!(reply.status != 0 || reply.body == frame.body, "an echo of other bytes");
            served += u32::from(reply.status == 0);
        }
    }
    println!("{served} of 6 large requests were served at once");
    assert!(served > 0, "nobody was served though there are blocks");
    drop(large);
    node.until_quiet();
    assert_eq!(node.client().call(ECHO, vec![b'a'; 900_000]).done().body.len(), 900_000);
}
