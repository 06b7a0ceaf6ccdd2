//! Serial numbers one at a time, beside a plain `LPOP` and a plain `INCR` for each, on one Redis with one client.
//!
//! `cargo bench -p gantry-benches --bench serials`. Each worker is a thread with a connection of its own. What is timed of
//! ours has all in it: the leases from SQLite with a sync at each commit, as for money, pushing and popping chunks, the
//! node's cache, and writing a number in its form. The peers write theirs in the same form, keep nothing on a disk and lose or
//! repeat numbers when Redis fails.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use gantry_benches::Rounds;
use gantry_datasource::{Access, SqliteConnection, SqliteOptions, Synchronous};
use gantry_segment::{BlockClass, Control, Dimensions};
use gantry_serials::{NodeCache, SharedSerials, prepare_table};
use gantry_settings::{Secret, SerialFormat, SerialSettings, SerialType};
use gantry_sys::clock;
use gantry_test_servers::RedisServer;

/// Odd, so that there is a middle one.
const ROUNDS: usize = 9;
/// Numbers of a round for each worker of a peer.
const PLAIN: u32 = 20_000;
/// Numbers of a round for each of our workers: several leases.
const OURS: u32 = 400_000;
/// Numbers leased at once.
const RANGE: u64 = 100_000;
const LIMIT: Duration = Duration::from_secs(30);
/// Written as the services' `recharge` numbers are.
const FORMAT: &str = "R{date}{seq:10}";

fn main() {
    for workers in [1, 2, 4] {
        compare(workers);
    }
}

fn compare(workers: u32) {
    let redis = RedisServer::start();
    let bench = Bench::new(workers, &redis.url());
    println!("{workers} workers, each number one call");
    let mut pops = Rounds::new("LPOP for each");
    let mut increments = Rounds::new("INCR for each");
    let mut ours = Rounds::new("serial numbers");
    bench.draw(RANGE as u32);
    for _ in 0..ROUNDS {
        bench.fill();
        let (all, all_ours) = (PLAIN * workers, OURS * workers);
        pops.note(bench.ask("LPOP", "bench:list"), all);
        increments.note(bench.ask("INCR", "bench:count"), all);
        ours.note(bench.draw(OURS), all_ours);
    }
    for rounds in [&pops, &increments, &ours] {
        println!("{rounds}  {:>9.0} per s", 1e9 / rounds.median());
    }
    for (name, peer) in [("LPOP", &pops), ("INCR", &increments)] {
        let [median, low, high] = ours.times_faster_than(peer);
        println!("serial numbers are drawn {median:.1} times as fast as by {name} ({low:.1} to {high:.1})");
    }
}

/// One Redis, one database and one node's memory.
struct Bench {
    workers: u32,
    client: redis::Client,
    settings: SerialSettings,
    control: Control,
    database: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(workers: u32, url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let database = folder.path().join("data.db");
        let format = SerialFormat::parse(FORMAT).expect("it is one");
        let settings = SerialSettings {
            redis: Secret::new(url),
            standby: Secret::new(""),
            range: RANGE,
            types: [("recharge".to_owned(), SerialType { range: RANGE, format })].into(),
        };
        let bench = Self {
            workers,
            client: redis::Client::open(url).expect("the URL is one"),
            settings,
            control: Control::heap(dimensions()).expect("a node fits into memory"),
            database,
            _folder: folder,
        };
        prepare_table(&mut bench.connect()).expect("the tables can be made");
        bench
    }

    fn connect(&self) -> SqliteConnection {
        let options = SqliteOptions::new(&self.database)
            .synchronous(Synchronous::Full)
            .busy_timeout(Duration::from_secs(60));
        SqliteConnection::open(&Arc::from("main"), &options, Access::ReadWrite).expect("the database opens")
    }

    /// Puts as many numbers into the plain list as a round pops.
    fn fill(&self) {
        let mut connection = self.client.get_connection().expect("Redis answers");
        let numbers: Vec<u32> = (0..PLAIN * self.workers).collect();
        for some in numbers.chunks(1000) {
            redis::cmd("RPUSH").arg("bench:list").arg(some).exec(&mut connection).expect("Redis takes them");
        }
    }

    /// One command for each number.
    fn ask(&self, command: &str, key: &str) -> Duration {
        self.timed(|_, barrier| {
            let mut connection = self.client.get_connection().expect("Redis answers");
            barrier.wait();
            for _ in 0..PLAIN {
                let number: u64 = redis::cmd(command).arg(key).query(&mut connection).expect("Redis has one");
                black_box(self.format().render(&date(), number));
            }
        })
    }

    /// As a worker does: tops up between calls, and draws one number in each.
    fn draw(&self, numbers: u32) -> Duration {
        self.timed(|worker, barrier| {
            let mut connection = self.connect();
            let row = u8::try_from(2 + worker).expect("a few workers");
            let node = NodeCache::of_worker(&self.control, "bench", row);
            let mut serials = SharedSerials::of_worker(&self.settings, node).expect("the settings are good");
            barrier.wait();
            for _ in 0..numbers {
                if serials.wants_top_up() {
                    serials.top_up(&mut connection, now_ms(), LIMIT).expect("it can be topped up");
                }
                let drawn = serials.next(&mut connection, "recharge", 1, now_ms(), LIMIT);
                black_box(drawn.expect("there are numbers"));
            }
        })
    }

    fn format(&self) -> &SerialFormat {
        &self.settings.types["recharge"].format
    }

    /// Runs `work` on each worker's thread; timed from when all are ready until all are done.
    fn timed(&self, work: impl Fn(u32, &Barrier) + Sync) -> Duration {
        let barrier = Barrier::new(self.workers as usize + 1);
        let started = std::thread::scope(|scope| {
            for worker in 0..self.workers {
                let (work, barrier) = (&work, &barrier);
                scope.spawn(move || work(worker, barrier));
            }
            barrier.wait();
            Instant::now()
        });
        started.elapsed()
    }
}

/// Today; that a day is looked up for each number is ours to pay, so the peers are given it.
fn date() -> String {
    "20260101".to_owned()
}

fn now_ms() -> i64 {
    i64::try_from(clock::realtime_ms()).expect("the clock is right")
}

fn dimensions() -> Dimensions {
    Dimensions {
        slots: 16,
        processes: 8,
        io_threads: 1,
        connections: 16,
        receive_buffers: 1,
        receive_buffer_bytes: 1024,
        out_records: 16,
        services: 8,
        libraries: 4,
        window_entries: 8,
        classes: vec![BlockClass { block_bytes: 1024, blocks_count: 4 }],
    }
}
