//! A small node in shared memory: four slots, their rings and blocks, one connection's half-received body, the rows of
//! a database, and what the callers were told.

use gantry_ring::mutants::{self, Mutant};
use gantry_ring::{BlockKind, BlockRef, Blocks, Cursor, Doorbell, Full, Owner, Queue, SlotRef, Slots, State};
use gantry_segment::{RingRow, SlotRow};
use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

pub(crate) const SLOTS: usize = 4;
pub(crate) const CELLS: usize = 8;
const SMALL_BLOCKS: usize = 12;
const LARGE_BLOCKS: usize = 6;
/// Requests are numbered from 1; the number stands in the slot's `request_bytes`.
pub(crate) const IDS: usize = 32;
const CLAIMS: usize = 128;

pub(crate) const COMM: Owner = Owner::new(1, 1);
pub(crate) const COMM_2: Owner = Owner::new(1, 2);
pub(crate) const COMM_3: Owner = Owner::new(1, 3);
pub(crate) const WORKER_A: Owner = Owner::new(2, 1);
/// The next life of worker A's row.
pub(crate) const WORKER_A_2: Owner = Owner::new(2, 2);
pub(crate) const WORKER_B: Owner = Owner::new(3, 1);

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Status {
    Done = 0,
    TimedOut = 301,
    Lost = 302,
    Expired = 305,
}

/// How a request is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    /// A read whose reply outgrows its first block.
    LongRead,
    Write,
}

const KIND_WRITE: u32 = 1;
const KIND_LONG: u32 = 2;

/// What one caller knows, and what the database knows of its request.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Caller {
    /// The connection's record: how often it was answered, and with what.
    pub(crate) answers: AtomicU32,
    pub(crate) status: AtomicU32,
    /// 1 = it was accepted, so it must be answered whatever dies.
    pub(crate) owed: AtomicU32,
    /// Which answers are right, as bits; 0 = not said.
    pub(crate) expected: AtomicU32,
    /// How often it was started.
    pub(crate) starts: AtomicU32,
    /// How often its effect is in the database, which is its request row too.
    pub(crate) effects: AtomicU32,
    /// Whose effect it is: a repeat has its original's.
    pub(crate) key: AtomicU32,
    pub(crate) is_write: AtomicU32,
}

/// The shared memory. All fields are atomics; the puppets and the checker see it at the same time.
#[repr(C)]
pub(crate) struct World {
    rows: [SlotRow; SLOTS],
    request_row: RingRow,
    request_cells: [AtomicU64; CELLS],
    reply_row: RingRow,
    reply_cells: [AtomicU64; CELLS],
    small_tags: [AtomicU64; SMALL_BLOCKS],
    large_tags: [AtomicU64; LARGE_BLOCKS],
    bodies: [AtomicU64; SMALL_BLOCKS + LARGE_BLOCKS],
    pub(crate) sweep: AtomicU32,
    /// The bells of worker A, worker B and the communication process.
    bells: [AtomicU32; 3],
    /// The slot of the body that the connection is receiving, 0 = none.
    pub(crate) body_slot: AtomicU64,
    /// What worker A's next life is running, by its own memory; 0 = nothing.
    pub(crate) held: AtomicU64,
    /// 1 = there is no worker A.
    pub(crate) is_a_absent: AtomicU32,
    callers: [Caller; IDS],
    /// Which uses and attempts were claimed by a worker, in the order of the claims.
    claims: [AtomicU64; CLAIMS],
    pub(crate) claims_count: AtomicU32,
    faults: AtomicU32,
}

pub(crate) const WORLD_BYTES: usize = size_of::<World>();

/// What a fault was, as a bit of `faults`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Fault {
    BodyWrong = 1,
    BlockNotHeld = 2,
    FinishRefused = 4,
    NoBlock = 8,
}

