//! Slot words that nobody could have written.

use std::io::ErrorKind;

use gantry_tests::etc::{ECHO, SLEEP, counter};
use gantry_tests::memory::SharedMemory;
use gantry_tests::processes::kill_hard;
use gantry_tests::{Client, Node, NodeOptions, Request, until};
use serde_json::json;

use super::{expect_said, expect_service};

/// Bytes of a slot's row; its word comes first.
const ROW_BYTES: u64 = 256;

/// Everything from the header to the end of the slots of a small node fits these bytes.
const SLOTS_END: u64 = 256 * 1024;

/// A word of a state that there is none of, with an owner and a generation of its own.
const NONSENSE: [u8; 8] = [0xff; 8];

/// Starts a request that runs for a while, and finds its slot by the id that stands in it.
fn running_slot(node: &Node, client: &mut Client, memory: &SharedMemory, ms: u64) -> u64 {
    let request = Request::new(SLEEP, json!({"ms": ms}).to_string()).budget_ms(3_000);
    client.send(&request);
    node.until_busy("read");
    let places = memory.find(request.id.as_str().as_bytes(), SLOTS_END);
    let [place] = places[..] else { panic!("the id of a read stands in one slot only: {places:?}") };
    place / ROW_BYTES * ROW_BYTES
}

/// Makes nonsense of the word of another slot, which is free. The slots begin at a page, and sixteen fill it.
fn damage_neighbour(memory: &SharedMemory, slot: u64) -> u64 {
    let rows = 4096 / ROW_BYTES;
    let (page, index) = (slot / 4096 * 4096, slot % 4096 / ROW_BYTES);
    let neighbour = page + (index + 3) % rows * ROW_BYTES;
    memory.write(neighbour, &NONSENSE);
    neighbour
}

/// Many requests pass while one slot is nonsense: each has its own answer.
fn expect_right_answers(node: &Node) {
    let mut client = node.client();
    let requests: Vec<Request> =
        (0..200).map(|number| Request::new(ECHO, format!("number {number}"))).collect();
    for (request, reply) in requests.iter().zip(client.exchange_all(&requests)) {
        assert!(matches!(reply.status, 0 | 201 | 202), "{reply:?}");
        assert!(reply.status != 0 || reply.body == request.body, "{reply:?} to {request:?}");
    }
}

#[test]
fn corrupt_word_of_a_free_slot_costs_that_slot_and_is_said() {
    let node = Node::start(
        NodeOptions::small().set("ipc.slots", 16).set("ipc.read_queue", 16).set("ipc.write_queue", 16),
    );
    let memory = node.memory("control");
    let mut client = node.client();
    let slot = running_slot(&node, &mut client, &memory, 300);
    client.receive().done();
    let damaged = damage_neighbour(&memory, slot);
    for _ in 0..3 {
        expect_right_answers(&node);
    }
    expect_service(&node);
    expect_said(&node, &["corrupt", "damaged"]);
    let status = node.status();
    assert!(status.slots("free") >= status.slots("total") - 1, "{}", status.0["slots"]);
    assert!(memory.read(damaged, 8) == NONSENSE || status.slots("free") == status.slots("total"));
}

#[test]
fn corrupt_word_of_a_running_slot_gets_no_wrong_answer_and_is_said() {
    let node = Node::start(NodeOptions::small());
    let memory = node.memory("control");
    let mut client = node.client();
    let slot = running_slot(&node, &mut client, &memory, 500);
    memory.write(slot, &NONSENSE);
    // It may be told that nothing is known, or that its time is over; it may not be told that it is done or was not.
    let reply = client.receive();
    assert!(matches!(reply.status, 301 | 302 | 500), "{reply:?}");
    expect_said(&node, &["corrupt", "damaged", "taken from a living worker"]);
    expect_right_answers(&node);
    expect_service(&node);
}

#[test]
fn corrupt_slot_words_are_met_by_a_new_comm_and_said() {
    let node = Node::start(NodeOptions::small());
    let memory = node.memory("control");
    let (mut client, mut other) = (node.client(), node.client());
    let slot = running_slot(&node, &mut client, &memory, 400);
    damage_neighbour(&memory, slot);
    memory.write(slot, &NONSENSE);
    let victim = node.pid("comm");
    kill_hard(victim);
    node.successor("comm", victim);
    expect_said(&node, &["corrupt", "damaged"]);
    expect_right_answers(&node);
    expect_service(&node);
    // Connections live on where the node can keep them. Whose slot was lost is told that nothing is known, or is cut off,
    // so that it can ask again; it is not left waiting.
    match client.try_receive() {
        Ok(Some(reply)) => assert!(matches!(reply.status, 301 | 302 | 500), "{reply:?}"),
        Ok(None) => {}
        Err(error) => {
            let is_left_waiting = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!is_left_waiting, "the request in the corrupt slot is never answered");
        }
    }
    if let Ok(()) = other.try_send(&Request::new(ECHO, "still here"))
        && let Ok(Some(reply)) = other.try_receive()
    {
        assert_eq!(reply.done().body, b"still here");
    }
    until("nothing is left running", || {
        let status = node.status();
        (status.slots("running") == 0 && status.slots("queued") == 0).then_some(())
    });
}

/// A supervisor that starts on such a segment goes on with what can be read.
#[test]
fn corrupt_slot_word_at_a_start_is_said_and_the_rest_goes_on() {
    let mut node = Node::start(NodeOptions::small());
    expect_service(&node);
    let memory = node.memory("control");
    let mut client = node.client();
    let slot = running_slot(&node, &mut client, &memory, 5_000);
    memory.write(slot, &NONSENSE);
    damage_neighbour(&memory, slot);
    node.kill_everything();
    node.run();
    expect_said(&node, &["corrupt", "damaged"]);
    expect_right_answers(&node);
    expect_service(&node);
    assert_eq!(counter(&mut node.client(), "service"), 2);
}
