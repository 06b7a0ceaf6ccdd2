//! From a taken slot to a whole reply.

use std::ptr::NonNull;

use gantry_message::{CallerName, Kind, RequestId, ServiceNumber, Status};
use gantry_ring::{BlockKind, BlockRef, SlotRef};
use gantry_segment::{FOR_CANARY, REPLY_INLINE_MAX, SlotRow};
use gantry_service_host::{Instance, Outcome, RequestView, business_body, call};
use gantry_sys::atomic::Ordering;
use gantry_sys::bytes::SharedBytes;
use gantry_sys::clock;

use crate::call::{Lent, REQUEST_SOURCE};
use crate::inner::Callable;
use crate::libraries::Build;
use crate::outcome::{self, Question};
use crate::reply::ReplyRoom;
use crate::retry::Pauses;
use crate::run::Worker;
use crate::sql::{COMMIT, Limit, Noted, RECORD};
use crate::write::{self, Identity, Stopped, Transaction};

/// Body of a 500 to the repeat of a write that is done, but whose reply was longer than what is recorded.
const REPLY_NOT_KEPT: &[u8] = br#"{"error":"reply_not_kept","message":"this write was done before; its reply was longer than idempotency.reply_bytes_max and is not kept; 00000002 tells its status"}"#;

/// What a slot's row says of its request, read once and checked.
struct Facts {
    service: ServiceNumber,
    kind: Kind,
    caller: CallerName,
    request_id: RequestId,
    deadline_ns: u64,
    /// The communication process knows that this write was done before.
    was_done: bool,
    /// It is one of those that the canary gets, if there is one.
    is_for_canary: bool,
}

impl<'a> Worker<'a> {
    /// Runs the request in a slot that this worker has taken, and replies.
    pub(crate) fn serve(&mut self, slot: SlotRef) {
        let Some(row) = self.slots.row(slot.index) else { return };
        let started_ns = clock::monotonic_ns();
        row.started_ns.store(started_ns, Ordering::Relaxed);
        let mut room = ReplyRoom::new(self.blocks, self.segments.bodies(), slot);
        let Some(facts) = Facts::read(row) else {
            tracing::error!(slot = slot.index, "the slot's request is damaged; answered 500");
            return self.reply(slot, row, Status::PlatformFault, &room);
        };
        if started_ns >= facts.deadline_ns {
            return self.reply(slot, row, Status::BudgetSpent, &room);
        }
        if self.is_quarantined(row) {
            // It was admitted before its service was set aside. A later attempt follows one that was started.
            let is_first = slot.generation.attempt() == 0;
            let status = if is_first { Status::Quarantined } else { Status::WorkerLost };
            return self.reply(slot, row, status, &room);
        }
        self.begin_running(slot, row, started_ns);
        let status = match self.request_body(slot, row) {
            None => {
                tracing::error!(slot = slot.index, "the request's block is not the slot's; answered 500");
                Status::PlatformFault
            }
            Some(body) if facts.service == ServiceNumber::OUTCOME => self.outcome(&facts, body, &mut room),
            Some(body) => return self.run_service(slot, row, &facts, body, room),
        };
        self.reply(slot, row, status, &room);
    }

    fn outcome(&mut self, facts: &Facts, body: SharedBytes<'_>, room: &mut ReplyRoom<'_>) -> Status {
        let Some(question) = Question::read(facts.caller, &body.to_vec()) else {
            return self.write_business(
                room,
                "bad_request",
                Some("body"),
                "the body must be a request id of 24 bytes",
            );
        };
        match outcome::answer(&mut self.sources, &question, Limit(facts.deadline_ns)) {
            Ok(reply) => match room.write(reply.as_bytes(), &mut self.cursors) {
                Ok(()) => Status::Done,
                Err(_) => Status::Full,
            },
            Err(error) => {
                tracing::error!(request_id = %question.request_id, %error, "the outcome cannot be asked");
                Status::PlatformFault
            }
        }
    }

