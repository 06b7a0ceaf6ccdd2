//! Recorded replies to the socket, many in one call, and the ends of connections.

use std::io;
use std::net::Shutdown;

use gantry_frame::{HEADER_BYTES, Header, encode_header};
use gantry_message::{ServiceNumber, Status};
use gantry_ring::SlotRef;
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;
use gantry_sys::socket::{self, PARTS_MAX, Span};
use mio::Interest;

use crate::client::Partial;
use crate::connection::{self, CLOSE_WHEN_SENT, PEER_CLOSED};
use crate::counters::Counter;
use crate::deliver::reply_body;
use crate::filing::request_id_of;
use crate::io_thread::IoThread;
use crate::limits::{LINGER_BYTES_MAX, LINGER_NS, RECEIVE_BYTES_PER_TURN, SEND_RECORDS_MAX};
#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};
use crate::node::Node;
use crate::outgoing::Outgoing;

/// What one call is given: headers made for it, and where the bytes of each record lie.
struct Gathered<'a> {
    headers: [[u8; HEADER_BYTES]; SEND_RECORDS_MAX],
    bodies: [Option<SharedBytes<'a>>; SEND_RECORDS_MAX],
    /// Bytes of each header that are left to send; 0 = it is sent, or the record holds it.
    header_bytes: [usize; SEND_RECORDS_MAX],
    count: usize,
    bytes: u64,
}

impl<'a> Gathered<'a> {
    /// The records of a connection from stream offset `tx` on. `None`: a slot's reply is not what it was when it was
    /// recorded, so the stream cannot be continued.
    fn collect(thread: &IoThread<'a>, number: u32) -> Option<Self> {
        let row = thread.clients.row(number);
        let tx = row.tx.load(Ordering::Relaxed);
        let mut gathered = Self {
            headers: [[0; HEADER_BYTES]; SEND_RECORDS_MAX],
            bodies: [None; SEND_RECORDS_MAX],
            header_bytes: [0; SEND_RECORDS_MAX],
            count: 0,
            bytes: 0,
        };
        let mut next = thread.records.first(row);
        while let Some(outgoing) = next.filter(|_| gathered.count < SEND_RECORDS_MAX) {
            let sent = tx.saturating_sub(outgoing.start) as usize;
            match outgoing.slot {
                None => gathered.add_inline(thread, &outgoing, sent)?,
                Some(slot) => gathered.add_slot(thread.node, slot, &outgoing, sent)?,
            }
            gathered.count += 1;
            gathered.bytes += outgoing.bytes.saturating_sub(sent as u64);
            next = thread.records.next(&outgoing);
        }
        Some(gathered)
    }

    fn add_inline(&mut self, thread: &IoThread<'a>, outgoing: &Outgoing, sent: usize) -> Option<()> {
        let bytes = thread.records.inline(outgoing.record);
        self.bodies[self.count] = Some(bytes.slice(sent..outgoing.bytes as usize)?);
        Some(())
    }

    fn add_slot(&mut self, node: &Node<'a>, slot: SlotRef, outgoing: &Outgoing, sent: usize) -> Option<()> {
        let row = node.slots.row(slot.index)?;
        let body = reply_body(node, slot, row)
            .filter(|body| (HEADER_BYTES + body.len()) as u64 == outgoing.bytes)?;
        if sent < HEADER_BYTES {
            self.headers[self.count] = slot_header(row, body)?;
            self.header_bytes[self.count] = HEADER_BYTES - sent;
        }
        self.bodies[self.count] = Some(body.slice(sent.saturating_sub(HEADER_BYTES)..)?);
        Some(())
    }

    fn send(&self, socket: impl std::os::fd::AsFd) -> io::Result<usize> {
        let mut spans = [Span::Local(&[]); PARTS_MAX];
        let mut count = 0;
        for index in 0..self.count {
            let left = self.header_bytes[index];
            if left > 0 {
                spans[count] = Span::Local(&self.headers[index][HEADER_BYTES - left..]);
                count += 1;
            }
            if let Some(body) = self.bodies[index].filter(|body| !body.is_empty()) {
                spans[count] = Span::Shared(body);
                count += 1;
            }
        }
        socket::send(socket, &spans[..count])
    }
}

