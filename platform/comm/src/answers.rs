//! Answers that this process gives by itself: short ones in a record, longer ones in a slot's block.

use gantry_frame::{DecodeError, HEADER_BYTES, Header, encode_header};
use gantry_message::{RequestId, ServiceNumber, Status};
use gantry_ring::{BlockRef, SlotRef};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;

use crate::connection::{self, CLOSE_WHEN_SENT, Marks, NOT_READ};
use crate::dispatch::{Frame, Item, cost};
use crate::io_thread::IoThread;
use crate::outgoing::{Answered, Content};
use crate::refusal::Refusal;
use crate::small_body::SmallBody;

/// An answer whose body fits its record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) body: SmallBody,
    /// The row of the service that it is counted for.
    pub(crate) service_index: Option<u32>,
}

impl Answer {
    /// 000 with this body, by the platform itself.
    pub(crate) fn done(body: SmallBody) -> Self {
        Self { status: Status::Done, body, service_index: None }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, service_index, .. } = refusal;
        Self { status, body: refusal.body(), service_index }
    }
}

impl IoThread<'_> {
    /// Records a short answer to a frame that is there whole.
    pub(crate) fn answer(&mut self, frame: &Frame, answer: &Answer) {
        let Some(record) = self.fill_answer(frame, answer) else { return };
        self.append(frame.number, record, cost(&frame.header));
        connection::parsed(self.clients.row(frame.number), frame.end());
    }

    /// Refuses a frame that is there whole.
    pub(crate) fn refuse(&mut self, frame: &Frame, refusal: Refusal) {
        self.answer(frame, &Answer::from(refusal));
    }

    /// Keeps a short answer until the body that it does not need is through.
    pub(crate) fn begin_discard(&mut self, frame: &Frame, answer: &Answer) {
        let Some(record) = self.fill_answer(frame, answer) else { return };
        let row = self.clients.row(frame.number);
        connection::begin_discard(row, record, frame.end());
        let client = self.clients.at(frame.number);
        // The body is not kept, so only the header counts.
        client.bytes = client.bytes.saturating_sub(u64::from(frame.header.body_bytes));
        if row.rx.load(Ordering::Relaxed) >= frame.end() {
            self.end_discard(frame.number);
        } else {
            self.wait_for_body(frame.number);
        }
    }

    /// A refused body is through: its answer goes.
    pub(crate) fn end_discard(&mut self, number: u32) {
        let row = self.clients.row(number);
        let marks = Marks::load(row);
        if let Some(record) = row.discard_record.load(Ordering::Relaxed).checked_sub(1) {
            self.append(number, record, HEADER_BYTES as u64);
        }
        connection::parsed(row, marks.discard_end);
        row.discard_record.store(0, Ordering::Relaxed);
        let client = self.clients.at(number);
        client.scanned = marks.discard_end;
        client.is_scan_due = true;
        self.body_is_there(number);
        self.list(number);
    }

    /// 101 and 104: nothing behind this byte can be understood.
    pub(crate) fn refuse_stream(&mut self, item: &Item, error: &DecodeError) {
        let header = Header::request(
            error.service().unwrap_or(ServiceNumber::ZERO),
            error.request_id().unwrap_or(RequestId::ZERO),
            0,
            0,
            error.wants_checksum().then_some(1),
        );
        let frame = Frame { number: item.number, offset: item.offset, arrival_ns: item.arrival_ns, header };
        let Some(record) = self.fill_answer(&frame, &Answer::from(Refusal::of_decode_error(error))) else {
            return;
        };
        self.append(item.number, record, item.cost());
        connection::set_flags(self.clients.row(item.number), NOT_READ | CLOSE_WHEN_SENT);
        let rx = self.clients.row(item.number).rx.load(Ordering::Relaxed);
        let client = self.clients.at(item.number);
        client.is_scan_held = false;
        client.scanned = rx;
    }

    /// Fills a record with a short answer and counts it.
    fn fill_answer(&mut self, frame: &Frame, answer: &Answer) -> Option<u32> {
        let record = self.records.claim()?;
        let Answer { status, body, .. } = *answer;
        let header = reply_header(&frame.header, status, body.as_bytes());
        let content = Content::Inline { slot: None, header: &header, body: body.as_bytes() };
        self.records.fill(record, self.answered(frame), content);
        self.count_answer(answer.service_index, status);
        Some(record)
    }

    /// Answers with a body that lies in the slot's own block. The slot is done first, so that a successor that finds
    /// no record for it makes one.
    pub(crate) fn answer_with_slot(
        &mut self,
        frame: &Frame,
        slot: SlotRef,
        row: &SlotRow,
        status: Status,
        block: Option<BlockRef>,
        bytes: u32,
    ) {
        row.reply_block.store(block.map_or(0, BlockRef::to_bits), Ordering::Relaxed);
        row.reply_bytes.store(bytes, Ordering::Relaxed);
        row.reply_status.store(u32::from(status.code()), Ordering::Relaxed);
        self.is_seen_before(slot);
        let Some(record) = self.records.claim() else { return };
        if let Err(word) = self.node.slots.answer(slot, self.node.owner) {
            tracing::error!(slot = slot.index, ?word, "a filled slot was taken from this process");
        }
        self.records.fill(record, self.answered(frame), Content::Slot { slot, body_bytes: bytes });
        self.append(frame.number, record, cost(&frame.header));
        connection::parsed(self.clients.row(frame.number), frame.end());
    }

    /// Whom a record about this frame answers.
    pub(crate) fn answered(&self, frame: &Frame) -> Answered {
        Answered {
            connection: self.clients.row_index(frame.number),
            generation: self.clients.look(frame.number).generation,
            frame_offset: frame.offset,
        }
    }

    /// Appends a filled record; `frame_cost` is what its frame counted until now.
    pub(crate) fn append(&mut self, number: u32, record: u32, frame_cost: u64) {
        let row = self.clients.row(number);
        let client = self.clients.at(number);
        let bytes = self.records.append(row, &mut client.out_tail, record);
        client.bytes = client.bytes.saturating_sub(frame_cost) + bytes;
        self.mark_dirty(number);
    }
}

/// The header of the reply to a request, with a checksum if the request had one.
pub(crate) fn reply_header(request: &Header, status: Status, body: &[u8]) -> [u8; HEADER_BYTES] {
    let checksum = request.checksum.map(|_| gantry_frame::checksum(body));
    let header = Header::reply(request.service, request.request_id, status, body.len() as u32, checksum);
    let mut bytes = [b'0'; HEADER_BYTES];
    encode_header(&header, &mut bytes).expect("the lengths of replies made here are far below the limit");
    bytes
}
