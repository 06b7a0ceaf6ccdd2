//! Ten thousand slow reads: writes have their own queue and workers, so they do not wait.

use std::time::{Duration, Instant};

use gantry_tests::etc::{SLEEP, add};
use gantry_tests::{Node, NodeOptions, Request};

const READS: usize = 10_000;
const WRITES: i64 = 200;

/// Told without a clock: every write is answered although reads that were sent before it are still waiting.
#[test]
fn ten_thousand_slow_reads_do_not_hold_up_writes() {
    let node = Node::start(
        NodeOptions::full_size()
            .set("ipc.slots", 16_384)
            .set("ipc.read_queue", 16_384)
            // Reads may hold 9/16 of the blocks, so that room is left for replies and for writes.
            .blocks(20_000, 256, 16)
            .set("workers.read", 2),
    );
    let mut writer = node.client();
    let alone = write_latencies(&mut writer, 0);
    let left = std::thread::scope(|scope| {
        let connections: Vec<_> = (0..10).map(|_| scope.spawn(|| read_slowly(&node))).collect();
        gantry_tests::until("the read workers are behind", || {
            (node.status().used("read") > 500).then_some(())
        });
        let crowded = write_latencies(&mut writer, WRITES);
        let left = node.status().used("read");
        println!(
            "write latency alone: {}; behind {READS} slow reads: {}",
            quantiles(alone),
            quantiles(crowded)
        );
        let statuses: Vec<u16> = connections
            .into_iter()
            .flat_map(|connection| connection.join().expect("a reading thread ends well"))
            .collect();
        assert_eq!(statuses.len(), READS);
        let served = statuses.iter().filter(|status| **status == 0).count();
        assert!(statuses.iter().all(|status| matches!(status, 0 | 201)), "reads are served or refused");
        println!("{served} of {READS} slow reads were served, the others refused 201");
        left
    });
    assert!(left > 0, "the writes were to be answered while slow reads still wait");
    node.until_quiet();
}

/// Sends a tenth of the reads over one connection and returns their statuses.
fn read_slowly(node: &Node) -> Vec<u16> {
    let requests: Vec<Request> = (0..READS / 10).map(|_| Request::new(SLEEP, r#"{"ms":2}"#)).collect();
    node.client().exchange_all(&requests).iter().map(|reply| reply.status).collect()
}

/// Latencies of [`WRITES`] writes one after the other; `before` is what the counter holds.
fn write_latencies(writer: &mut gantry_tests::Client, before: i64) -> Vec<Duration> {
    let measure = |round: i64| {
        let begin = Instant::now();
        assert_eq!(add(writer, "writes", 1), before + round);
        begin.elapsed()
    };
    (1..=WRITES).map(measure).collect()
}

fn quantiles(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |part: usize| latencies[(latencies.len() * part / 100).min(latencies.len() - 1)];
    format!("p50 {:?} p99 {:?}", at(50), at(99))
}