impl World {
    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots::new(&self.rows)
    }

    pub(crate) fn requests(&self) -> Queue<'_> {
        Queue::requests((&self.request_row, &self.request_cells), self.slots())
    }

    pub(crate) fn replies(&self) -> Queue<'_> {
        Queue::replies((&self.reply_row, &self.reply_cells), self.slots())
    }

    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks::new([(64, &self.small_tags[..]), (256, &self.large_tags[..])], self.slots())
    }

    pub(crate) fn row(&self, slot: SlotRef) -> &SlotRow {
        &self.rows[usize::from(slot.index) % SLOTS]
    }

    pub(crate) fn id(&self, slot: SlotRef) -> u32 {
        self.row(slot).request_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn caller(&self, id: u32) -> &Caller {
        &self.callers[id as usize % IDS]
    }

    pub(crate) fn bell(&self, owner: Owner) -> Doorbell<'_> {
        let index = match owner.row() {
            2 => 0,
            3 => 1,
            _ => 2,
        };
        Doorbell::new(&self.bells[index])
    }

    pub(crate) fn is_asleep(&self, owner: Owner) -> bool {
        let index = usize::from(owner.row() == WORKER_B.row());
        self.bells[index].load(Ordering::Relaxed) == 1
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.fetch_or(fault as u32, Ordering::Relaxed);
    }

    /// Forgets a fault that was to be expected.
    pub(crate) fn forgive(&self, fault: Fault) {
        self.faults.fetch_and(!(fault as u32), Ordering::Relaxed);
    }

    pub(crate) fn faults(&self) -> u32 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) fn body(&self, block: BlockRef) -> &AtomicU64 {
        let first = if block.class == 0 { 0 } else { SMALL_BLOCKS };
        &self.bodies[first + block.index as usize % LARGE_BLOCKS.max(SMALL_BLOCKS)]
    }

    /// Claims a block of this class and writes a body into it.
    pub(crate) fn claim_body(
        &self,
        slot: SlotRef,
        kind: BlockKind,
        class: u8,
        body: u64,
    ) -> Option<BlockRef> {
        let block = self.blocks().claim(class, slot, kind, &mut Cursor::default())?;
        self.body(block).store(body, Ordering::Relaxed);
        Some(block)
    }

    /// Whether the block named by these bits is the slot's for `kind` and holds `body`.
    pub(crate) fn check_body(&self, bits: u32, slot: SlotRef, kind: BlockKind, body: u64) {
        let held = BlockRef::from_bits(bits).filter(|block| self.blocks().is_held(*block, slot, kind));
        match held {
            None => self.fault(Fault::BlockNotHeld),
            Some(block) if self.body(block).load(Ordering::Relaxed) != body => self.fault(Fault::BodyWrong),
            Some(_) => {}
        }
    }

    pub(crate) fn note_claim(&self, slot: SlotRef) {
        let place = self.claims_count.fetch_add(1, Ordering::Relaxed) as usize;
        self.claims[place % CLAIMS].store(slot.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn claims_noted(&self) -> Vec<u64> {
        let count = (self.claims_count.load(Ordering::Relaxed) as usize).min(CLAIMS);
        self.claims[..count].iter().map(|claim| claim.load(Ordering::Relaxed)).collect()
    }

    /// Pushes a done slot to the reply ring, as workers do, and wakes the communication process.
    pub(crate) fn push_reply(&self, slot: SlotRef) {
        if self.replies().push(slot) == Err(Full) && !mutants::is(Mutant::FullUnnoticed) {
            self.sweep.store(1, Ordering::Release);
        }
        self.bell(COMM).claim_wake();
    }

    /// Wakes one worker for one request.
    pub(crate) fn wake_one(&self) {
        for owner in [WORKER_A, WORKER_B] {
            if self.bell(owner).ring() {
                return;
            }
        }
    }

    /// What follows every recovery.
    pub(crate) fn sweep_and_wake_all(&self) {
        if !mutants::is(Mutant::SweepsNothing) {
            self.sweep.store(1, Ordering::Release);
        }
        if mutants::is(Mutant::WakesNobody) {
            return;
        }
        for owner in [WORKER_A, WORKER_B] {
            self.bell(owner).ring();
        }
        self.bell(COMM).claim_wake();
    }

    /// The words of the request ring and its tail, and of the reply ring and its tail, for a look from outside.
    pub(crate) fn tails(&self) -> [u64; 4] {
        let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
        [
            load(&self.request_row.head),
            load(&self.request_row.tail),
            load(&self.reply_row.head),
            load(&self.reply_row.tail),
        ]
    }

    /// How many blocks carry the tag of this use of a slot.
    pub(crate) fn blocks_of(&self, slot: SlotRef) -> usize {
        let blocks = self.blocks();
        let all = [(0, SMALL_BLOCKS), (1, LARGE_BLOCKS)];
        let refs = all
            .into_iter()
            .flat_map(|(class, count)| (0..count as u32).map(move |index| BlockRef { class, index }));
        refs.filter(|block| {
            [BlockKind::Request, BlockKind::Reply].iter().any(|kind| blocks.is_held(*block, slot, *kind))
        })
        .count()
    }
}

impl Kind {
    pub(crate) fn flags(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::LongRead => KIND_LONG,
            Self::Write => KIND_WRITE,
        }
    }

    pub(crate) fn of(row: &SlotRow) -> Self {
        match row.flags.load(Ordering::Relaxed) {
            KIND_WRITE => Self::Write,
            KIND_LONG => Self::LongRead,
            _ => Self::Read,
        }
    }
}

impl Status {
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Self::Done => 1,
            Self::TimedOut => 2,
            Self::Lost => 4,
            Self::Expired => 8,
        }
    }

    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            301 => Self::TimedOut,
            302 => Self::Lost,
            305 => Self::Expired,
            _ => Self::Done,
        }
    }
}

/// The body that a request's block holds.
pub(crate) fn request_body(id: u32) -> u64 {
    u64::from(id) * 1_000 + 1
}

/// The body of the reply to the request whose effect has this key.
pub(crate) fn reply_body(key: u32) -> u64 {
    u64::from(key) * 1_000 + 2
}

/// Whether a word's state is one that was accepted and is not over.
pub(crate) fn is_accepted(state: Option<State>) -> bool {
    !matches!(state, Some(State::Free | State::Filling) | None)
}
