//! The worker and the database, outside of the process that is attacked.

use std::collections::HashMap;

use gantry_message::{RequestId, Status};
use gantry_ring::{BlockKind, BlockRef, Blocks, Cursor, Owner, Queue, SlotRef, recover_worker};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;

use crate::world::{EPOCH, WORKER_ROW, WRITE, World};

const WORKER: Owner = Owner::new(WORKER_ROW, EPOCH);

/// What workers and database know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workers {
    /// How often each request was run.
    pub(crate) runs: HashMap<RequestId, u32>,
    /// Committed writes with their replies.
    committed: HashMap<RequestId, Vec<u8>>,
    /// What the worker has taken and not answered.
    pub(crate) held: Option<SlotRef>,
}

impl Workers {
    /// Takes and answers all there is. Gives whether there was something.
    pub(crate) fn serve_all(&mut self, world: &World) -> bool {
        let mut is_served = false;
        while self.take(world) {
            self.finish(world);
            is_served = true;
        }
        is_served
    }

    /// Takes one request.
    pub(crate) fn take(&mut self, world: &World) -> bool {
        let control = world.control();
        let rings = [control.read_ring(), control.write_ring()];
        self.held = rings.into_iter().find_map(|ring| Queue::requests(ring, world.slots()).take(WORKER));
        self.held.is_some()
    }

    /// Answers what was taken.
    pub(crate) fn finish(&mut self, world: &World) {
        let Some(slot) = self.held.take() else { return };
        let row = world.slots().row(slot.index).unwrap();
        let body = self.run(world, slot, row);
        reply(world, slot, row, &body);
        world.slots().finish(slot, WORKER).expect("nobody takes a slot from a living worker");
        let control = world.control();
        if Queue::replies(control.reply_ring(0), world.slots()).push(slot).is_err() {
            control.threads()[0].sweep.store(1, Ordering::Release);
        }
        world.doorbell.signal();
    }

    /// Runs it: a write that was committed is not run again.
    fn run(&mut self, world: &World, slot: SlotRef, row: &SlotRow) -> Vec<u8> {
        let id = request_id(row);
        let body = request_body(world, slot, row);
        let is_write = row.service.load(Ordering::Relaxed) == WRITE;
        if let Some(recorded) = self.committed.get(&id).filter(|_| is_write) {
            return recorded.clone();
        }
        *self.runs.entry(id).or_default() += 1;
        if is_write {
            self.committed.insert(id, body.clone());
        }
        body
    }

    /// The worker dies, with what it holds executed or not, and is recovered.
    pub(crate) fn die(&mut self, world: &World, is_executed: bool) {
        let Some(slot) = self.held.take() else { return };
        let row = world.slots().row(slot.index).unwrap();
        *self.runs.entry(request_id(row)).or_default() += 1;
        if is_executed {
            world.slots().execute(slot, WORKER).unwrap();
        }
        recover_worker(world.slots(), WORKER);
        world.control().threads()[0].sweep.store(1, Ordering::Release);
        world.doorbell.signal();
    }
}

fn request_id(row: &SlotRow) -> RequestId {
    let mut id = [0_u8; 24];
    for (bytes, word) in id.chunks_exact_mut(8).zip(&row.request_id) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    RequestId::new(id).expect("a published request has an id")
}

fn request_body(world: &World, slot: SlotRef, row: &SlotRow) -> Vec<u8> {
    let bytes = row.request_bytes.load(Ordering::Relaxed) as usize;
    let Some(block) = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed)) else {
        return Vec::new();
    };
    let blocks = Blocks::of(world.control());
    assert!(blocks.is_held(block, slot, BlockKind::Request), "the request's block is the slot's");
    let place = world.segments().bodies().block(usize::from(block.class), block.index as usize).unwrap();
    place.slice(..bytes).unwrap().to_vec()
}

fn reply(world: &World, slot: SlotRef, row: &SlotRow, body: &[u8]) {
    let blocks = Blocks::of(world.control());
    let block = (!body.is_empty()).then(|| {
        let class = blocks.class_for(body.len() as u32).unwrap();
        let block =
            blocks.claim(class, slot, BlockKind::Reply, &mut Cursor::default()).expect("there is room");
        let place = world.segments().bodies().block(usize::from(class), block.index as usize).unwrap();
        place.copy_from(body);
        block
    });
    row.reply_block.store(block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
    row.reply_bytes.store(body.len() as u32, Ordering::Relaxed);
    row.reply_status.store(u32::from(Status::Done.code()), Ordering::Relaxed);
}
