//! Small segments for one communication process, and what of them an attack looks at.

use std::ops::Range;
use std::path::Path;

use gantry_ring::{Blocks, Slots, State};
use gantry_segment::{
    Backend, BlockClass, ConnectionRow, Control, Dimensions, DirectoryEntry, Handoff, Role, Segments,
};
use gantry_settings::Settings;
use gantry_sys::atomic::{AtomicU32, Ordering};
use gantry_sys::eventfd::EventFd;
use gantry_sys::shm::SegmentId;

use crate::scenarios::Scenario;
use crate::stepper::View;

pub(crate) const READ: u32 = 19_000_001;
pub(crate) const WRITE: u32 = 29_000_001;
pub(crate) const UNKNOWN: u32 = 29_000_777;
pub(crate) const COMM_ROW: u8 = 1;
pub(crate) const WORKER_ROW: u8 = 2;
pub(crate) const EPOCH: u32 = 5;
/// A body from here on is received straight into its block.
pub(crate) const LARGE_BYTES: usize = 5_000;

/// As `body_max` below.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Fewer than a configuration may ask for, so that a snapshot is small.
const OUT_RECORDS: u32 = 8;

/// Time-outs are the node's row's, which has none here.
const SETTINGS: &str = r#"
[ipc]
slots = 16
read_queue = 16
write_queue = 16
blocks = [{ size = "4KiB", count = 16 }, { size = "64KiB", count = 4 }]
[comm]
body_max = "64KiB"
connections_max = 4
receive_buffers = 4
receive_buffer = "8KiB"
[service]
timeout = "600s"
[idempotency]
entries = 16
"#;

/// Worlds that this process made: several attacks run beside each other.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// Removes the segments, also when the attack fails.
struct Removed(Segments);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

pub(crate) struct World {
    segments: Removed,
    pub(crate) settings: Settings,
    pub(crate) doorbell: EventFd,
    control: View,
    blocks: View,
    /// Parts of the control segment whose change makes another outcome possible.
    watched: Vec<Range<usize>>,
}

/// All bytes of the segments at one moment.
#[derive(Default)]
pub(crate) struct Snapshot {
    control: Vec<u8>,
    blocks: Vec<u8>,
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let settings = Settings::from_text(SETTINGS, Path::new("/tmp/gantry.toml")).unwrap();
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        // A key of this process's own; the low two bits tell the segments apart.
        let key = 0x2a00_0000 | (std::process::id() << 8 | number << 2).cast_signed() & 0x00ff_fffc;
        let backend = Backend::SysV { key: Some(key) };
        let segments = Segments::create(backend, "comm-attack", &dimensions(&settings), 4711, 1).unwrap();
        let segments = Removed(segments);
        begin(&settings, &segments.0, scenario);
        let handoff = segments.0.handoff();
        let [control, blocks] = [&handoff.control, &handoff.blocks].map(|id| match id {
            SegmentId::SysV(id) => View::attach(*id),
            SegmentId::Posix(name) => panic!("{name} is no System V segment"),
        });
        let watched = watched(segments.0.control());
        Self { segments, settings, doorbell: EventFd::new().unwrap(), control, blocks, watched }
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments.0
    }

    pub(crate) fn handoff(&self) -> &Handoff {
        self.segments().handoff()
    }

    pub(crate) fn control(&self) -> &Control {
        self.segments().control()
    }

    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots::new(self.control().slots())
    }

    /// The parts that are looked at after each instruction.
    pub(crate) fn look(&self, into: &mut Vec<u8>) {
        into.clear();
        for part in &self.watched {
            self.control.save(part.clone(), into);
        }
    }

    pub(crate) fn save(&self) -> Snapshot {
        let mut saved = Snapshot::default();
        self.control.save(0..self.control.bytes(), &mut saved.control);
        self.blocks.save(0..self.blocks.bytes(), &mut saved.blocks);
        saved
    }

    pub(crate) fn restore(&self, saved: &Snapshot) {
        self.control.restore(&saved.control);
        self.blocks.restore(&saved.blocks);
    }

    /// The row that is not free, if there is one, with its index.
    pub(crate) fn connection(&self) -> Option<(u32, &ConnectionRow)> {
        let mut rows = self.control().connections().iter().enumerate();
        let found = rows.find(|(_, row)| row.word.load(Ordering::Relaxed) & 0xff != 0);
        found.map(|(index, row)| (index as u32, row))
    }

    /// Whether a request waits for a worker.
    pub(crate) fn is_queued(&self) -> bool {
        self.slots().words().any(|(_, word)| word.is(State::Queued))
    }

    /// No slot names a connection that is not there any more, nor the next one of its row.
    pub(crate) fn check_names(&self) -> Result<(), String> {
        for (index, word) in self.slots().words().filter(|(_, word)| !word.is(State::Free)) {
            let slot = self.slots().row(index).unwrap();
            let number = slot.connection.load(Ordering::Relaxed);
            let word_of_row = self.control().connections()[number as usize].word.load(Ordering::Relaxed);
            let is_named = (word_of_row >> 32) as u32 == slot.connection_generation.load(Ordering::Relaxed);
            if word_of_row & 0xff == 0 && is_named {
                return Err(format!("slot {index} ({word:?}) names the next connection of row {number}"));
            }
        }
        Ok(())
    }

    /// Everything that requests hold is free again; what the open connection holds, it has no reason to hold.
    pub(crate) fn check_nothing_is_held(&self) -> Result<(), String> {
        let control = self.control();
        for (index, word) in self.slots().words() {
            if !word.is(State::Free) {
                return Err(format!("slot {index} is left as {word:?}"));
            }
        }
        let blocks = Blocks::of(control);
        for class in 0..blocks.classes_count() as u8 {
            let taken = blocks.taken_count(class);
            if taken > 0 {
                return Err(format!("{taken} blocks of class {class} are left"));
            }
        }
        let load = |place: &AtomicU32| place.load(Ordering::Relaxed);
        for (index, record) in control.out_records().iter().enumerate() {
            if load(&record.kind) != 0 {
                return Err(format!("out record {index} is left"));
            }
        }
        for service in control.services() {
            if load(&service.in_flight) != 0 {
                return Err(format!(
                    "{} requests of {} are left",
                    load(&service.in_flight),
                    load(&service.number)
                ));
            }
        }
        for (index, entry) in control.window().iter().enumerate() {
            if entry.word.load(Ordering::Relaxed) & 0xff == 1 {
                return Err(format!("window entry {index} says that a request runs"));
            }
        }
        self.connection().map_or(Ok(()), |(_, row)| check_row(row))
    }
}

