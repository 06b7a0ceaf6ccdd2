//! The rows of connections: which go on, and what is made true in each.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use gantry_ring::{SlotRef, State};
use gantry_segment::ConnectionRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::socket;

use super::chain::Chain;
use super::front::{self, Front};
use super::{Heir, Inheritance, Pulse};
use crate::connection::{self, Family, Marks, NOT_READ, Place, RowState};
use crate::limits::{DEATHS_IN_HAND_MAX, POSITION_ROUNDS_MAX};
use crate::node::{Node, Share};

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) inherited: Inheritance,
    /// Rows to be freed, each with its socket if that was found.
    pub(super) closing: Vec<(u32, Option<OwnedFd>)>,
    /// Half-filled slots whose body goes on coming.
    pub(super) bodies: Vec<SlotRef>,
    /// For each row: index + 1 of its heir.
    heirs: Vec<u32>,
}

impl Plan {
    /// The connection that a slot's reply goes to, if it goes on.
    pub(super) fn heir(&mut self, node: &Node<'_>, row: u32, generation: u32) -> Option<&mut Heir> {
        let index = self.heirs.get(row as usize)?.checked_sub(1)?;
        let is_its = connection::generation(&node.control.connections()[row as usize]) == generation;
        self.inherited.heirs.get_mut(index as usize).filter(|_| is_its)
    }
}

/// Why a connection does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It ended while nobody watched.
    Over,
    /// Only TCP tells how far its streams are, and this one was in the middle of a transfer.
    NotTold,
    /// One process after the other died while it was served.
    Deadly,
    /// The word of a slot that was its last is corrupt, so a request of it may never be answered.
    Slot,
    /// What is there contradicts itself; the part says where.
    Corrupt(&'static str),
}

/// Decides every row. Sockets of rows that go on move into their heirs.
pub(super) fn decide(node: &Node<'_>, sockets: &mut [Option<OwnedFd>], pulse: &mut Pulse<'_>) -> Plan {
    let rows = node.control.connections();
    let mut plan = Plan { heirs: vec![0; rows.len()], ..Plan::default() };
    plan.inherited.records = vec![false; node.control.out_records().len()];
    plan.inherited.buffers = vec![false; node.control.dimensions().receive_buffers as usize];
    let published = published_fronts(node);
    let doubtful = of_corrupt_slots(node);
    for (index, row) in rows.iter().enumerate() {
        let (number, socket) = (index as u32, sockets.get_mut(index).and_then(Option::take));
        let thread = match connection::state(row) {
            RowState::Free => continue,
            RowState::Closing => {
                plan.closing.push((number, socket));
                continue;
            }
            RowState::Open { thread } => thread,
        };
        pulse.step();
        let Some(socket) = socket else {
            plan.lose(number, None);
            continue;
        };
        if doubtful.contains(&number) {
            tell(Lost::Slot, number);
            plan.lose(number, Some(socket));
            continue;
        }
        let row = Taken { node, row, index: number, thread, published: published.get(&number).copied() };
        match row.put_right(&mut plan, &socket) {
            Ok(heir) => plan.keep(heir, socket),
            Err(why) => {
                tell(why, number);
                plan.lose(number, Some(socket));
            }
        }
    }
    plan
}

fn tell(why: Lost, row: u32) {
    match why {
        Lost::Over => {}
        Lost::Deadly => tracing::error!(
            row,
            deaths = DEATHS_IN_HAND_MAX,
            "one communication process after the other died while it served this connection; it is closed"
        ),
        Lost::Slot => tracing::error!(
            row,
            "a request of this connection may have been in a slot whose word is corrupt, and would never be answered; the \
             connection is closed, so that the client asks by its request ids"
        ),
        Lost::NotTold => tracing::debug!(row, "a Unix connection was in the middle of a transfer; closed"),
        Lost::Corrupt(part) => {
            tracing::error!(row, part, "a connection's row contradicts itself; the connection is closed");
        }
    }
}

