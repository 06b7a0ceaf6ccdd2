//! Drawing processes: copies of the test program, as workers of nodes whose segments are real ones.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_datasource::{Connection, Mode, SqliteConnection};
use gantry_segment::{Backend, Control, Handoff, Segments};
use gantry_serials::{NodeCache, SharedSerials};
use gantry_sys::atomic::Ordering;
use serde_json::{Value, json};

use super::{LIMIT, dimensions, now_ms, open, settings};

/// The variable that makes the program a drawer, and its orders.
const ORDERS: &str = "GANTRY_TEST_DRAWER";

/// A node: its segments, which go with it.
pub(crate) struct Node {
    pub(crate) name: String,
    segments: Segments,
}

impl Node {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let backend = Backend::SysV { key: None };
        let creation = u64::from(std::process::id()) << 32 | 1;
        let segments = Segments::create(backend, &name, &dimensions(), creation, 0).unwrap();
        Self { name, segments }
    }

    pub(crate) fn control(&self) -> &Control {
        self.segments.control()
    }

    /// What commands see of it.
    pub(crate) fn visitor(&self) -> NodeCache<'_> {
        NodeCache::of_visitor(self.control(), &self.name)
    }

    /// Numbers popped from each list that the node's memory has a place for, by the list's tag. Places are used again, so
    /// their sum may fall.
    pub(crate) fn taken(&self) -> BTreeMap<u64, u64> {
        let lists = self.control().serial_kinds().iter().flat_map(|kind| &kind.lists);
        lists.map(|list| (list.tag.load(Ordering::Relaxed), list.taken.load(Ordering::Relaxed))).collect()
    }

    /// Numbers given out.
    pub(crate) fn issued(&self) -> u64 {
        self.control().serial_kinds().iter().map(|kind| kind.issued.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.segments.remove().unwrap();
    }
}

/// One drawing process. It is killed when this goes.
pub(crate) struct Drawer {
    child: Child,
    /// Where it writes what it drew.
    pub(crate) records: PathBuf,
}

/// What a drawer is told.
pub(crate) struct Orders<'a> {
    pub(crate) node: &'a Node,
    pub(crate) row: u8,
    pub(crate) database: &'a Path,
    /// The primary and the standby.
    pub(crate) redis: [&'a str; 2],
    pub(crate) range: u64,
    pub(crate) pause_ms: u64,
    pub(crate) seed: u64,
    /// Records, and the file whose being there means stop.
    pub(crate) folder: &'a Path,
}

impl Drawer {
    /// Starts a copy of this program. `test` is the name of the test that calls [`run_if_told`].
    pub(crate) fn start(test: &str, orders: &Orders<'_>) -> Self {
        let row = &orders.node.control().processes()[usize::from(orders.row)];
        let life = row.life();
        row.end_life(life);
        row.begin_life(life.epoch + 1);
        let records = orders.folder.join(format!("{}-{}-{}", orders.node.name, orders.row, life.epoch + 1));
        let told = json!({
            "handoff": orders.node.segments.handoff().to_string(),
            "node": orders.node.name,
            "row": orders.row,
            "epoch": life.epoch + 1,
            "database": orders.database,
            "redis": orders.redis[0],
            "standby": orders.redis[1],
            "range": orders.range,
            "pause_ms": orders.pause_ms,
            "seed": orders.seed,
            "records": records,
            "stop": orders.folder.join("stop"),
        });
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(ORDERS, told.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, records }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for one that was told to stop.
    pub(crate) fn join(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a drawer ended with {status}");
    }
}

impl Drop for Drawer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a drawer wrote down: runs of numbers.
pub(crate) fn read_records(path: &Path) -> Vec<Range<u64>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).unwrap(),
        // It was killed before it drew anything.
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let run = |record: &[u8]| {
        let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
        word(0)..word(0) + word(8)
    };
    bytes.chunks_exact(16).map(run).collect()
}

/// In a copy of the program: draws until it is told to stop, and then ends the process. Elsewhere it returns at once.
pub(crate) fn run_if_told() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Value = serde_json::from_str(&orders).unwrap();
    let text = |key: &str| orders[key].as_str().unwrap().to_owned();
    let number = |key: &str| orders[key].as_u64().unwrap();
    let handoff: Handoff = text("handoff").parse().unwrap();
    let segments: &'static Segments = Box::leak(Box::new(Segments::attach(&handoff).unwrap()));
    let row = u8::try_from(number("row")).unwrap();
    let process = &segments.control().processes()[usize::from(row)];
    process.take_life(u32::try_from(number("epoch")).unwrap(), std::process::id()).unwrap();
    let settings = settings(number("range"), 16, &text("redis"), &text("standby"));
    let cache = NodeCache::of_worker(segments.control(), &text("node"), row);
    let mut drawing = Drawing {
        serials: SharedSerials::of_worker(&settings, cache).unwrap(),
        connection: open(Path::new(&text("database"))),
        records: OpenOptions::new().create(true).append(true).open(text("records")).unwrap(),
        random: number("seed"),
    };
    let stop = PathBuf::from(text("stop"));
    while !stop.exists() {
        for _ in 0..16 {
            drawing.step();
        }
        // Leaves the processor to the servers, so that faults meet draws all along.
        std::thread::sleep(Duration::from_millis(number("pause_ms")));
    }
    drawing.serials.leave(&mut drawing.connection, now_ms()).unwrap();
    std::process::exit(0);
}

struct Drawing {
    serials: SharedSerials<'static>,
    connection: SqliteConnection,
    records: File,
    random: u64,
}

impl Drawing {
    /// One request: mostly a draw of a few, sometimes in a transaction, sometimes rolled back.
    fn step(&mut self) {
        if self.serials.wants_top_up() {
            self.serials.top_up(&mut self.connection, now_ms(), LIMIT).unwrap();
        }
        let count = u32::try_from(1 + self.below(200)).unwrap();
        if self.below(64) > 0 {
            let drawn = self.draw(count);
            self.write_down(&drawn);
            return;
        }
        self.connection.begin(Mode::Write, LIMIT).unwrap();
        let drawn = self.draw(count);
        if self.below(4) == 0 {
            self.connection.rollback().unwrap();
            self.serials.transaction_rolled_back();
        } else {
            self.connection.commit().unwrap();
            self.serials.transaction_committed();
            self.write_down(&drawn);
        }
    }

    fn draw(&mut self, count: u32) -> Vec<u64> {
        let drawn = self.serials.next(&mut self.connection, "card", count, 0, LIMIT).unwrap();
        drawn.iter().map(|serial| serial.parse().unwrap()).collect()
    }

    /// As runs of numbers in a row, in one write, so that a kill leaves whole ones.
    fn write_down(&mut self, numbers: &[u64]) {
        let mut bytes = Vec::new();
        let mut rest = numbers;
        while let Some(first) = rest.first() {
            let count = rest.iter().zip(*first..).take_while(|(number, next)| *number == next).count();
            bytes.extend(first.to_le_bytes());
            bytes.extend((count as u64).to_le_bytes());
            rest = &rest[count..];
        }
        self.records.write_all(&bytes).unwrap();
    }

    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Tells all drawers of a folder to stop.
pub(crate) fn tell_to_stop(folder: &Path) {
    fs::write(folder.join("stop"), b"").unwrap();
}
