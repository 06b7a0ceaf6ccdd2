//! Two versions that take turns under full load: no caller may notice, and none may meet the old one after the receipt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;

use gantry_tests::etc::{ECHO, customer, recharge};
use gantry_tests::{Client, Node, NodeOptions, Request, gantry_binary, soak};

use super::hot::{READ, WRITE};
use super::{deploy, version};

/// As many connections as the platform's promise names.
const CONNECTIONS: usize = 64;
/// Of these so many book money.
const LEDGER_WRITERS: usize = 16;

/// The versions that may answer now: one, or two while a deployment is under way.
type InForce = Arc<RwLock<Vec<&'static str>>>;

fn look(in_force: &InForce) -> Vec<&'static str> {
    in_force.read().expect("nobody panics while it writes").clone()
}

fn set(in_force: &InForce, versions: Vec<&'static str>) {
    *in_force.write().expect("nobody panics while it writes") = versions;
}

/// Asks for the version: what answers must have been in force before the request or after its reply.
fn ask(client: &mut Client, number: u32, in_force: &InForce) {
    let before = look(in_force);
    let version = client.call(number, "0").done().text();
    let after = look(in_force);
    let may_answer = before.iter().chain(&after).any(|allowed| *allowed == version);
    assert!(may_answer, "{version} answered where {before:?} and then {after:?} was in force");
}

/// The library that recharges, with bytes behind the end of the file: another build that does the same.
fn marked_card(node: &Node, mark: &str) -> std::path::PathBuf {
    let mut bytes = std::fs::read(gantry_binary().with_file_name("libgantry_card.so")).expect("it ships");
    bytes.extend_from_slice(mark.as_bytes());
    let library = node.folder().join(format!("libgantry_card_{mark}.so"));
    std::fs::write(&library, bytes).expect("a file can be written");
    library
}

#[test]
fn two_versions_take_turns_under_full_load_and_no_caller_notices() {
    let deployments = if soak() { 200 } else { 40 };
    let node = Node::start(NodeOptions::business().set("workers.read", 2));
    let versions = ["1.0", "1.1"];
    let libraries = versions.map(|text| version(&node, text, &[]));
    let cards = ["a", "b"].map(|mark| marked_card(&node, mark));
    deploy(&node, &libraries[0]).expect_code(0);
    let in_force: InForce = Arc::new(RwLock::new(vec![versions[0]]));
    let is_over = Arc::new(AtomicBool::new(false));
    let accounts: Vec<String> = (0..LEDGER_WRITERS).map(|_| customer(&mut node.client(), 0).1).collect();
    let threads: Vec<thread::JoinHandle<i64>> = (0..CONNECTIONS)
        .map(|number| {
            let (mut client, in_force, is_over) =
                (node.client(), Arc::clone(&in_force), Arc::clone(&is_over));
            let card = accounts.get(number).cloned();
            thread::spawn(move || {
                let mut balance = 0;
                while !is_over.load(Ordering::Relaxed) {
                    match &card {
                        Some(card) => {
                            let booked = recharge(&mut client, card, 1);
                            assert_eq!(booked, balance + 1, "each recharge is booked once");
                            balance = booked;
                        }
                        None if number % 3 == 0 => {
                            assert_eq!(client.exchange(&Request::new(ECHO, "x")).done().text(), "x");
                        }
                        None if number % 3 == 1 => ask(&mut client, READ, &in_force),
                        None => ask(&mut client, WRITE, &in_force),
                    }
                }
                balance
            })
        })
        .collect();
    for number in 1..=deployments {
        if number % 4 == 0 {
            deploy(&node, &cards[number / 4 % 2]).expect_code(0);
            continue;
        }
        let now = look(&in_force)[0];
        let next = usize::from(now == versions[0]);
        set(&in_force, vec![now, versions[next]]);
        deploy(&node, &libraries[next]).expect_code(0);
        set(&in_force, vec![versions[next]]);
    }
    is_over.store(true, Ordering::Relaxed);
    let recharges: i64 =
        threads.into_iter().map(|thread| thread.join().expect("its replies are right")).sum();
    assert!(recharges > 0);
    node.until_quiet();
}
