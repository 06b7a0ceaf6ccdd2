//! The idempotency window: what became of the writes of the last minutes, in front of the database.
//!
//! A hash table in shared memory in buckets of eight entries. Only the communication process writes it, and within
//! it only the thread that holds the bucket's lock; the locks are private to the process, so a death leaves none
//! behind. An entry's word is stored last, so a successor finds each entry as it was before a change or after it.
//!
//! An entry is made before its request is published and settled before its slot is released. An entry that says
//! *running* for a slot that is no longer in that use was left by a death in between: nothing is known here, and the
//! database is asked by running the request again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_message::{CallerName, RequestId, Status};
use gantry_ring::{Owner, SlotRef, Slots, State};
use gantry_segment::{REPLY_INLINE_MAX, WindowEntry};
use gantry_sys::atomic::{AtomicU64, Ordering};
use gantry_sys::bytes::SharedBytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{WINDOW_BUCKET, WINDOW_STRIPES};
#[cfg(feature = "attack")]
use crate::mutants::{self, Mutant};

mod rejoin;

pub(crate) use rejoin::Rejoined;

const RUNNING: u64 = 1;
const DONE: u64 = 2;
const IN_DATABASE: u64 = 3;
const FAILED: u64 = 4;

/// By what a write is known: its caller and the caller's name for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    caller: CallerName,
    request_id: RequestId,
    hash: u64,
}

impl Key {
    pub(crate) fn new(caller: CallerName, request_id: RequestId) -> Self {
        let mut bytes = [0_u8; 56];
        let (id, name) = bytes.split_at_mut(24);
        id.copy_from_slice(request_id.as_bytes());
        name[..caller.as_bytes().len()].copy_from_slice(caller.as_bytes());
        Self { caller, request_id, hash: xxh3_64(&bytes) }
    }
}

/// What must be the same in a repeat; else it is 107.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) service: u32,
    /// High and low half of the body's 128-bit hash.
    pub(crate) body_hash: [u64; 2],
}

/// How a write goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is to be run, under this entry (index + 1); 0 = the database has its reply, and the worker finds it there.
    Run {
        /// Index + 1.
        entry: u32,
    },
    /// It is a repeat of one that is done, whose reply is in the database.
    Ask,
    /// It is a repeat of one that runs: its slot waits for that one.
    Joined,
    /// It is a repeat of one that is done: the reply was copied out.
    Replay {
        /// The recorded status code.
        status: u16,
    },
    /// The id was used for another service or body.
    Reused,
    /// Everything in its bucket is running: it cannot be protected now.
    Full,
}

/// What is known of a write, for an outcome query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, here; the database may know.
    Nothing,
    /// It is with this slot.
    InFlight(SlotRef),
    /// It is done: the reply was copied out.
    Done {
        /// The recorded status code.
        status: u16,
    },
    /// Its last attempt failed, expired or was lost: the database knows whether an earlier one committed, and can fence
    /// it off.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'b> {
    /// 000 or 304, with the reply.
    Done(Status, SharedBytes<'b>),
    /// It had no effect (306), or its effect is unknown (302, 500).
    Failed(Status),
    /// It was never started (305): a repeat that waits takes its place.
    NeverStarted,
    /// The answer says nothing about the attempt (107 and the like by a worker): the database knows better.
    Forget,
}

/// What settling leaves to do.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Repeats that now get the attempt's own reply.
    pub(crate) joiners: Vec<SlotRef>,
    /// A repeat that was queued in place of an attempt that never started; it is to be pushed.
    pub(crate) promoted: Option<SlotRef>,
}

/// A repeat that waits.
#[derive(Debug)]
struct Joiner {
    entry: u32,
    original: SlotRef,
    joiner: SlotRef,
}

/// Those who wait for entries of one stripe; empty nearly always.
type Stripe = Vec<Joiner>;

/// The window.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    entries: &'a [WindowEntry],
    slots: Slots<'a>,
    stripes: Vec<Mutex<Stripe>>,
    keep_ns: u64,
}

