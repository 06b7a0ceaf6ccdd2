//! What a deployment says of itself.

use std::process::{Command, Stdio};

use gantry_tests::etc::{ECHO, SLEEP_WRITE};
use gantry_tests::processes::{is_running, kill_hard};
use gantry_tests::{Node, NodeOptions, Request, gantry_binary, until};
use serde_json::Value;

use super::hot::{READ, WRITE, listed};
use super::{deploy, version};

fn deploy_as_json(node: &Node, library: &std::path::Path) -> Value {
    node.gantry(&["service", "deploy", &library.to_string_lossy(), "--json"]).expect_code(0).json()
}

#[test]
fn receipt_names_every_worker_its_build_and_how_the_examples_went() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let receipt = deploy_as_json(&node, &version(&node, "1.0", &["-DEXAMPLE"]));
    let workers = receipt["workers"].as_array().expect("a list");
    // Two readers, a writer and the spare.
    assert_eq!((workers.len(), &receipt["in_force"]), (4, &true.into()), "{receipt}");
    for worker in workers {
        assert_eq!(
            (&worker["build"], &worker["requests_on_older"]),
            (&receipt["build"], &0.into()),
            "{worker}"
        );
    }
    let pids = [node.pids("worker"), node.pids("spare")].concat();
    let pids: Vec<i64> = pids.iter().map(|pid| pid.as_raw().into()).collect();
    assert!(workers.iter().all(|worker| worker["pid"].as_i64().is_some_and(|pid| pids.contains(&pid))));
    // The write has an example too, and is not tried.
    let tried = receipt["self_test"].as_array().expect("a list");
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_eq!(
        (&tried[0]["number"], &tried[0]["ok"], &tried[0]["status"]),
        (&READ.into(), &true.into(), &0.into())
    );
    // The next one deploys and does not do what its example says.
    let failing = version(&node, "1.1", &["-DEXAMPLE", "-DFAILS"]);
    let told = deploy(&node, &failing).expect_code(1);
    assert!(told.text().contains("self-test: 19900001 306"), "{}", told.text());
    let words = &told.stderr;
    assert!(words.contains("it is in force") && words.contains("service rollback versioned"), "{words}");
    assert_eq!(listed(&node, READ)["version"], "1.1");
    let told = deploy(&node, &version(&node, "1.2", &[])).expect_code(0).text();
    assert!(told.contains("no request on an older one") && told.contains("no harmless read"), "{told}");
}

/// A request that runs for longer than the command waits: it is told which worker still runs it, on what was before.
#[test]
fn receipt_names_the_worker_that_still_runs_the_version_before() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let mut client = node.client();
    client.send(&Request::new(WRITE, "5000"));
    node.until_busy("write");
    let writer = node.pid("write");
    let library = version(&node, "1.1", &[]);
    let arguments = ["service", "deploy", &library.to_string_lossy(), "--json", "--wait", "500ms"];
    let output = node.gantry(&arguments).expect_code(1);
    assert!(output.stderr.contains(&format!("{writer} (running {WRITE})")), "{}", output.stderr);
    let receipt = output.json();
    assert_eq!(receipt["in_force"], false);
    let lagging = |worker: &&Value| worker["in_force"] == false;
    let workers = receipt["workers"].as_array().expect("a list");
    let lagging: Vec<&Value> = workers.iter().filter(lagging).collect();
    assert_eq!(lagging.len(), 1, "{receipt}");
    assert_eq!((&lagging[0]["requests_on_older"], &lagging[0]["running"]), (&1.into(), &WRITE.into()));
    assert_eq!(node.client().call(ECHO, "x").done().text(), "x");
    assert_eq!(client.receive().done().text(), "1.0");
    assert_eq!(client.call(WRITE, "0").done().text(), "1.1");
}

