//! A small node: segments, services, listeners, the communication process and its workers.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use gantry_comm::{CommError, CommOptions, Counter, ListenerKind, run, total};
use gantry_segment::{
    Backend, BlockClass, Control, Dimensions, DirectoryEntry, ProcessState, Role, Segments, ServiceRow,
};
use gantry_settings::Settings;
use gantry_sys::atomic::{AtomicU32, Ordering};
use gantry_sys::eventfd::EventFd;

use crate::client::{Client, WATCHDOG, wait_until};
use crate::process::{CommProcess, kill_keepers};
use crate::worker::{Gate, Worker};

pub(crate) const READ_ECHO: u32 = 19_000_001;
pub(crate) const READ_HOLD: u32 = 19_000_002;
pub(crate) const READ_LOSE: u32 = 19_000_003;
pub(crate) const READ_DIE: u32 = 19_000_005;
pub(crate) const WRITE_ECHO: u32 = 29_000_001;
pub(crate) const WRITE_HOLD: u32 = 29_000_002;
pub(crate) const WRITE_STATUS: u32 = 29_000_003;
pub(crate) const WRITE_LOSE: u32 = 29_000_005;
pub(crate) const WRITE_UNCOMMITTED: u32 = 29_000_006;
pub(crate) const STOPPED: u32 = 29_000_098;
pub(crate) const QUARANTINED: u32 = 29_000_099;

const SERVICES: [u32; 11] = [
    READ_ECHO,
    READ_HOLD,
    READ_LOSE,
    READ_DIE,
    WRITE_ECHO,
    WRITE_HOLD,
    WRITE_STATUS,
    WRITE_LOSE,
    WRITE_UNCOMMITTED,
    STOPPED,
    QUARANTINED,
];

/// Rows of the process table: supervisor, comm, one read worker, one write worker.
pub(crate) const COMM_ROW: u8 = 1;
pub(crate) const READ_ROW: u8 = 2;
pub(crate) const WRITE_ROW: u8 = 3;
pub(crate) const EPOCH: u32 = 5;

/// Worlds that this process made: several tests may run in one process.
static WORLDS: AtomicU32 = AtomicU32::new(0);

/// Whose turn it is among the tests that run in this process: who waits for any child, or traces one, would take what the
/// kernel tells another test.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Worlds of the test that has the turn.
    static OWN_WORLDS: Cell<u32> = const { Cell::new(0) };
}

/// The turn of this thread's test, as long as it has a world.
struct Turn {
    _guard: Option<MutexGuard<'static, ()>>,
}

impl Turn {
    fn take() -> Self {
        let has_it = OWN_WORLDS.replace(OWN_WORLDS.get() + 1) > 0;
        // A test that failed has left nothing that the next one would meet.
        Self { _guard: (!has_it).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        OWN_WORLDS.set(OWN_WORLDS.get() - 1);
    }
}

/// Removes the segments, also when the test fails.
struct Removed(Segments);

impl Drop for Removed {
    fn drop(&mut self) {
        kill_keepers(self.0.control());
        let _ = self.0.remove();
    }
}

pub(crate) struct World {
    segments: Arc<Removed>,
    settings: Settings,
    address: SocketAddr,
    path: PathBuf,
    _folder: tempfile::TempDir,
    listeners: Option<(TcpListener, UnixListener)>,
    doorbells: Vec<EventFd>,
    comm: Option<JoinHandle<Result<(), CommError>>>,
    pub(crate) process: Option<CommProcess>,
    pub(crate) settings_text: String,
    epochs: AtomicU32,
    workers: Vec<Worker>,
    pub(crate) gate: Arc<Gate>,
    /// Given up last.
    _turn: Turn,
}

impl World {
    /// A running node with these settings (TOML) and workers.
    pub(crate) fn new(settings: &str) -> Self {
        let mut world = Self::without_workers(settings);
        world.start_comm();
        world.start_workers();
        world
    }

    /// A node whose workers are not started: what is queued stays queued.
    pub(crate) fn idle(settings: &str) -> Self {
        let mut world = Self::without_workers(settings);
        world.start_comm();
        world
    }

