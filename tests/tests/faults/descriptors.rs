//! Processes that may open no further descriptor.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use gantry_tests::etc::{ECHO, add, counter};
use gantry_tests::processes::{descriptors, kill_hard};
use gantry_tests::{Client, Node, NodeOptions, Request, run_command, until};
use nix::unistd::Pid;

use super::{expect_said, expect_service};

/// A limit that is lowered, and set back at the end.
struct Limit {
    pid: Pid,
    was: String,
}

impl Limit {
    /// Allows the process no new descriptors but `more`.
    fn lower(pid: Pid, more: usize) -> Self {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits can be read");
        let line =
            limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit is listed");
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let was = format!("{}:{}", columns[3], columns[4]);
        // A new descriptor gets the lowest free number, and the limit is one of numbers: there are gaps below it.
        let held = descriptors(pid);
        let mut free = (0..).filter(|number| !held.contains_key(number));
        let first_forbidden = free.nth(more).expect("numbers do not end");
        let limit = Self { pid, was };
        // The soft limit alone: that is what counts, and what a process may raise again itself if it thinks of it.
        limit.set(&format!("{}:{}", first_forbidden, columns[4]));
        limit
    }

    fn set(&self, limits: &str) {
        let pid = self.pid.to_string();
        run_command(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limits}")]))
            .expect_code(0);
    }

    fn restore(self) {
        self.set(&self.was.clone());
    }
}

/// Whether the node serves this connection.
fn is_served(client: &mut Client) -> bool {
    client.set_read_timeout(Duration::from_millis(300));
    if client.try_send(&Request::new(ECHO, "are you there")).is_err() {
        return false;
    }
    match client.try_receive() {
        Ok(Some(reply)) => reply.status == 0,
        Ok(None) => false,
        Err(error) => {
            let is_refused = matches!(
                error.kind(),
                ErrorKind::WouldBlock
                    | ErrorKind::TimedOut
                    | ErrorKind::ConnectionReset
                    | ErrorKind::UnexpectedEof
            );
            assert!(is_refused, "{error}");
            false
        }
    }
}

#[test]
fn comm_without_descriptors_serves_whom_it_has_and_takes_others_later() {
    let node = Node::start(NodeOptions::small());
    let mut known = node.client();
    known.call(ECHO, "before").done();
    let comm = node.pid("comm");
    let limit = Limit::lower(comm, 3);
    let mut others: Vec<Client> = (0..12).map(|_| node.client()).collect();
    let served = others.iter_mut().map(is_served).filter(|is_served| *is_served).count();
    assert!(served < 12, "twelve connections need more than three descriptors");
    for _ in 0..20 {
        assert_eq!(known.call(ECHO, "meanwhile").done().body, b"meanwhile");
        add(&mut known, "meanwhile", 1);
    }
    expect_said(&node, &["descriptor", "Too many open files", "EMFILE"]);
    limit.restore();
    // Nobody else comes, whose arrival would be announced.
    let waiting = others.last_mut().expect("there are twelve");
    until("the last of those who wait is served", || {
        matches!(waiting.try_receive(), Ok(Some(reply)) if reply.status == 0).then_some(())
    });
    drop(others);
    until("a new connection is served", || is_served(&mut node.client()).then_some(()));
    assert_eq!(counter(&mut known, "meanwhile"), 20);
    assert_eq!(node.pid("comm"), comm, "it did not have to die for it");
    node.until_quiet();
}

#[test]
fn worker_without_descriptors_fails_honestly_and_recovers() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    // The first statement opens the database; this worker has not seen one.
    let victim = node.pid("write");
    kill_hard(victim);
    let worker = node.successor("write", victim);
    let limit = Limit::lower(worker, 0);
    let request = Request::new(gantry_tests::etc::ADD, r#"{"key":"k","add":1}"#);
    let status = client.exchange(&request).status;
    assert!(matches!(status, 0 | 306), "{status:03}");
    assert_eq!(counter(&mut client, "k"), i64::from(status == 0));
    limit.restore();
    client.exchange(&request).done();
    assert_eq!(counter(&mut client, "k"), 1);
    node.until_quiet();
}

#[test]
fn supervisor_without_descriptors_replaces_a_dead_worker_when_it_can_again() {
    let node = Node::start(NodeOptions::small().text("supervisor.restart_backoff_max", "200ms"));
    expect_service(&node);
    let (supervisor, victim) = (node.pid("supervisor"), node.pid("write"));
    let limit = Limit::lower(supervisor, 0);
    kill_hard(victim);
    // Whether one descriptor is left for a successor depends on what the dead one gave back; reads go on in any case.
    assert_eq!(node.client().call(ECHO, "reads").done().body, b"reads");
    limit.restore();
    node.successor("write", victim);
    expect_service(&node);
    assert_eq!(node.pid("supervisor"), supervisor);
}