    fn run_service(
        &mut self,
        slot: SlotRef,
        row: &SlotRow,
        facts: &Facts,
        body: SharedBytes<'_>,
        room: ReplyRoom<'a>,
    ) {
        let index = row.service_index.load(Ordering::Relaxed) as usize;
        let Some(build) = self.build_for(slot, index, facts) else {
            tracing::error!(service = %facts.service, "this worker does not hold the service's library; answered 103");
            return self.reply(slot, row, Status::ServiceStopped, &room);
        };
        self.note_build(build.row);
        if facts.is_for_canary && !build.is_canary {
            // What it does counts for the build in force.
            row.flags.fetch_and(!FOR_CANARY, Ordering::Relaxed);
        }
        let instance = build.instance;
        let library = instance.library().description();
        self.note.begin_request(slot.to_bits(), &library.name, &library.version);
        let mut pauses = Pauses::new(Limit(facts.deadline_ns));
        let mut called = self.call(slot, row, facts, &instance, body, room);
        while called.is_taken_back() && pauses.sleep() {
            tracing::debug!(service = %facts.service, "the database took the transaction back; it is run again");
            called.transaction.roll_back(&mut self.sources, &mut self.serials);
            called.room.clear();
            called = self.call(slot, row, facts, &instance, body, called.room);
        }
        if pauses.count > 0 {
            let succeeded = !called.is_taken_back();
            tracing::info!(service = %facts.service, again = pauses.count, succeeded, "a transaction was run again");
        }
        self.settle(slot, row, &instance, called);
    }

