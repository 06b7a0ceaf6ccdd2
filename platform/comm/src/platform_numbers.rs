//! The platform's own numbers: 1 ping, 2 outcome, 3 node.

use gantry_frame::{Checksum, HEADER_BYTES};
use gantry_message::{Kind, Queue as QueueName, REQUEST_ID_BYTES, RequestId, Status, outcome};
use gantry_ring::{BlockRef, SlotRef, State};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;

use crate::answers::Answer;
use crate::claims::Claimed;
use crate::deliver::copy_reply;
use crate::dispatch::Frame;
use crate::filing::block_bytes;
use crate::io_thread::IoThread;
use crate::receive::{copy_from_ring, ring_spans};
use crate::refusal::Refusal;
use crate::small_body::{SMALL_BODY_BYTES_MAX, SmallBody};
use crate::window::{Key, Known};

/// 304 to an outcome query whose body is not a request id.
pub(crate) fn not_an_id() -> Refusal {
    Refusal::bad_request("body", "the body must be the 24 bytes of a request id, 0x21 to 0x7e")
}

impl IoThread<'_> {
    /// Ping: the body comes back. A short one without a slot.
    pub(crate) fn ping(&mut self, frame: &Frame) {
        let bytes = frame.header.body_bytes as usize;
        if bytes <= SMALL_BODY_BYTES_MAX {
            return self.ping_small(frame, bytes);
        }
        match self.claim_own(frame.header.body_bytes) {
            Err(refusal) => self.refuse(frame, refusal),
            Ok(claimed) => {
                self.fill(frame, &claimed, None, Kind::Read);
                self.copy_body(frame, &claimed);
                self.conclude(frame, claimed.slot, None);
            }
        }
    }

    fn ping_small(&mut self, frame: &Frame, bytes: usize) {
        let mut body = [0_u8; SMALL_BODY_BYTES_MAX];
        if let Some(ring) = self.ring_of(frame.number) {
            copy_from_ring(ring, frame.offset + HEADER_BYTES as u64, &mut body[..bytes]);
        }
        if !frame.header.admits_checksum(gantry_frame::checksum(&body[..bytes])) {
            return self.refuse(frame, Refusal::plain(Status::ChecksumWrong));
        }
        let body = SmallBody::of(&body[..bytes]).unwrap_or(SmallBody::EMPTY);
        self.answer(frame, &Answer::done(body));
    }

    /// Answers a ping whose body is in a block: the block is the reply.
    pub(crate) fn echo(&mut self, frame: &Frame, slot: SlotRef, row: &SlotRow) {
        let block = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed));
        self.answer_with_slot(frame, slot, row, Status::Done, block, frame.header.body_bytes);
    }

    /// A slot and a block for an answer that this process makes itself.
    pub(crate) fn claim_own(&mut self, bytes: u32) -> Result<Claimed, Refusal> {
        let claimed = self.claims.claim(self.node, true, bytes, self.now_ns);
        claimed.ok_or_else(|| self.node.admission.memory_full())
    }

    /// Node: who this is, whether it drains, how much it has to do.
    pub(crate) fn tell_node(&mut self, frame: &Frame) {
        if !self.is_ring_checksum_right(frame) {
            return self.refuse(frame, Refusal::plain(Status::ChecksumWrong));
        }
        self.answer(frame, &Answer::done(self.node_facts()));
    }

    /// What the node says of itself.
    pub(crate) fn node_facts(&self) -> SmallBody {
        let cpu = f64::from(self.node.control.node().cpu_load_ppm.load(Ordering::Relaxed)) / 1_000_000.0;
        let load = self.queues_fill().max(cpu).min(1.0);
        let (name, is_draining) = (&self.node.bounds.node_name, self.live.is_draining);
        // A node's name needs no escapes: letters, digits, `_` and `-`.
        SmallBody::text(format_args!("{{\"name\":\"{name}\",\"draining\":{is_draining},\"load\":{load:.2}}}"))
    }

    /// Outcome: from the window if the request is there, else from the database by a worker.
    pub(crate) fn outcome(&mut self, frame: &Frame) {
        if !self.is_ring_checksum_right(frame) {
            return self.refuse(frame, Refusal::plain(Status::ChecksumWrong));
        }
        let Some(request_id) = self.asked_id(frame) else {
            return self.refuse(frame, not_an_id());
        };
        let key = Key::new(self.clients.look(frame.number).caller, request_id);
        match self.node.window.look_up(&key, self.now_ns, &mut self.replay) {
            Known::InFlight(slot) => {
                let is_queued = self.node.slots.word(slot.index).is(State::Queued);
                self.tell(frame, outcome::in_flight(is_queued));
            }
            Known::Done { status } => {
                let text = outcome::done(status, &self.replay);
                self.tell(frame, &text);
            }
            Known::Nothing => self.ask_worker(frame, request_id, false),
            Known::Lost => self.ask_worker(frame, request_id, true),
        }
    }

    fn asked_id(&self, frame: &Frame) -> Option<RequestId> {
        if frame.header.body_bytes as usize != REQUEST_ID_BYTES {
            return None;
        }
        let mut bytes = [0_u8; REQUEST_ID_BYTES];
        copy_from_ring(self.ring_of(frame.number)?, frame.offset + HEADER_BYTES as u64, &mut bytes);
        RequestId::new(bytes).ok()
    }

    /// Answers 000 with a text that may be longer than a record holds.
    fn tell(&mut self, frame: &Frame, text: &str) {
        if let Some(body) = SmallBody::of(text.as_bytes()) {
            return self.answer(frame, &Answer::done(body));
        }
        match self.claim_own(text.len() as u32) {
            Err(refusal) => self.refuse(frame, refusal),
            Ok(claimed) => {
                self.fill(frame, &claimed, None, Kind::Read);
                let block = claimed.block.and_then(|block| block_bytes(self.node, block, text.len() as u32));
                if let Some(block) = block {
                    block.copy_from(text.as_bytes());
                }
                let Some(row) = self.node.slots.row(claimed.slot.index) else { return };
                let (slot, block) = (claimed.slot, claimed.block);
                self.answer_with_slot(frame, slot, row, Status::Done, block, text.len() as u32);
            }
        }
    }

    /// Publishes the query on the write ring. `is_lost` lets the worker fence the attempt off first.
    fn ask_worker(&mut self, frame: &Frame, request_id: RequestId, is_lost: bool) {
        let mut body = [b'L'; REQUEST_ID_BYTES + 1];
        body[..REQUEST_ID_BYTES].copy_from_slice(request_id.as_bytes());
        let body = if is_lost { &body[..] } else { &body[..REQUEST_ID_BYTES] };
        let node = self.node;
        let admitted =
            node.admission.admit(QueueName::Write, &node.write, node.slots, &self.live, None, self.now_ns);
        let claimed = admitted.and_then(|()| {
            let claimed = self.claims.claim(node, false, body.len() as u32, self.now_ns);
            claimed.ok_or_else(|| node.admission.memory_full())
        });
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(refusal) => return self.refuse(frame, refusal),
        };
        self.fill(frame, &claimed, None, Kind::Other);
        let block = claimed.block.and_then(|block| block_bytes(node, block, body.len() as u32));
        if let (Some(block), Some(row)) = (block, node.slots.row(claimed.slot.index)) {
            block.copy_from(body);
            row.request_bytes.store(body.len() as u32, Ordering::Relaxed);
            self.submit_query(frame, claimed.slot, row);
        }
    }

    /// Answers a repeat with the reply that the window recorded.
    pub(crate) fn replay(
        &mut self,
        frame: &Frame,
        slot: SlotRef,
        row: &SlotRow,
        status: u16,
        service_index: u32,
    ) {
        let status = Status::from_code(status).unwrap_or(Status::PlatformFault);
        if let Some(body) = SmallBody::of(&self.replay) {
            let service_index = Some(service_index);
            self.answer(frame, &Answer { status, body, service_index });
            // After the answer, as in `refuse_filled`.
            return self.claims.release(self.node, slot);
        }
        let bytes = self.replay.len() as u32;
        // In a block of its own: a large body that was overwritten could not be decided anew by a successor.
        match copy_reply(self.node, slot, SharedBytes::from_private(&mut self.replay)) {
            Some(block) => {
                self.count_answer(Some(service_index), status);
                self.answer_with_slot(frame, slot, row, status, Some(block), bytes);
            }
            None => {
                // Nothing ran because of this frame: it may be sent again, and is answered from the window then.
                self.refuse(frame, self.node.admission.memory_full().of_service(service_index));
                self.claims.release(self.node, slot);
            }
        }
    }

    /// The checksum of a body that is still in the receive buffer.
    fn is_ring_checksum_right(&self, frame: &Frame) -> bool {
        let (Some(expected), Some(ring)) = (frame.header.checksum, self.ring_of(frame.number)) else {
            return true;
        };
        let mut checksum = Checksum::new();
        let at = (frame.offset + HEADER_BYTES as u64) % ring.len() as u64;
        for span in ring_spans(ring, at, u64::from(frame.header.body_bytes)) {
            span.chunks(|piece| checksum.update(piece));
        }
        checksum.finish() == expected
    }
}
