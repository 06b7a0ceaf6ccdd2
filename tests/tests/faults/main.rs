//! What happens to a whole node: its shared memory is removed or overwritten, its disk is full, its clock jumps, it
//! runs out of descriptors.
//!
//! Each is to be noticed, said clearly, survived where that can be, and never to end in a wrong answer.
#![forbid(unsafe_code)]

mod clock;
mod descriptors;
mod disk;
mod full;
mod header;
mod removed;
mod slot_word;

use gantry_tests::etc::{COUNTER, ECHO, add, counter};
use gantry_tests::{Client, Node, Output, until};

/// The node does all it is there for.
#[track_caller]
fn expect_service(node: &Node) {
    let mut client = node.client();
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
    let before = counter(&mut client, "service");
    assert_eq!(add(&mut client, "service", 1), before + 1);
}

/// The logs say something with one of these words.
#[track_caller]
fn expect_said(node: &Node, words: &[&str]) {
    until(&format!("the logs say one of {words:?}"), || {
        let logs = node.logs();
        words.iter().any(|word| logs.contains(word)).then_some(())
    });
}

/// A command that fails and says why: with all of these words.
#[track_caller]
fn expect_refusal(output: &Output, words: &[&str]) {
    assert!(matches!(output.code, Some(1 | 2)), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing: {}", output.stderr);
    }
}

/// Asks a counter until the answer comes; a worker that is being replaced may cost a try.
#[track_caller]
fn patient_counter(client: &mut Client, key: &str) -> i64 {
    let body = serde_json::json!({"key": key}).to_string();
    until("the counter is read", || {
        let reply = client.call(COUNTER, &body);
        (reply.status == 0).then(|| gantry_tests::etc::number(&reply, "value"))
    })
}
