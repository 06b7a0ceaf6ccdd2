//! A request through the ring to another process and back, beside a Unix socket pair doing the same.
//!
//! Both carry 64 bytes there and 64 bytes back between two processes, one at a time, both sides asleep while they
//! wait (futex here, `read` there), in turns. Run with `cargo bench -p gantry-benches --bench ring`.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gantry_benches::Rounds;
use gantry_ring::{BlockKind, BlockRef, Blocks, Cursor, Doorbell, Owner, Queue, SlotRef, Slots};
use gantry_segment::{Backend, BlockClass, Dimensions, Handoff, Segments};
use gantry_sys::atomic::Ordering;
use gantry_sys::process::{PidFd, Spawn, own_executable, reap, take_inherited};

const ROUNDS: usize = 11;
const TIMES: u32 = 20_000;
const BODY_BYTES: usize = 64;
const COMM: Owner = Owner::new(1, 1);
const WORKER: Owner = Owner::new(2, 1);
const SLEEP_MAX: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("ring-worker") => serve_ring(&arguments[2]),
        Some("socket-worker") => serve_socket(&arguments[2]),
        _ => compare(),
    }
}

fn compare() {
    let name = format!("bench-{}", std::process::id());
    let dimensions = dimensions();
    let segments = Segments::create(Backend::Posix, &name, &dimensions, 1, 1).expect("segments can be made");
    let _removed = Removed(name);
    let executable = own_executable().expect("our own path is known");
    let mut worker = Spawn::new(&executable);
    worker.arg("ring-worker").arg(segments.handoff().to_string());
    let worker = worker.spawn().expect("the ring's worker starts");
    let (mut here, there) = UnixStream::pair().expect("a socket pair can be made");
    let there = OwnedFd::from(there);
    let mut peer = Spawn::new(&executable);
    peer.inherit_as(&there, 30).arg("socket-worker").arg("30");
    let peer = peer.spawn().expect("the socket's worker starts");

    let mut ring = Rounds::new("ring, 64 bytes there and back, sleeping");
    let mut socket = Rounds::new("Unix socket pair, the same");
    for _ in 0..ROUNDS {
        ring.run(TIMES, |times| call_ring(&segments, times));
        socket.run(TIMES, |times| call_socket(&mut here, times));
    }
    segments.control().processes()[2].leave.store(1, Ordering::SeqCst);
    Doorbell::new(&segments.control().processes()[2].bell).ring();
    drop(here);
    for child in [worker, peer] {
        assert!(PidFd::from(child.pidfd).wait(Some(SLEEP_MAX * 5)), "a child does not end");
        let state = reap(child.pid);
        assert!(state.has_ended(), "a child is still there: {state}");
    }
    println!("{ring}\n{socket}");
    println!("the ring takes {:.2} of the socket pair's time", ring.median() / socket.median());
}

fn dimensions() -> Dimensions {
    Dimensions {
        slots: 64,
        processes: 4,
        io_threads: 1,
        connections: 1,
        receive_buffers: 1,
        receive_buffer_bytes: 8192,
        out_records: 1,
        services: 1,
        libraries: 1,
        window_entries: 8,
        classes: vec![BlockClass { block_bytes: 4096, blocks_count: 128 }],
    }
}

/// Removes the segments when the benchmark ends, also by a panic.
struct Removed(String);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = Segments::remove_all(Backend::Posix, &self.0) {
            eprintln!("the segments of {} are left behind: {error}", self.0);
        }
    }
}

fn call_ring(segments: &Segments, times: u32) {
    let control = segments.control();
    let slots = Slots::new(control.slots());
    let blocks = Blocks::of(control);
    let requests = Queue::requests(control.write_ring(), slots);
    let replies = Queue::replies(control.reply_ring(0), slots);
    let worker_bell = Doorbell::new(&control.processes()[2].bell);
    let own_bell = Doorbell::new(&control.processes()[1].bell);
    let (mut slot_cursor, mut block_cursor) = (Cursor::default(), Cursor::default());
    for number in 0..times {
        let slot = slots.claim(COMM, &mut slot_cursor).expect("a slot is free");
        let block = blocks.claim(0, slot, BlockKind::Request, &mut block_cursor).expect("a block is free");
        write(segments, block, &[number as u8; BODY_BYTES]);
        let row = slots.row(slot.index).expect("the slot is there");
        row.request_block.store(block.to_bits(), Ordering::Relaxed);
        requests.submit(slot, COMM).expect("the slot is ours");
        worker_bell.ring();
        let done = loop {
            match replies.pop() {
                Some(done) => break done,
                None => drop(own_bell.sleep(SLEEP_MAX, || !replies.is_empty())),
            }
        };
        let reply = BlockRef::from_bits(row.reply_block.load(Ordering::Relaxed)).expect("there is a reply");
        assert_eq!(read(segments, reply), [number as u8; BODY_BYTES]);
        slots.release(done).expect("the slot is done");
    }
}

fn serve_ring(handoff: &str) {
    let handoff: Handoff = handoff.parse().expect("the parent wrote a hand-off");
    let segments = Segments::attach(&handoff).expect("the parent's segments are there");
    let control = segments.control();
    let slots = Slots::new(control.slots());
    let requests = Queue::requests(control.write_ring(), slots);
    let row = &control.processes()[2];
    let mut cursor = Cursor::default();
    while row.leave.load(Ordering::SeqCst) == 0 {
        match requests.take(WORKER) {
            Some(slot) => echo(&segments, slots, slot, &mut cursor),
            None => drop(Doorbell::new(&row.bell).sleep(SLEEP_MAX, || !requests.is_empty())),
        }
    }
}

fn echo(segments: &Segments, slots: Slots<'_>, slot: SlotRef, cursor: &mut Cursor) {
    let control = segments.control();
    let row = slots.row(slot.index).expect("the slot is there");
    let request = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed)).expect("there is a request");
    let block = Blocks::of(control).claim(0, slot, BlockKind::Reply, cursor).expect("a block is free");
    write(segments, block, &read(segments, request));
    row.reply_block.store(block.to_bits(), Ordering::Relaxed);
    slots.finish(slot, WORKER).expect("the slot is ours");
    Queue::replies(control.reply_ring(0), slots).push(slot).expect("the reply ring has room");
    Doorbell::new(&control.processes()[1].bell).ring();
}

fn write(segments: &Segments, block: BlockRef, bytes: &[u8]) {
    let place = segments.bodies().block(usize::from(block.class), block.index as usize);
    place.expect("the block is there").copy_from(bytes);
}

fn read(segments: &Segments, block: BlockRef) -> [u8; BODY_BYTES] {
    let place = segments.bodies().block(usize::from(block.class), block.index as usize);
    let mut bytes = [0; BODY_BYTES];
    place.expect("the block is there").copy_to(&mut bytes);
    bytes
}

fn call_socket(stream: &mut UnixStream, times: u32) {
    let mut reply = [0; BODY_BYTES];
    for number in 0..times {
        stream.write_all(&[number as u8; BODY_BYTES]).expect("the peer reads");
        stream.read_exact(&mut reply).expect("the peer answers");
        assert_eq!(reply, [number as u8; BODY_BYTES]);
    }
}

fn serve_socket(descriptor: &str) {
    let number = descriptor.parse().expect("the parent wrote a number");
    let mut stream = UnixStream::from(take_inherited(number).expect("the parent passed a socket"));
    let mut body = [0; BODY_BYTES];
    while stream.read_exact(&mut body).is_ok() && stream.write_all(&body).is_ok() {}
}
