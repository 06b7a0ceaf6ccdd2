//! A wall clock that is stepped, as time synchronisation or an operator do. Time-outs are measured by another one.

use std::fs;
use std::path::PathBuf;

use gantry_tests::etc::{ADD, ECHO, SLEEP, add, counter, customer, passage};
use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally};
use serde_json::json;

use super::expect_service;

/// Where Debian's package `faketime` has the library.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// Steps that a clock may make, and back again.
const STEPS: [&str; 7] = ["+1h", "-1h", "+400d", "-400d", "+3s", "-3s", "+0"];

/// A node whose wall clock follows a file.
struct Clock {
    node: Node,
    file: PathBuf,
}

impl Clock {
    fn start(options: NodeOptions) -> Self {
        let library = LIBRARIES.into_iter().find(|path| fs::exists(path).is_ok_and(|is_there| is_there));
        let library = library.expect("the package `faketime` is installed: cargo xtask setup");
        let mut node = Node::prepare(options);
        let file = node.folder().join("clock");
        fs::write(&file, "+0").expect("a file can be written");
        let file_name = file.to_string_lossy().into_owned();
        let pairs = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &file_name),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        for (name, value) in pairs {
            node.set_environment(name, value);
        }
        node.run();
        Self { node, file }
    }

    /// Sets the clock to so much before or after the real time.
    fn step(&self, by: &str) {
        // Renamed into place: a reader never sees half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, by).and_then(|()| fs::rename(&new, &self.file)).expect("the clock can be set");
    }
}

/// The year in the newest line of an account's statement.
fn booked_year(node: &Node, account: &str) -> i32 {
    let reply = node.client().call_json(gantry_tests::etc::STATEMENT, json!({"account": account})).done();
    let at = reply.json()["entries"][0]["at"].as_str().unwrap_or_default().to_owned();
    at.get(..4).and_then(|year| year.parse().ok()).unwrap_or_else(|| panic!("no time in {reply:?}"))
}

/// The harness itself is proved here: the node does see the steps.
#[test]
fn stepped_clock_is_seen_by_the_services_and_books_stay_right() {
    let clock = Clock::start(NodeOptions::business());
    let mut client = clock.node.client();
    let (account, card) = customer(&mut client, 10_000);
    let year = booked_year(&clock.node, &account);
    clock.step("+800d");
    let (balance, _) = passage(&mut client, &card, 100, 1);
    assert!(booked_year(&clock.node, &account) >= year + 2, "the node does not see the step");
    clock.step("-800d");
    let (lower, _) = passage(&mut client, &card, 100, 2);
    assert_eq!((balance, lower), (9_900, 9_800));
    assert!(booked_year(&clock.node, &account) < year, "the order is that of booking, not of the clock");
    gantry_tests::etc::expect_books_to_balance(&mut client);
}

#[test]
fn steps_of_the_clock_cause_no_time_out_and_hold_none_up() {
    let options = NodeOptions::small().set("workers.read", 2).text("supervisor.heartbeat_timeout", "3s");
    let clock = Clock::start(options);
    let node = &clock.node;
    let before: Vec<_> =
        ["comm", "read", "write", "supervisor"].iter().flat_map(|role| node.pids(role)).collect();
    let writes =
        Load::start(node.address(), 2, |_| Request::new(ADD, json!({"key": "clock", "add": 1}).to_string()));
    let reads = Load::start(node.address(), 2, |_| Request::new(ECHO, "x").budget_ms(30_000));
    let sleeps = Load::start(node.address(), 1, |_| Request::new(SLEEP, r#"{"ms":40}"#).budget_ms(30_000));
    let mut client = node.client();
    for step in STEPS {
        clock.step(step);
        for load in [&writes, &reads, &sleeps] {
            load.go_on(5);
        }
        // What is to time out does so, in whichever direction the clock went.
        let late = client.exchange(&Request::new(SLEEP, r#"{"ms":300}"#).budget_ms(50)).status;
        assert!(matches!(late, 301 | 305), "{late:03} to a sleep that does not fit its budget");
    }
    let mut sent = writes.stop();
    let writes_count = sent.len();
    sent.extend(reads.stop());
    sent.extend(sleeps.stop());
    let answers = tally(&sent);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [Answer::Status(0)], "{answers:?}");
    assert_eq!(counter(&mut client, "clock"), i64::try_from(writes_count).unwrap_or(-1));
    let after: Vec<_> =
        ["comm", "read", "write", "supervisor"].iter().flat_map(|role| node.pids(role)).collect();
    assert_eq!(before, after, "nobody was taken for dead");
    node.until_quiet();
}

/// Retention counts by the wall clock, and a restart is when old rows go: a clock that was wrong for a while must not
/// make the node forget what it has just done.
#[test]
fn write_repeated_after_the_clock_was_far_ahead_over_a_restart_takes_effect_once() {
    let mut clock = Clock::start(NodeOptions::small());
    let request = Request::new(ADD, json!({"key": "once", "add": 1}).to_string());
    clock.node.client().exchange(&request).done();
    clock.node.stop();
    clock.step("+30d");
    clock.node.run();
    expect_service(&clock.node);
    clock.node.stop();
    clock.step("+0");
    clock.node.run();
    let mut client = clock.node.client();
    client.exchange(&request).done();
    assert_eq!(counter(&mut client, "once"), 1, "the repeat has counted again");
    assert_eq!(add(&mut client, "once", 1), 2);
}