/// The header of a slot's reply: the same bytes whenever it is made.
fn slot_header(row: &SlotRow, body: SharedBytes<'_>) -> Option<[u8; HEADER_BYTES]> {
    let wants_checksum = row.flags.load(Ordering::Relaxed) >> 16 & 1 == 1;
    let checksum = wants_checksum.then(|| {
        let mut checksum = gantry_frame::Checksum::new();
        body.chunks(|piece| checksum.update(piece));
        checksum.finish()
    });
    let service = ServiceNumber::new(row.service.load(Ordering::Relaxed)).ok()?;
    let status = Status::from_code(row.reply_status.load(Ordering::Relaxed) as u16)?;
    let header = Header::reply(service, request_id_of(row), status, body.len() as u32, checksum);
    let mut bytes = [0; HEADER_BYTES];
    encode_header(&header, &mut bytes).ok()?;
    Some(bytes)
}

impl IoThread<'_> {
    /// Sends to every connection that has something new, and to those that take bytes again.
    pub(crate) fn send_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            self.clients.at(number).is_dirty = false;
            if self.clients.is_open(number) && !self.clients.look(number).is_stalled {
                self.take_in_hand(number);
                self.send(number);
                self.let_go(number);
            }
        }
        self.dirty = dirty;
    }

    fn send(&mut self, number: u32) {
        while self.clients.is_open(number) && self.clients.look(number).out_tail != 0 {
            let Some(gathered) = Gathered::collect(self, number) else {
                tracing::error!(
                    "the reply in a slot changed after it was recorded; the connection is closed"
                );
                return self.close(number, Some(Counter::ConnectionFailed));
            };
            let Some(socket) = &self.clients.look(number).socket else { return };
            let row = self.clients.row(number);
            #[cfg(feature = "attack")]
            if mutants::is(Mutant::SlotBeforeSend)
                && let Some(slot) = self.records.first(row).and_then(|first| first.slot)
            {
                let _ = self.node.slots.release(slot);
            }
            connection::begin_transfer(row);
            let sent = gathered.send(socket);
            if let Ok(bytes) = sent {
                connection::sent(row, row.tx.load(Ordering::Relaxed) + bytes as u64);
            }
            connection::end_transfer(row);
            match sent {
                Ok(_) => self.note_sent(number),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return self.stall(number),
                Err(_) => return self.close(number, Some(Counter::ConnectionFailed)),
            }
        }
        self.finish_if_done(number);
    }

    /// Frees what is sent whole: the slot first, then the record's place in the chain.
    fn note_sent(&mut self, number: u32) {
        let row = self.clients.row(number);
        let tx = row.tx.load(Ordering::Relaxed);
        while let Some(first) = self.records.first(row).filter(|first| first.end() <= tx) {
            #[cfg(feature = "attack")]
            if mutants::is(Mutant::RecordBeforeSlot) {
                let client = self.clients.at(number);
                self.records.pop(row, &mut client.out_tail, &first);
                client.forget_frame(first.bytes);
                first.slot.into_iter().for_each(|slot| self.claims.release(self.node, slot));
                continue;
            }
            if let Some(slot) = first.slot {
                self.claims.release(self.node, slot);
            }
            let client = self.clients.at(number);
            self.records.pop(row, &mut client.out_tail, &first);
            client.forget_frame(first.bytes);
        }
        let now_ns = self.now_ns;
        let client = self.clients.at(number);
        client.moved_ns = now_ns;
        client.active_ns = now_ns;
        self.clients.stalled.leave(number);
        self.relieve(number);
    }

    /// The kernel takes no more: an event says when it does again.
    fn stall(&mut self, number: u32) {
        let now_ns = self.now_ns;
        self.clients.at(number).is_stalled = true;
        self.watch_for_room(number);
        if !self.clients.is_open(number) {
            return;
        }
        if self.clients.stalled.has(number) {
            // Room was announced, and gone before it was of use: nothing has moved since.
            return;
        }
        self.clients.at(number).moved_ns = now_ns;
        self.clients.stalled.renew(number);
        if self.live.write_ns != 0 {
            self.arm_client(number, now_ns.saturating_add(self.live.write_ns));
        }
    }

    /// Is told from now on when the kernel takes bytes again; if it does already, at once. Most connections never need it,
    /// and each that is watched for it brings one event for nothing.
    fn watch_for_room(&mut self, number: u32) {
        if !self.clients.look(number).is_write_watched {
            self.watch_client(number, Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// Ends a connection that owes nothing and will get nothing more.
    pub(crate) fn finish_if_done(&mut self, number: u32) {
        if !self.clients.is_open(number) {
            return;
        }
        let row = self.clients.row(number);
        let flags = row.flags.load(Ordering::Relaxed);
        if self.clients.look(number).is_gone && flags & PEER_CLOSED != 0 && !self.has_unscanned(number) {
            // All that it sent was read; requests of it run to their end, and their replies are dropped.
            return self.close(number, None);
        }
        if self.clients.look(number).frames != 0 {
            return;
        }
        if flags & CLOSE_WHEN_SENT != 0 {
            self.begin_linger(number);
        } else if flags & PEER_CLOSED != 0 && !self.has_unscanned(number) {
            let is_torn = row.rx.load(Ordering::Relaxed) != row.parsed.load(Ordering::Relaxed);
            self.close(number, is_torn.then_some(Counter::ConnectionFailed));
        } else {
            self.close_if_idle(number);
        }
    }

    /// Half-closes, and reads on for a moment: closing with unread bytes would send a reset, which may reach the
    /// client before it has read the last reply.
    fn begin_linger(&mut self, number: u32) {
        if self.clients.look(number).linger.is_some() {
            return;
        }
        if let Some(socket) = &self.clients.look(number).socket {
            // The other side may be gone already; the read below will tell.
            let _ = socket::shutdown(socket, Shutdown::Write);
        }
        let until_ns = self.now_ns + LINGER_NS;
        let client = self.clients.at(number);
        client.linger = Some((until_ns, LINGER_BYTES_MAX));
        client.partial = Partial::None;
        self.arm_client(number, until_ns);
        self.list(number);
    }

    /// Reads and throws away, until the client closes too or the patience is over.
    pub(crate) fn linger(&mut self, number: u32) {
        let mut left = RECEIVE_BYTES_PER_TURN;
        while left > 0 {
            let Some((_, bytes_max)) = self.clients.look(number).linger.filter(|(_, bytes)| *bytes > 0)
            else {
                return self.close(number, None);
            };
            let Some(socket) = &self.clients.look(number).socket else { return };
            match socket::recv(socket, &[SharedBytes::from_private(&mut self.scratch)]) {
                Ok(0) => return self.close(number, None),
                Ok(bytes) => {
                    left = left.saturating_sub(bytes);
                    let client = self.clients.at(number);
                    client.linger =
                        client.linger.map(|(until_ns, _)| (until_ns, bytes_max.saturating_sub(bytes as u64)));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(number, None),
            }
        }
        self.list(number);
    }

    /// The timer of a connection came up: closes it for what is overdue, or sets the timer anew.
    pub(crate) fn look_at_client(&mut self, number: u32) {
        if !self.clients.is_open(number) {
            return;
        }
        let (client, live) = (self.clients.look(number), &self.live);
        let later = |since_ns: u64, limit_ns: u64| (limit_ns != 0).then(|| since_ns.saturating_add(limit_ns));
        let partial = match client.partial {
            Partial::None => None,
            Partial::Header { since_ns } => {
                later(since_ns, live.header_ns).map(|at| (at, Counter::HeaderTimeout))
            }
            Partial::Body { since_ns } => later(since_ns, live.body_ns).map(|at| (at, Counter::BodyTimeout)),
        };
        let stalled = client.is_stalled.then(|| later(client.moved_ns, live.write_ns)).flatten();
        let is_idle = client.frames == 0 && client.partial == Partial::None && client.linger.is_none();
        let idle_since_ns = if is_idle { client.active_ns } else { self.now_ns };
        let limits = [
            partial,
            stalled.map(|at| (at, Counter::WriteTimeout)),
            later(idle_since_ns, live.idle_ns).map(|at| (at, Counter::IdleTimeout)),
        ];
        let linger_ns = client.linger.map(|(until_ns, _)| until_ns);
        if linger_ns.is_some_and(|until_ns| until_ns <= self.now_ns) {
            return self.close(number, None);
        }
        if let Some((_, counter)) = limits.iter().flatten().find(|(at_ns, _)| *at_ns <= self.now_ns) {
            return self.close(number, Some(*counter));
        }
        let next_ns = limits.iter().flatten().map(|(at_ns, _)| *at_ns).chain(linger_ns).min();
        if let Some(at_ns) = next_ns {
            self.arm_client(number, at_ns);
        }
    }
}
