//! What the tests stand on: a database in a file, nodes in memory, and real Redis servers on free loopback ports.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod drawers;
pub(crate) mod redis_server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gantry_datasource::{Access, SqliteConnection, SqliteOptions, Synchronous};
use gantry_segment::{BlockClass, Control, Dimensions};
use gantry_serials::{NodeCache, SharedSerials, prepare_table};
use gantry_settings::{Secret, SerialFormat, SerialSettings, SerialType};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const NEW_YEAR_MS: i64 = 1_767_225_600_000;

/// How long a condition may take to come true, on a machine that does much else.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A database file with the tables.
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Database {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.db");
        prepare_table(&mut open(&path)).unwrap();
        Self { path, _folder: folder }
    }

    pub(crate) fn connection(&self) -> SqliteConnection {
        open(&self.path)
    }
}

pub(crate) fn open(path: &Path) -> SqliteConnection {
    // A crash of the machine is not what is tested here.
    let options =
        SqliteOptions::new(path).synchronous(Synchronous::Normal).busy_timeout(Duration::from_secs(60));
    SqliteConnection::open(&Arc::from("main"), &options, Access::ReadWrite).unwrap()
}

pub(crate) fn dimensions() -> Dimensions {
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

/// A node's control segment on the heap.
pub(crate) fn node() -> Control {
    Control::heap(dimensions()).unwrap()
}

/// Settings with the type `card`.
pub(crate) fn settings(range: u64, digits: u32, redis: &str, standby: &str) -> SerialSettings {
    let format = SerialFormat::parse(&format!("{{seq:{digits}}}")).unwrap();
    SerialSettings {
        redis: Secret::new(redis),
        standby: Secret::new(standby),
        range,
        types: [("card".to_owned(), SerialType { range, format })].into(),
    }
}

/// The serial numbers of a worker of the node `name`.
pub(crate) fn worker_of<'a>(
    control: &'a Control,
    name: &str,
    row: u8,
    settings: &SerialSettings,
) -> SharedSerials<'a> {
    SharedSerials::of_worker(settings, NodeCache::of_worker(control, name, row)).unwrap()
}

/// The serial numbers of a worker of the node `test`.
pub(crate) fn worker<'a>(control: &'a Control, row: u8, settings: &SerialSettings) -> SharedSerials<'a> {
    worker_of(control, "test", row, settings)
}

/// Draws as a worker does between requests and in them: tops up when that is wanted, then draws.
pub(crate) fn draw(
    serials: &mut SharedSerials<'_>,
    connection: &mut SqliteConnection,
    count: u32,
) -> Vec<u64> {
    if serials.wants_top_up() {
        serials.top_up(connection, now_ms(), LIMIT).unwrap();
    }
    let drawn = serials.next(connection, "card", count, NEW_YEAR_MS, LIMIT).unwrap();
    assert_eq!(drawn.len(), count as usize);
    drawn.iter().map(|serial| serial.parse().unwrap()).collect()
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Polls until a condition holds.
pub(crate) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < WATCHDOG, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A bit for each number that was drawn.
#[derive(Default)]
pub(crate) struct Seen {
    bits: Vec<u64>,
    pub(crate) count: u64,
}

impl Seen {
    /// Notes numbers; panics at the first that was there before.
    pub(crate) fn add(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let word = usize::try_from(number / 64).unwrap();
            if word >= self.bits.len() {
                self.bits.resize((word + 1).next_power_of_two(), 0);
            }
            let bit = 1 << (number % 64);
            assert_eq!(self.bits[word] & bit, 0, "{number} was drawn twice");
            self.bits[word] |= bit;
            self.count += 1;
        }
    }
}
