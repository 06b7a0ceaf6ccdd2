//! Libraries that are none, or mean harm: refused with words, and no worker ever meets them.

use std::fs;
use std::path::Path;

use gantry_tests::etc::{ECHO, add};
use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally};

use super::{deploy, plugin};

/// Deploys a library that must be refused while others call; the words of the refusal come back.
#[track_caller]
fn expect_refusal(node: &Node, library: &Path) -> String {
    let workers = node.pids("worker");
    let load = Load::start(node.address(), 1, |_| Request::new(ECHO, "undisturbed"));
    let output = deploy(node, library).expect_code(1);
    load.go_on(10);
    let answers = tally(&load.stop());
    assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    assert_eq!(node.pids("worker"), workers, "no worker met the library");
    let stem = library.file_name().expect("a library has a name").to_string_lossy();
    assert!(output.stderr.contains(&*stem), "the refusal names the file: {}", output.stderr);
    output.stderr
}

/// Compiles one of the hostile sources, deploys it, and returns the refusal.
#[track_caller]
fn refusal_of(source: &str, extra: &[&str]) -> String {
    let node = Node::start(NodeOptions::small());
    let library = plugin(&node, source, "hostile", extra);
    expect_refusal(&node, &library)
}

#[test]
fn text_file_is_refused_as_no_library() {
    let node = Node::start(NodeOptions::small());
    let library = node.folder().join("libtext.so");
    fs::write(&library, "I am a library, trust me.\n").expect("a file can be written");
    expect_refusal(&node, &library);
    fs::write(&library, "").expect("a file can be written");
    expect_refusal(&node, &library);
}

#[test]
fn broken_library_is_refused() {
    let node = Node::start(NodeOptions::small());
    let sound = plugin(&node, "versioned.c", "sound", &["-DVERSION=\"1.0\""]);
    let bytes = fs::read(&sound).expect("the library was just compiled");
    let broken = node.folder().join("libbroken.so");
    for part in [4, 64, 1_000, bytes.len() / 2] {
        fs::write(&broken, &bytes[..part]).expect("a file can be written");
        expect_refusal(&node, &broken);
    }
}

#[test]
fn library_without_the_entry_is_refused_and_the_symbol_is_named() {
    let words = refusal_of("no_symbol.c", &[]);
    assert!(words.contains("gantry_service_entry"), "{words}");
}

#[test]
fn library_of_another_abi_version_is_refused_and_both_versions_are_named() {
    let words = refusal_of("wrong_abi.c", &[]);
    assert!(words.contains("ABI"), "{words}");
}

#[test]
fn library_that_claims_a_number_already_taken_is_refused_and_the_number_is_named() {
    let words = refusal_of("taken_number.c", &[]);
    assert!(words.contains("19000001"), "{words}");
}

#[test]
fn library_that_crashes_when_loaded_is_refused() {
    refusal_of("crash_on_load.c", &[]);
}

#[test]
fn library_that_crashes_in_create_is_refused() {
    refusal_of("crash_in_create.c", &[]);
}

#[test]
fn library_that_hangs_in_create_is_refused() {
    refusal_of("hang_in_create.c", &[]);
}

#[test]
fn library_with_unique_symbols_is_refused_and_the_flag_is_named() {
    let words = refusal_of("gnu_unique.cpp", &["-fgnu-unique"]);
    assert!(words.contains("-fno-gnu-unique"), "{words}");
}

#[test]
fn library_whose_service_will_not_be_created_is_refused_with_its_reason() {
    let words = refusal_of("refuse_in_create.c", &[]);
    assert!(words.contains("the toll tables are missing"), "{words}");
}

#[test]
fn library_that_breaks_any_rule_of_the_descriptor_is_refused() {
    let node = Node::start(NodeOptions::small());
    for rule in 1..=12 {
        let library = plugin(&node, "bad_descriptor.c", "hostile", &[&format!("-DBROKEN={rule}")]);
        expect_refusal(&node, &library);
    }
}

/// Sound to look at, so it is deployed; what it does shows only when it is called.
#[test]
fn oversized_reply_is_answered_306_and_the_worker_lives_on() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &plugin(&node, "oversized_reply.c", "hostile", &[])).expect_code(0);
    let workers = node.pids("worker");
    let mut client = node.client();
    for body in ["s", "x"] {
        client.call(39_100_001, body).expect_status(306);
    }
    assert_eq!(add(&mut client, "k", 1), 1);
    assert_eq!(node.pids("worker"), workers);
    node.until_quiet();
}

#[test]
fn service_that_breaks_the_contract_while_it_runs_is_answered_306_or_refused_and_the_worker_lives_on() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &plugin(&node, "misuse.c", "hostile", &[])).expect_code(0);
    let workers = node.pids("worker");
    let mut client = node.client();
    for failing in ["c", "e", "b", "m"] {
        client.call(39_100_002, failing).expect_status(306);
    }
    client.call(39_100_002, "k").done();
    for noticed in ["s", "t", "r", "n", "v", "d"] {
        assert_eq!(client.call(39_100_002, noticed).done().text(), "ok", "misuse {noticed}");
    }
    assert_eq!(add(&mut client, "k", 1), 1);
    assert_eq!(node.pids("worker"), workers);
    node.until_quiet();
}

#[test]
fn exception_that_leaves_a_service_costs_one_worker_and_no_other_request() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &plugin(&node, "throws.cpp", "hostile", &["-fno-gnu-unique"])).expect_code(0);
    let load = Load::start(node.address(), 1, |_| Request::new(ECHO, "undisturbed"));
    let victim = node.pid("write");
    node.client().call(39_100_003, "").expect_status(302);
    node.successor("write", victim);
    load.go_on(10);
    let answers = tally(&load.stop());
    assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    assert_eq!(add(&mut node.client(), "k", 1), 1);
}
