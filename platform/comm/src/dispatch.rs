//! Drains the communication queue: the checks in the order of the protocol, then the ring or an answer.
//!
//! From the header: 101 104 102 103 303 204 203 201 202; with the body: 106 107. (105, a caller that may not call a
//! service, cannot arise yet: all connections are one caller, and no list names services for it.) Whatever a frame
//! leads to, its slot is published or its answer recorded before the connection's `parsed` mark passes it.

use gantry_frame::{DecodeError, HEADER_BYTES, Header};
use gantry_message::{Kind, Queue as QueueName, ServiceNumber, Status};
use gantry_ring::SlotRef;
use gantry_segment::ServiceRow;
use gantry_sys::atomic::Ordering;

use crate::answers::Answer;
use crate::claims::Claimed;
use crate::client::Large;
use crate::connection;
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::RETRY_MS_MAX;
use crate::platform_numbers::not_an_id;
use crate::receive::copy_to_block;
use crate::refusal::{Refusal, to_ms};
use crate::rules::{self, Broken};

/// What stands at the front of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A frame that is there whole.
    Frame(Header),
    /// The header of a frame whose body goes straight into its block; some of the body may be there.
    Large(Header),
    /// No frame: 101, or a body over the limit, 104.
    Wrong(DecodeError),
}

/// An entry of the communication queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) number: u32,
    pub(crate) generation: u32,
    /// Stream offset of its first byte.
    pub(crate) offset: u64,
    pub(crate) arrival_ns: u64,
    pub(crate) what: What,
}

impl Item {
    /// Bytes that it counts against its connection's limit.
    pub(crate) fn cost(&self) -> u64 {
        match &self.what {
            What::Frame(header) | What::Large(header) => cost(header),
            What::Wrong(_) => HEADER_BYTES as u64,
        }
    }
}

/// Bytes of a whole frame.
pub(crate) fn cost(header: &Header) -> u64 {
    HEADER_BYTES as u64 + u64::from(header.body_bytes)
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Route<'a> {
    Ping,
    Node,
    Outcome,
    Service(Service<'a>),
}

/// A service that may be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service<'a> {
    pub(crate) row: &'a ServiceRow,
    pub(crate) index: u32,
    pub(crate) kind: Kind,
}

/// A frame that is being dispatched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) arrival_ns: u64,
    pub(crate) header: Header,
}

impl Frame {
    /// Stream offset behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + cost(&self.header)
    }
}

impl<'a> IoThread<'a> {
    /// Drains the communication queue.
    pub(crate) fn dispatch_batch(&mut self) {
        while let Some(item) = self.queue.pop_front() {
            let number = item.number;
            if !self.clients.is_open(number) || self.clients.look(number).generation != item.generation {
                continue;
            }
            let parsed = self.clients.row(number).parsed.load(Ordering::Relaxed);
            if parsed != item.offset {
                // The frame before it could not be dispatched; both are scanned again.
                self.clients.at(number).forget_frame(item.cost());
            } else if self.records.is_empty() {
                self.wait_for_record(&item);
            } else {
                self.take_in_hand(number);
                self.dispatch(&item);
                self.let_go(number);
            }
        }
    }

    /// Whatever a frame leads to may need a record at once: without one it stays where it is.
    fn wait_for_record(&mut self, item: &Item) {
        self.count(Counter::RecordsOut);
        let client = self.clients.at(item.number);
        client.forget_frame(item.cost());
        client.scanned = item.offset;
        client.is_scan_held = false;
        client.is_waiting = true;
        self.record_waiters.push_back(item.number);
    }

    fn dispatch(&mut self, item: &Item) {
        let frame =
            |header| Frame { number: item.number, offset: item.offset, arrival_ns: item.arrival_ns, header };
        match item.what {
            What::Wrong(error) => self.refuse_stream(item, &error),
            What::Frame(header) => self.dispatch_frame(&frame(header)),
            What::Large(header) => {
                self.clients.at(item.number).is_scan_held = false;
                self.begin_large(&frame(header));
                // The stream goes on behind the header: receive, or scan what is there.
                self.list(item.number);
            }
        }
    }