/// The slot of the frame at each row's `parsed` mark, if that frame was published (or parked, or done) already. There is
/// one at most: a thread moves the mark before it looks at the next frame.
fn published_fronts(node: &Node<'_>) -> HashMap<u32, SlotRef> {
    let mut found = HashMap::new();
    let rows = node.control.connections();
    for (index, word) in node.slots.words() {
        if matches!(word.state(), None | Some(State::Free | State::Filling)) {
            continue;
        }
        let Some(slot) = node.slots.row(index) else { continue };
        let number = slot.connection.load(Ordering::Relaxed);
        let Some(row) = rows.get(number as usize) else { continue };
        let is_its = connection::generation(row) == slot.connection_generation.load(Ordering::Relaxed);
        if is_its && row.parsed.load(Ordering::Relaxed) == slot.frame_offset.load(Ordering::Relaxed) {
            found.insert(number, word.slot(index));
        }
    }
    found
}

/// The connections that corrupt slots name and that were not told 301 for it. The row may be of an earlier use, that was
/// answered: then a client connects again for nothing, which is better than one that waits for ever.
fn of_corrupt_slots(node: &Node<'_>) -> HashSet<u32> {
    let corrupt = node.slots.words().filter(|(_, word)| word.state().is_none());
    let rows = corrupt.filter_map(|(index, _)| node.slots.row(index));
    let unanswered = rows.filter(|row| row.answered.load(Ordering::Relaxed) == 0);
    let connections = unanswered.filter_map(|slot| {
        let number = slot.connection.load(Ordering::Relaxed);
        let row = node.control.connections().get(number as usize)?;
        let is_its = connection::generation(row) == slot.connection_generation.load(Ordering::Relaxed);
        is_its.then_some(number)
    });
    connections.collect()
}

/// What of an heir does not need its socket.
pub(super) struct Kept {
    row: u32,
    chain: Chain,
    front: Front,
}

impl Plan {
    fn lose(&mut self, row: u32, socket: Option<OwnedFd>) {
        self.inherited.taken.lost += 1;
        self.closing.push((row, socket));
    }

    fn keep(&mut self, kept: Kept, socket: OwnedFd) {
        let Kept { row, chain, front } = kept;
        let (waiting, large) = match front {
            Front::Body(large) => (Some(crate::dispatch::cost(&large.header)), Some(large)),
            Front::Discard => (Some(gantry_frame::HEADER_BYTES as u64), None),
            Front::Frames => (None, None),
        };
        self.bodies.extend(large.map(|large| large.slot));
        self.inherited.heirs.push(Heir {
            row,
            socket,
            out_tail: chain.tail(),
            frames: chain.records.len() as u32 + u32::from(waiting.is_some()),
            bytes: chain.records.iter().map(|record| record.bytes).sum::<u64>() + waiting.unwrap_or(0),
            large,
            is_readable: false,
        });
        self.heirs[row as usize] = self.inherited.heirs.len() as u32;
    }

    /// Notes what the records of a chain say of their slots: which replies need not be recorded again, and which slots
    /// were answered early.
    fn note_slots(&mut self, node: &Node<'_>, chain: &Chain) {
        for outgoing in &chain.records {
            self.inherited.records[outgoing.record as usize] = true;
            if let Some(slot) = outgoing.slot {
                self.inherited.concluded.push(slot);
                continue;
            }
            let record = &node.control.out_records()[outgoing.record as usize];
            let named = SlotRef::from_bits(record.slot.load(Ordering::Relaxed));
            let Some((slot, row)) = named.and_then(|slot| Some((slot, node.slots.row(slot.index)?))) else {
                continue;
            };
            let word = node.slots.word(slot.index);
            if word.slot(slot.index).is_same_use(slot) && !word.is(State::Free) {
                row.answered.store(u64::from(slot.generation.bits()) + 1, Ordering::Release);
            }
        }
    }
}

/// An open row whose socket was found.
pub(super) struct Taken<'a, 'n> {
    pub(super) node: &'n Node<'a>,
    pub(super) row: &'a ConnectionRow,
    pub(super) index: u32,
    pub(super) thread: usize,
    /// The slot of the frame at `parsed`.
    pub(super) published: Option<SlotRef>,
}

