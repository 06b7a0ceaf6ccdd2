//! Services that call services in the same worker, and services that name what they need.

use gantry_tests::etc::{ADD, COUNTER, ECHO, FAULT_WRITE, SLEEP, SLEEP_WRITE, add, counter};
use gantry_tests::{Client, Node, NodeOptions, Reply, Request, until};

use super::{deploy, plugin};

const READ: u32 = 19_900_101;
const WRITE: u32 = 29_900_101;
const OTHER: u32 = 29_900_102;

fn node(options: NodeOptions) -> Node {
    let node = Node::start(options);
    deploy(&node, &plugin(&node, "calls.c", "calls", &[])).expect_code(0);
    node
}

/// `service` calls `inner` with `body`, and treats an error as `how` says.
fn through(client: &mut Client, service: u32, inner: u32, how: char, body: &str) -> Reply {
    client.call(service, format!("{inner:08} {how} {body}"))
}

#[test]
fn inner_call_replies_and_takes_effect_with_the_request_once() {
    let node = node(NodeOptions::small());
    let mut client = node.client();
    assert_eq!(through(&mut client, READ, ECHO, 'p', "入口").done().text(), "入口");
    let body = format!(r#"{ADD:08} p {{"key":"k","add":5}}"#);
    let request = Request::new(WRITE, body);
    let first = client.exchange(&request).done().text();
    assert_eq!(first, r#"{"value":5}"#);
    assert_eq!(client.exchange(&request).done().text(), first, "a repeat is answered and not run");
    assert_eq!(counter(&mut client, "k"), 5);
    // Two levels: a write that calls a write that calls a write.
    let nested = format!(r#"{ADD:08} p {{"key":"k","add":2}}"#);
    assert_eq!(through(&mut client, WRITE, OTHER, 'p', &nested).done().text(), r#"{"value":7}"#);
    assert_eq!(counter(&mut client, "k"), 7);
}

/// The reply of one call is the body of the next: it must live until that one is over.
#[test]
fn reply_of_an_inner_call_can_be_the_body_of_the_next() {
    let node = node(NodeOptions::small());
    let mut client = node.client();
    for bytes in [0, 1, 100, 5_000, 200_000] {
        let body: String = (0..bytes).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
        let reply = through(&mut client, READ, ECHO, 't', &body).done();
        assert!(reply.text() == body, "{bytes} bytes came back as others");
    }
}

fn run_sql(node: &Node, folder: &str, extra: &[&str]) {
    let headers = format!("-I{}", gantry_tests::repository_root().join("tests/plugins").display());
    deploy(node, &plugin(node, "run_sql.c", folder, &[&[headers.as_str()], extra].concat())).expect_code(0);
}

/// Where the row of a request lies must not depend on which service inside it asks first.
#[test]
fn write_is_done_once_whatever_sources_the_services_inside_use() {
    const READ_ARCHIVE: u32 = 19_900_020;
    const WRITE_ARCHIVE: u32 = 29_900_020;
    const BARE_WRITE: u32 = 29_900_111;
    let node = node(NodeOptions::small().text("data.archive.driver", "sqlite"));
    run_sql(&node, "archive", &["-DARCHIVE"]);
    deploy(&node, &plugin(&node, "calls.c", "bare", &["-DBARE"])).expect_code(0);
    let mut client = node.client();
    client.call(WRITE_ARCHIVE, "!CREATE TABLE once (x INTEGER PRIMARY KEY)").done();
    // A read of another source comes first: the write goes where its service writes, or to `main`.
    for (count, outer) in [(1, WRITE), (2, BARE_WRITE)] {
        let request = Request::new(outer, format!("{READ_ARCHIVE:08} b SELECT 1"));
        let first = client.exchange(&request).done().text();
        assert_eq!(first, format!(r#"{{"value":{count}}}"#));
        assert_eq!(client.exchange(&request).done().text(), first);
    }
    assert_eq!(counter(&mut client, "both"), 2);
    // A service without sources of its own writes where the one inside does; a reply too long to be kept in memory is
    // found there. Were it run again, the key would be refused.
    let request = Request::new(BARE_WRITE, format!("{WRITE_ARCHIVE:08} l !INSERT INTO once VALUES (1)"));
    let first = client.exchange(&request).done().text();
    assert_eq!(first.len(), 3_000);
    assert_eq!(client.exchange(&request).done().text(), first);
    // What was read inside is written afterwards.
    let nested = format!("{WRITE_ARCHIVE:08} p !INSERT INTO once VALUES (2)");
    through(&mut client, BARE_WRITE, BARE_WRITE + 1, 'p', &nested).done();
}

#[test]
fn what_the_inner_call_wrote_goes_with_a_request_that_fails() {
    let node = node(NodeOptions::small());
    let mut client = node.client();
    add(&mut client, "k", 1);
    through(&mut client, WRITE, ADD, 'f', r#"{"key":"k","add":5}"#).expect_status(306);
    assert_eq!(counter(&mut client, "k"), 1);
    // An inner write that gives up takes the request with it, also when its caller overlooks it.
    let refused = r#"{"key":"k"}"#;
    let passed = through(&mut client, WRITE, ADD, 'p', refused);
    assert_eq!((passed.status, &passed.json()["error"]), (304, &"bad_request".into()));
    through(&mut client, WRITE, ADD, 'i', refused).expect_status(306);
    let nested = format!(r#"{ADD:08} i {refused}"#);
    through(&mut client, WRITE, OTHER, 'i', &nested).expect_status(306);
    assert_eq!(counter(&mut client, "k"), 1);
    // A read that refuses harms nobody.
    let overlooked = through(&mut client, WRITE, COUNTER, 'i', "no json").done().text();
    assert!(overlooked.starts_with("1 bad_request"), "{overlooked}");
}

#[test]
fn what_may_not_be_called_is_refused_with_the_reason() {
    let node = node(NodeOptions::small());
    let mut client = node.client();
    let mut told = |service, inner, body: &str| through(&mut client, service, inner, 'i', body).done().text();
    let write = told(READ, ADD, r#"{"key":"k","add":5}"#);
    assert!(write.starts_with("4 ") && write.contains("kind read cannot call 29000004"), "{write}");
    assert!(told(READ, 10_999_999, "").starts_with("3 "), "there is no such service");
    assert!(told(READ, 2, "").starts_with("3 "), "a platform number is no service");
    let itself = told(WRITE, WRITE, "");
    assert!(itself.starts_with("4 ") && itself.contains("middle of a call"), "{itself}");
    node.gantry(&["service", "stop", &ECHO.to_string()]).expect_code(0);
    let stopped = told(READ, ECHO, "x");
    assert!(stopped.starts_with("3 ") && stopped.contains("stopped"), "{stopped}");
    node.gantry(&["service", "start", &ECHO.to_string()]).expect_code(0);
    assert_eq!(told(READ, ECHO, "x"), "x");
}

/// The connection of a write would let it.
#[test]
fn read_called_by_a_write_cannot_write() {
    const RUN_SQL: u32 = 19_900_010;
    let node = node(NodeOptions::small());
    run_sql(&node, "run_sql", &[]);
    let mut client = node.client();
    add(&mut client, "k", 1);
    let told = through(&mut client, WRITE, RUN_SQL, 'i', "!DELETE FROM diag_counter").done().text();
    assert!(told.starts_with("2 ") && told.contains("kind read cannot write"), "{told}");
    assert_eq!(counter(&mut client, "k"), 1);
    assert_eq!(through(&mut client, WRITE, RUN_SQL, 'i', "SELECT 1").done().text(), "done", "it may read");
}

#[test]
fn death_and_time_out_inside_are_the_inner_services_doing() {
    let node = node(NodeOptions::small().set("service.quarantine_deaths", 2));
    let mut client = node.client();
    for _ in 0..2 {
        through(&mut client, WRITE, FAULT_WRITE, 'p', r#"{"how":"abort"}"#).expect_status(302);
    }
    until("it is quarantined", || (client.call(FAULT_WRITE, "{}").status == 303).then_some(()));
    let told = through(&mut client, WRITE, FAULT_WRITE, 'p', "{}");
    assert_eq!(told.status, 306);
    assert_eq!(through(&mut client, WRITE, ECHO, 'p', "x").done().text(), "x", "the outer one serves");
    let report = node.gantry(&["report", "show", "last", "--json"]).expect_code(0).json();
    assert_eq!((&report["service"], &report["library"]), (&"29000003".into(), &"diag".into()));
    let slow = Request::new(WRITE, format!(r#"{SLEEP_WRITE:08} p {{"ms":60000}}"#)).budget_ms(200);
    assert_eq!(client.exchange(&slow).status, 301);
}

/// The one inside had no time left: it is not its doing.
#[test]
fn time_out_is_the_doing_of_the_service_that_took_the_time() {
    let options = NodeOptions::small().set("service.quarantine_deaths", 1).text("service.timeout", "2s");
    let node = node(options);
    let mut client = node.client();
    through(&mut client, READ, SLEEP, 's', r#"{"ms":9000}"#).expect_status(301);
    until("the outer one is quarantined", || {
        (through(&mut client, READ, ECHO, 'p', "x").status == 303).then_some(())
    });
    client.call(SLEEP, r#"{"ms":1}"#).done();
}

#[test]
fn library_whose_needs_are_not_met_is_refused_with_a_list_of_all_of_them() {
    let node = Node::start(NodeOptions::small());
    let needy = plugin(&node, "calls.c", "needy", &["-DSETTING"]);
    let refused = deploy(&node, &needy).expect_code(1).stderr;
    for words in [
        r#"service 19900101 uses the data source "archive"; add [data.archive]"#,
        r#"service 19900101 needs the setting "rate"; add rate = … to [service.calls]"#,
        r#"service 29900102 needs the setting "limit""#,
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    let described = node.gantry(&["service", "describe", &needy.to_string_lossy()]).expect_code(0).text();
    assert!(described.contains("archive") && described.contains("settings rate, limit"), "{described}");
    drop(node);
    let options = NodeOptions::small().text("data.archive.driver", "sqlite");
    let options = options.set("service.calls.rate", 5).set("service.calls.limit", 7);
    let node = Node::start(options);
    deploy(&node, &plugin(&node, "calls.c", "needy", &["-DSETTING"])).expect_code(0);
    assert_eq!(through(&mut node.client(), READ, ECHO, 'p', "x").done().text(), "x");
}