    fn dispatch_frame(&mut self, frame: &Frame) {
        match self.route(frame.header.service) {
            Err(refusal) => self.refuse(frame, refusal),
            Ok(Route::Ping) => self.ping(frame),
            Ok(Route::Node) => self.tell_node(frame),
            Ok(Route::Outcome) => self.outcome(frame),
            Ok(Route::Service(service)) => match self.admit(&service, frame) {
                Err(refusal) => self.refuse(frame, refusal),
                Ok(claimed) => {
                    self.fill(frame, &claimed, Some(&service), service.kind);
                    self.copy_body(frame, &claimed);
                    self.conclude(frame, claimed.slot, Some(&service));
                }
            },
        }
    }

    /// The header of a large body: claim where it goes, or say at once that it will be thrown away.
    fn begin_large(&mut self, frame: &Frame) {
        let claimed = match self.route(frame.header.service) {
            Err(refusal) => Err(Answer::from(refusal)),
            Ok(Route::Ping) => {
                self.claim_own(frame.header.body_bytes).map_err(Answer::from).inspect(|claimed| {
                    self.fill(frame, claimed, None, Kind::Read);
                })
            }
            Ok(Route::Node) => Err(Answer::done(self.node_facts())),
            Ok(Route::Outcome) => Err(Answer::from(not_an_id())),
            Ok(Route::Service(service)) => match self.admit(&service, frame) {
                Err(refusal) => Err(Answer::from(refusal)),
                Ok(claimed) => {
                    self.fill(frame, &claimed, Some(&service), service.kind);
                    Ok(claimed)
                }
            },
        };
        match claimed {
            Err(answer) => self.begin_discard(frame, &answer),
            Ok(Claimed { slot, block: Some(block) }) => {
                self.clients.at(frame.number).large = Some(Large { slot, block, header: frame.header });
                self.receive_into_block(frame, slot);
            }
            // A large body has a block by its claim.
            Ok(Claimed { slot, block: None }) => self.withdraw(slot),
        }
    }

    /// Copies the part of a large body that is in the receive buffer, and lets the rest come into the block.
    fn receive_into_block(&mut self, frame: &Frame, slot: SlotRef) {
        let row = self.clients.row(frame.number);
        let start = frame.offset + HEADER_BYTES as u64;
        let rx = row.rx.load(Ordering::Relaxed);
        if let (Some(ring), Some(block)) = (self.ring_of(frame.number), self.large_body(frame.number)) {
            copy_to_block(ring, start, rx.min(frame.end()).saturating_sub(start), block);
        }
        connection::begin_body(row, slot, start, frame.end());
        if rx >= frame.end() {
            self.complete_large(frame.number);
        } else {
            self.wait_for_body(frame.number);
        }
    }

    /// A large body is whole.
    pub(crate) fn complete_large(&mut self, number: u32) {
        self.body_is_there(number);
        if self.records.is_empty() {
            self.count(Counter::RecordsOut);
            self.clients.at(number).is_waiting = true;
            return self.record_waiters.push_back(number);
        }
        let row = self.clients.row(number);
        let client = self.clients.at(number);
        let Some(Large { slot, header, .. }) = client.large.take() else { return };
        let frame = Frame { number, offset: client.scanned, arrival_ns: client.received_ns, header };
        client.scanned = frame.end();
        let service = self.service_of(slot);
        self.conclude(&frame, slot, service.as_ref());
        row.body_slot.store(0, Ordering::Release);
        // What came behind the body is in the receive buffer.
        self.clients.at(number).is_scan_due = true;
        self.list(number);
    }

