//! A build that is tried on a share of the requests, beside the one in force.

use std::collections::BTreeMap;

use gantry_tests::{Answer, Load, Node, NodeOptions, Request, tally, until};
use serde_json::Value;

use super::{deploy, plugin, version};

const READ: u32 = 19_900_001;
const WRITE: u32 = 29_900_001;

/// A node on which 1.0 serves.
fn node(options: NodeOptions) -> Node {
    let node = Node::start(options.set("workers.read", 2));
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    node
}

fn begin(node: &Node, extra: &[&str], arguments: &[&str]) -> Value {
    let library = version(node, "1.1", extra);
    let library = library.to_string_lossy();
    let command = [&["service", "deploy", &library, "--json"], arguments].concat();
    node.gantry(&command).expect_code(0).json()
}

fn canaries(node: &Node) -> Vec<Value> {
    let list = node.gantry(&["service", "canary", "--json"]).expect_code(0).json();
    list.as_array().expect("a list").clone()
}

/// Which version answers each of these requests.
fn versions(node: &Node, requests: &[Request]) -> Vec<String> {
    let mut client = node.client();
    requests.iter().map(|request| client.exchange(request).done().text()).collect()
}

fn count(versions: &[String], version: &str) -> usize {
    versions.iter().filter(|found| *found == version).count()
}

#[track_caller]
fn actions(node: &Node) -> Vec<(String, String)> {
    let shown = node.gantry(&["service", "show", &READ.to_string(), "--json"]).expect_code(0).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let history = shown["history"].as_array().expect("a history");
    history.iter().map(|event| (text(&event["action"]), text(&event["why"]))).collect()
}

#[test]
fn canary_gets_its_share_by_the_requests_ids_and_is_promoted() {
    let node = node(NodeOptions::small());
    let receipt = begin(&node, &[], &["--canary", "20%"]);
    assert_eq!((&receipt["version"], &receipt["canary"]["share_ppm"]), (&"1.1".into(), &200_000.into()));
    let requests: Vec<Request> = (0..1_000).map(|_| Request::new(READ, "0")).collect();
    let first = versions(&node, &requests);
    let canary_count = count(&first, "1.1");
    assert!((140..260).contains(&canary_count), "{canary_count} of 1000");
    assert_eq!(versions(&node, &requests), first, "the same id goes the same way");

    let compared = &canaries(&node)[0];
    let figures = compared["services"].as_array().expect("services");
    let read = figures.iter().find(|service| service["number"] == READ).expect("it is compared");
    assert_eq!(read["canary"]["calls"], 2 * canary_count);
    assert_eq!(read["in_force"]["calls"], 2 * (1_000 - canary_count));
    assert_eq!((&read["canary"]["errors"], &compared["deaths"]), (&0.into(), &0.into()));
    let text = node.gantry(&["service", "canary"]).expect_code(0).text();
    assert!(text.contains("1.1 on 20 % of the requests beside 1.0"), "{text}");

    begin(&node, &[], &["--canary", "60%"]);
    let more = versions(&node, &requests);
    let kept = first.iter().zip(&more).filter(|(before, _)| *before == "1.1");
    assert!(kept.clone().all(|(_, now)| now == "1.1") && kept.count() == canary_count);
    assert!((500..700).contains(&count(&more, "1.1")), "{}", count(&more, "1.1"));

    let text = node.gantry(&["service", "promote", "versioned"]).expect_code(0).text();
    assert!(text.contains("1.1 is in force in all workers"), "{text}");
    assert_eq!(count(&versions(&node, &requests), "1.1"), 1_000);
    assert!(canaries(&node).is_empty());
    let told: Vec<String> = actions(&node).into_iter().map(|(action, _)| action).collect();
    assert_eq!(told, ["promote", "canary", "canary", "deploy"]);
    node.gantry(&["service", "rollback", "versioned"]).expect_code(0);
    assert_eq!(count(&versions(&node, &requests), "1.0"), 1_000);
}

#[test]
fn aborted_canary_leaves_the_build_in_force_and_is_not_rolled_back_to() {
    let mut node = node(NodeOptions::small());
    begin(&node, &[], &["--canary", "50%"]);
    node.stop();
    node.run();
    let requests: Vec<Request> = (0..200).map(|_| Request::new(WRITE, "0")).collect();
    let found = versions(&node, &requests);
    assert!(count(&found, "1.1") > 50 && count(&found, "1.0") > 50, "a restart keeps the canary");
    node.gantry(&["service", "abort", "versioned", "--why", "not wanted"]).expect_code(0);
    let requests: Vec<Request> = (0..200).map(|_| Request::new(WRITE, "0")).collect();
    assert_eq!(count(&versions(&node, &requests), "1.0"), 200);
    assert_eq!(actions(&node)[0], ("abort".to_owned(), "not wanted".to_owned()));
    node.gantry(&["service", "rollback", "versioned"]).expect_code(1);
    assert!(node.gantry(&["service", "abort", "versioned"]).expect_code(1).stderr.contains("being tried"));
    assert!(node.gantry(&["service", "promote", "versioned"]).expect_code(1).stderr.contains("being tried"));
}