    fn call(
        &mut self,
        slot: SlotRef,
        row: &SlotRow,
        facts: &Facts,
        instance: &Instance,
        body: SharedBytes<'_>,
        room: ReplyRoom<'a>,
    ) -> Called<'a> {
        let write = (facts.kind != Kind::Read).then(|| facts.identity(row));
        let mut lent = Lent {
            number: facts.service,
            declared: &instance.service().sources,
            callable: Callable {
                libraries: &self.libraries,
                services: self.segments.control().services(),
                process: self.row,
                note: self.note,
                slot: slot.to_bits(),
                request_id: facts.request_id,
                own: instance,
                running: Vec::new(),
                used: Vec::new(),
                spoilt: None,
            },
            note: self.note,
            sources: &mut self.sources,
            serials: &mut self.serials,
            cursors: &mut self.cursors,
            reply: room,
            transaction: Transaction::default(),
            write,
            limit: Limit(facts.deadline_ns),
        };
        let start = NonNull::new(body.as_ptr()).unwrap_or(NonNull::dangling());
        let view = RequestView {
            number: facts.service,
            caller: facts.caller,
            request_id: facts.request_id,
            body: NonNull::slice_from_raw_parts(start, body.len()),
        };
        // A service without data sources never asks by itself whether it was done before.
        let is_asked = facts.was_done && instance.service().sources.is_empty();
        let is_stopped = is_asked && lent.find_earlier();
        let outcome = if is_stopped { Outcome::Done } else { call(instance, &mut lent, view) };
        let Lent { reply: room, transaction, write, callable, .. } = lent;
        let outcome = match (outcome, callable.spoilt) {
            (Outcome::Done, Some(message)) => Outcome::Failed { message },
            (outcome, _) => outcome,
        };
        Called { outcome, transaction, write, room }
    }

    /// Ends the transaction as the call's outcome says, and replies.
    fn settle(&mut self, slot: SlotRef, row: &SlotRow, instance: &Instance, mut called: Called<'_>) {
        if let Some(stopped) = called.transaction.stopped.take() {
            called.transaction.roll_back(&mut self.sources, &mut self.serials);
            let status = self.replay(&mut called.room, stopped);
            return self.reply(slot, row, status, &called.room);
        }
        let status = match std::mem::replace(&mut called.outcome, Outcome::Done) {
            Outcome::Done => return self.commit(slot, row, called),
            Outcome::Business { code, field, message } => {
                called.transaction.roll_back(&mut self.sources, &mut self.serials);
                self.refuse(&mut called, &code, field.as_deref(), &message)
            }
            Outcome::Failed { message } => {
                called.transaction.roll_back(&mut self.sources, &mut self.serials);
                tracing::error!(service = %instance.number(), reason = message, "the service failed; answered 306");
                called.room.clear();
                Status::ServiceFailed
            }
        };
        self.reply(slot, row, status, &called.room);
    }

    fn commit(&mut self, slot: SlotRef, row: &SlotRow, mut called: Called<'_>) {
        let identity = called.write.as_ref().filter(|_| called.transaction.is_open());
        let Some(identity) = identity else {
            if let Err(error) = called.transaction.commit_documents(&mut self.sources) {
                return self.refuse_documents(slot, row, called, &error);
            }
            called.transaction.roll_back(&mut self.sources, &mut self.serials);
            self.keep_long_reply(&called);
            return self.reply(slot, row, Status::Done, &called.room);
        };
        let reply = called.room.to_vec();
        let kept_max = self.reply_bytes_max;
        let noted = Noted::begin(self.note, called.transaction.source(), COMMIT);
        let finished =
            called.transaction.finish(&mut self.sources, identity, Status::Done.code(), &reply, kept_max);
        if let Err(error) = finished {
            called.transaction.roll_back(&mut self.sources, &mut self.serials);
            tracing::error!(%error, "the reply could not be recorded; rolled back, answered 306");
            called.room.clear();
            return self.reply(slot, row, Status::ServiceFailed, &called.room);
        }
        // Before the commit that makes the request done: see `document.rs`.
        if let Err(error) = called.transaction.commit_documents(&mut self.sources) {
            return self.refuse_documents(slot, row, called, &error);
        }
        self.write_reply(row, Status::Done, &called.room);
        // From here on a death leaves a slot that is queued again: the request's row in the database tells the next
        // worker whether the commit was reached.
        if self.slots.execute(slot, self.owner).is_err() {
            tracing::error!(slot = slot.index, "the slot was taken from a living worker; rolled back");
            called.transaction.roll_back(&mut self.sources, &mut self.serials);
            return;
        }
        let committed = called.transaction.commit(&mut self.sources, &mut self.serials);
        drop(noted);
        match committed {
            Ok(()) => self.finish(slot, row),
            Err(error) => {
                tracing::error!(%error, "the commit failed");
                let is_unknown = matches!(error.kind, gantry_datasource::ErrorKind::ConnectionLost);
                called.room.clear();
                let status = if is_unknown { Status::PlatformFault } else { Status::ServiceFailed };
                self.reply(slot, row, status, &called.room);
            }
        }
    }

    /// The documents of a request could not be kept, so the request is not done either.
    fn refuse_documents(
        &mut self,
        slot: SlotRef,
        row: &SlotRow,
        mut called: Called<'_>,
        error: &gantry_document::DocumentError,
    ) {
        called.transaction.roll_back(&mut self.sources, &mut self.serials);
        tracing::error!(%error, "the documents could not be kept; rolled back, answered 306");
        called.room.clear();
        self.reply(slot, row, Status::ServiceFailed, &called.room);
    }

    /// The reply of a write that touched no data is kept in shared memory by the communication process. One that is too
    /// long for that is recorded in the database, without a transaction to go with. A death right after it leaves a
    /// request that is lost and answered 302, and a row that tells the outcome: done.
    fn keep_long_reply(&mut self, called: &Called<'_>) {
        let Some(identity) = called.write.as_ref() else { return };
        let (_, reply_bytes) = called.room.finished();
        if reply_bytes as usize <= REPLY_INLINE_MAX {
            return;
        }
        let reply = called.room.to_vec();
        let (code, kept_max) = (Status::Done.code(), self.reply_bytes_max);
        let _noted = Noted::begin(self.note, REQUEST_SOURCE, RECORD);
        if let Err(error) =
            write::record_done(&mut self.sources, REQUEST_SOURCE, identity, code, &reply, kept_max)
        {
            tracing::warn!(%error, "the reply of a write without data could not be kept; a repeat would run again");
        }
    }

    fn replay(&mut self, room: &mut ReplyRoom<'_>, stopped: Stopped) -> Status {
        room.clear();
        match stopped {
            Stopped::Conflict => Status::RequestIdReused,
            Stopped::Replay { status, reply } => {
                // A reply that was too long to be kept is not made up: the caller is told to ask for the outcome.
                let kept = reply.ok_or(REPLY_NOT_KEPT);
                let status = Status::from_code(status).filter(|_| kept.is_ok());
                let written = room.write(kept.as_deref().unwrap_or_else(|told| told), &mut self.cursors);
                match (status, written) {
                    (Some(status), Ok(())) => status,
                    _ => Status::PlatformFault,
                }
            }
        }
    }

    /// Makes the 304, and records it if the transaction had begun.
    fn refuse(&mut self, called: &mut Called<'_>, code: &str, field: Option<&str>, message: &str) -> Status {
        let status = self.write_business(&mut called.room, code, field, message);
        let identity = called.write.as_ref().filter(|_| called.transaction.is_open());
        let Some(identity) = identity.filter(|_| status == Status::BusinessError) else { return status };
        let body = called.room.to_vec();
        let kept_max = self.reply_bytes_max;
        let _noted = Noted::begin(self.note, called.transaction.source(), RECORD);
        let sources = &mut self.sources;
        match called.transaction.record_error(sources, identity, status.code(), &body, kept_max) {
            Ok(None) => status,
            Ok(Some(recorded)) => {
                let stopped = Stopped::Replay { status: recorded.status, reply: recorded.reply };
                self.replay(&mut called.room, stopped)
            }
            Err(error) => {
                // Unrecorded, a repeat would run again: say so instead of promising.
                tracing::error!(%error, "a business error could not be recorded; answered 306");
                called.room.clear();
                Status::ServiceFailed
            }
        }
    }

    fn write_business(
        &mut self,
        room: &mut ReplyRoom<'_>,
        code: &str,
        field: Option<&str>,
        message: &str,
    ) -> Status {
        match room.write(&business_body(code, field, message), &mut self.cursors) {
            Ok(()) => Status::BusinessError,
            Err(error) => {
                tracing::error!(%error, "no room for a business error; answered 306");
                room.clear();
                Status::ServiceFailed
            }
        }
    }

    /// The build that this request goes to. Another may have come into force since this worker looked last, such as in
    /// place of one that kills workers: its row is written before the request could be admitted, so it is seen here.
    fn build_for(&mut self, slot: SlotRef, index: usize, facts: &Facts) -> Option<Build> {
        let row = self.segments.control().services().get(index)?;
        let in_force = row.library.load(Ordering::Relaxed);
        let canary = row.canary_library.load(Ordering::Relaxed).checked_sub(1);
        if !self.libraries.lead(facts.service, in_force, canary) {
            self.follow_late_change();
        }
        // What a canary has killed a worker with goes to the build in force the next time.
        self.libraries.build(facts.service, facts.is_for_canary && slot.generation.attempt() == 0)
    }

    fn is_quarantined(&self, row: &SlotRow) -> bool {
        let index = row.service_index.load(Ordering::Relaxed) as usize;
        let service = self.segments.control().services().get(index);
        service.is_some_and(|service| service.quarantined.load(Ordering::Acquire) != 0)
    }

    fn request_body(&self, slot: SlotRef, row: &SlotRow) -> Option<SharedBytes<'a>> {
        let bytes = row.request_bytes.load(Ordering::Relaxed) as usize;
        let Some(block) = BlockRef::from_bits(row.request_block.load(Ordering::Relaxed)) else {
            return (bytes == 0).then(|| SharedBytes::from_private(&mut []));
        };
        if !self.blocks.is_held(block, slot, BlockKind::Request) {
            return None;
        }
        let place = self.segments.bodies().block(usize::from(block.class), block.index as usize)?;
        place.slice(..bytes)
    }
}