impl<'a> Window<'a> {
    /// The window in `entries`, of which settled ones are kept for `keep_ns`.
    pub(crate) fn new(entries: &'a [WindowEntry], slots: Slots<'a>, keep_ns: u64) -> Self {
        let stripes = (0..WINDOW_STRIPES).map(|_| Mutex::default()).collect();
        Self { entries, slots, stripes, keep_ns }
    }

    /// Looks a filled slot's write up, and makes or renews its entry if it is to run, or parks the slot if it is a
    /// repeat of one that runs. A recorded reply is copied to `reply`.
    pub(crate) fn begin(
        &self,
        key: &Key,
        request: &Request,
        slot: SlotRef,
        owner: Owner,
        now_ns: u64,
        reply: &mut Vec<u8>,
    ) -> Begun {
        let bucket = self.bucket(key);
        let mut stripe = self.lock(bucket);
        let Some((index, entry)) = self.find(bucket, key, now_ns) else {
            let Some(index) = self.victim(bucket, now_ns) else { return Begun::Full };
            self.make(index, key, request, slot, now_ns);
            return Begun::Run { entry: index + 1 };
        };
        if state(entry) == FAILED {
            // Nothing is recorded of a failed attempt, so the id is free for a new one, of whatever body.
            self.make(index, key, request, slot, now_ns);
            return Begun::Run { entry: index + 1 };
        }
        if !is_same(entry, request) {
            return Begun::Reused;
        }
        match state(entry) {
            // Its own entry is that of a body whose process died between the two; nobody else runs it.
            RUNNING => match self.original(entry).filter(|original| !original.is_same_use(slot)) {
                Some(original) => self.join(&mut stripe, index, original, slot, owner),
                None => self.run_again(index, slot, now_ns),
            },
            DONE => Begun::Replay { status: copy_reply(entry, reply) },
            IN_DATABASE => Begun::Ask,
            _ => self.run_again(index, slot, now_ns),
        }
    }

    /// Notes how the attempt in `slot` ended, and gives those who waited for it. Nothing is changed when the entry
    /// has gone on without it, so it may be called again after a death.
    pub(crate) fn settle(&self, entry: u32, slot: SlotRef, end: End<'_>, now_ns: u64) -> Settled {
        let Some(index) = entry.checked_sub(1).filter(|index| (*index as usize) < self.entries.len()) else {
            return Settled::default();
        };
        let mut stripe = self.lock(index as usize / WINDOW_BUCKET);
        let row = &self.entries[index as usize];
        let held = SlotRef::from_bits(row.slot.load(Ordering::Relaxed));
        let is_ours = state(row) == RUNNING && held.is_some_and(|held| held.is_same_use(slot));
        if is_ours
            && matches!(end, End::NeverStarted)
            && let Some(promoted) = self.promote(&mut stripe, index, slot, now_ns)
        {
            return Settled { joiners: Vec::new(), promoted: Some(promoted) };
        }
        #[cfg(feature = "attack")]
        let is_ours = is_ours && !mutants::is(Mutant::WindowNotSettled);
        if is_ours {
            record(row, end, now_ns);
        }
        if stripe.is_empty() {
            return Settled::default();
        }
        let waiting = stripe.extract_if(.., |joiner| joiner.original.is_same_use(slot));
        Settled { joiners: waiting.map(|joiner| joiner.joiner).collect(), promoted: None }
    }

    /// Takes a parked repeat out of the waiting ones. `false`: somebody is resolving it at this moment.
    pub(crate) fn cancel_join(&self, entry: u32, joiner: SlotRef) -> bool {
        let Some(index) = entry.checked_sub(1) else { return false };
        let mut stripe = self.lock(index as usize / WINDOW_BUCKET);
        let place = stripe.iter().position(|waiting| waiting.joiner.is_same_use(joiner));
        place.map(|place| stripe.swap_remove(place)).is_some()
    }

    /// What is known of a write. A recorded reply is copied to `reply`.
    pub(crate) fn look_up(&self, key: &Key, now_ns: u64, reply: &mut Vec<u8>) -> Known {
        let bucket = self.bucket(key);
        let _stripe = self.lock(bucket);
        let Some((_, entry)) = self.find(bucket, key, now_ns) else { return Known::Nothing };
        match state(entry) {
            RUNNING => self.original(entry).map_or(Known::Nothing, Known::InFlight),
            DONE => Known::Done { status: copy_reply(entry, reply) },
            // Also after 305 and 306: they speak of this attempt, and an earlier one with the same id may have committed
            // and been forgotten here.
            FAILED => Known::Lost,
            _ => Known::Nothing,
        }
    }

