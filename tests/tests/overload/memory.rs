//! What requests cost in memory once they are answered: nothing.

use gantry_tests::etc::{ADD, ECHO, ECHO_WRITE, FAULT, add};
use gantry_tests::processes::private_kib;
use gantry_tests::{Client, Node, NodeOptions, Process, Request, soak};
use serde_json::json;

/// Private memory of the supervisor, in KiB.
const SUPERVISOR_KIB_MAX: u64 = 4 * 1024;

/// Private memory of a worker with all libraries loaded, in KiB.
const WORKER_KIB_MAX: u64 = 12 * 1024;

/// What a process may grow between a warm node and the end, in KiB: allocators keep pages of their own, and
/// SQLite fills its page cache. A leak of four bytes a request would show over a million requests.
const GROWTH_KIB_MAX: u64 = 1024;

#[test]
fn private_memory_of_every_process_stays_where_it_was() {
    let total = if soak() { 1_000_000 } else { 100_000 };
    let mut options = NodeOptions::full_size();
    let libraries = r#"["gantry_diag", "gantry_account", "gantry_card", "gantry_passage", "gantry_serial", "gantry_bank", "gantry_clearing"]"#;
    options = options.set("service.libraries", libraries).text("log.level", "warn").set("ipc.slots", 1024);
    let node = Node::start(options.set("ipc.read_queue", 1024).set("ipc.write_queue", 1024));
    let idle = measure(&node, "idle");
    let mut client = node.client();
    // Everything that is allocated once is allocated now.
    send_many(&mut client, 10_000);
    let warm = measure(&node, "warm");
    send_many(&mut client, total);
    let after = measure(&node, &format!("after {total} requests"));
    assert_eq!(idle.len(), after.len());
    for ((process, warm_kib), (_, after_kib)) in warm.iter().zip(&after) {
        let grown = after_kib.saturating_sub(*warm_kib);
        assert!(grown <= GROWTH_KIB_MAX, "{} {:?} grew by {grown} KiB", process.role, process.queue);
        let limit = match process.role.as_str() {
            "supervisor" => SUPERVISOR_KIB_MAX,
            "worker" => WORKER_KIB_MAX,
            _ => continue,
        };
        assert!(*after_kib <= limit, "{} {:?} holds {after_kib} KiB of {limit}", process.role, process.queue);
    }
}

/// One entry stands for each of the 10^8 numbers; looking at one that nobody wrote must not allocate its
/// page.
#[test]
fn fifty_thousand_unknown_numbers_grow_nothing() {
    let options = NodeOptions::full_size();
    let is_sysv = options.is_sysv();
    let node = Node::start(options);
    let mut client = node.client();
    client.call(12_345_678, "").expect_status(102);
    let resident = |node: &Node| node.segments().iter().map(|segment| segment.resident_bytes).sum::<u64>();
    let (before, before_comm) = (resident(&node), private_kib(node.pid("comm")).expect("comm runs"));
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    println!("seed {seed:#x}");
    for _ in 0..50 {
        let requests: Vec<Request> =
            (0..1_000).map(|_| Request::new(unknown_number(&mut seed), "")).collect();
        for reply in client.exchange_all(&requests) {
            assert_eq!(reply.status, 102, "{reply:?}");
        }
    }
    let (after, after_comm) = (resident(&node), private_kib(node.pid("comm")).expect("comm runs"));
    println!(
        "segments resident: {before} bytes, then {after}; comm private: {before_comm} KiB, then {after_comm}"
    );
    assert_eq!(before > 0, is_sysv, "the segments of a System V node are seen from outside");
    assert!(after <= before + (1 << 20), "50,000 unknown numbers took {} bytes", after - before);
    assert!(after_comm <= before_comm + GROWTH_KIB_MAX, "comm grew from {before_comm} to {after_comm} KiB");
    let words = node.gantry(&["status"]).expect_code(0).text();
    assert!(words.contains("directory"), "status shows the directory's resident size: {words}");
}

/// A service that leaks is its worker's trouble, and the limit on memory replaces the worker between two
/// requests.
#[test]
fn worker_over_its_memory_limit_is_replaced_without_a_failed_request() {
    let node = Node::start(NodeOptions::small().text("workers.memory_max", "64MiB"));
    let mut client = node.client();
    let before = node.pid("read");
    gantry_tests::until("the leaking worker is replaced", || {
        client.call_json(FAULT, json!({"how": "leak"})).done();
        assert_eq!(client.call(ECHO, "x").done().body, b"x");
        (node.pids("read") != [before]).then_some(())
    });
    assert_eq!(add(&mut client, "k", 1), 1);
}

/// A number from 40000000 on, where no service of these tests lives.
fn unknown_number(seed: &mut u64) -> u32 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    40_000_000 + u32::try_from(*seed % 60_000_000).expect("below 2^32")
}

fn send_many(client: &mut Client, count: usize) {
    let make = |number: usize| match number % 20 {
        0 => Request::new(ADD, r#"{"key":"memory","add":1}"#),
        1..=4 => Request::new(ECHO_WRITE, vec![b'w'; 200]),
        5 => Request::new(ECHO, vec![b'l'; 5_000]),
        _ => Request::new(ECHO, vec![b'r'; 100]),
    };
    for begin in (0..count).step_by(200) {
        let requests: Vec<Request> = (begin..count.min(begin + 200)).map(make).collect();
        for reply in client.exchange_all(&requests) {
            assert_eq!(reply.status, 0, "{reply:?}");
        }
    }
}

/// Private memory of every process in KiB, printed.
#[track_caller]
fn measure(node: &Node, when: &str) -> Vec<(Process, u64)> {
    node.until_quiet();
    let measured: Vec<(Process, u64)> = node
        .status()
        .processes()
        .into_iter()
        .map(|process| {
            let kib = private_kib(process.pid).unwrap_or_else(|| panic!("{process:?} has gone"));
            println!("RssAnon {when}: {} {} {kib} KiB", process.role, process.queue.as_deref().unwrap_or(""));
            (process, kib)
        })
        .collect();
    measured
}