/// A call that has returned.
struct Called<'a> {
    outcome: Outcome,
    transaction: Transaction,
    write: Option<Identity>,
    room: ReplyRoom<'a>,
}

impl Called<'_> {
    /// Whether it failed for what may be over when it is run again.
    fn is_taken_back(&self) -> bool {
        self.transaction.is_taken_back
            && self.transaction.stopped.is_none()
            && matches!(self.outcome, Outcome::Failed { .. })
    }
}

impl Facts {
    fn read(row: &SlotRow) -> Option<Self> {
        let service = ServiceNumber::new(row.service.load(Ordering::Relaxed)).ok()?;
        let flags = row.flags.load(Ordering::Relaxed);
        let kind = Kind::from_code((flags >> 8) as u8);
        let mut id = [0_u8; 24];
        for (bytes, word) in id.chunks_exact_mut(8).zip(&row.request_id) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let mut caller = [0_u8; 32];
        let caller_bytes = row.caller.copy_to(&mut caller);
        Some(Self {
            service,
            kind: kind.or(service.is_platform().then_some(Kind::Other))?,
            caller: CallerName::new(&caller[..caller_bytes]).ok()?,
            request_id: RequestId::new(id).ok()?,
            deadline_ns: row.deadline_ns.load(Ordering::Relaxed),
            was_done: flags >> 17 & 1 == 1,
            is_for_canary: flags & FOR_CANARY != 0,
        })
    }

    fn identity(&self, row: &SlotRow) -> Identity {
        let [high, low] = &row.body_hash;
        let (high, low) = (high.load(Ordering::Relaxed), low.load(Ordering::Relaxed));
        Identity {
            caller: self.caller,
            request_id: self.request_id,
            service: self.service,
            body_hash: format!("{high:016x}{low:016x}"),
        }
    }
}
