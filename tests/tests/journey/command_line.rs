//! The `gantry` command: what it prints where, and its exit codes.

use std::fs;
use std::process::{Command, Stdio};

use gantry_tests::etc::{ADD, COUNTER, ECHO, SLEEP};
use gantry_tests::{Node, NodeOptions, RequestId, gantry_binary, run_command};
use serde_json::json;

#[test]
fn call_prints_the_body_and_ends_with_0() {
    let node = Node::start(NodeOptions::small());
    let output = node.gantry(&["call", "19000001", "hello"]).expect_code(0);
    assert_eq!(output.text().trim_end_matches('\n'), "hello");
    assert_eq!(output.stderr, "");
}

#[test]
fn call_that_is_refused_ends_with_1_and_says_status_and_meaning() {
    let node = Node::start(NodeOptions::business());
    let output = node.gantry(&["call", "12345678", "x"]).expect_code(1);
    assert!(output.stderr.contains("status 102 no such service"), "{}", output.stderr);
    let output = node.gantry(&["call", "10000002", r#"{"account":"none"}"#]).expect_code(1);
    assert!(output.stderr.contains("status 304"), "{}", output.stderr);
    assert!(output.text().contains("account_unknown"), "the body goes to stdout: {}", output.text());
}

#[test]
fn call_with_an_id_is_the_same_request_again() {
    let node = Node::start(NodeOptions::small());
    let (id, body) = (RequestId::fresh(), r#"{"key":"k","add":2}"#);
    let call = |body: &str| node.gantry(&["call", &ADD.to_string(), body, "--id", id.as_str()]);
    let first = call(body).expect_code(0).text();
    assert_eq!(call(body).expect_code(0).text(), first);
    let other = call(r#"{"key":"k","add":3}"#).expect_code(1);
    assert!(other.stderr.contains("status 107"), "{}", other.stderr);
    let value = node.gantry(&["call", &COUNTER.to_string(), r#"{"key":"k"}"#]).expect_code(0).json();
    assert_eq!(value, json!({"value": 2}));
}

#[test]
fn call_with_a_budget_gets_301_when_it_runs_out() {
    let node = Node::start(NodeOptions::small());
    let output =
        node.gantry(&["call", &SLEEP.to_string(), r#"{"ms":20000}"#, "--budget", "100"]).expect_code(1);
    assert!(output.stderr.contains("status 301"), "{}", output.stderr);
}

#[test]
fn call_takes_its_body_from_stdin_and_its_address_from_addr() {
    let node = Node::start(NodeOptions::small());
    let file = node.folder().join("body");
    fs::write(&file, [0, 159, 10, 13]).expect("a file can be written");
    let mut command = Command::new(gantry_binary());
    command
        .args(["call", &ECHO.to_string(), "-", "--addr", &node.address().to_string(), "-c"])
        .arg(node.config());
    let child =
        command.stdin(fs::File::open(&file).expect("it was just written")).stdout(Stdio::piped()).spawn();
    let output = child.expect("gantry can be started").wait_with_output().expect("gantry can be waited for");
    assert!(output.status.success());
    assert!(output.stdout.starts_with(&[0, 159, 10, 13]), "{:?}", output.stdout);
}

#[test]
fn commands_without_a_running_node_end_with_3() {
    let node = Node::prepare(NodeOptions::small());
    for arguments in [
        &["status"][..],
        &["stop"],
        &["service", "list"],
        &["log", "level", "debug"],
        &["drain"],
        &["call", "19000001", "x"],
    ] {
        let output = node.gantry(arguments).expect_code(3);
        assert!(!output.stderr.trim().is_empty(), "{arguments:?} says what is wrong");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let node = Node::prepare(NodeOptions::small());
    for arguments in [
        &["dance"][..],
        &["call"],
        &["call", "abc", "x"],
        &["service", "rule", "19000001", "color=red"],
        &["log", "level", "loud"],
    ] {
        let output = node.gantry(arguments).expect_code(2);
        assert!(!output.stderr.trim().is_empty(), "{arguments:?} says what is wrong");
    }
}

#[test]
fn sound_configuration_is_said_to_be_sound() {
    let node = Node::prepare(NodeOptions::business());
    node.gantry(&["config", "check"]).expect_code(0);
}

#[test]
fn faulty_configuration_ends_with_2_and_names_file_and_line() {
    let node = Node::prepare(NodeOptions::small());
    // Each with the line of its fault.
    let faulty = [
        ("[node]\nname = \"a\"\n\n[ipc]\nslotz = 5\n", 5),
        ("[comm]\nthreads = \"two\"\n", 2),
        ("\n\n[workers]\nread = 0\n", 4),
        ("[admission]\nread_threshold = 1.5\n", 2),
        ("[service]\n\ntimeout = \"15 parsecs\"\n", 3),
        ("[log]\nlevel = \"loud\"\n", 2),
        ("[ipc]\nbackend = \"carrier pigeon\"\n", 2),
        ("[listen]\ntcp = [\"nowhere\"]\n", 2),
        ("[node\n", 1),
        ("[nose]\n", 1),
    ];
    for (text, line) in faulty {
        fs::write(node.config(), text).expect("the configuration can be written");
        for command in [&["config", "check"][..], &["run"], &["start"], &["status"]] {
            let output = node.gantry(command).expect_code(2);
            let place = format!("gantry.toml:{line}");
            assert!(
                output.stderr.contains(&place),
                "{command:?} of {text:?} names {place}: {}",
                output.stderr
            );
        }
    }
}

#[test]
fn missing_configuration_file_ends_with_2_and_is_named() {
    let mut command = Command::new(gantry_binary());
    let output = run_command(command.args(["-c", "/no/such/gantry.toml", "status"])).expect_code(2);
    assert!(output.stderr.contains("/no/such/gantry.toml"), "{}", output.stderr);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let node = Node::prepare(NodeOptions::small());
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["start", "--help"],
        &["call", "--help"],
        &["service", "--help"],
        &["service", "deploy", "--help"],
        &["service", "rule", "--help"],
        &["status", "--help"],
        &["ipc", "--help"],
        &["config", "check", "--help"],
    ] {
        let output = node.gantry(arguments).expect_code(0);
        assert!(output.text().contains("gantry"), "{arguments:?} shows how it is called: {}", output.text());
    }
}

#[test]
fn doctor_finds_nothing_wrong_with_a_running_node() {
    let node = Node::start(NodeOptions::small());
    let output = node.gantry(&["doctor"]).expect_code(0);
    assert!(!output.text().trim().is_empty());
}

#[test]
fn log_level_changes_while_the_node_runs() {
    let node = Node::start(NodeOptions::small().text("log.level", "error"));
    for level in ["debug", "warn", "error"] {
        node.gantry(&["log", "level", level]).expect_code(0);
        assert_eq!(node.client().call(ECHO, level).done().text(), level);
    }
}

#[test]
fn sighup_applies_what_can_change_and_the_node_goes_on() {
    let node = Node::start(NodeOptions::small());
    let before = node.pids("worker");
    node.write_configuration(NodeOptions::small().text("log.level", "warn").set("ipc.slots", 128));
    gantry_tests::processes::send_signal(node.pid("supervisor"), nix::sys::signal::Signal::SIGHUP);
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
    assert_eq!((node.pids("worker"), node.status().slots("total")), (before, 256));
}
