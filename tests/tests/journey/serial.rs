//! 30000001: serial numbers, unique for ever.

use std::collections::HashSet;

use gantry_tests::etc::{SERIALS, customer, passage};
use gantry_tests::{Client, Node, NodeOptions};
use serde_json::json;

fn draw(client: &mut Client, kind: &str, count: usize) -> Vec<String> {
    let reply = client.call_json(SERIALS, json!({"type": kind, "count": count})).done().json();
    let serials = reply["serials"].as_array().unwrap_or_else(|| panic!("no serials in {reply}"));
    assert_eq!(serials.len(), count);
    let text = |serial: &serde_json::Value| serial.as_str().map_or_else(|| serial.to_string(), str::to_owned);
    serials.iter().map(text).collect()
}

#[test]
fn serials_of_every_type_are_unique() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for kind in ["recharge", "passage", "card", "tag", "account"] {
        let mut seen = HashSet::new();
        for count in [1, 7, 10_000, 1] {
            for serial in draw(&mut client, kind, count) {
                assert!(seen.insert(serial.clone()), "{kind} serial {serial} came twice");
            }
        }
    }
}

#[test]
fn serials_drawn_from_many_connections_and_by_services_never_repeat() {
    let node = Node::start(NodeOptions::business().set("workers.write", 2));
    let (_, card) = customer(&mut node.client(), 100_000);
    let drawn: Vec<String> = std::thread::scope(|scope| {
        let connection = |_| {
            let node = &node;
            scope.spawn(move || {
                let mut client = node.client();
                (0..20).flat_map(|_| draw(&mut client, "passage", 50)).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..4).map(connection).collect();
        let mut client = node.client();
        let mut serials: Vec<String> =
            (0..30).map(|minute| passage(&mut client, &card, 1, minute).1).collect();
        for thread in threads {
            serials.extend(thread.join().expect("a drawing thread ends well"));
        }
        serials
    });
    let unique: HashSet<&String> = drawn.iter().collect();
    assert_eq!(unique.len(), drawn.len());
}

#[test]
fn serials_go_on_after_a_restart_without_a_repeat() {
    let mut node = Node::start(NodeOptions::business());
    let mut seen: HashSet<String> = draw(&mut node.client(), "card", 100).into_iter().collect();
    for _ in 0..2 {
        node.stop();
        node.run();
        for serial in draw(&mut node.client(), "card", 100) {
            assert!(seen.insert(serial.clone()), "serial {serial} came again after a restart");
        }
    }
}

#[test]
fn serials_refuse_a_count_out_of_range_and_an_unknown_type() {
    let node = Node::start(NodeOptions::business());
    let mut client = node.client();
    for count in [json!(0), json!(10_001), json!(-1), json!("3")] {
        assert_eq!(
            client.call_json(SERIALS, json!({"type": "card", "count": count})).error_code(),
            "bad_request"
        );
    }
    assert_eq!(client.call_json(SERIALS, json!({"type": "moon", "count": 1})).error_code(), "bad_request");
}
