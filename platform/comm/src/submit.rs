//! A request into the ring: fill its slot, check its body, pass the window, publish.

use gantry_frame::{Checksum, HEADER_BYTES};
use gantry_message::{Deadline, Kind, Queue as QueueName, Status};
use gantry_ring::{BlockRef, SlotRef};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::canary;
use crate::claims::Claimed;
use crate::connection;
use crate::counters::Counter;
use crate::dispatch::{Frame, Service};
use crate::filing::{ASK_FIRST, Filing, NO_SERVICE, block_bytes};
use crate::io_thread::IoThread;
#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};
use crate::receive::copy_to_block;
use crate::refusal::Refusal;
use crate::rules;
use crate::window::{Begun, Key, Request};

impl<'a> IoThread<'a> {
    /// Writes a claimed slot's row. Platform numbers that are answered here count as reads, so that they never take
    /// the place of a write.
    pub(crate) fn fill(&self, frame: &Frame, claimed: &Claimed, service: Option<&Service<'_>>, kind: Kind) {
        let Some(row) = self.node.slots.row(claimed.slot.index) else { return };
        let client = self.clients.look(frame.number);
        let own_ms = service.map_or(0, |service| service.row.timeout_ms.load(Ordering::Relaxed));
        let filing = Filing {
            connection: self.clients.row_index(frame.number),
            generation: client.generation,
            frame_offset: frame.offset,
            service: frame.header.service.get(),
            service_index: service.map_or(NO_SERVICE, |service| service.index),
            kind,
            timeout_ms: if own_ms == 0 { self.live.service_timeout_ms } else { own_ms },
            block: claimed.block,
            body_bytes: frame.header.body_bytes,
            home: self.index,
            wants_checksum: frame.header.checksum.is_some(),
            canary: service.and_then(|service| canary::of(service.row, &frame.header.request_id)),
            request_id: frame.header.request_id,
            caller: client.caller,
        };
        filing.write(row);
    }

    /// Copies a small body from the receive buffer to its block: the only time that it is copied.
    pub(crate) fn copy_body(&self, frame: &Frame, claimed: &Claimed) {
        let bytes = frame.header.body_bytes;
        let block = claimed.block.and_then(|block| block_bytes(self.node, block, bytes));
        if let (Some(block), Some(ring)) = (block, self.ring_of(frame.number)) {
            copy_to_block(ring, frame.offset + HEADER_BYTES as u64, u64::from(bytes), block);
        }
    }

    /// The body is in its block: 106, 107, then the ring. `None`: a ping, which is answered.
    pub(crate) fn conclude(&mut self, frame: &Frame, slot: SlotRef, service: Option<&Service<'_>>) {
        let Some(row) = self.node.slots.row(slot.index) else { return };
        if !self.is_checksum_right(frame, row) {
            let mut refusal = Refusal::plain(Status::ChecksumWrong);
            refusal.service_index = service.map(|service| service.index);
            return self.refuse_filled(frame, slot, refusal);
        }
        let timeout_ms = row.timeout_ms.load(Ordering::Relaxed);
        let deadline = Deadline::from_arrival(frame.arrival_ns, frame.header.budget_ms, timeout_ms);
        row.arrival_ns.store(frame.arrival_ns, Ordering::Relaxed);
        row.deadline_ns.store(deadline.at_ns(), Ordering::Relaxed);
        let Some(service) = service else { return self.echo(frame, slot, row) };
        if service.kind == Kind::Read {
            self.submit(frame, slot, QueueName::Read, deadline);
        } else {
            self.begin_write(frame, slot, row, service, deadline);
        }
    }

    fn submit(&mut self, frame: &Frame, slot: SlotRef, name: QueueName, deadline: Deadline) {
        self.wheel.arm(usize::from(slot.index), deadline.at_ns());
        #[cfg(feature = "attack")]
        if mutants::is(Mutant::ParsedBeforePublish) {
            connection::parsed(self.clients.row(frame.number), frame.end());
        }
        self.publish(slot, name);
        connection::parsed(self.clients.row(frame.number), frame.end());
    }

    /// Publishes an outcome query, for the database.
    pub(crate) fn submit_query(&mut self, frame: &Frame, slot: SlotRef, row: &SlotRow) {
        let timeout_ms = row.timeout_ms.load(Ordering::Relaxed);
        let deadline = Deadline::from_arrival(frame.arrival_ns, frame.header.budget_ms, timeout_ms);
        row.arrival_ns.store(frame.arrival_ns, Ordering::Relaxed);
        row.deadline_ns.store(deadline.at_ns(), Ordering::Relaxed);
        self.submit(frame, slot, QueueName::Write, deadline);
    }

