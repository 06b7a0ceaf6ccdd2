//! A real worker on real segments, a real library and a real database; the test plays the communication process.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up is to fail at that line")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gantry_datasource::requests::{self, Request, RequestKey};
use gantry_datasource::{Access, Mode, Source, SqliteOptions, SqliteSource};
use gantry_message::{Kind, Queue as QueueName};
use gantry_ring::{BlockKind, BlockRef, Blocks, Cursor, Doorbell, Owner, Queue, SlotRef, Slots, State};
use gantry_segment::{
    Backend, BlockClass, Dimensions, DirectoryEntry, LibraryFacts, ProcessRow, ProcessState, Role, Segments,
};
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;
use gantry_worker::{WorkerError, WorkerOptions, run};
use serde_json::Value;

const COMM: Owner = Owner::new(1, 1);
const WORKER_ROW: u8 = 2;
const WATCHDOG: Duration = Duration::from_secs(30);

/// A node of one write worker.
struct Node {
    segments: Segments,
    name: String,
    worker: Option<JoinHandle<Result<(), WorkerError>>>,
    folder: tempfile::TempDir,
}

impl Node {
    fn start(test: &str) -> Self {
        Self::start_as(test, Role::WriteWorker)
    }

    /// A node whose one worker begins as `role`: a write worker or a spare.
    fn start_as(test: &str, role: Role) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("workertest-{test}-{}", std::process::id());
        let segments = Segments::create(Backend::Posix, &name, &dimensions(), 7, 1).unwrap();
        prepare(&folder.path().join("data.db"));
        let mut node = Self { segments, name, worker: None, folder };
        node.publish();
        let control = node.segments.control();
        let row = &control.processes()[usize::from(WORKER_ROW)];
        row.begin_life(1);
        row.set_role(role);
        let queue = (role == Role::WriteWorker).then_some(QueueName::Write);
        let options = node.options(WORKER_ROW, 1, queue);
        node.worker = Some(std::thread::spawn(move || run(options)));
        node
    }

    /// What a worker of this node is started with.
    fn options(&self, row: u8, epoch: u32, queue: Option<QueueName>) -> WorkerOptions {
        let file = self.folder.path().join("gantry.toml");
        WorkerOptions {
            segments: Segments::attach(self.segments.handoff()).unwrap(),
            row,
            epoch,
            queue,
            settings: Settings::from_text("[node]\nstate_dir = \".\"\n", &file).unwrap(),
            doorbells: vec![EventFd::new().unwrap()],
        }
    }

    /// Publishes some of the diagnostic services.
    fn publish(&self) {
        let control = self.segments.control();
        let file = diag().to_str().unwrap().to_owned();
        let facts = LibraryFacts { name: "diag".into(), version: "1".into(), build: "b".into(), file };
        control.libraries()[0].write(&facts);
        let services =
            [(29_000_001, 2), (29_000_003, 2), (29_000_004, 2), (19_000_001, 1), (19_000_004, 1_u8)];
        for (index, (number, kind)) in services.into_iter().enumerate() {
            let row = &control.services()[index];
            row.number.store(number, Ordering::Relaxed);
            row.kind.store(u32::from(kind), Ordering::Relaxed);
            row.enabled.store(1, Ordering::Relaxed);
            let entry = DirectoryEntry { kind, service_index: index as u32 };
            self.segments.directory().publish(number, Some(entry));
        }
        control.node().directory_generation.store(1, Ordering::Release);
    }

    /// Sends one request as the communication process would, and gives status and body of the reply.
    fn call(&self, number: u32, id: &str, body: &[u8], time: Duration) -> (u32, Vec<u8>) {
        let slot = self.submit(Kind::Write, number, id, body, time);
        self.reply_to(slot)
    }

    /// Puts a request into the queue of its kind.
    fn submit(&self, kind: Kind, number: u32, id: &str, body: &[u8], time: Duration) -> SlotRef {
        let slot = self.fill(kind, number, id, body, time);
        self.push(kind, slot);
        slot
    }

    /// Fills a slot with a request.
    fn fill(&self, kind: Kind, number: u32, id: &str, body: &[u8], time: Duration) -> SlotRef {
        let control = self.segments.control();
        let slots = Slots::new(control.slots());
        let slot = slots.claim(COMM, &mut Cursor::default()).expect("a slot is free");
        let row = slots.row(slot.index).unwrap();
        row.request_block.store(0, Ordering::Relaxed);
        if !body.is_empty() {
            let blocks = Blocks::of(control);
            let class = blocks.class_for(body.len() as u32).unwrap();
            let block = blocks.claim(class, slot, BlockKind::Request, &mut Cursor::default()).unwrap();
            let place = self.segments.bodies().block(usize::from(class), block.index as usize).unwrap();
            place.copy_from(body);
            row.request_block.store(block.to_bits(), Ordering::Relaxed);
        }
        let mut id_bytes = [b'.'; 24];
        id_bytes[..id.len()].copy_from_slice(id.as_bytes());
        for (word, bytes) in row.request_id.iter().zip(id_bytes.chunks_exact(8)) {
            word.store(u64::from_le_bytes(bytes.try_into().unwrap()), Ordering::Relaxed);
        }
        let hash = body.iter().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        row.body_hash[0].store(hash, Ordering::Relaxed);
        row.caller.set(b"anonymous");
        row.service.store(number, Ordering::Relaxed);
        let entry = self.segments.directory().look_up(number);
        row.service_index.store(entry.map_or(u32::MAX, |entry| entry.service_index), Ordering::Relaxed);
        row.request_bytes.store(body.len() as u32, Ordering::Relaxed);
        row.flags.store(u32::from(kind.code()) << 8, Ordering::Relaxed);
        row.timeout_ms.store(15_000, Ordering::Relaxed);
        row.deadline_ns.store(clock::monotonic_ns() + time.as_nanos() as u64, Ordering::Relaxed);
        slot
    }

    /// Hands a filled slot over to the workers.
    fn push(&self, kind: Kind, slot: SlotRef) {
        let control = self.segments.control();
        let ring = if kind == Kind::Read { control.read_ring() } else { control.write_ring() };
        Queue::requests(ring, Slots::new(control.slots())).submit(slot, COMM).unwrap();
        Doorbell::new(&self.row().bell).ring();
    }

    /// Waits for the reply to a request and gives its status and body.
    fn reply_to(&self, slot: SlotRef) -> (u32, Vec<u8>) {
        let control = self.segments.control();
        let slots = Slots::new(control.slots());
        let row = slots.row(slot.index).unwrap();
        let replies = Queue::replies(control.reply_ring(0), slots);
        let started = Instant::now();
        let done = loop {
            match replies.pop() {
                Some(done) => break done,
                None => assert!(started.elapsed() < WATCHDOG, "no reply: {:?}", slots.word(slot.index)),
            }
            std::thread::yield_now();
        };
        assert_eq!(done, slot);
        let reply = BlockRef::from_bits(row.reply_block.load(Ordering::Relaxed)).map(|block| {
            let bytes = row.reply_bytes.load(Ordering::Relaxed) as usize;
            let place = self.segments.bodies().block(usize::from(block.class), block.index as usize).unwrap();
            place.slice(..bytes).unwrap().to_vec()
        });
        let status = row.reply_status.load(Ordering::Relaxed);
        slots.release(done).unwrap();
        (status, reply.unwrap_or_default())
    }

    /// The worker's row of the process table.
    fn row(&self) -> &ProcessRow {
        &self.segments.control().processes()[usize::from(WORKER_ROW)]
    }

    /// Waits until `is` holds of the worker's row.
    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&ProcessRow) -> bool) {
        let started = Instant::now();
        while !is(self.row()) {
            assert!(started.elapsed() < WATCHDOG, "{what}: {:?}", self.row());
            std::thread::yield_now();
        }
    }

    /// Sets a spare to work, as the supervisor does.
    fn set_to_work(&self, role: Role) {
        self.row().set_role(role);
        Doorbell::new(&self.row().bell).ring();
    }

    fn json(&self, number: u32, id: &str, body: &str) -> (u32, Value) {
        let (status, reply) = self.call(number, id, body.as_bytes(), WATCHDOG);
        (status, serde_json::from_slice(&reply).unwrap_or(Value::Null))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let row = self.row();
        row.leave.store(1, Ordering::SeqCst);
        Doorbell::new(&row.bell).ring();
        let ended = self.worker.take().map(JoinHandle::join);
        Segments::remove_all(Backend::Posix, &self.name).unwrap();
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(())))), "{ended:?}");
            assert_eq!(Blocks::of(self.segments.control()).taken_count(0), 0, "a block was leaked");
        }
    }
}