    fn bucket(&self, key: &Key) -> usize {
        (key.hash % (self.entries.len() / WINDOW_BUCKET).max(1) as u64) as usize
    }

    fn lock(&self, bucket: usize) -> MutexGuard<'_, Stripe> {
        // A thread that panicked takes the process with it; until then the entries are whole in themselves.
        self.stripes[bucket % WINDOW_STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, bucket: usize) -> impl Iterator<Item = (u32, &'a WindowEntry)> {
        let first = bucket * WINDOW_BUCKET;
        self.entries
            .iter()
            .enumerate()
            .skip(first)
            .take(WINDOW_BUCKET)
            .map(|(index, entry)| (index as u32, entry))
    }

    fn find(&self, bucket: usize, key: &Key, now_ns: u64) -> Option<(u32, &'a WindowEntry)> {
        self.places(bucket).find(|(_, entry)| is_for(entry, key) && !self.is_over(entry, now_ns))
    }

    /// Whether the entry is free: never used, settled longer ago than the window reaches, or corrupt.
    fn is_over(&self, entry: &WindowEntry, now_ns: u64) -> bool {
        match state(entry) {
            RUNNING => false,
            DONE | IN_DATABASE | FAILED => {
                now_ns.saturating_sub(entry.changed_ns.load(Ordering::Relaxed)) > self.keep_ns
            }
            _ => true,
        }
    }

    /// The slot that runs the entry's write, unless that slot has gone on to another use.
    fn original(&self, entry: &WindowEntry) -> Option<SlotRef> {
        let slot = SlotRef::from_bits(entry.slot.load(Ordering::Relaxed))?;
        let word = self.slots.word(slot.index);
        (word.slot(slot.index).is_same_use(slot) && !word.is(State::Free)).then_some(slot)
    }

    /// The place for a new entry: a free one, else the oldest that nobody runs.
    fn victim(&self, bucket: usize, now_ns: u64) -> Option<u32> {
        if let Some((index, _)) = self.places(bucket).find(|(_, entry)| self.is_over(entry, now_ns)) {
            return Some(index);
        }
        let idle = self
            .places(bucket)
            .filter(|(_, entry)| state(entry) != RUNNING || self.original(entry).is_none());
        idle.min_by_key(|(_, entry)| entry.changed_ns.load(Ordering::Relaxed)).map(|(index, _)| index)
    }

    fn make(&self, index: u32, key: &Key, request: &Request, slot: SlotRef, now_ns: u64) {
        let entry = &self.entries[index as usize];
        // The old entry goes first: a death in the middle must not leave its word over half of another's fields.
        set_state(entry, 0);
        entry.key_hash.store(key.hash, Ordering::Relaxed);
        entry.service.store(request.service, Ordering::Relaxed);
        for (place, half) in entry.body_hash.iter().zip(request.body_hash) {
            place.store(half, Ordering::Relaxed);
        }
        for (place, word) in entry.request_id.iter().zip(words(&key.request_id)) {
            place.store(word, Ordering::Relaxed);
        }
        entry.caller.set(key.caller.as_bytes());
        self.run_again(index, slot, now_ns);
    }

    fn run_again(&self, index: u32, slot: SlotRef, now_ns: u64) -> Begun {
        let entry = &self.entries[index as usize];
        entry.slot.store(slot.to_bits(), Ordering::Relaxed);
        entry.changed_ns.store(now_ns, Ordering::Relaxed);
        set_state(entry, RUNNING);
        Begun::Run { entry: index + 1 }
    }

    fn join(&self, stripe: &mut Stripe, index: u32, original: SlotRef, slot: SlotRef, owner: Owner) -> Begun {
        let Some(row) = self.slots.row(slot.index) else { return Begun::Full };
        row.joined.store(original.to_bits(), Ordering::Relaxed);
        row.window_entry.store(index + 1, Ordering::Relaxed);
        // Parked while the bucket is locked: whoever settles the original finds either nobody, or a slot that waits.
        if self.slots.join(slot, owner).is_err() {
            return Begun::Full;
        }
        stripe.push(Joiner { entry: index, original, joiner: slot });
        Begun::Joined
    }

