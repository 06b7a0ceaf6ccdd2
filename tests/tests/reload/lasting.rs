//! Libraries of which something stays in a process for ever: a reload never serves the old code in silence.

use std::path::{Path, PathBuf};

use gantry_tests::{Node, NodeOptions, soak, until};

use super::{deploy, plugin};

const READ: u32 = 19_900_201;
const WRITE: u32 = 29_900_201;
/// Library versions that a worker may hold.
const VERSIONS_MAX: usize = 4;

/// A copy of a library with another text in place of its version.
fn copy_with(library: &Path, text: &str) -> PathBuf {
    const PLACE: &[u8] = b"VERSION=00000000";
    let mut bytes = std::fs::read(library).expect("the library was just compiled");
    let at = bytes.windows(PLACE.len()).position(|window| window == PLACE).expect("the version is there");
    bytes[at + 8..at + PLACE.len()].copy_from_slice(text.as_bytes());
    let copy = library.with_file_name(format!("lib{text}.so"));
    std::fs::write(&copy, bytes).expect("a file can be written");
    copy
}

/// Deploys a hundred versions, one after the other: each serves in all workers, which hold a few of them only.
#[track_caller]
fn reload_again_and_again(kind: &str) {
    let options =
        NodeOptions::small().set("workers.read", 2).set("workers.versions_max", VERSIONS_MAX as i64);
    let node = Node::start(options);
    let library = plugin(&node, "lasting.cpp", "lasting", &[kind, "-fno-gnu-unique"]);
    let rounds = if soak() { 100 } else { 25 };
    let mut held_counts = Vec::new();
    for round in 1..=rounds {
        let text = format!("{round:08}");
        deploy(&node, &copy_with(&library, &text)).expect_code(0);
        let mut client = node.client();
        for number in [READ, WRITE, READ, WRITE] {
            assert_eq!(
                client.call(number, "").done().text(),
                text,
                "{kind}: the code that was deployed last"
            );
        }
        let held = node.status().0["processes"].as_array().expect("processes").clone();
        let held = held.iter().filter(|process| process["role"] == "worker");
        let held: Vec<u64> = held.filter_map(|process| process["versions_held"].as_u64()).collect();
        // Those that ship with the node, one that serves, and the old ones that are allowed; some more while workers wait
        // for their turn to be replaced.
        held_counts.push(held.iter().copied().max().unwrap_or(0));
    }
    let most = held_counts.iter().max().expect("there were rounds");
    let fewest = held_counts.iter().min().expect("there were rounds");
    let waiting = node.status().processes().iter().filter(|process| process.role != "supervisor").count();
    assert!(
        most - fewest <= (VERSIONS_MAX + waiting) as u64,
        "{kind}: workers held {held_counts:?} libraries"
    );
    until("all workers are there", || (node.pids("worker").len() >= 3).then_some(()));
    node.until_quiet();
}

#[test]
fn thread_locals_with_destructors() {
    reload_again_and_again("-DKIND=1");
}

#[test]
fn threads_of_the_library() {
    reload_again_and_again("-DKIND=2");
}

#[test]
fn static_and_inline_static_objects() {
    reload_again_and_again("-DKIND=3");
}