fn dimensions() -> Dimensions {
    Dimensions {
        slots: 8,
        processes: 4,
        io_threads: 1,
        connections: 1,
        receive_buffers: 1,
        receive_buffer_bytes: 8192,
        out_records: 1,
        services: 8,
        libraries: 2,
        window_entries: 8,
        classes: vec![
            BlockClass { block_bytes: 4096, blocks_count: 16 },
            BlockClass { block_bytes: 65_536, blocks_count: 4 },
        ],
    }
}

/// The tables that a start of the node makes.
fn prepare(path: &Path) {
    let mut connection =
        SqliteSource::new("main", SqliteOptions::new(path)).connect(Access::ReadWrite).unwrap();
    requests::prepare_table(&mut *connection).unwrap();
    gantry_serials::prepare_table(&mut *connection).unwrap();
    let library = gantry_service_host::Loader::open(&diag()).unwrap();
    for step in &library.description().migrations {
        let migration = gantry_datasource::Migration { version: step.version, sql: &step.sql };
        gantry_datasource::migrate(&mut *connection, &step.schema, &[migration]).unwrap();
    }
}

/// The library of the diagnostic services, built in a target folder of its own.
fn diag() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let target = executable.ancestors().nth(3).unwrap().join("nested");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "gantry-service-diag"]).env("CARGO_TARGET_DIR", &target);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/libgantry_diag.so")
}