/// Goal: a canary harms its share only, and not for long. Method: load on reads with good bodies, and one body that kills.
#[test]
fn canary_that_kills_a_worker_is_set_aside_at_once() {
    let node = node(NodeOptions::small());
    begin(&node, &["-DABORTS"], &["--canary", "50%"]);
    let load = Load::start(node.address(), 2, |_| Request::new(READ, "0"));
    let mut client = node.client();
    until("a request of the canary", || {
        let reply = client.call(WRITE, "abort");
        if reply.status == 302 {
            return Some(());
        }
        assert_eq!(reply.done().text(), "1.0", "harmless in the build in force");
        None
    });
    until("it is set aside", || canaries(&node).is_empty().then_some(()));
    let requests: Vec<Request> = (0..100).map(|_| Request::new(WRITE, "abort")).collect();
    assert_eq!(count(&versions(&node, &requests), "1.0"), 100);
    let answers = tally(&load.stop());
    assert!(answers.keys().all(|answer| *answer == Answer::Status(0)), "{answers:?}");
    let (action, why) = &actions(&node)[0];
    assert!(action == "abort" && why.contains("1 workers died"), "{action}: {why}");
}

/// What the canary could not answer, the build in force does: a read is run again, and there.
#[test]
fn read_that_kills_a_canary_is_answered_by_the_build_in_force() {
    let node = node(NodeOptions::small().set("service.canary_deaths", 1_000));
    begin(&node, &["-DABORTS"], &["--canary", "100%"]);
    let mut client = node.client();
    for _ in 0..3 {
        assert_eq!(client.call(READ, "abort").done().text(), "1.0");
        assert_eq!(client.call(READ, "0").done().text(), "1.1");
    }
    assert_eq!(canaries(&node)[0]["deaths"], 3);
}

/// The library 1.1, which no worker can load while the file is there.
fn unloadable(node: &Node, file: &std::path::Path) -> String {
    version(node, "1.1", &[&format!("-DNOWORK=\"{}\"", file.display())]).to_string_lossy().into_owned()
}

/// A worker that starts later would serve nobody: what cannot be loaded does not stay.
#[test]
fn build_that_no_worker_can_load_is_taken_back() {
    let node = node(NodeOptions::small());
    let library = unloadable(&node, &node.config());
    for (arguments, action) in [(&["--canary", "100%"][..], "abort"), (&[], "rollback")] {
        let command = [&["service", "deploy", &library], arguments].concat();
        let told = node.gantry(&command).expect_code(1);
        assert!(
            told.stderr.contains("cannot load it") && told.stderr.contains("taken back"),
            "{}",
            told.stderr
        );
        assert!(told.text().contains("the build before serves"), "{}", told.text());
        let (ended_by, why) = &actions(&node)[0];
        assert!(ended_by == action && why.contains("workers cannot load it"), "{ended_by}: {why}");
        assert_eq!(
            (canaries(&node).len(), node.client().call(READ, "0").done().text()),
            (0, "1.0".to_owned())
        );
    }
    // The first of its name is no more.
    node.gantry(&["service", "unload", "versioned"]).expect_code(0);
    node.gantry(&["service", "deploy", &library]).expect_code(1);
    node.client().call(READ, "0").expect_status(102);
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    // Nothing of it is left to do, and others are deployed as if nothing had been.
    deploy(&node, &plugin(&node, "calls.c", "calls", &[])).expect_code(0);
}

