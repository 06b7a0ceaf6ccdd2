//! What is written down of a death: who, why, at which request and statement, and where in the code.

use std::fs;

use gantry_tests::etc::{ECHO, ECHO_WRITE, FAULT, FAULT_WRITE, SLEEP, SLEEP_WRITE};
use gantry_tests::processes::{kill_hard, send_signal};
use gantry_tests::{Node, NodeOptions, Request, compile_plugin, repository_root, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The plugin that runs the SQL of its body.
const RUN_SQL: u32 = 19_900_010;
/// Runs until it is ended, and looks at its deadline: it counts.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(i) FROM n";
/// One step of SQLite that takes minutes, in which it looks at no clock: a long needle in a hay of the same.
const ONE_LONG_STEP: &str =
    "SELECT INSTR(ZEROBLOB(8000000), CAST(ZEROBLOB(800000) || CHAR(1) AS BLOB)) AS found";

fn options() -> NodeOptions {
    NodeOptions::small().set("service.quarantine_deaths", 100)
}

/// A node whose services are killed soon after their time-out.
fn quick() -> NodeOptions {
    options().text("service.timeout", "500ms").text("workers.kill_grace", "300ms")
}

/// All reports, newest first.
fn reports(node: &Node) -> Vec<Value> {
    let listed = node.gantry(&["report", "list", "--json"]).expect_code(0).json();
    listed.as_array().expect("a list").clone()
}

/// The report of the process that had this pid, once it is written.
#[track_caller]
fn report_of(node: &Node, pid: Pid) -> Value {
    let name = until(&format!("the death of {pid} is reported"), || {
        let all = reports(node);
        let found = all.iter().find(|report| report["pid"] == pid.as_raw())?;
        Some(found["name"].as_str().expect("a report has a name").to_owned())
    });
    node.gantry(&["report", "show", &name, "--json"]).expect_code(0).json()
}

/// The symbols of a report's stack, innermost first.
fn symbols(report: &Value) -> Vec<&str> {
    let frames = report["stack"]["frames"].as_array().map(Vec::as_slice).unwrap_or_default();
    frames.iter().filter_map(|frame| frame["symbol"].as_str()).collect()
}

/// Checks what every report of a death inside a service tells.
#[track_caller]
fn expect_facts(report: &Value, request: &Request, pid: Pid) {
    let service = format!("{:08}", request.service);
    assert_eq!((&report["role"], &report["pid"]), (&json!("worker"), &json!(pid.as_raw())), "{report:#}");
    assert_eq!(report["service"], json!(service), "{report:#}");
    assert_eq!(report["request"]["id"], json!(request.id.as_str()), "{report:#}");
    assert_eq!(report["request"]["caller"], "anonymous");
    assert_eq!(report["request"]["body_bytes"], json!(request.body.len()));
    assert!(report["version"].as_str().is_some_and(|version| !version.is_empty()), "{report:#}");
    assert!(report["at_ms"].as_u64() >= report["request"]["arrived_at_ms"].as_u64(), "{report:#}");
}

fn deploy_run_sql(node: &Node) {
    let source = repository_root().join("tests/plugins/run_sql.c");
    let headers = format!("-I{}", repository_root().join("tests/plugins").display());
    let library = compile_plugin(&source, node.folder(), &[&headers]);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
}

#[test]
fn death_inside_a_service_is_reported_with_the_request_and_the_stack() {
    let node = Node::start(options());
    let mut client = node.client();
    let cases =
        [("segv", "fatal_signal", "SIGSEGV"), ("abort", "fatal_signal", "SIGABRT"), ("exit", "exit", "exit")];
    for (how, why, words) in cases {
        let victim = node.pid("write");
        let request = Request::new(FAULT_WRITE, json!({"how": how}).to_string());
        client.exchange(&request).expect_status(302);
        let report = report_of(&node, victim);
        expect_facts(&report, &request, victim);
        assert_eq!((&report["why"], &report["library"]), (&json!(why), &json!("diag")), "{report:#}");
        assert!(report["why_text"].as_str().is_some_and(|text| text.contains(words)), "{report:#}");
        assert_eq!((&report["queue"], &report["statement"]), (&json!("write"), &Value::Null));
        assert_eq!(report["stack"]["end"], "whole", "{report:#}");
        let symbols = symbols(&report);
        let inside = symbols.iter().position(|symbol| symbol.contains("gantry_diag::fault"));
        let called = symbols.iter().position(|symbol| symbol.contains("gantry_service_host"));
        assert!(inside.is_some() && inside < called, "{how}: {symbols:#?}");
        node.successor("write", victim);
    }
}

#[test]
fn service_that_overran_its_time_out_is_reported_with_where_it_hung() {
    let node = Node::start(quick());
    let victim = node.pid("read");
    let request = Request::new(FAULT, r#"{"how":"spin"}"#);
    node.client().exchange(&request).expect_status(301);
    let report = report_of(&node, victim);
    expect_facts(&report, &request, victim);
    assert_eq!(
        (&report["why"], &report["stack"]["end"]),
        (&json!("over_time"), &json!("whole")),
        "{report:#}"
    );
    assert!(report["ran_ms"].as_u64() >= Some(500), "{report:#}");
    assert!(symbols(&report).iter().any(|symbol| symbol.contains("gantry_diag::fault")), "{report:#}");
    let text = node.gantry(&["report", "show", "last"]).expect_code(0).text();
    assert!(text.contains("overran its time-out of 500 ms") && text.contains("gantry_diag::fault"), "{text}");
}

/// A caught panic costs no worker, so there is nothing to look into.
#[test]
fn panic_is_no_death_and_leaves_no_report() {
    let node = Node::start(options());
    let mut client = node.client();
    let worker = node.pid("write");
    client.call(FAULT_WRITE, r#"{"how":"panic"}"#).expect_status(306);
    client.call(FAULT_WRITE, r#"{"how":"abort"}"#).expect_status(302);
    let report = report_of(&node, worker);
    assert_eq!(report["why"], "fatal_signal");
    assert_eq!(reports(&node).len(), 1, "that of the abort alone");
}

#[test]
fn statement_that_overran_the_time_out_is_told_without_its_parameters() {
    let node = Node::start(quick());
    deploy_run_sql(&node);
    let victim = node.pid("read");
    let request = Request::new(RUN_SQL, ONE_LONG_STEP);
    node.client().exchange(&request).expect_status(301);
    let report = report_of(&node, victim);
    expect_facts(&report, &request, victim);
    assert_eq!((&report["why"], &report["library"]), (&json!("over_time"), &json!("run_sql")));
    let statement = &report["statement"];
    assert_eq!(
        (&statement["source"], &statement["text"]),
        (&json!("main"), &json!(ONE_LONG_STEP)),
        "{report:#}"
    );
    assert!(statement["ran_ms"].as_u64() >= Some(400), "{report:#}");
    assert_eq!(statement["is_cut"], false);
    // From the C function over the platform into SQLite.
    assert!(symbols(&report).contains(&"run_the_statement"), "{report:#}");
    let text = node.gantry(&["report", "show"]).expect_code(0).text();
    assert!(text.contains(ONE_LONG_STEP), "{text}");
}

/// A `kill -9` by hand leaves no chance to note a stack; what shared memory knows is told all the same, and the service
/// is not held to account for it.
#[test]
fn kill_from_outside_is_reported_and_quarantines_nothing() {
    let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 1));
    deploy_run_sql(&node);
    let mut client = node.client();
    let long = format!("{ENDLESS} WHERE i <> -1 /* {} */", "long ".repeat(400));
    let request = Request::new(RUN_SQL, long.as_str());
    client.send(&request);
    // A read is tried once more; the second worker is killed too.
    for attempt in 0..2 {
        node.until_busy("read");
        let victim = node.pid("read");
        kill_hard(victim);
        let report = report_of(&node, victim);
        expect_facts(&report, &request, victim);
        assert_eq!((&report["why"], &report["stack"]), (&json!("killed"), &Value::Null), "{report:#}");
        assert_eq!(report["stack_missing"], "killed from outside: the process could not note it");
        assert_eq!(report["request"]["attempt"], attempt);
        let told = report["statement"]["text"].as_str().unwrap_or_default();
        assert!(told.starts_with(ENDLESS) && long.starts_with(told) && told.len() < long.len(), "{report:#}");
        assert_eq!(
            (&report["statement"]["is_cut"], &report["statement"]["bytes"]),
            (&json!(true), &json!(long.len()))
        );
    }
    client.receive().expect_status(302);
    assert_eq!(client.call(RUN_SQL, "SELECT 1").done().body, b"done");
}

/// SIGTERM cannot reach a stopped process, so it notes nothing before the KILL.
#[test]
fn worker_that_was_stopped_is_reported_without_a_stack() {
    let node = Node::start(quick());
    let mut client = node.client();
    let request = Request::new(SLEEP_WRITE, r#"{"ms":60000}"#);
    client.send(&request);
    node.until_busy("write");
    let victim = node.pid("write");
    send_signal(victim, Signal::SIGSTOP);
    client.receive().expect_status(301);
    let report = report_of(&node, victim);
    expect_facts(&report, &request, victim);
    assert_eq!((&report["why"], &report["stack"]), (&json!("over_time"), &Value::Null), "{report:#}");
    assert!(report["stack_missing"].as_str().is_some_and(|text| text.contains("SIGTERM")), "{report:#}");
}

/// Noting the stack at SIGTERM must not disturb the service that runs: its caller gets the answer.
#[test]
fn worker_that_is_told_to_end_from_outside_finishes_its_request_first() {
    let node = Node::start(options());
    let mut client = node.client();
    client.send(&Request::new(SLEEP, r#"{"ms":400}"#));
    node.until_busy("read");
    let worker = node.pid("read");
    send_signal(worker, Signal::SIGTERM);
    send_signal(worker, Signal::SIGTERM);
    assert_eq!(client.receive().done().text(), r#"{"slept_ms":400}"#);
    node.successor("read", worker);
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
    assert_eq!(reports(&node), Vec::<Value>::new());
}

#[test]
fn read_that_ends_two_workers_is_reported_twice_with_its_attempts() {
    let node = Node::start(options());
    let first = node.pid("read");
    let request = Request::new(FAULT, r#"{"how":"abort"}"#);
    node.client().exchange(&request).expect_status(302);
    until("both deaths are reported", || (reports(&node).len() == 2).then_some(()));
    let attempts: Vec<Value> = reports(&node)
        .iter()
        .map(|listed| {
            let name = listed["name"].as_str().expect("a report has a name");
            let report = node.gantry(&["report", "show", name, "--json"]).expect_code(0).json();
            assert_eq!(report["request"]["id"], json!(request.id.as_str()));
            report["request"]["attempt"].clone()
        })
        .collect();
    assert_eq!(attempts, [1, 0], "newest first");
    assert_eq!(reports(&node)[1]["pid"], first.as_raw());
}

#[test]
fn death_of_the_communication_process_is_reported_and_of_an_idle_worker_not() {
    let node = Node::start(options());
    let worker = node.pid("write");
    kill_hard(worker);
    node.successor("write", worker);
    let comm = node.pid("comm");
    kill_hard(comm);
    let report = report_of(&node, comm);
    assert_eq!((&report["role"], &report["why"]), (&json!("comm"), &json!("killed")), "{report:#}");
    assert_eq!((&report["service"], &report["request"]), (&Value::Null, &Value::Null));
    node.successor("comm", comm);
    assert_eq!(node.client().call(ECHO_WRITE, "x").done().body, b"x");
    assert_eq!(reports(&node).len(), 1);
}

#[test]
fn reports_are_kept_up_to_five_hundred_and_read_without_a_node() {
    let mut node = Node::start(options());
    let folder = node.state_folder().join("reports");
    for number in 0..510 {
        let old = json!({"at_ms": number, "why": "killed", "service": "19000003", "pid": 1});
        fs::write(folder.join(format!("{number:013}-19000003-1.json")), old.to_string()).expect("a file");
    }
    let victim = node.pid("write");
    node.client().call(FAULT_WRITE, r#"{"how":"segv"}"#).expect_status(302);
    let name = {
        let report = report_of(&node, victim);
        assert_eq!(report["why"], "fatal_signal");
        let listed = reports(&node);
        assert_eq!((listed.len(), &listed[0]["pid"]), (500, &json!(victim.as_raw())));
        assert_eq!(listed[499]["at_ms"], 11, "the oldest went");
        listed[0]["name"].as_str().expect("a report has a name").to_owned()
    };
    node.stop();
    let listed = node.gantry(&["report", "list"]).expect_code(0).text();
    assert!(listed.contains(&name) && listed.contains("fatal_signal"), "{listed}");
    let shown = node.gantry(&["report", "show", "last"]).expect_code(0).text();
    assert!(shown.contains(&name) && shown.contains("gantry_diag::fault::write_to_null"), "{shown}");
    let refused = node.gantry(&["report", "show", "none-such"]).expect_code(1);
    assert!(refused.stderr.contains("none-such") && refused.stderr.contains(&name), "{}", refused.stderr);
}