#[test]
fn echo_comes_back_whole_from_empty_to_larger_than_the_smallest_block() {
    let node = Node::start("echo");
    for bytes in [0, 1, 4096, 4097, 65_536] {
        let body: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
        assert_eq!(node.call(29_000_001, &format!("e{bytes}"), &body, WATCHDOG), (0, body));
    }
}

#[test]
fn a_write_takes_effect_once_and_its_repeat_gets_the_recorded_reply() {
    let node = Node::start("once");
    let add = r#"{"key":"k","add":5}"#;
    assert_eq!(node.json(29_000_004, "a", add), (0, serde_json::json!({"value":5})));
    assert_eq!(node.json(29_000_004, "b", add), (0, serde_json::json!({"value":10})));
    assert_eq!(node.json(29_000_004, "a", add), (0, serde_json::json!({"value":5})));
    assert_eq!(node.json(29_000_004, "c", r#"{"key":"k","add":1}"#), (0, serde_json::json!({"value":11})));
}

#[test]
fn an_id_used_again_for_another_body_is_107_and_does_nothing() {
    let node = Node::start("conflict");
    assert_eq!(node.json(29_000_004, "a", r#"{"key":"k","add":5}"#).0, 0);
    assert_eq!(node.call(29_000_004, "a", br#"{"key":"k","add":6}"#, WATCHDOG), (107, Vec::new()));
    assert_eq!(node.json(29_000_004, "b", r#"{"key":"k","add":0}"#).1["value"], 5);
}

#[test]
fn a_business_error_and_a_panic_leave_the_worker_well() {
    let node = Node::start("errors");
    let (status, body) = node.json(29_000_004, "a", r#"{"key":7,"add":5}"#);
    assert_eq!((status, &body["error"], &body["field"]), (304, &"bad_request".into(), &"key".into()));
    assert_eq!(node.call(29_000_003, "b", br#"{"how":"panic"}"#, WATCHDOG), (306, Vec::new()));
    assert_eq!(node.json(29_000_004, "c", r#"{"key":"k","add":1}"#).1["value"], 1);
}

#[test]
fn a_request_whose_time_is_over_is_never_started() {
    let node = Node::start("late");
    assert_eq!(node.call(29_000_004, "a", br#"{"key":"k","add":5}"#, Duration::ZERO), (305, Vec::new()));
    assert_eq!(node.json(29_000_004, "b", r#"{"key":"k","add":1}"#).1["value"], 1);
}

#[test]
fn the_outcome_of_a_write_is_done_failed_or_unknown_and_a_failed_one_may_be_tried_again() {
    let node = Node::start("outcome");
    let id = |text: &str| format!("{text:.<24}");
    assert_eq!(node.json(29_000_004, "a", r#"{"key":"k","add":5}"#).0, 0);
    let (status, done) = node.json(2, "q1", &id("a"));
    assert_eq!((status, done), (0, serde_json::json!({"state":"done","status":"000","reply":{"value":5}})));
    assert_eq!(node.json(2, "q2", &id("z")).1["state"], "unknown");
    assert_eq!(node.json(2, "q3", &(id("z") + "L")).1["state"], "failed");
    assert_eq!(node.json(2, "q4", &id("z")).1["state"], "failed");
    assert_eq!(node.json(29_000_004, "z", r#"{"key":"k","add":2}"#).1["value"], 7);
    assert_eq!(node.json(2, "q5", &id("z")).1["state"], "done");
    assert_eq!(node.json(2, "q6", "not an id").0, 304);
}

/// Another connection of the same database is where a late worker, or another node, would be.
#[test]
fn failed_is_not_said_of_a_write_that_may_still_commit() {
    let node = Node::start("blocked");
    let id = format!("{:.<24}", "held");
    let source = SqliteSource::new("main", SqliteOptions::new(node.folder.path().join("data.db")));
    let mut late = source.connect(Access::ReadWrite).unwrap();
    late.begin(Mode::Write, WATCHDOG).unwrap();
    let key = RequestKey { caller: "anonymous", request_id: &id };
    let request = Request { key, service: 29_000_004, body_hash: "h" };
    requests::begin_request(&mut *late, &request, 1, WATCHDOG).unwrap();
    assert_eq!(node.json(2, "q1", &format!("{id}L")).1["state"], "running");
    requests::finish_request(&mut *late, key, 0, b"7", 100, WATCHDOG).unwrap();
    late.commit().unwrap();
    let (_, told) = node.json(2, "q2", &format!("{id}L"));
    assert_eq!(told, serde_json::json!({"state": "done", "status": "000", "reply": 7}));
}

/// A corrupt reference must not show one caller's body to another's service.
#[test]
fn a_request_whose_block_is_another_slots_is_500_and_not_run() {
    let node = Node::start("block");
    let control = node.segments.control();
    let (slots, blocks) = (Slots::new(control.slots()), Blocks::of(control));
    let other = node.fill(Kind::Write, 29_000_001, "a", b"a body of somebody else", WATCHDOG);
    let block = slots.row(other.index).unwrap().request_block.load(Ordering::Relaxed);
    let slot = node.fill(Kind::Write, 29_000_001, "b", b"an own body of this length", WATCHDOG);
    slots.row(slot.index).unwrap().request_block.store(block, Ordering::Relaxed);
    node.push(Kind::Write, slot);
    assert_eq!(node.reply_to(slot), (500, Vec::new()));
    slots.release(other).unwrap();
    assert_eq!(blocks.taken_count(0), 0);
    assert_eq!(node.call(29_000_001, "c", b"served", WATCHDOG), (0, b"served".to_vec()));
}

/// Its supervisor died, and the next one closed its life before it came, or has begun another in its row.
#[test]
fn a_worker_that_comes_after_its_life_was_closed_or_given_on_ends_at_once() {
    let node = Node::start("late-life");
    let index = WORKER_ROW + 1;
    let row = &node.segments.control().processes()[usize::from(index)];
    // One that takes a life that is not its own would at least end.
    row.leave.store(1, Ordering::SeqCst);
    row.begin_life(4);
    assert!(row.end_life(row.life()));
    let is_refused = |epoch| {
        let ended = run(node.options(index, epoch, Some(QueueName::Write)));
        matches!(ended, Err(WorkerError::NotOurRow { .. }))
    };
    assert!(is_refused(4), "nobody may have a closed life");
    row.begin_life(5);
    assert!(is_refused(4), "the row lives another life");
    assert_eq!(row.pid(), None, "nothing was taken");
}

/// A time that stays would have the supervisor end a worker that is idle.
#[test]
fn the_time_out_of_a_request_that_is_answered_is_forgotten() {
    let node = Node::start("kill-at");
    let slot = node.submit(Kind::Write, 29_000_001, "a", b"x", WATCHDOG);
    assert_eq!(node.reply_to(slot), (0, b"x".to_vec()));
    assert_eq!(node.row().kill_at_ns.load(Ordering::Acquire), 0);
}

/// What is in no ring is found by a sweep only.
#[test]
fn a_reply_that_finds_its_ring_full_asks_for_a_sweep() {
    let node = Node::start("full");
    let control = node.segments.control();
    let slots = Slots::new(control.slots());
    let replies = Queue::replies(control.reply_ring(0), slots);
    let filler = node.fill(Kind::Write, 29_000_001, "a", b"", WATCHDOG);
    slots.answer(filler, COMM).unwrap();
    while replies.push(filler).is_ok() {}
    let slot = node.submit(Kind::Write, 29_000_001, "b", b"x", WATCHDOG);
    node.until("a sweep is asked for", |_| control.threads()[0].sweep.load(Ordering::Acquire) == 1);
    assert!(slots.word(slot.index).is(State::Done));
    for slot in [filler, slot] {
        slots.release(slot).unwrap();
    }
}

/// A spare follows new generations, so it has looked at its queues after the requests were in them.
fn until_it_has_looked(node: &Node) {
    node.segments.control().node().directory_generation.store(2, Ordering::Release);
    Doorbell::new(&node.row().bell).ring();
    node.until("the new generation is adopted", |row| row.generation_served.load(Ordering::Relaxed) == 2);
}

#[test]
fn a_spare_takes_nothing_until_its_role_says_what_it_is_for() {
    let node = Node::start_as("spare", Role::Spare);
    node.until("the spare is ready", |row| row.state() == ProcessState::Idle);
    let add = br#"{"key":"k","add":5}"#;
    let write = node.submit(Kind::Write, 29_000_004, "a", add, WATCHDOG);
    // Without a body, so that what nobody takes holds no block.
    let read = node.submit(Kind::Read, 19_000_001, "b", b"", WATCHDOG);
    until_it_has_looked(&node);
    let slots = Slots::new(node.segments.control().slots());
    assert_eq!([write, read].map(|slot| slots.word(slot.index).state()), [Some(State::Queued); 2]);
    node.set_to_work(Role::WriteWorker);
    assert_eq!(node.reply_to(write), (0, br#"{"value":5}"#.to_vec()));
    // What it takes from now on is the one queue.
    assert_eq!(node.json(29_000_004, "c", r#"{"key":"k","add":1}"#).1["value"], 6);
    assert_eq!(slots.word(read.index).state(), Some(State::Queued));
}

#[test]
fn a_spare_that_becomes_a_read_worker_reads_data() {
    let node = Node::start_as("spare-read", Role::Spare);
    node.until("the spare is ready", |row| row.state() == ProcessState::Idle);
    node.set_to_work(Role::ReadWorker);
    for id in ["a", "b"] {
        let read = node.submit(Kind::Read, 19_000_004, id, br#"{"key":"k"}"#, WATCHDOG);
        assert_eq!(node.reply_to(read), (0, br#"{"value":0}"#.to_vec()));
    }
}

/// A role that was changed before the process was there is found all the same.
#[test]
fn a_spare_whose_role_was_changed_before_it_came_works_at_once() {
    let node = Node::start_as("spare-late", Role::Spare);
    node.set_to_work(Role::WriteWorker);
    assert_eq!(node.json(29_000_004, "a", r#"{"key":"k","add":1}"#).1["value"], 1);
}

#[test]
fn a_spare_leaves_when_it_is_told_to() {
    // Dropping the node tells it, and fails unless it ended well.
    let node = Node::start_as("spare-leaves", Role::Spare);
    node.until("the spare is ready", |row| row.state() == ProcessState::Idle);
}
