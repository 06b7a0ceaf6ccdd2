//! Serial numbers one at a time, against a plain `LPOP` for each, on the same Redis in the same run.
//!
//! `cargo bench -p gantry-serials`. The database is SQLite in WAL with a sync at each commit, as for money; leases are
//! in what is measured. Each worker is a thread with a connection and a row of its own.
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_datasource::{Access, SqliteConnection, SqliteOptions, Synchronous};
use support::redis_server::RedisServer;
use support::{Database, LIMIT, NEW_YEAR_MS, node, now_ms, settings, worker};

const RANGE: u64 = 100_000;

fn main() {
    // `cargo test --benches` runs it too, with a little.
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let numbers: u64 = if is_measured { 200_000 } else { 2_000 };
    println!("| workers | plain LPOP per s | serials per s | ratio |\n|---|---|---|---|");
    for workers in [1, 2, 4] {
        let plain = numbers as f64 / lpop(workers, numbers).as_secs_f64();
        let ours = (numbers * 10) as f64 / serials(workers, numbers * 10).as_secs_f64();
        println!("| {workers} | {plain:.0} | {ours:.0} | {:.1} |", ours / plain);
    }
}

/// A list that holds all numbers, and a round trip for each.
fn lpop(workers: u64, numbers: u64) -> Duration {
    let redis = RedisServer::start();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for chunk in (1..=numbers).collect::<Vec<_>>().chunks(1000) {
        redis::cmd("RPUSH").arg("numbers").arg(chunk).exec(&mut connection).unwrap();
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let mut connection = client.get_connection().unwrap();
            scope.spawn(move || {
                for _ in 0..numbers / workers {
                    let number: u64 = redis::cmd("LPOP").arg("numbers").query(&mut connection).unwrap();
                    black_box(format!("{number:016}"));
                }
            });
        }
    });
    started.elapsed()
}

fn serials(workers: u64, numbers: u64) -> Duration {
    let (redis, database, control) = (RedisServer::start(), Database::new(), node());
    let settings = settings(RANGE, 16, &redis.url(), "");
    let started = Instant::now();
    std::thread::scope(|scope| {
        for row in 0..workers {
            let (settings, control, database) = (&settings, &control, &database);
            scope.spawn(move || {
                let options = SqliteOptions::new(&database.path)
                    .synchronous(Synchronous::Full)
                    .busy_timeout(Duration::from_secs(60));
                let mut connection =
                    SqliteConnection::open(&Arc::from("main"), &options, Access::ReadWrite).unwrap();
                let mut serials = worker(control, u8::try_from(2 + row).unwrap(), settings);
                for _ in 0..numbers / workers {
                    if serials.wants_top_up() {
                        serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
                    }
                    black_box(serials.next(&mut connection, "card", 1, NEW_YEAR_MS, LIMIT).unwrap());
                }
            });
        }
    });
    started.elapsed()
}
