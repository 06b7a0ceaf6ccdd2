//! The database's server dies, or stops answering, under load, and comes back.

use gantry_test_servers::{Kind, Server};
use gantry_tests::etc::{ADD, COUNTER, add};
use gantry_tests::{Answer, Client, Node, Request, Sent, soak, tally, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{expect_counted, options, repeat_until_done, server};

/// What each request may take.
const BUDGET_MS: u32 = 2_000;

/// Added to the budget before an answer counts as one that never came: the test's own threads share the cores with the node
/// and a server that recovers.
const GRACE: Duration = Duration::from_secs(3);

/// Threads that write and threads that read; more than there are workers, so that requests also wait in the queues.
const THREADS: usize = 4;

/// How long the server is away.
fn away() -> Duration {
    Duration::from_secs(if soak() { 30 } else { 5 })
}

/// The load, from another side than [`gantry_tests::Load`]: it notes how long each answer took, and never connects again,
/// since the node has no reason to end a connection.
struct Watched<'a> {
    node: &'a Node,
    state: Mutex<Progress>,
}

/// How far the load is.
#[derive(Debug, Default)]
struct Progress {
    is_over: bool,
    /// Requests that have been answered.
    answered: usize,
    /// The longest that any of them waited, and what it was told.
    longest: (Duration, u16),
}

impl Watched<'_> {
    /// One thread's requests, one after the other.
    fn send(&self, make: impl Fn() -> Request) -> Vec<Sent> {
        let mut client = self.node.client();
        let mut sent = Vec::new();
        while !self.state().is_over {
            let request = make().budget_ms(BUDGET_MS);
            let began = Instant::now();
            let reply = client.exchange(&request);
            let took = began.elapsed();
            let allowed = Duration::from_millis(BUDGET_MS.into()) + GRACE;
            assert!(took < allowed, "{:03} after {took:?}, with a budget of {BUDGET_MS} ms", reply.status);
            sent.push(Sent { request, answer: Answer::Status(reply.status) });
            let mut state = self.state();
            state.answered += 1;
            state.longest = state.longest.max((took, reply.status));
        }
        sent
    }

    /// Waits until so many further requests have been answered.
    fn go_on(&self, more: usize) {
        let goal = self.state().answered + more;
        until("the load goes on", || (self.state().answered >= goal).then_some(()));
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a load and lets `take_away` do its worst in the middle; returns the writes and the reads.
fn under_load(node: &Node, take_away: impl FnOnce(&Watched<'_>)) -> (Vec<Sent>, Vec<Sent>) {
    add(&mut node.client(), "read", 1);
    let watched = Watched { node, state: Mutex::default() };
    thread::scope(|scope| {
        let watched = &watched;
        let writers: Vec<_> = (0..THREADS)
            .map(|number| {
                let body = json!({"key": format!("outage {number}"), "add": 1}).to_string();
                scope.spawn(move || watched.send(|| Request::new(ADD, &body)))
            })
            .collect();
        let read = || Request::new(COUNTER, r#"{"key":"read"}"#);
        let readers: Vec<_> = (0..THREADS).map(|_| scope.spawn(move || watched.send(read))).collect();
        watched.go_on(200);
        take_away(watched);
        watched.go_on(200);
        let longest = {
            let mut state = watched.state();
            state.is_over = true;
            state.longest
        };
        println!(
            "the longest wait was {:?}, with a budget of {BUDGET_MS} ms, for {:03}",
            longest.0, longest.1
        );
        let ends = |threads: Vec<thread::ScopedJoinHandle<'_, Vec<Sent>>>| -> Vec<Sent> {
            threads.into_iter().flat_map(|thread| thread.join().expect("it ends well")).collect()
        };
        (ends(writers), ends(readers))
    })
}

/// Waits until a write and a read are done again, in the same processes as before.
fn recovers(node: &Node) {
    let mut client = node.client();
    for request in [
        || Request::new(ADD, json!({"key": "again", "add": 1}).to_string()),
        || Request::new(COUNTER, json!({"key": "again"}).to_string()),
    ] {
        until("the node serves again", || {
            (client.exchange(&request().budget_ms(BUDGET_MS)).status == 0).then_some(())
        });
    }
}

/// Runs the load through an outage and compares the books.
fn survives(kind: Kind, outage: impl FnOnce(&mut Server), may_replace_workers: bool) {
    let mut server = server(kind);
    let node = Node::start(options(&server));
    let before = [node.pids("read"), node.pids("write"), node.pids("comm"), node.pids("supervisor")];
    let (writes, reads) = under_load(&node, |_| {
        outage(&mut server);
        recovers(&node);
    });
    let (written, read) = (tally(&writes), tally(&reads));
    println!("writes {written:?}\nreads {read:?}");
    let is_clear = |answer: &Answer| matches!(answer, Answer::Status(0 | 202 | 301 | 302 | 305 | 306 | 500));
    assert!(written.keys().chain(read.keys()).all(is_clear), "writes {written:?}, reads {read:?}");
    assert!(
        written.len() > 1 && read.len() > 1,
        "the outage was noticed: writes {written:?}, reads {read:?}"
    );
    let after = [node.pids("read"), node.pids("write"), node.pids("comm"), node.pids("supervisor")];
    if !may_replace_workers {
        assert_eq!(after, before, "the same processes go on");
    }
    repeat_until_done(|| Client::connect(node.address()).ok(), &writes);
    expect_counted(&node, &writes);
    node.until_quiet();
}

fn is_killed(server: &mut Server) {
    server.kill();
    thread::sleep(away());
    server.restart();
}

/// A server that does not answer, and does not say that it will not.
fn is_stopped(server: &mut Server) {
    server.signal(Signal::SIGSTOP);
    thread::sleep(away());
    server.signal(Signal::SIGCONT);
}

#[test]
fn killed_postgres_costs_no_write_and_no_restart() {
    survives(Kind::Postgres, is_killed, false);
}

#[test]
fn killed_mariadb_costs_no_write_and_no_restart() {
    survives(Kind::MariaDb, is_killed, false);
}

/// A worker that waits for the server in the middle of a call can only be killed, as its service's rule says.
#[test]
fn stopped_postgres_costs_no_write() {
    survives(Kind::Postgres, is_stopped, true);
}

/// The same.
#[test]
fn stopped_mariadb_costs_no_write() {
    survives(Kind::MariaDb, is_stopped, true);
}