/// The client was told that it takes longer; nobody waits any more, and the build is taken back all the same.
#[test]
fn what_cannot_be_loaded_is_taken_back_also_after_the_wait() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let mut client = node.client();
    let library = version(&node, "1.1", &[&format!("-DNOWORK=\"{}\"", node.config().display())]);
    client.send(&Request::new(SLEEP_WRITE, r#"{"ms":4000}"#));
    node.until_busy("write");
    let arguments = ["service", "deploy", &library.to_string_lossy(), "--json", "--wait", "300ms"];
    let receipt = node.gantry(&arguments).expect_code(1).json();
    let older = receipt["workers"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|worker| worker["requests_on_older"].as_u64());
    assert_eq!(
        older.flatten().sum::<u64>(),
        0,
        "another library's request is none on an older build: {receipt}"
    );
    client.receive().done();
    until("it is taken back", || (listed(&node, READ)["version"] == "1.0").then_some(()));
    for pid in [node.pids("worker"), node.pids("spare")].concat() {
        gantry_tests::processes::kill_hard(pid);
    }
    assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
}

/// Its examples are its own: the build in force has none.
#[test]
fn canary_is_tried_with_its_own_examples_and_by_requests_that_it_gets() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let failing = version(&node, "1.1", &["-DEXAMPLE", "-DFAILS"]);
    let arguments = ["service", "deploy", &failing.to_string_lossy(), "--canary", "0.01%"];
    let told = node.gantry(&arguments).expect_code(1);
    assert!(told.text().contains("self-test: 19900001 306"), "{}", told.text());
    assert!(told.stderr.contains("service abort versioned"), "{}", told.stderr);
    node.gantry(&["service", "abort", "versioned"]).expect_code(0);
    let shown = node.gantry(&["service", "show", &READ.to_string()]).expect_code(0).text();
    assert!(shown.contains(", 1.0 ") && shown.contains("serves all by uid"), "{shown}");
}

/// Two operators: what the first one is told must not be the second one's build.
#[test]
fn receipt_says_which_build_came_in_between() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let libraries = ["1.1", "1.2"].map(|number| version(&node, number, &[]));
    let mut client = node.client();
    client.send(&Request::new(WRITE, "6000"));
    node.until_busy("write");
    let mut first = Command::new(gantry_binary());
    first.arg("-c").arg(node.config()).args(["service", "deploy", "--json"]).arg(&libraries[0]);
    let first = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gantry can be started");
    until("the first is in force elsewhere", || (listed(&node, READ)["version"] == "1.1").then_some(()));
    let second = ["service", "deploy", &libraries[1].to_string_lossy(), "--wait", "100ms"];
    node.gantry(&second).expect_code(1);
    let first = first.wait_with_output().expect("a child can be waited for");
    let receipt: Value = serde_json::from_slice(&first.stdout).expect("a receipt");
    assert_eq!(
        (first.status.code(), &receipt["in_force"], &receipt["version"]),
        (Some(1), &false.into(), &"1.1".into())
    );
    assert!(receipt["replaced_by"].as_str().is_some_and(|by| by.starts_with("1.2 (build ")), "{receipt}");
    let words = String::from_utf8_lossy(&first.stderr);
    assert!(words.contains("another change came"), "{words}");
    assert_eq!(client.receive().done().text(), "1.0");
    assert_eq!(client.call(WRITE, "0").done().text(), "1.2");
}

/// Nobody is left who waits for the workers; whoever takes the node over finishes it.
#[test]
fn what_cannot_be_loaded_is_taken_back_also_by_the_next_supervisor() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let mut client = node.client();
    let library = version(&node, "1.1", &[&format!("-DNOWORK=\"{}\"", node.config().display())]);
    client.send(&Request::new(SLEEP_WRITE, r#"{"ms":6000}"#));
    node.until_busy("write");
    let arguments = ["service", "deploy", &library.to_string_lossy(), "--wait", "300ms"];
    node.gantry(&arguments).expect_code(1);
    node.until_busy("write");
    let supervisor = node.pid("supervisor");
    kill_hard(supervisor);
    until("the supervisor is gone", || (!is_running(supervisor)).then_some(()));
    node.gantry(&["start"]).expect_code(0);
    client.receive().done();
    until("it is taken back", || (listed(&node, READ)["version"] == "1.0").then_some(()));
    [node.pids("worker"), node.pids("spare")].concat().into_iter().for_each(kill_hard);
    assert_eq!(node.client().call(READ, "0").done().text(), "1.0");
}
