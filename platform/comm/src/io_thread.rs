//! What one I/O thread has: its share of the tables, its lists, its timers.

use std::collections::VecDeque;

use gantry_message::Queue as QueueName;
use gantry_ring::{SlotRef, State};
use gantry_segment::{ServiceStatistics, ThreadRow};
use gantry_sys::atomic::Ordering;
use mio::{Events, Poll};

use crate::claims::Claims;
use crate::client::Clients;
use crate::connection;
use crate::counters::{Counter, count};
use crate::deadlines::Wheel;
use crate::dispatch::Item;
use crate::filing::home_of;
use crate::limits::{EVENTS_MAX, KEEPER_LOOK_NS, Live, SCRATCH_BYTES};
use crate::listener::Listeners;
use crate::node::{Node, Share};
use crate::outgoing::Records;
use crate::recover::Inheritance;

/// One I/O thread. Its steps are in the files named after them; this is what they work on.
pub(crate) struct IoThread<'a> {
    pub(crate) node: &'a Node<'a>,
    pub(crate) index: usize,
    pub(crate) row: &'a ThreadRow,
    pub(crate) statistics: &'a [ServiceStatistics],
    /// Those of requests that went to a canary.
    pub(crate) canary_statistics: &'a [ServiceStatistics],
    pub(crate) poll: Poll,
    pub(crate) events: Events,
    /// Only the first thread accepts.
    pub(crate) listeners: Option<Listeners>,
    pub(crate) clients: Clients<'a>,
    pub(crate) records: Records<'a>,
    /// Free receive buffers; the one freed last is warm and goes first.
    pub(crate) buffers: Vec<u32>,
    pub(crate) claims: Claims,
    /// Timers of slots, then of clients.
    pub(crate) wheel: Wheel,
    pub(crate) due: Vec<u32>,
    /// The communication queue: frames that are there whole and wait to be dispatched.
    pub(crate) queue: VecDeque<Item>,
    /// Clients to be served next: readable, or with frames that are not scanned.
    pub(crate) ready: VecDeque<u32>,
    /// Clients with replies to send.
    pub(crate) dirty: Vec<u32>,
    /// Clients that were served in this turn.
    pub(crate) touched: Vec<u32>,
    /// Clients that were taken over and are not watched yet.
    pub(crate) unwatched: VecDeque<u32>,
    /// Clients that wait for a receive buffer, and for an out record.
    pub(crate) buffer_waiters: VecDeque<u32>,
    pub(crate) record_waiters: VecDeque<u32>,
    /// Done slots that wait for an out record.
    pub(crate) slot_waiters: VecDeque<SlotRef>,
    /// For each slot: its generation + 1 when its end was seen, so that it is not counted and answered twice.
    pub(crate) seen: Vec<u64>,
    /// For each slot: the use that this thread published last, as bits of its reference; 0 = none. What is owed is known
    /// from it when somebody has overwritten the slot's word.
    published: Vec<u64>,
    /// Requests pushed since workers were woken last.
    pub(crate) pushed_reads: u32,
    pub(crate) pushed_writes: u32,
    /// A slot could not be concluded for want of a record: look at all again.
    pub(crate) is_sweep_due: bool,
    /// A request was refused because slots or blocks were out.
    pub(crate) is_memory_short: bool,
    /// Private memory in which bodies are checked.
    pub(crate) scratch: Box<[u8]>,
    /// A recorded reply, copied out of the window.
    pub(crate) replay: Vec<u8>,
    pub(crate) now_ns: u64,
    pub(crate) live: Live,
    /// The keeper's death was announced.
    pub(crate) is_keeper_told: bool,
    /// When the keeper is looked after next.
    pub(crate) keeper_look_ns: u64,
    /// When the process was told to end.
    pub(crate) leaving_since_ns: Option<u64>,
}

impl<'a> IoThread<'a> {
    /// The thread `index`, which goes on with its share of what was inherited. Cannot fail: what was taken over must not
    /// be dropped.
    pub(crate) fn new(
        node: &'a Node<'a>,
        index: usize,
        poll: Poll,
        listeners: Option<Listeners>,
        inherited: &Inheritance,
        now_ns: u64,
    ) -> Self {
        let control = node.control;
        let dimensions = control.dimensions();
        let share = |count: u32| Share::new(count, index, node.threads_count());
        let (connections, records) = (share(dimensions.connections), share(dimensions.out_records));
        let buffers = share(dimensions.receive_buffers);
        let timers = node.slots.count() + connections.count() as usize;
        let is_held = |held: &[bool], index: u32| held.get(index as usize).is_some_and(|held| *held);
        let mut thread = Self {
            node,
            index,
            row: node.thread(index),
            statistics: control.statistics(index),
            canary_statistics: control.canary_statistics(index),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listeners,
            clients: Clients::new(control.connections(), connections),
            records: Records::new(control, records.first, records.end, |record| {
                is_held(&inherited.records, record)
            }),
            buffers: (buffers.first..buffers.end)
                .rev()
                .filter(|buffer| !is_held(&inherited.buffers, *buffer))
                .collect(),
            claims: Claims::new(node, index),
            wheel: Wheel::new(timers, now_ns),
            due: Vec::new(),
            queue: VecDeque::with_capacity(node.bounds.batch_max),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            touched: Vec::new(),
            unwatched: VecDeque::new(),
            buffer_waiters: VecDeque::new(),
            record_waiters: VecDeque::new(),
            slot_waiters: VecDeque::new(),
            seen: vec![0; node.slots.count()],
            published: vec![0; node.slots.count()],
            pushed_reads: 0,
            pushed_writes: 0,
            is_sweep_due: true,
            is_memory_short: false,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            replay: Vec::with_capacity(gantry_segment::REPLY_INLINE_MAX),
            now_ns,
            live: Live::read(control.node(), false),
            is_keeper_told: false,
            keeper_look_ns: now_ns + KEEPER_LOOK_NS,
            leaving_since_ns: None,
        };
        thread.arm_adopted();
        for slot in &inherited.concluded {
            thread.is_seen_before(*slot);
        }
        thread
    }