impl Taken<'_, '_> {
    fn put_right(&self, plan: &mut Plan, socket: &OwnedFd) -> Result<Kept, Lost> {
        let (node, row) = (self.node, self.row);
        let share = |count: usize| Share::new(count as u32, self.thread, node.threads_count());
        let is_its =
            self.thread < node.threads_count() && share(node.control.connections().len()).has(self.index);
        if !is_its {
            return Err(Lost::Corrupt("thread"));
        }
        if connection::deaths_in_hand(row) >= DEATHS_IN_HAND_MAX {
            return Err(Lost::Deadly);
        }
        let chain = Chain::read(node, self.index, row, |record| plan.inherited.records[record as usize]);
        let mut chain = chain.ok_or(Lost::Corrupt("chain"))?;
        let buffer = self.buffer(plan, share(plan.inherited.buffers.len()))?;
        if connection::is_in_transfer(row) {
            self.ask_kernel(socket, &chain, buffer.is_some())?;
        }
        self.check_sent(&chain)?;
        let tx = row.tx.load(Ordering::Relaxed);
        if !chain.drop_sent(node, row, tx) {
            return Err(Lost::Corrupt("reply"));
        }
        let discard_share = share(plan.inherited.records.len());
        let front = front::settle(self, &chain, |record| {
            discard_share.has(record) && !plan.inherited.records[record as usize]
        })?;
        // Only now: what is not gone on with gives everything back.
        plan.note_slots(node, &chain);
        if matches!(front, Front::Discard)
            && let Some(record) = row.discard_record.load(Ordering::Relaxed).checked_sub(1)
        {
            plan.inherited.records[record as usize] = true;
        }
        if let Some(buffer) = buffer {
            plan.inherited.buffers[buffer as usize] = true;
        }
        Ok(Kept { row: self.index, chain, front })
    }

    /// The row's receive buffer, which no other row has.
    fn buffer(&self, plan: &Plan, share: Share) -> Result<Option<u32>, Lost> {
        let Some(buffer) = self.row.receive_buffer.load(Ordering::Relaxed).checked_sub(1) else {
            return Ok(None);
        };
        let is_its = share.has(buffer) && !plan.inherited.buffers[buffer as usize];
        if is_its { Ok(Some(buffer)) } else { Err(Lost::Corrupt("receive buffer")) }
    }

    /// The process died around a transfer: how many bytes passed is what the kernel says. Where received ones lie, the row
    /// said before.
    fn ask_kernel(&self, socket: &OwnedFd, chain: &Chain, has_buffer: bool) -> Result<(), Lost> {
        if self.row.family.load(Ordering::Relaxed) != Family::Tcp as u32 {
            return Err(Lost::NotTold);
        }
        let positions = socket::positions(socket, POSITION_ROUNDS_MAX).map_err(|_| Lost::Over)?;
        let positions = positions.ok_or(Lost::Corrupt("positions"))?;
        if positions.is_closed {
            return Err(Lost::Over);
        }
        let marks = Marks::load(self.row);
        if marks.flags & NOT_READ == 0 {
            let room = match marks.place(self.node.bounds.receive_buffer_bytes) {
                Place::Ring { bytes, .. } if has_buffer => bytes,
                Place::Body { bytes, .. } => bytes,
                Place::Ring { .. } | Place::Nowhere => 0,
            };
            if !(marks.rx..=marks.rx.saturating_add(room)).contains(&positions.received) {
                return Err(Lost::Corrupt("received"));
            }
            self.row.rx.store(positions.received, Ordering::Release);
        }
        let tx = self.row.tx.load(Ordering::Relaxed);
        if !(tx..=chain.end().unwrap_or(tx)).contains(&positions.sent) {
            return Err(Lost::Corrupt("sent"));
        }
        connection::sent(self.row, positions.sent);
        connection::end_transfer(self.row);
        Ok(())
    }

    /// What is recorded ends where the chain does, and begins at or before the next byte to send.
    fn check_sent(&self, chain: &Chain) -> Result<(), Lost> {
        let tx = self.row.tx.load(Ordering::Relaxed);
        let recorded = &self.row.recorded;
        match (chain.records.first(), chain.end()) {
            (Some(first), Some(end)) if (first.start..=end).contains(&tx) => {
                // A death between the link and the mark left the mark behind.
                recorded.store(end, Ordering::Release);
                Ok(())
            }
            (None, None) if recorded.load(Ordering::Relaxed) == tx => Ok(()),
            _ => Err(Lost::Corrupt("recorded")),
        }
    }
}
