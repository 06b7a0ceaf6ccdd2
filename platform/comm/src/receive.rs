//! Bytes from the socket to where they belong, and whole frames into the communication queue.

use std::io;

use gantry_frame::{Decoded, HEADER_BYTES, decode_request};
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;
use gantry_sys::socket;

use crate::client::Partial;
use crate::connection::{self, Marks, NOT_READ, PEER_CLOSED, Place};
use crate::counters::Counter;
use crate::dispatch::{Item, What};
use crate::filing::block_bytes;
use crate::io_thread::IoThread;
use crate::limits::RECEIVE_BYTES_PER_TURN;

/// What came of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now, or nothing any more, or there is no room.
    Nothing,
}

/// The spans of a ring buffer for `bytes` bytes from position `at` on; the second is empty unless they wrap.
pub(crate) fn ring_spans(ring: SharedBytes<'_>, at: u64, bytes: u64) -> [SharedBytes<'_>; 2] {
    let (at, bytes) = (at as usize, (bytes as usize).min(ring.len()));
    let first = bytes.min(ring.len().saturating_sub(at));
    let span = |from: usize, count: usize| {
        ring.slice(from..from + count).or_else(|| ring.slice(..0)).unwrap_or(ring)
    };
    [span(at, first), span(0, bytes - first)]
}

/// Copies bytes at stream offset `offset` out of a ring buffer.
pub(crate) fn copy_from_ring(ring: SharedBytes<'_>, offset: u64, target: &mut [u8]) {
    let at = offset % ring.len() as u64;
    let [first, second] = ring_spans(ring, at, target.len() as u64);
    let (front, back) = target.split_at_mut(first.len());
    first.copy_to(front);
    second.copy_to(back);
}

/// Copies `bytes` at stream offset `offset` of a ring buffer straight into a block.
pub(crate) fn copy_to_block(ring: SharedBytes<'_>, offset: u64, bytes: u64, block: SharedBytes<'_>) {
    let [first, second] = ring_spans(ring, offset % ring.len() as u64, bytes);
    if let Some((front, back)) = block.split_at(first.len()) {
        front.copy_from_shared(first);
        back.copy_from_shared(second);
    }
}

impl<'a> IoThread<'a> {
    /// Gives each listed client a turn, until the communication queue is full.
    pub(crate) fn serve_ready(&mut self) {
        for _ in 0..self.ready.len() {
            if self.queue.len() >= self.node.bounds.batch_max {
                return;
            }
            let Some(number) = self.ready.pop_front() else { return };
            self.clients.at(number).is_listed = false;
            if self.clients.is_open(number) {
                self.take_in_hand(number);
                self.serve(number);
                self.let_go(number);
            }
        }
    }

    fn serve(&mut self, number: u32) {
        if self.clients.look(number).linger.is_some() {
            return self.linger(number);
        }
        self.touch(number);
        self.go_on(number);
        let mut left = RECEIVE_BYTES_PER_TURN;
        while left > 0 && self.may_receive(number) {
            let Got::Bytes(bytes) = self.receive(number, left) else { break };
            left -= bytes.min(left);
            self.go_on(number);
        }
        let is_more = self.may_receive(number) || self.clients.look(number).is_scan_due;
        if self.clients.is_open(number) && is_more {
            self.list(number);
        }
    }

    pub(crate) fn touch(&mut self, number: u32) {
        let client = self.clients.at(number);
        if !client.is_touched {
            client.is_touched = true;
            self.touched.push(number);
        }
    }

    fn may_receive(&self, number: u32) -> bool {
        let client = self.clients.look(number);
        let is_held = client.is_paused || client.is_waiting || client.is_scan_held || client.is_scan_due;
        let is_read = self.clients.row(number).flags.load(Ordering::Relaxed) & (NOT_READ | PEER_CLOSED) == 0;
        client.socket.is_some() && client.is_readable && is_read && !is_held
    }

    /// Takes up the stream where it stands: a body that is whole, a refused one that is through, frames to scan.
    fn go_on(&mut self, number: u32) {
        let marks = Marks::load(self.clients.row(number));
        if marks.body().is_some() && self.clients.look(number).large.is_some() {
            if marks.rx >= marks.body_end {
                self.complete_large(number);
            }
        } else if marks.is_discarding() {
            if marks.rx >= marks.discard_end {
                self.end_discard(number);
            }
        } else {
            self.scan(number);
        }
    }

    /// One call of `recv`, to where the row says.
    fn receive(&mut self, number: u32, bytes_max: usize) -> Got {
        let row = self.clients.row(number);
        let place = Marks::load(row).place(self.node.bounds.receive_buffer_bytes);
        let (spans, room) = match place {
            Place::Nowhere | Place::Ring { bytes: 0, .. } => return Got::Nothing,
            Place::Ring { at, bytes } => {
                let Some(ring) = self.ring_for(number) else { return Got::Nothing };
                (ring_spans(ring, at, bytes), bytes as usize)
            }
            Place::Body { at, bytes, .. } => {
                let Some(body) = self.large_body(number) else { return Got::Nothing };
                let end = (at + bytes).min(at + bytes_max as u64) as usize;
                let Some(span) = body.slice(at as usize..end) else { return Got::Nothing };
                ([span, span.slice(..0).unwrap_or(span)], span.len())
            }
        };
        let Some(socket) = &self.clients.look(number).socket else { return Got::Nothing };
        connection::begin_transfer(row);
        let received = socket::recv(socket, if spans[1].is_empty() { &spans[..1] } else { &spans });
        if let Ok(bytes) = received {
            connection::received(row, bytes);
        }
        connection::end_transfer(row);
        self.note_received(number, received, room)
    }

