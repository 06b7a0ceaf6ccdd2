//! `gantry dev`: a library is deployed when its file changes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use gantry_tests::processes::send_signal;
use gantry_tests::{Node, NodeOptions, gantry_binary};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::version;

const READ: u32 = 19_900_001;

#[test]
fn library_is_deployed_when_its_file_changes_and_a_broken_one_is_told() {
    let node = Node::start(NodeOptions::small());
    let builds = ["1.0", "1.1"].map(|number| version(&node, number, &[]));
    let watched = node.folder().join("libwatched.so");
    let mut command = Command::new(gantry_binary());
    command.arg("-c").arg(node.config()).args(["dev", "--json"]).arg(&watched);
    let mut dev = command.stdout(Stdio::piped()).spawn().expect("gantry can be started");
    let mut lines = BufReader::new(dev.stdout.take().expect("it is piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("it goes on").expect("it can be read");
        serde_json::from_str(&line).expect("a line is JSON")
    };
    // As a linker does it: the new file takes the place of the old one.
    let put = |from: &std::path::Path| {
        let part = watched.with_extension("part");
        std::fs::copy(from, &part).expect("a file can be put there");
        std::fs::rename(&part, &watched).expect("a file can be put there");
    };
    put(&builds[0]);
    let first = next();
    assert_eq!((&first["ok"], &first["receipt"]["version"]), (&true.into(), &"1.0".into()), "{first}");
    assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
    let broken = node.folder().join("broken");
    std::fs::write(&broken, "no library").expect("a file can be put there");
    put(&broken);
    let refused = next();
    assert_eq!(refused["ok"], false);
    assert!(
        refused["error"].as_str().is_some_and(|words| words.contains("not a shared library")),
        "{refused}"
    );
    assert_eq!(node.client().call(READ, "0").done().text(), "1.0", "the node serves on");
    put(&builds[1]);
    assert_eq!(next()["receipt"]["version"], "1.1");
    assert_eq!(node.client().call(READ, "0").done().text(), "1.1");
    send_signal(Pid::from_raw(dev.id().cast_signed()), Signal::SIGTERM);
    dev.wait().expect("it can be waited for");
}

/// A developer starts it first, then builds, then starts the node, and does so again the next day.
#[test]
fn file_and_node_are_waited_for_and_what_serves_already_is_fine() {
    let mut node = Node::prepare(NodeOptions::small());
    let build = version(&node, "1.0", &[]);
    let watched = node.folder().join("libwatched.so");
    for (round, expected) in [true, false].into_iter().enumerate() {
        let mut command = Command::new(gantry_binary());
        command.arg("-c").arg(node.config()).args(["dev", "--json"]).arg(&watched);
        let mut dev =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gantry can be started");
        let mut lines = BufReader::new(dev.stdout.take().expect("it is piped")).lines();
        let mut next = || -> Value {
            let line = lines.next().expect("it goes on").expect("it can be read");
            serde_json::from_str(&line).expect("a line is JSON")
        };
        if round == 0 {
            let mut words = String::new();
            BufReader::new(dev.stderr.as_mut().expect("it is piped"))
                .read_line(&mut words)
                .expect("it says so");
            assert!(words.contains("not there yet"), "{words}");
            std::fs::copy(&build, &watched).expect("a file can be put there");
        }
        let waiting = next();
        assert_eq!(waiting["ok"], false);
        assert!(waiting["error"].as_str().is_some_and(|words| words.contains("not running")), "{waiting}");
        node.run();
        let served = next();
        assert_eq!(
            (&served["ok"], &served["receipt"]["changed"]),
            (&true.into(), &expected.into()),
            "{served}"
        );
        assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
        send_signal(Pid::from_raw(dev.id().cast_signed()), Signal::SIGTERM);
        dev.wait().expect("it can be waited for");
        node.stop();
    }
}
