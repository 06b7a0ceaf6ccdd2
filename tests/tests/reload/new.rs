//! `gantry service new`: what it makes builds, passes its own tests, and serves.

use std::path::Path;
use std::process::Command;

use gantry_tests::{Node, NodeOptions, repository_root};

use super::deploy;

/// Runs a tool in a folder; its words come with a failure.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &[&str], target: &Path) {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed here: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}{said}",
        String::from_utf8_lossy(&done.stdout)
    );
}

#[test]
fn new_crate_builds_tests_deploys_and_serves() {
    let node = Node::start(NodeOptions::small());
    let folder = node.folder().join("tally");
    let (path, sdk) =
        (folder.to_string_lossy().into_owned(), repository_root().to_string_lossy().into_owned());
    let command = ["service", "new", "tally", "--path", &path, "--sdk", &sdk, "--number", "9500001"];
    node.gantry(&command).expect_code(0);
    assert!(node.gantry(&command).expect_code(1).stderr.contains("is there already"));
    // What the workspace was built with is what this builds with: no version is looked up anew.
    std::fs::copy(repository_root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("it can be copied");
    let target = repository_root().join("target/new");
    run(&folder, "cargo", &["test", "--quiet"], &target);
    run(&folder, "cargo", &["build", "--quiet"], &target);
    let library = target.join("debug/libtally.so");
    let described = node.gantry(&["service", "describe", &library.to_string_lossy()]).expect_code(0).text();
    assert!(described.contains("29500001 tally.add (write"), "{described}");
    deploy(&node, &library).expect_code(0);
    let mut client = node.client();
    let added = client.call(29_500_001, r#"{"key":"apples","amount":3}"#).done().json();
    assert_eq!(added["total"], 3);
    assert_eq!(client.call(19_500_001, r#"{"key":"apples"}"#).done().json()["total"], 3);
    let refused = client.call(29_500_001, r#"{"key":"apples","amount":"x"}"#).expect_status(304).json();
    assert_eq!(refused["field"], "amount");
}

#[test]
fn new_cpp_library_builds_is_described_and_serves() {
    let node = Node::start(NodeOptions::small());
    let folder = node.folder().join("echoes");
    let (path, sdk) =
        (folder.to_string_lossy().into_owned(), repository_root().to_string_lossy().into_owned());
    let command =
        ["service", "new", "echoes", "--lang", "cpp", "--path", &path, "--sdk", &sdk, "--number", "9500002"];
    node.gantry(&command).expect_code(0);
    run(&folder, "cmake", &["-S", ".", "-B", "build", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"], &folder);
    run(&folder, "cmake", &["--build", "build"], &folder);
    run(&folder, "ctest", &["--test-dir", "build"], &folder);
    deploy(&node, &folder.join("build/libechoes.so")).expect_code(0);
    let mut client = node.client();
    assert_eq!(client.call(19_500_002, "abc").done().text(), "cba");
    assert_eq!(client.call(29_500_002, "hello").done().json()["count"], 1);
}

#[test]
fn names_that_cannot_be_one_are_refused() {
    let node = Node::prepare(NodeOptions::small());
    let words = node.gantry(&["service", "new", "Not-A-Name"]).expect_code(1).stderr;
    assert!(words.contains("is no name"), "{words}");
    let nowhere = node.gantry(&["service", "new", "tally", "--sdk", "/nowhere"]).expect_code(1).stderr;
    assert!(nowhere.contains("gantry.h"), "{nowhere}");
}