    /// The service of a slot; `None` for a platform number.
    pub(crate) fn service_of(&self, slot: SlotRef) -> Option<Service<'a>> {
        let slot_row = self.node.slots.row(slot.index)?;
        let index = slot_row.service_index.load(Ordering::Relaxed);
        let row = self.node.control.services().get(index as usize)?;
        let kind = Kind::from_code((slot_row.flags.load(Ordering::Relaxed) >> 8) as u8)?;
        Some(Service { row, index, kind })
    }

    /// 102 103 303 204.
    pub(crate) fn route(&self, number: ServiceNumber) -> Result<Route<'a>, Refusal> {
        match number {
            ServiceNumber::PING => return Ok(Route::Ping),
            ServiceNumber::NODE => return Ok(Route::Node),
            ServiceNumber::OUTCOME => return Ok(Route::Outcome),
            _ => {}
        }
        let unknown = || Refusal::plain(Status::NoSuchService);
        if number.is_platform() {
            return Err(unknown());
        }
        let entry = self.node.directory.look_up(number.get()).ok_or_else(unknown)?;
        let row = self.node.control.services().get(entry.service_index as usize).ok_or_else(unknown)?;
        let kind = Kind::from_code(entry.kind).ok_or_else(unknown)?;
        if row.number.load(Ordering::Relaxed) != number.get() {
            return Err(unknown());
        }
        let refuse = |refusal: Refusal| Err(refusal.of_service(entry.service_index));
        if row.enabled.load(Ordering::Relaxed) != 1 {
            return refuse(Refusal::plain(Status::ServiceStopped));
        }
        // Acquire: pairs with the Release that lifts it; the worker then finds the build that serves instead.
        if row.quarantined.load(Ordering::Acquire) != 0 {
            return refuse(Refusal::plain(Status::Quarantined));
        }
        if self.live.is_drained {
            return refuse(Refusal::draining(self.queues_fill()));
        }
        Ok(Route::Service(Service { row, index: entry.service_index, kind }))
    }

    /// The larger fill of both queues.
    pub(crate) fn queues_fill(&self) -> f64 {
        self.node.admission.queues_fill(&self.node.read, &self.node.write, &self.live)
    }

    /// 203 201 202; what was admitted is counted until it is withdrawn or ends.
    fn admit(&mut self, service: &Service<'_>, frame: &Frame) -> Result<Claimed, Refusal> {
        let refused = |refusal: Refusal| refusal.of_service(service.index);
        rules::enter(service.row, self.now_ns).map_err(|broken| refused(self.broken(service, broken)))?;
        let (node, name) = (self.node, service.kind.queue());
        let own = Some((service.index as usize, service.row));
        let admitted = node.admission.admit(name, node.queue(name), node.slots, &self.live, own, self.now_ns);
        let is_read = name == QueueName::Read;
        let claimed = admitted.and_then(|()| {
            let claimed = self.claims.claim(node, is_read, frame.header.body_bytes, self.now_ns);
            claimed.ok_or_else(|| node.admission.memory_full())
        });
        claimed.map_err(|refusal| {
            rules::give_back(service.row);
            self.is_memory_short |= refusal.status == Status::Full;
            refused(refusal)
        })
    }

    /// 203 with what the rule says of the next chance.
    fn broken(&self, service: &Service<'_>, broken: Broken) -> Refusal {
        let retry_ms = match broken {
            Broken::Rate { wait_ns } => to_ms(wait_ns),
            // One of so many leaves in this time, on average.
            Broken::Concurrency { requests_max } => {
                let statistics = self.statistics.get(service.index as usize);
                let sum = statistics.map_or(0, |row| row.latency_sum_ns.load(Ordering::Relaxed));
                let served = statistics.map_or(0, |row| row.served());
                to_ms(sum / served.max(1) / u64::from(requests_max.max(1)))
            }
            Broken::Refuse => RETRY_MS_MAX,
        };
        Refusal::overload(Status::RefusedByRule, "service", 1.0, retry_ms)
    }
}