/// A connection that was served has no half of anything.
fn check_row(row: &ConnectionRow) -> Result<(), String> {
    let [rx, parsed, tx, recorded] =
        [&row.rx, &row.parsed, &row.tx, &row.recorded].map(|mark| mark.load(Ordering::Relaxed));
    let [buffer, head] = [&row.receive_buffer, &row.out_head].map(|place| place.load(Ordering::Relaxed));
    let flags = row.flags.load(Ordering::Relaxed);
    if flags == 0 && (rx, tx) != (parsed, recorded) || buffer != 0 || head != 0 {
        return Err(format!(
            "the row is left with rx {rx}, parsed {parsed}, tx {tx}, recorded {recorded}, buffer {buffer}, head {head}"
        ));
    }
    Ok(())
}

/// What a death leaves that a successor goes on with: rows, records, slots, rings, tags, window.
fn watched(control: &Control) -> Vec<Range<usize>> {
    let base = std::ptr::from_ref(control.header()).addr();
    fn part<T>(base: usize, rows: &[T]) -> Range<usize> {
        let start = rows.as_ptr().addr() - base;
        start..start + size_of_val(rows)
    }
    let mut parts = vec![
        part(base, control.connections()),
        part(base, control.out_records()),
        part(base, control.slots()),
        part(base, control.window()),
    ];
    for (row, cells) in [control.read_ring(), control.write_ring(), control.reply_ring(0)] {
        parts.push(part(base, std::slice::from_ref(row)));
        parts.push(part(base, cells));
    }
    for class in 0..control.dimensions().classes.len() {
        parts.push(part(base, control.block_tags(class)));
    }
    parts
}

fn dimensions(settings: &Settings) -> Dimensions {
    let bytes = |size: u64| u32::try_from(size).unwrap();
    let classes = settings.ipc.blocks.iter();
    Dimensions {
        slots: settings.ipc.slots,
        processes: 4,
        io_threads: 1,
        connections: settings.comm.connections_max,
        receive_buffers: settings.comm.receive_buffers,
        receive_buffer_bytes: bytes(settings.comm.receive_buffer),
        out_records: OUT_RECORDS,
        services: 4,
        libraries: 1,
        window_entries: settings.idempotency.entries.next_multiple_of(8),
        classes: classes
            .map(|class| BlockClass { block_bytes: bytes(class.size), blocks_count: class.count })
            .collect(),
    }
}

/// What the supervisor writes before it starts anybody.
fn begin(settings: &Settings, segments: &Segments, scenario: &Scenario) {
    let control = segments.control();
    let node = control.node();
    let set = |place: &AtomicU32, value: u32| place.store(value, Ordering::Relaxed);
    set(&node.read_threshold_ppm, 1_000_000);
    set(&node.read_resume_ppm, 1_000_000);
    set(&node.service_timeout_ms, settings.service.timeout.as_millis() as u32);
    set(&node.idle_timeout_ms, scenario.idle_ms);
    set(&node.header_timeout_ms, scenario.partial_ms);
    set(&node.body_timeout_ms, scenario.partial_ms);
    set(&node.read_queue_max, settings.ipc.read_queue);
    set(&node.write_queue_max, settings.ipc.write_queue);
    for (index, number) in [READ, WRITE].into_iter().enumerate() {
        let row = &control.services()[index];
        let kind = if number == READ { 1 } else { 2 };
        set(&row.kind, kind);
        set(&row.enabled, 1);
        set(&row.number, number);
        let entry = DirectoryEntry { kind: kind as u8, service_index: index as u32 };
        segments.directory().publish(number, Some(entry));
    }
    for (row, role) in [(COMM_ROW, Role::Comm), (WORKER_ROW, Role::ReadWorker)] {
        let process = &control.processes()[usize::from(row)];
        process.begin_life(EPOCH);
        process.set_role(role);
    }
    for keeper in control.keepers() {
        // All taken, so that no process of an attack makes one: the attack holds the sockets itself.
        keeper.set(std::process::id(), 1);
    }
}