    /// A node of which nothing runs yet.
    pub(crate) fn without_workers(text: &str) -> Self {
        let turn = Turn::take();
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let name = format!("comm-test-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let segments = Segments::create(Backend::Posix, &name, &dimensions(&settings), 4711, 1).unwrap();
        let segments = Arc::new(Removed(segments));
        begin(&settings, &segments.0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.sock");
        let address = "127.0.0.1:0".parse().unwrap();
        let tcp = TcpListener::from(gantry_sys::socket::listen_tcp(address, 4096).unwrap());
        let unix = UnixListener::bind(&path).unwrap();
        let doorbells = (0..settings.comm.threads).map(|_| EventFd::new().unwrap()).collect();
        Self {
            address: tcp.local_addr().unwrap(),
            segments,
            settings,
            path,
            _folder: folder,
            listeners: Some((tcp, unix)),
            doorbells,
            comm: None,
            process: None,
            settings_text: text.to_owned(),
            epochs: AtomicU32::new(EPOCH),
            workers: Vec::new(),
            gate: Arc::default(),
            _turn: turn,
        }
    }

    pub(crate) fn start_comm(&mut self) {
        let (tcp, unix) = self.listeners.as_ref().unwrap();
        let options = CommOptions {
            segments: Segments::attach(self.segments.0.handoff()).unwrap(),
            row: COMM_ROW,
            epoch: EPOCH,
            settings: self.settings.clone(),
            listeners: vec![
                (ListenerKind::Tcp, tcp.try_clone().unwrap().into()),
                (ListenerKind::Unix, unix.try_clone().unwrap().into()),
            ],
            doorbells: self.doorbells(),
        };
        self.comm = Some(std::thread::spawn(move || run(options)));
        let process = &self.control().processes()[usize::from(COMM_ROW)];
        wait_until("the communication process is ready", || process.state() == ProcessState::Idle);
    }

    pub(crate) fn start_workers(&mut self) {
        for row in [READ_ROW, WRITE_ROW] {
            let segments = Segments::attach(self.segments.0.handoff()).unwrap();
            self.workers.push(Worker::start(segments, row, self.doorbells(), self.gate.clone()));
        }
    }

    /// Lets the communication process end, and gives what it ended with.
    pub(crate) fn stop_comm(&mut self) -> Result<(), CommError> {
        self.control().processes()[usize::from(COMM_ROW)].leave.store(1, Ordering::Relaxed);
        let comm = self.comm.take().expect("it runs");
        wait_until("the communication process has ended", || comm.is_finished());
        comm.join().unwrap()
    }

    pub(crate) fn doorbells(&self) -> Vec<EventFd> {
        let descriptors = self.doorbells.iter().map(std::os::fd::AsFd::as_fd);
        descriptors
            .map(|descriptor| EventFd::adopt(descriptor.try_clone_to_owned().unwrap()).unwrap())
            .collect()
    }

    /// The number of the next life of the communication process.
    pub(crate) fn next_epoch(&self) -> u32 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn listeners(&self) -> (&TcpListener, &UnixListener) {
        let (tcp, unix) = self.listeners.as_ref().unwrap();
        (tcp, unix)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn control(&self) -> &Control {
        self.segments.0.control()
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments.0
    }

    pub(crate) fn service(&self, number: u32) -> &ServiceRow {
        let rows = self.control().services();
        rows.iter().find(|row| row.number.load(Ordering::Relaxed) == number).unwrap()
    }

    pub(crate) fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream.set_write_timeout(Some(WATCHDOG)).unwrap();
        Client { stream }
    }

    /// A client, if there is a descriptor left for one.
    pub(crate) fn try_client(&self) -> Option<TcpStream> {
        TcpStream::connect(self.address).ok()
    }

    pub(crate) fn unix_client(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        Client { stream }
    }

    /// Requests that the fake workers began.
    pub(crate) fn executed(&self) -> u64 {
        self.workers.iter().map(Worker::executed).sum()
    }

    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        total(self.control().threads(), counter)
    }

    pub(crate) fn open_connections(&self) -> u32 {
        self.control().node().connections_open.load(Ordering::Relaxed)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Slots that are not free.
    pub(crate) fn held_slots(&self) -> usize {
        let slots = gantry_ring::Slots::new(self.control().slots());
        slots.words().filter(|(_, word)| !word.is(gantry_ring::State::Free)).count()
    }

    /// Everything that requests and connections hold is free again.
    pub(crate) fn check_nothing_is_held(&self) {
        let slots = gantry_ring::Slots::new(self.control().slots());
        wait_until("all slots are free", || slots.words().all(|(_, word)| word.is(gantry_ring::State::Free)));
        wait_until("no request is in flight", || {
            self.control().services().iter().all(|row| row.in_flight.load(Ordering::Relaxed) == 0)
        });
        wait_until("all out records are free", || {
            self.control().out_records().iter().all(|row| row.kind.load(Ordering::Relaxed) == 0)
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.gate.open();
        for worker in &mut self.workers {
            worker.stop();
        }
        if let Some(process) = self.process.take() {
            // A test that wants a clean end says so. Dead before the keepers are looked for, which it would replace.
            let pidfd = process.pidfd();
            drop(process);
            let _ = pidfd.wait(Some(WATCHDOG));
        }
        if self.comm.is_some() && !std::thread::panicking() {
            self.stop_comm().unwrap();
        }
    }
}

fn dimensions(settings: &Settings) -> Dimensions {
    let bytes = |size: u64| u32::try_from(size).unwrap();
    let classes = settings.ipc.blocks.iter();
    Dimensions {
        slots: settings.ipc.slots,
        processes: 6,
        io_threads: settings.comm.threads,
        connections: settings.comm.connections_max,
        receive_buffers: settings.comm.receive_buffers,
        receive_buffer_bytes: bytes(settings.comm.receive_buffer),
        out_records: settings.comm.out_records,
        services: 64,
        libraries: 1,
        window_entries: settings.idempotency.entries.next_multiple_of(8),
        classes: classes
            .map(|class| BlockClass { block_bytes: bytes(class.size), blocks_count: class.count })
            .collect(),
    }
}

/// What the supervisor writes before it starts anybody.
fn begin(settings: &Settings, segments: &Segments) {
    let control = segments.control();
    let node = control.node();
    let ms = |time: std::time::Duration| time.as_millis() as u32;
    let set = |place: &AtomicU32, value: u32| place.store(value, Ordering::Relaxed);
    set(&node.read_threshold_ppm, (settings.admission.read_threshold * 1e6) as u32);
    set(&node.read_resume_ppm, (settings.admission.read_resume * 1e6) as u32);
    set(&node.service_timeout_ms, ms(settings.service.timeout));
    set(&node.header_timeout_ms, ms(settings.comm.header_timeout));
    set(&node.body_timeout_ms, ms(settings.comm.body_timeout));
    set(&node.idle_timeout_ms, ms(settings.comm.idle_timeout));
    set(&node.write_timeout_ms, ms(settings.comm.write_timeout));
    set(&node.read_queue_max, settings.ipc.read_queue);
    set(&node.write_queue_max, settings.ipc.write_queue);
    for (index, number) in SERVICES.into_iter().enumerate() {
        let row = &control.services()[index];
        let kind = if number < 20_000_000 { 1 } else { 2 };
        set(&row.kind, kind);
        set(&row.enabled, u32::from(number != STOPPED));
        set(&row.quarantined, u32::from(number == QUARANTINED));
        set(&row.number, number);
        let entry = DirectoryEntry { kind: kind as u8, service_index: index as u32 };
        segments.directory().publish(number, Some(entry));
    }
    for (row, role) in [(COMM_ROW, Role::Comm), (READ_ROW, Role::ReadWorker), (WRITE_ROW, Role::WriteWorker)]
    {
        let process = &control.processes()[usize::from(row)];
        process.begin_life(EPOCH);
        set(&process.role, role as u32);
    }
}