/// Where the build in force serves in its place, what that does must not count for it.
#[test]
fn canary_that_later_workers_cannot_load_is_not_promoted() {
    // The machine may be slow while it is tried; that is not what this is about.
    let node =
        node(NodeOptions::small().set("service.canary_calls", 5).set("service.canary_slowness", 1_000));
    let file = node.folder().join("no-work");
    let library = unloadable(&node, &file);
    let arguments = ["--canary", "100%", "--promote-after", "2s"];
    node.gantry(&[&["service", "deploy", &library][..], &arguments].concat()).expect_code(0);
    std::fs::write(&file, "").expect("a file can be written");
    let before = [node.pids("worker"), node.pids("spare")].concat();
    before.iter().for_each(|pid| gantry_tests::processes::kill_hard(*pid));
    let mut client = node.client();
    for _ in 0..50 {
        assert_eq!(client.call(READ, "0").done().text(), "1.0");
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
    let canary = canaries(&node).remove(0);
    let reads = canary["services"].as_array().expect("a list").iter();
    let reads = reads.clone().find(|service| service["number"] == READ).expect("it is listed");
    assert_eq!(reads["canary"]["calls"], 0);
    assert!(reads["in_force"]["calls"].as_u64() >= Some(50), "{reads}");
    // When they can, it is.
    std::fs::remove_file(&file).expect("it is there");
    until("it is promoted", || {
        client.call(READ, "0").done();
        canaries(&node).is_empty().then_some(())
    });
    assert_eq!(actions(&node)[0].0, "promote");
}

#[test]
fn canary_that_fails_or_is_slow_is_set_aside_and_says_why() {
    for (extra, words) in [("-DFAILS", "are errors"), ("-DSLOW_MS=60", "95 % of its answers")] {
        let node = node(NodeOptions::small().set("service.canary_calls", 20));
        begin(&node, &[extra], &["--canary", "50%"]);
        let mut client = node.client();
        until("it is set aside", || {
            let statuses: BTreeMap<u16, usize> = (0..20).fold(BTreeMap::new(), |mut statuses, _| {
                *statuses.entry(client.call(READ, "0").status).or_default() += 1;
                statuses
            });
            assert!(statuses.keys().all(|status| [0, 306].contains(status)), "{statuses:?}");
            canaries(&node).is_empty().then_some(())
        });
        let (action, why) = &actions(&node)[0];
        assert!(action == "abort" && why.contains(words) && why.contains("19900001"), "{action}: {why}");
        assert_eq!(client.call(READ, "0").done().text(), "1.0");
    }
}

/// Refusals and replies from the window are as quick for a bad build as for a good one.
#[test]
fn what_no_build_answered_counts_for_none() {
    let node = node(NodeOptions::small());
    begin(&node, &[], &["--canary", "50%"]);
    let mut client = node.client();
    let (mut ran, mut repeats) = ([0_u64; 2], 0);
    for _ in 0..20 {
        let write = Request::new(WRITE, "30");
        let first = client.exchange(&write).done().text();
        ran[usize::from(first == "1.1")] += 1;
        for _ in 0..5 {
            assert_eq!(client.exchange(&write).done().text(), first, "from the window");
            repeats += 1;
        }
    }
    node.gantry(&["service", "stop", &READ.to_string()]).expect_code(0);
    (0..20).for_each(|_| drop(client.call(READ, "0").expect_status(103)));
    let compared = canaries(&node).remove(0);
    let of = |number: u32| {
        let mut services = compared["services"].as_array().expect("a list").iter();
        services.find(|service| service["number"] == number).expect("it is compared")
    };
    let (write, read) = (of(WRITE), of(READ));
    assert_eq!(write["canary"]["calls"], ran[1]);
    assert_eq!(write["in_force"]["calls"], ran[0] + repeats);
    assert_eq!((&write["canary"]["served"], &write["in_force"]["served"]), (&ran[1].into(), &ran[0].into()));
    for side in ["in_force", "canary"] {
        let half_us = write[side]["latency_p50_us"].as_u64().expect("it answered");
        assert!(half_us >= 30_000, "{side}: {write}");
        assert!(read[side]["latency_p50_us"].is_null(), "{read}");
    }
    assert_eq!((&read["in_force"]["refusals"], &read["in_force"]["served"]), (&20.into(), &0.into()));
}

#[test]
fn canary_that_does_well_comes_into_force_when_its_time_has_come() {
    let node = node(NodeOptions::small().set("service.canary_calls", 20));
    begin(&node, &[], &["--canary", "50%", "--promote-after", "1s"]);
    let mut client = node.client();
    until("it is promoted", || {
        (0..20).for_each(|_| drop(client.call(READ, "0").done()));
        canaries(&node).is_empty().then_some(())
    });
    assert_eq!(actions(&node)[0].0, "promote");
    let requests: Vec<Request> = (0..100).map(|_| Request::new(READ, "0")).collect();
    assert_eq!(count(&versions(&node, &requests), "1.1"), 100);
}

#[test]
fn what_cannot_be_tried_is_refused_with_the_reason() {
    let node = Node::start(NodeOptions::small());
    let one = version(&node, "1.0", &[]);
    let one = one.to_string_lossy();
    let first = node.gantry(&["service", "deploy", &one, "--canary", "5%"]).expect_code(1).stderr;
    assert!(first.contains("no library versioned in force"), "{first}");
    deploy(&node, one.as_ref().as_ref()).expect_code(0);
    let fewer = version(&node, "1.1", &["-DFEWER"]);
    let differs = node.gantry(&["service", "deploy", &fewer.to_string_lossy(), "--canary", "5%"]);
    let differs = differs.expect_code(1).stderr;
    assert!(differs.contains("29900002") && differs.contains("without --canary"), "{differs}");
    begin(&node, &[], &["--canary", "5%"]);
    let third = version(&node, "1.2", &[]);
    let third = third.to_string_lossy();
    for arguments in [&["--canary", "5%"][..], &[]] {
        let command = [&["service", "deploy", &third], arguments].concat();
        let refused = node.gantry(&command).expect_code(1).stderr;
        assert!(refused.contains("1.1") && refused.contains("promote"), "{refused}");
    }
    for bad in ["0%", "101%", "5", "x%"] {
        let refused = node.gantry(&["service", "deploy", &third, "--canary", bad]).expect_code(2).stderr;
        assert!(refused.contains("percentage"), "{refused}");
    }
}