    /// Queues the first repeat that waits in place of an original that never started; the others wait for it.
    fn promote(&self, stripe: &mut Stripe, index: u32, original: SlotRef, now_ns: u64) -> Option<SlotRef> {
        while let Some(place) = stripe.iter().position(|joiner| joiner.original.is_same_use(original)) {
            let joiner = stripe.swap_remove(place).joiner;
            let Some(row) = self.slots.row(joiner.index) else { continue };
            row.joined.store(0, Ordering::Relaxed);
            self.run_again(index, joiner, now_ns);
            if self.slots.unjoin(joiner).is_err() {
                continue;
            }
            for waiting in stripe.iter_mut().filter(|waiting| waiting.entry == index) {
                waiting.original = joiner;
                if let Some(row) = self.slots.row(waiting.joiner.index) {
                    row.joined.store(joiner.to_bits(), Ordering::Relaxed);
                }
            }
            return Some(joiner);
        }
        None
    }
}

/// Writes how an attempt ended into its entry.
fn record(entry: &WindowEntry, end: End<'_>, now_ns: u64) {
    let next = match end {
        End::Done(status, reply) => {
            entry.status.store(u32::from(status.code()), Ordering::Relaxed);
            let mut bytes = [0_u8; REPLY_INLINE_MAX];
            if reply.len() > bytes.len() {
                IN_DATABASE
            } else {
                reply.copy_to(&mut bytes);
                let kept = reply.len().next_multiple_of(8);
                for (place, chunk) in entry.reply.iter().zip(bytes[..kept].as_chunks::<8>().0) {
                    place.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
                }
                entry.reply_bytes.store(reply.len() as u32, Ordering::Relaxed);
                DONE
            }
        }
        End::Failed(status) => {
            entry.status.store(u32::from(status.code()), Ordering::Relaxed);
            FAILED
        }
        End::NeverStarted => {
            entry.status.store(u32::from(Status::BudgetSpent.code()), Ordering::Relaxed);
            FAILED
        }
        End::Forget => 0,
    };
    entry.changed_ns.store(now_ns, Ordering::Relaxed);
    set_state(entry, next);
}

fn state(entry: &WindowEntry) -> u64 {
    // Acquire: pairs with the Release in `set_state`; the fields that the state speaks of are whole.
    entry.word.load(Ordering::Acquire) & 0xff
}

/// Stores the state with the next generation, after the fields it speaks of.
fn set_state(entry: &WindowEntry, state: u64) {
    let generation = (entry.word.load(Ordering::Relaxed) >> 32).wrapping_add(1);
    // Release: pairs with the Acquire in `state`, also in a successor.
    entry.word.store(generation << 32 | state, Ordering::Release);
}

fn is_for(entry: &WindowEntry, key: &Key) -> bool {
    let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
    load(&entry.key_hash) == key.hash
        && entry.request_id.iter().map(load).eq(words(&key.request_id))
        && entry.caller.is(key.caller.as_bytes())
}

fn is_same(entry: &WindowEntry, request: &Request) -> bool {
    entry.service.load(Ordering::Relaxed) == request.service
        && entry.body_hash.iter().map(|half| half.load(Ordering::Relaxed)).eq(request.body_hash)
}

/// Copies the recorded reply out and gives its status.
fn copy_reply(entry: &WindowEntry, reply: &mut Vec<u8>) -> u16 {
    reply.clear();
    let bytes = (entry.reply_bytes.load(Ordering::Relaxed) as usize).min(REPLY_INLINE_MAX);
    for place in entry.reply.iter().take(bytes.div_ceil(8)) {
        reply.extend_from_slice(&place.load(Ordering::Relaxed).to_le_bytes());
    }
    reply.truncate(bytes);
    entry.status.load(Ordering::Relaxed) as u16
}

/// A request id as the three words that rows keep it in.
pub(crate) fn words(id: &RequestId) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(id.as_bytes().as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;
