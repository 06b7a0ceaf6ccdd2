//! What is said of a write while its worker is stopped or killed anywhere between its first statement and its reply
//! stays true: no late commit contradicts an outcome, none is missing.
//!
//! A worker is led from system call to system call through one write and stopped or killed at the k-th border, for
//! every k until the write is done. Then `00000002` is asked until it says something final, the worker goes on if it
//! still can, and the database is compared with what was said. Between two borders a process can change nothing that
//! outlives it but the segments, where the attacks of `gantry-ring` kill it at every instruction.
#![forbid(unsafe_code)]

mod killed;
mod plugin;
mod stopped;

use gantry_test_servers::{Kind, Server};
use gantry_tests::etc::{ADD, counter, outcome};
use gantry_tests::processes::is_running;
use gantry_tests::steps::{Led, Step};
use gantry_tests::{Client, Database, Node, NodeOptions, Request, soak, until};
use serde_json::json;

/// Where the writes of a test go: a kind of database that a node can have as `main`.
struct Place {
    name: &'static str,
    server: Option<Server>,
}

impl Place {
    /// A small node with its data there.
    fn options(&self) -> NodeOptions {
        let database = self.server.as_ref().map_or(Database::Sqlite, Database::on);
        NodeOptions::small().on(database)
    }

    /// How many borders are passed over between two that are tried. Each costs a worker and a wait, and a write over a
    /// socket has several times as many.
    fn stride(&self) -> usize {
        match (soak(), &self.server) {
            (true, _) => 1,
            (false, None) => 2,
            (false, Some(_)) => 7,
        }
    }
}

/// Every kind of database, the servers started for the one test.
fn places() -> Vec<Place> {
    let server = |kind: Kind| Place { name: kind.name(), server: Some(Server::start_wide(kind, 60)) };
    let mut places = vec![Place { name: "sqlite", server: None }];
    if cfg!(feature = "odbc") {
        places.extend([Kind::Postgres, Kind::MariaDb].map(server));
    }
    places
}

/// Borders of system calls that one write has at most; a write that never ends fails the test.
const BORDERS_MAX: usize = 600;

/// The write that is led, and who waits for its answer.
struct Attempt {
    request: Request,
    client: Client,
    key: String,
}

impl Attempt {
    fn new(node: &Node, number: usize) -> Self {
        let key = format!("at {number}");
        let request = Request::new(ADD, json!({"key": key, "add": 1}).to_string());
        Self { request, client: node.client(), key }
    }

    /// Sends it.
    fn send(&mut self) {
        self.client.send(&self.request);
    }
}

/// Sends a write to a worker that is led, and stops it at its `borders`-th border from there. `None` when the write
/// was done before that.
fn lead(node: &Node, attempt: &mut Attempt, borders: usize) -> Option<Led> {
    // Whoever has just replaced a killed one opens its files at its first write, which would be other calls.
    insist(&mut attempt.client, &Request::new(ADD, json!({"key": "warm", "add": 1}).to_string()));
    let mut led = Led::take(node.pid("write"));
    attempt.send();
    let answered = || attempt.client.has_reply();
    for _ in 0..borders {
        match led.step(|| !answered()) {
            Step::AtCall => {}
            Step::NotYet => return None,
            Step::Gone => panic!("the worker died before it was killed"),
        }
    }
    (!answered()).then_some(led)
}

/// Asks what became of the attempt until that is final: `done` or `failed`.
fn final_word(node: &Node, attempt: &Attempt) -> String {
    let mut asking = node.client();
    until("the outcome is final", || {
        let (state, _) = outcome(&mut asking, &attempt.request.id);
        (state != "queued" && state != "running").then_some(state)
    })
}

/// Compares what was said with what is there, and repeats the write: afterwards it has counted once in any case.
fn expect_truth(node: &Node, attempt: &Attempt, said: &str, place: &str) {
    let mut client = node.client();
    let wanted = match said {
        "done" => 1,
        "failed" => 0,
        other => panic!("{place}, {}: the outcome of a write that was sent is {other:?}", attempt.key),
    };
    let is_there = |client: &mut Client| counter(client, &attempt.key);
    assert_eq!(is_there(&mut client), wanted, "{place}, {}: what was called {said}", attempt.key);
    let (again, _) = outcome(&mut client, &attempt.request.id);
    assert_eq!(again, said, "{place}, {}: the outcome has changed", attempt.key);
    insist(&mut client, &attempt.request);
    assert_eq!(is_there(&mut client), 1, "{place}, {}: after a repeat", attempt.key);
}

/// Sends a write until it is done: a slow disk or server may take longer than the short time-out of these tests, and its
/// worker is then killed for it (301). Nobody loses the worker of a write that is left in peace, so 302 is a fault, but
/// for a repeat: it waits for the attempt that was late, and shares its fate when that is killed.
fn insist(client: &mut Client, request: &Request) {
    let mut is_late = false;
    until("the write is done", || {
        let status = client.exchange(request).status;
        let may_be_lost = std::mem::replace(&mut is_late, status == 301);
        match status {
            0 => Some(()),
            301 | 305 | 306 => None,
            302 if may_be_lost => None,
            other => panic!("{other:03} to a write that nobody disturbs"),
        }
    });
}

/// A worker that was killed is dead and replaced.
fn wait_for_successor(node: &Node, victim: nix::unistd::Pid) {
    until("the worker is gone", || (!is_running(victim)).then_some(()));
    node.successor("write", victim);
}