    /// Sets the timers of requests that were in flight when this process began.
    fn arm_adopted(&mut self) {
        for (index, word) in self.node.slots.words() {
            let Some(row) = self.node.slots.row(index) else { continue };
            let is_in_flight = !matches!(word.state(), None | Some(State::Free | State::Filling));
            if is_in_flight && home_of(row) == self.index {
                self.published[usize::from(index)] = word.slot(index).to_bits();
                self.wheel.arm(usize::from(index), row.deadline_ns.load(Ordering::Relaxed));
            }
        }
    }

    /// Counts one.
    pub(crate) fn count(&self, counter: Counter) {
        count(self.row, counter);
    }

    /// Puts a client into the list of those that are served next.
    pub(crate) fn list(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(number).filter(|client| !client.is_listed) {
            client.is_listed = true;
            self.ready.push_back(number);
        }
    }

    /// Puts a client into the list of those with replies to send.
    pub(crate) fn mark_dirty(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(number).filter(|client| !client.is_dirty) {
            client.is_dirty = true;
            self.dirty.push(number);
        }
    }

    /// Lets a client go on that was paused, if enough of what it had in flight is gone.
    pub(crate) fn relieve(&mut self, number: u32) {
        let bounds = &self.node.bounds;
        let Some(client) = self.clients.get_mut(number).filter(|client| client.is_paused) else { return };
        let has_room =
            client.frames < bounds.frames_in_flight_max && client.bytes < bounds.bytes_in_flight_max;
        if has_room || client.frames == 0 {
            client.is_paused = false;
            self.list(number);
        }
    }

    /// Notes that a client is being served: a successor that finds the note knows what may have killed this process.
    pub(crate) fn take_in_hand(&self, number: u32) {
        connection::take_in_hand(self.clients.row(number), self.clients.look(number).deaths);
    }

    /// Notes that a client was served, and that nobody died of it.
    pub(crate) fn let_go(&mut self, number: u32) {
        connection::let_go(self.clients.row(number));
        self.clients.at(number).deaths = 0;
    }

    /// Makes sure that the client's timer comes up by `at_ns`.
    pub(crate) fn arm_client(&mut self, number: u32, at_ns: u64) {
        self.wheel.arm(self.node.slots.count() + number as usize, at_ns);
    }

    /// Whether the end of this use of a slot was seen already; from now on it was.
    pub(crate) fn is_seen_before(&mut self, slot: SlotRef) -> bool {
        let mark = u64::from(slot.generation.bits()) + 1;
        let place = &mut self.seen[usize::from(slot.index)];
        std::mem::replace(place, mark) == mark
    }

    /// Hands a filled slot to the workers of a queue; they are woken at the end of the batch.
    pub(crate) fn publish(&mut self, slot: SlotRef, name: QueueName) {
        self.published[usize::from(slot.index)] = slot.to_bits();
        if let Err(word) = self.node.queue(name).submit(slot, self.node.owner) {
            tracing::error!(slot = slot.index, ?word, "a filled slot was taken from this process");
        }
        self.note_pushed(name);
    }

    /// The use of a slot that was published here and whose end was not seen yet.
    pub(crate) fn unended(&self, index: u16) -> Option<SlotRef> {
        let slot = SlotRef::from_bits(self.published[usize::from(index)])?;
        let seen = self.seen[usize::from(index)].checked_sub(1);
        let is_ended = seen.is_some_and(|seen| seen >> 2 == u64::from(slot.generation.base()));
        (!is_ended).then_some(slot)
    }

    /// Pushes a slot that is queued (again).
    pub(crate) fn push(&mut self, slot: SlotRef, name: QueueName) {
        if self.node.queue(name).push(slot).is_err() {
            tracing::error!(slot = slot.index, "a request ring is corrupt: it is full of live entries");
        }
        self.note_pushed(name);
    }

    fn note_pushed(&mut self, name: QueueName) {
        self.node.admission.pushed(name);
        match name {
            QueueName::Read => self.pushed_reads += 1,
            QueueName::Write => self.pushed_writes += 1,
        }
    }

    /// One round of wake-ups for all that was pushed.
    pub(crate) fn wake_workers(&mut self) {
        self.node.wake_workers(QueueName::Read, std::mem::take(&mut self.pushed_reads));
        self.node.wake_workers(QueueName::Write, std::mem::take(&mut self.pushed_writes));
    }
}