    /// A write passes the window before it is published.
    fn begin_write(
        &mut self,
        frame: &Frame,
        slot: SlotRef,
        row: &SlotRow,
        service: &Service<'_>,
        deadline: Deadline,
    ) {
        let body_hash = self.hash_body(row);
        for (place, half) in row.body_hash.iter().zip(body_hash) {
            place.store(half, Ordering::Relaxed);
        }
        let key = Key::new(self.clients.look(frame.number).caller, frame.header.request_id);
        let request = Request { service: frame.header.service.get(), body_hash };
        let (owner, now_ns) = (self.node.owner, self.now_ns);
        let begun = self.node.window.begin(&key, &request, slot, owner, now_ns, &mut self.replay);
        match begun {
            Begun::Run { entry } => {
                row.window_entry.store(entry, Ordering::Relaxed);
                self.submit(frame, slot, QueueName::Write, deadline);
            }
            Begun::Ask => {
                self.count(Counter::Repeats);
                row.flags.fetch_or(ASK_FIRST, Ordering::Relaxed);
                self.submit(frame, slot, QueueName::Write, deadline);
            }
            Begun::Joined => {
                self.count(Counter::Repeats);
                self.wheel.arm(usize::from(slot.index), deadline.at_ns());
                connection::parsed(self.clients.row(frame.number), frame.end());
            }
            Begun::Replay { status } => {
                self.count(Counter::Repeats);
                rules::leave(service.row);
                self.replay(frame, slot, row, status, service.index);
            }
            Begun::Reused => {
                let refusal = Refusal::plain(Status::RequestIdReused);
                self.refuse_filled(frame, slot, refusal.of_service(service.index));
            }
            Begun::Full => {
                let refusal = self.node.admission.memory_full();
                self.refuse_filled(frame, slot, refusal.of_service(service.index));
            }
        }
    }

    /// Refuses a frame whose body is in its slot. The answer goes first: of a large body nothing is left to decide anew
    /// from once the slot is free.
    fn refuse_filled(&mut self, frame: &Frame, slot: SlotRef, refusal: Refusal) {
        #[cfg(feature = "attack")]
        if mutants::is(Mutant::SlotBeforeRefusal) {
            self.withdraw(slot);
            return self.refuse(frame, refusal);
        }
        self.refuse(frame, refusal);
        self.withdraw(slot);
    }

    /// Gives up a filled slot that nobody else saw.
    pub(crate) fn withdraw(&mut self, slot: SlotRef) {
        if let Some(service) = self.service_of(slot) {
            rules::give_back(service.row);
        }
        self.claims.release(self.node, slot);
    }

    fn is_checksum_right(&mut self, frame: &Frame, row: &SlotRow) -> bool {
        let Some(expected) = frame.header.checksum else { return true };
        let mut checksum = Checksum::new();
        self.pieces(row, |piece| checksum.update(piece));
        checksum.finish() == expected
    }

    fn hash_body(&mut self, row: &SlotRow) -> [u64; 2] {
        let bytes = row.request_bytes.load(Ordering::Relaxed) as usize;
        let hash = if bytes <= self.scratch.len() {
            let mut hash = xxh3_128(&[]);
            self.pieces(row, |piece| hash = xxh3_128(piece));
            hash
        } else {
            let mut hasher = Xxh3::new();
            self.pieces(row, |piece| hasher.update(piece));
            hasher.digest128()
        };
        [(hash >> 64) as u64, hash as u64]
    }

    /// Shows a slot's request body piece by piece in private memory; a body that fits is one piece.
    fn pieces(&mut self, row: &SlotRow, mut look: impl FnMut(&[u8])) {
        let Some(body) = self.request_body(row) else { return };
        let scratch = &mut self.scratch;
        let mut rest = body;
        while !rest.is_empty() {
            let count = rest.copy_to(scratch);
            look(&scratch[..count]);
            rest = rest.slice(count..).unwrap_or(SharedBytes::from_private(&mut []));
        }
    }

    fn request_body(&self, row: &SlotRow) -> Option<SharedBytes<'a>> {
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed))?;
        block_bytes(self.node, block, row.request_bytes.load(Ordering::Relaxed))
    }
}
