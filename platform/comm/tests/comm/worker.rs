//! A worker that is a thread: it takes from its ring and answers as the service's number says.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gantry_message::Status;
use gantry_ring::{
    BlockKind, BlockRef, Blocks, Cursor, Doorbell, Owner, Queue, SlotRef, Slots, recover_worker,
};
use gantry_segment::{Segments, SlotRow};
use gantry_sys::atomic::{AtomicBool, AtomicU64, Ordering};
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;

use crate::client::wait_until;
use crate::world::{
    EPOCH, READ_DIE, READ_HOLD, READ_LOSE, READ_ROW, WRITE_HOLD, WRITE_LOSE, WRITE_STATUS, WRITE_UNCOMMITTED,
};

/// Holds the services that wait for it, until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

#[derive(Default)]
struct Shared {
    is_leaving: AtomicBool,
    executed: AtomicU64,
}

pub(crate) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(segments: Segments, row: u8, doorbells: Vec<EventFd>, gate: Arc<Gate>) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || work(&segments, row, &doorbells, &gate, &theirs));
        Self { shared, thread: Some(thread) }
    }

    pub(crate) fn executed(&self) -> u64 {
        self.shared.executed.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&mut self) {
        self.shared.is_leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the fake worker panicked");
        }
    }
}

fn work(segments: &Segments, row: u8, doorbells: &[EventFd], gate: &Gate, shared: &Shared) {
    let control = segments.control();
    let slots = Slots::new(control.slots());
    let ring = if row == READ_ROW { control.read_ring() } else { control.write_ring() };
    let queue = Queue::requests(ring, slots);
    let bell = Doorbell::new(&control.processes()[usize::from(row)].bell);
    let at_work = AtWork {
        segments,
        slots,
        blocks: Blocks::of(control),
        owner: Owner::new(row, EPOCH),
        doorbells,
        gate,
    };
    while !shared.is_leaving.load(Ordering::Relaxed) {
        match queue.take(at_work.owner) {
            Some(slot) => {
                shared.executed.fetch_add(1, Ordering::Relaxed);
                at_work.serve(slot);
            }
            None => {
                bell.sleep(Duration::from_millis(20), || !queue.is_empty());
            }
        }
    }
}

struct AtWork<'a> {
    segments: &'a Segments,
    slots: Slots<'a>,
    blocks: Blocks<'a>,
    owner: Owner,
    doorbells: &'a [EventFd],
    gate: &'a Gate,
}

impl AtWork<'_> {
    fn serve(&self, slot: SlotRef) {
        let row = self.slots.row(slot.index).unwrap();
        if clock::monotonic_ns() >= row.deadline_ns.load(Ordering::Relaxed) {
            return self.reply(slot, row, Status::BudgetSpent, b"");
        }
        let body = self.body(slot, row);
        let is_first = slot.generation.attempt() == 0;
        match row.service.load(Ordering::Relaxed) {
            2 => {
                let asked = [b"{\"asked\":\"", &body[..], b"\"}"].concat();
                self.reply(slot, row, Status::Done, &asked);
            }
            READ_HOLD | WRITE_HOLD => {
                self.gate.pass();
                self.reply(slot, row, Status::Done, &body);
            }
            WRITE_STATUS => {
                let (status, rest) = body.split_at(3);
                let code = std::str::from_utf8(status).unwrap().parse().unwrap();
                self.reply(slot, row, Status::from_code(code).unwrap(), rest);
            }
            READ_DIE => self.die(),
            READ_LOSE | WRITE_LOSE if is_first => self.die(),
            WRITE_UNCOMMITTED if is_first => {
                self.slots.execute(slot, self.owner).unwrap();
                self.die();
            }
            _ => self.reply(slot, row, Status::Done, &body),
        }
    }

    fn body(&self, slot: SlotRef, row: &SlotRow) -> Vec<u8> {
        let bytes = row.request_bytes.load(Ordering::Relaxed) as usize;
        let Some(block) = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed)) else {
            return Vec::new();
        };
        assert!(self.blocks.is_held(block, slot, BlockKind::Request), "the request's block is the slot's");
        let place = self.segments.bodies().block(usize::from(block.class), block.index as usize).unwrap();
        place.slice(..bytes).unwrap().to_vec()
    }

    fn reply(&self, slot: SlotRef, row: &SlotRow, status: Status, body: &[u8]) {
        let block = (!body.is_empty()).then(|| {
            let smallest = self.blocks.class_for(body.len() as u32).unwrap();
            let classes = smallest..self.blocks.classes_count() as u8;
            let claim = |class| self.blocks.claim(class, slot, BlockKind::Reply, &mut Cursor::default());
            let mut block = None;
            wait_until("there is room for a reply", || {
                block = classes.clone().find_map(claim);
                block.is_some()
            });
            let block = block.unwrap();
            let place = self.segments.bodies().block(usize::from(block.class), block.index as usize).unwrap();
            place.copy_from(body);
            block
        });
        row.reply_block.store(block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
        row.reply_bytes.store(body.len() as u32, Ordering::Relaxed);
        row.reply_status.store(u32::from(status.code()), Ordering::Relaxed);
        let home = (row.flags.load(Ordering::Relaxed) & 0xff) as usize;
        self.slots.finish(slot, self.owner).unwrap();
        let control = self.segments.control();
        if Queue::replies(control.reply_ring(home), self.slots).push(slot).is_err() {
            control.threads()[home].sweep.store(1, Ordering::Release);
        }
        self.wake(home);
    }

    fn wake(&self, thread: usize) {
        if Doorbell::new(&self.segments.control().threads()[thread].sleeping).claim_wake() {
            self.doorbells[thread].signal();
        }
    }

    /// What the supervisor does when this worker has died at this moment; it then lives again, as its successor.
    fn die(&self) {
        recover_worker(self.slots, self.owner);
        for (index, thread) in self.segments.control().threads().iter().enumerate() {
            thread.sweep.store(1, Ordering::Release);
            self.wake(index);
            self.doorbells[index].signal();
        }
    }
}