    fn note_received(&mut self, number: u32, received: io::Result<usize>, room: usize) -> Got {
        let now_ns = self.now_ns;
        let client = self.clients.at(number);
        match received {
            Ok(0) => {
                self.end_of_peer(number);
                Got::Nothing
            }
            Ok(bytes) => {
                // Fewer than there was room for: the next ones bring an event, unless the end is near, of which the
                // event may be the one that is being served.
                client.is_readable = bytes == room || client.is_end_near;
                client.received_ns = now_ns;
                client.active_ns = now_ns;
                Got::Bytes(bytes)
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                client.is_readable = false;
                Got::Nothing
            }
            Err(_) => {
                self.close(number, Some(Counter::ConnectionFailed));
                Got::Nothing
            }
        }
    }

    /// The block of the large body that is being received.
    pub(crate) fn large_body(&self, number: u32) -> Option<SharedBytes<'a>> {
        let large = self.clients.look(number).large?;
        block_bytes(self.node, large.block, large.header.body_bytes)
    }

    /// The receive buffer of a client that has one.
    pub(crate) fn ring_of(&self, number: u32) -> Option<SharedBytes<'a>> {
        let index = self.clients.row(number).receive_buffer.load(Ordering::Relaxed).checked_sub(1)?;
        self.node.bodies.receive_buffer(index as usize)
    }

    /// The receive buffer of a client, taken from the pool if it has none.
    fn ring_for(&mut self, number: u32) -> Option<SharedBytes<'a>> {
        if let Some(ring) = self.ring_of(number) {
            return Some(ring);
        }
        let Some(index) = self.buffers.pop().or_else(|| self.evict_for_buffer()) else {
            self.count(Counter::BuffersOut);
            self.clients.at(number).is_waiting = true;
            self.buffer_waiters.push_back(number);
            return None;
        };
        // Before the call that fills it: a successor finds the bytes.
        self.clients.row(number).receive_buffer.store(index + 1, Ordering::Release);
        self.node.bodies.receive_buffer(index as usize)
    }

    /// Puts whole frames into the communication queue, as far as it, the limits and the bytes go.
    fn scan(&mut self, number: u32) {
        let rx = self.clients.row(number).rx.load(Ordering::Relaxed);
        self.clients.at(number).is_scan_due = false;
        loop {
            let client = self.clients.look(number);
            let (offset, is_held) = (client.scanned, client.is_scan_held || client.is_waiting);
            if is_held || offset >= rx {
                return self.note_partial(number, Partial::None);
            }
            if self.is_over_limits(number) {
                self.note_partial(number, Partial::None);
                self.clients.at(number).is_paused = true;
                return self.count(Counter::FramesMax);
            }
            if self.queue.len() >= self.node.bounds.batch_max {
                self.clients.at(number).is_scan_due = true;
                return;
            }
            let Some(ring) = self.ring_of(number) else { return };
            let mut prefix = [0_u8; HEADER_BYTES];
            let known = (rx - offset).min(HEADER_BYTES as u64) as usize;
            copy_from_ring(ring, offset, &mut prefix[..known]);
            let header = match decode_request(&prefix[..known], &self.node.frame_limits) {
                Ok(Decoded::Incomplete) => {
                    return self.note_partial(number, Partial::Header { since_ns: self.now_ns });
                }
                Ok(Decoded::Header(header)) => header,
                Err(error) => return self.enqueue(number, offset, What::Wrong(error), true),
            };
            let end = offset + HEADER_BYTES as u64 + u64::from(header.body_bytes);
            let is_cut = end > rx && self.is_peer_closed(number);
            if header.body_bytes >= self.node.bounds.large_body_bytes && !is_cut {
                return self.enqueue(number, offset, What::Large(header), true);
            }
            if end > rx {
                return self.note_partial(number, Partial::Body { since_ns: self.now_ns });
            }
            self.enqueue(number, offset, What::Frame(header), false);
            self.clients.at(number).scanned = end;
        }
    }

    /// Whether nothing more will come, so that a frame that is not there whole never will be.
    fn is_peer_closed(&self, number: u32) -> bool {
        self.clients.row(number).flags.load(Ordering::Relaxed) & PEER_CLOSED != 0
    }

    fn is_over_limits(&self, number: u32) -> bool {
        let (client, bounds) = (self.clients.look(number), &self.node.bounds);
        client.frames >= bounds.frames_in_flight_max
            || (client.frames > 0 && client.bytes >= bounds.bytes_in_flight_max)
    }

    fn enqueue(&mut self, number: u32, offset: u64, what: What, is_last: bool) {
        self.note_partial(number, Partial::None);
        let client = self.clients.at(number);
        client.is_scan_held = is_last;
        let arrival_ns = client.received_ns;
        let item = Item { number, generation: client.generation, offset, arrival_ns, what };
        client.frames += 1;
        client.bytes += item.cost();
        self.queue.push_back(item);
    }

    /// Notes how much of the next frame is there, and since when that is waited for.
    fn note_partial(&mut self, number: u32, now: Partial) {
        let client = self.clients.at(number);
        let is_same = matches!(
            (client.partial, now),
            (Partial::None, Partial::None)
                | (Partial::Header { .. }, Partial::Header { .. })
                | (Partial::Body { .. }, Partial::Body { .. })
        );
        if is_same && client.partial_offset == client.scanned {
            return;
        }
        client.partial = now;
        client.partial_offset = client.scanned;
        let limit_ns = match now {
            Partial::None => {
                self.clients.partial.leave(number);
                return;
            }
            Partial::Header { .. } => self.live.header_ns,
            Partial::Body { .. } => self.live.body_ns,
        };
        self.clients.partial.renew(number);
        if limit_ns != 0 {
            self.arm_client(number, self.now_ns.saturating_add(limit_ns));
        }
    }

    /// The rest of a large body is waited for from now on.
    pub(crate) fn wait_for_body(&mut self, number: u32) {
        self.clients.holding.renew(number);
        self.note_partial(number, Partial::Body { since_ns: self.now_ns });
    }

    /// The rest of a large body has come, or will never come.
    pub(crate) fn body_is_there(&mut self, number: u32) {
        self.clients.holding.leave(number);
        self.note_partial(number, Partial::None);
    }

    /// The peer will send no more. What it is owed is still sent; what it did not send whole is forgotten.
    fn end_of_peer(&mut self, number: u32) {
        let row = self.clients.row(number);
        connection::set_flags(row, PEER_CLOSED);
        let client = self.clients.at(number);
        client.is_readable = false;
        let marks = Marks::load(row);
        if let Some(large) = client.large.take() {
            client.forget_frame(HEADER_BYTES as u64 + u64::from(large.header.body_bytes));
            client.scanned = marks.rx;
            connection::forget_rest(row, marks.rx);
            self.withdraw(large.slot);
        } else if marks.is_discarding() {
            client.forget_frame(HEADER_BYTES as u64);
            client.scanned = marks.rx;
            connection::forget_rest(row, marks.rx);
            if let Some(record) = row.discard_record.swap(0, Ordering::Relaxed).checked_sub(1) {
                self.records.give_back(record);
            }
        }
        self.body_is_there(number);
    }

    /// After the batch: buffers of clients without a partial frame go back, and who is finished goes.
    pub(crate) fn settle_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for number in touched.drain(..) {
            self.clients.at(number).is_touched = false;
            if !self.clients.is_open(number) {
                continue;
            }
            let row = self.clients.row(number);
            let marks = Marks::load(row);
            let is_over = marks.flags & PEER_CLOSED != 0 && !self.has_unscanned(number);
            if marks.rx == marks.parsed || is_over {
                self.give_buffer_back(number);
            }
            self.finish_if_done(number);
        }
        self.touched = touched;
    }

    /// Whether there may be whole frames that nobody has looked at.
    pub(crate) fn has_unscanned(&self, number: u32) -> bool {
        let client = self.clients.look(number);
        client.is_paused || client.is_waiting || client.is_scan_held || client.is_scan_due || client.is_listed
    }

    fn give_buffer_back(&mut self, number: u32) {
        let row = self.clients.row(number);
        // Release: it is not this client's any more before it can be another's.
        let held = row.receive_buffer.load(Ordering::Relaxed);
        if let Some(index) = held.checked_sub(1) {
            row.receive_buffer.store(0, Ordering::Release);
            self.buffers.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_of_the_ring_at_every_position_and_split() {
        let stream: Vec<u8> = (0..3000_u32).map(|index| (index % 251) as u8).collect();
        for length in [1_usize, 63, 64, 65, 255, 256] {
            let mut memory = [0_u8; 256];
            let ring = SharedBytes::from_private(&mut memory);
            let mut offset = 0;
            while offset + length <= stream.len() {
                // Received in two pieces of every possible proportion.
                let split = offset % (length + 1);
                for (from, bytes) in [(offset, split), (offset + split, length - split)] {
                    let spans = ring_spans(ring, from as u64 % 256, bytes as u64);
                    assert_eq!(spans[0].len() + spans[1].len(), bytes);
                    spans[0].copy_from(&stream[from..from + spans[0].len()]);
                    spans[1].copy_from(&stream[from + spans[0].len()..from + bytes]);
                }
                let mut copied = vec![0; length];
                copy_from_ring(ring, offset as u64, &mut copied);
                assert_eq!(copied, stream[offset..offset + length]);
                let mut block = vec![0; length + 1];
                copy_to_block(ring, offset as u64, length as u64, SharedBytes::from_private(&mut block));
                assert_eq!(block[..length], stream[offset..offset + length]);
                assert_eq!(block[length], 0);
                offset += length;
            }
        }
    }
}
