//! `kill -9` of workers under load.

use std::time::Instant;

use gantry_tests::etc::{ECHO, SLEEP, SLEEP_WRITE, counter};
use gantry_tests::processes::{is_running, kill_hard};
use gantry_tests::{Answer, Load, Node, NodeOptions, Request, compile_plugin, repository_root, tally, until};
use nix::unistd::Pid;

use super::{add_one, expect_each_counted_once};

/// How often each test kills.
const KILLS: usize = 6;

#[test]
fn killed_read_workers_are_noticed_by_no_reader() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let echoes = Load::start(node.address(), 2, |number| Request::new(ECHO, format!("connection {number}")));
    let sleeps = Load::start(node.address(), 2, |_| Request::new(SLEEP, r#"{"ms":3}"#));
    for round in 0..KILLS {
        let victim = node.pids("read")[round % 2];
        kill_hard(victim);
        let begin = Instant::now();
        until("both read workers are there again", || {
            let workers = node.status().of("read");
            let living =
                workers.iter().filter(|worker| worker.pid != victim && worker.state != "starting").count();
            (living == 2).then_some(())
        });
        println!("read worker {victim} was replaced after {:?}", begin.elapsed());
        sleeps.go_on(20);
    }
    for load in [echoes, sleeps] {
        let sent = load.stop();
        assert_eq!(tally(&sent).len(), 1, "every read was answered 000: {:?}", tally(&sent));
        assert!(sent.iter().all(|one| one.answer == Answer::Status(0)));
    }
    node.until_quiet();
}

#[test]
fn killed_write_worker_answers_302_or_done_and_nothing_is_lost_or_doubled() {
    let node = Node::start(NodeOptions::small());
    let reads = Load::start(node.address(), 1, |_| Request::new(ECHO, "reads do not notice"));
    let writes = Load::start(node.address(), 4, |_| add_one("killed"));
    writes.go_on(20);
    for _ in 0..KILLS {
        let victim = node.pid("write");
        kill_hard(victim);
        node.successor("write", victim);
        writes.go_on(40);
    }
    let sent = writes.stop();
    println!("writes under {KILLS} kills: {:?}", tally(&sent));
    let reads = tally(&reads.stop());
    assert!(reads.keys().all(|answer| *answer == Answer::Status(0)), "{reads:?}");
    expect_each_counted_once(&node, "killed", &sent);
    node.until_quiet();
}

#[test]
fn several_write_workers_killed_at_once_lose_nothing() {
    let node = Node::start(NodeOptions::small().set("workers.write", 2));
    let writes = Load::start(node.address(), 4, |_| add_one("both"));
    writes.go_on(20);
    for _ in 0..KILLS / 2 {
        let victims = node.pids("write");
        for victim in &victims {
            kill_hard(*victim);
        }
        until("both write workers are there again", || {
            let workers = node.status().of("write");
            let living = |worker: &&gantry_tests::Process| {
                !victims.contains(&worker.pid) && worker.state != "starting"
            };
            (workers.iter().filter(living).count() == 2).then_some(())
        });
        writes.go_on(40);
    }
    expect_each_counted_once(&node, "both", &writes.stop());
    node.until_quiet();
}

/// A read that runs when its worker dies is tried on another one; the caller sees nothing but the answer.
#[test]
fn read_whose_worker_is_killed_is_run_again_on_another() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    client.send(&Request::new(SLEEP, r#"{"ms":400}"#));
    node.until_busy("read");
    kill_hard(node.pid("read"));
    assert_eq!(client.receive().done().text(), r#"{"slept_ms":400}"#);
}

/// 305 would say that nothing was begun.
#[test]
fn read_that_was_started_and_runs_out_of_time_when_it_is_queued_again_is_302() {
    let node = Node::start(NodeOptions::small());
    let (mut first, mut second) = (node.client(), node.client());
    first.send(&Request::new(SLEEP, r#"{"ms":60000}"#).budget_ms(2000));
    node.until_busy("read");
    // It stands before the first one when that is queued again, and takes longer than that has left.
    second.send(&Request::new(SLEEP, r#"{"ms":4000}"#));
    until("the second is queued", || (node.status().used("read") == 1).then_some(()));
    kill_hard(node.pid("read"));
    first.receive().expect_status(302);
    second.receive().done();
    node.until_quiet();
}

#[test]
fn write_whose_worker_is_killed_is_answered_302_and_those_behind_it_are_executed() {
    let node = Node::start(NodeOptions::small());
    let (mut running, mut queued) = (node.client(), node.client());
    running.send(&Request::new(SLEEP_WRITE, r#"{"ms":5000}"#));
    node.until_busy("write");
    for _ in 0..20 {
        queued.send(&add_one("behind"));
    }
    until("the others are queued", || (node.status().used("write") == 20).then_some(()));
    let victim = node.pid("write");
    kill_hard(victim);
    assert_eq!(running.receive().status, 302);
    for _ in 0..20 {
        queued.receive().done();
    }
    assert_eq!(counter(&mut queued, "behind"), 20);
    let worker = node.status().of("write").remove(0);
    assert_ne!(worker.pid, victim);
    assert_eq!(worker.restarts, 1, "{worker:?}");
    node.until_quiet();
}

/// What a service spawned is in its worker's process group and goes with it.
#[test]
fn processes_that_a_service_started_die_with_its_worker() {
    let node = Node::start(NodeOptions::small());
    let source = repository_root().join("tests/plugins/versioned.c");
    let library = compile_plugin(&source, node.folder(), &["-DVERSION=\"1.0\""]);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
    let spawned = node.client().call(29_900_002, "").done().text();
    let spawned = Pid::from_raw(spawned.parse().expect("the service answers with a pid"));
    assert!(is_running(spawned));
    let victim = node.pid("write");
    kill_hard(victim);
    until("the spawned process is gone", || (!is_running(spawned)).then_some(()));
    node.successor("write", victim);
    node.client().call(29_900_001, "").done();
}

#[test]
fn every_worker_killed_at_once_is_replaced_and_waiting_requests_are_served() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    for _ in 0..3 {
        for worker in node.pids("worker") {
            kill_hard(worker);
        }
        let mut client = node.client();
        assert_eq!(client.call(ECHO, "after all").done().body, b"after all");
        client.exchange(&add_one("after all")).done();
    }
    assert_eq!(counter(&mut node.client(), "after all"), 3);
    node.until_quiet();
}
