//! The rows of the table in `README.md`: what a survivor sees at each step. What the caller gets is read from the table
//! itself, so the table cannot promise what the attack does not check.

use std::collections::BTreeMap;

use gantry_ring::{SlotRef, State, Word};
use gantry_sys::atomic::Ordering;

use crate::world::{Kind, Status, WORKER_A, WORKER_B, World};

/// What a survivor sees of one slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    word: Word,
    /// Its use when the attack began is over.
    is_over: bool,
    blocks_count: usize,
    is_in_requests: bool,
    is_in_replies: bool,
    request_tail_lags: bool,
    reply_tail_lags: bool,
    /// The head of the request ring stands at its entry, which is spent.
    head_lags: bool,
    is_answered: bool,
    is_marked: bool,
    is_committed: bool,
    is_named: bool,
    is_swept: bool,
    is_told_lost: bool,
    joined: u64,
    /// What became of its original.
    original: Option<State>,
    /// How many workers have announced their sleep.
    bells_count: usize,
}

impl Sight {
    /// Looks at the slot with this index, which was in `first` use when the attack began.
    pub(crate) fn of(world: &World, index: u16, first: SlotRef) -> Self {
        let word = world.slots().word(index);
        let slot = word.slot(index);
        let row = world.row(slot);
        let (requests, replies) = (world.requests().entries(), world.replies().entries());
        let [head, tail, reply_head, reply_tail] = world.tails();
        let caller = world.caller(world.id(slot));
        let original = SlotRef::from_bits(row.joined.load(Ordering::Relaxed));
        let key = row.service.load(Ordering::Relaxed);
        Self {
            word,
            is_over: !slot.is_same_use(first),
            blocks_count: world.blocks_of(slot),
            is_in_requests: requests.contains(&slot),
            is_in_replies: replies.contains(&slot),
            request_tail_lags: tail != head + requests.len() as u64,
            reply_tail_lags: reply_tail != reply_head + replies.len() as u64,
            head_lags: requests.first() == Some(&slot) && !word.is(State::Queued),
            is_answered: caller.answers.load(Ordering::Relaxed) > 0,
            is_marked: row.answered.load(Ordering::Relaxed) != 0,
            is_committed: world.caller(key).effects.load(Ordering::Relaxed) > 0,
            is_named: world.body_slot.load(Ordering::Relaxed) == slot.to_bits(),
            is_swept: world.sweep.load(Ordering::Relaxed) == 1,
            is_told_lost: row.reply_status.load(Ordering::Relaxed) == Status::Lost as u32,
            joined: row.joined.load(Ordering::Relaxed),
            original: original.and_then(|original| {
                let word = world.slots().word(original.index);
                word.slot(original.index).is_same_use(original).then(|| word.state()).flatten()
            }),
            bells_count: [WORKER_A, WORKER_B].into_iter().filter(|worker| world.is_asleep(*worker)).count(),
        }
    }

    fn is(&self, state: State) -> bool {
        self.word.is(state) && !self.is_over
    }

    fn is_freed(&self) -> bool {
        self.word.is(State::Free) && self.is_over
    }

    fn is_lost(&self) -> bool {
        self.is(State::Lost) || self.is(State::Uncommitted)
    }
}

/// One row of the table: what is seen.
type Sees = fn(&Sight) -> bool;

/// All rows, in the order of the table.
pub(crate) const ROWS: &[(&str, Sees)] = &[
    ("submit-1", |s| s.is(State::Filling) && !s.is_named),
    ("submit-2", |s| s.is(State::Queued) && !s.is_in_requests),
    ("submit-3", |s| s.is(State::Queued) && s.is_in_requests && s.request_tail_lags),
    ("submit-4", |s| s.is(State::Queued) && s.is_in_requests && !s.request_tail_lags),
    ("submit-5", |s| s.is_freed() && s.blocks_count == 0),
    ("rotate-1", |s| s.is(State::Queued) && !s.is_in_requests),
    ("rotate-2", |s| s.is(State::Queued) && s.is_in_requests),
    ("body-1", |s| s.is(State::Filling) && !s.is_named),
    ("body-2", |s| s.is(State::Filling) && s.is_named),
    ("body-3", |s| s.is(State::Queued) && s.is_named),
    ("body-4", |s| s.is(State::Queued) && !s.is_named && s.is_in_requests),
    ("withdraw-1", |s| s.is(State::Filling) && !s.is_named),
    ("withdraw-2", |s| s.is_freed()),
    ("alone-1", |s| s.is(State::Filling)),
    ("alone-2", |s| s.is(State::Done) && !s.is_answered),
    ("alone-3", |s| s.is(State::Done) && s.is_answered),
    ("alone-4", |s| s.is_freed() && s.is_answered),
    ("join-1", |s| s.is(State::Filling)),
    ("join-2", |s| s.is(State::Joined) && !s.is_answered),
    ("take-1", |s| s.is(State::Running) && s.head_lags && s.blocks_count == 1),
    ("take-2", |s| s.is(State::Running) && !s.head_lags && s.blocks_count == 1),
    ("run-1", |s| s.is(State::Running) && s.blocks_count > 1),
    ("run-2", |s| s.is(State::Executed) && !s.is_committed),
    ("run-3", |s| s.is(State::Executed) && s.is_committed),
    ("reply-1", |s| s.is(State::Done) && !s.is_in_replies && !s.is_swept),
    ("reply-2", |s| s.is(State::Done) && s.is_in_replies && s.reply_tail_lags),
    ("reply-3", |s| s.is(State::Done) && s.is_in_replies && !s.reply_tail_lags),
    ("reply-4", |s| s.is(State::Done) && !s.is_in_replies && s.is_swept),
    ("deliver-1", |s| s.is(State::Done) && !s.is_in_replies && !s.is_answered),
    ("deliver-2", |s| s.is(State::Done) && !s.is_in_replies && s.is_answered),
    ("deliver-3", |s| s.is_freed() && s.is_answered),
    ("resolve-1", |s| s.is(State::Joined) && s.original == Some(State::Done)),
    ("resolve-2", |s| s.is(State::Done) && !s.is_told_lost && !s.is_in_replies),
    ("resolve-3", |s| s.is(State::Done) && !s.is_told_lost && s.is_in_replies),
    ("resolve-4", |s| s.is(State::Joined) && s.original == Some(State::Lost)),
    ("resolve-5", |s| s.is(State::Done) && s.is_told_lost),
    ("expire-1", |s| s.is(State::Expired) && !s.is_answered),
    ("expire-2", |s| s.is(State::Expired) && s.is_answered),
    ("expire-3", |s| s.is_freed() && s.is_answered),
    ("promote-1", |s| s.is(State::Joined) && s.original == Some(State::Expired)),
    ("promote-2", |s| s.is(State::Joined) && s.joined == 0),
    ("promote-3", |s| s.is(State::Queued) && !s.is_in_requests),
    ("promote-4", |s| s.is(State::Queued) && s.is_in_requests),
    ("timeout-1", |s| s.is(State::Running) && s.is_answered && !s.is_marked),
    ("timeout-2", |s| s.is(State::Running) && s.is_answered && s.is_marked),
    ("cancel-1", |s| s.is(State::Joined) && s.is_answered),
    ("cancel-2", |s| s.is_freed() && s.is_answered),
    ("lost-1", |s| s.is(State::Queued) && s.word.generation().attempt() == 1 && !s.is_in_requests),
    ("lost-2", |s| s.is(State::Queued) && s.word.generation().attempt() == 1 && s.is_in_requests),
    ("lost-3", |s| s.is_lost() && s.is_answered),
    ("lost-4", |s| s.is_freed() && s.is_answered),
    ("sleep-1", |s| s.is(State::Queued) && s.bells_count == 2),
    ("sleep-2", |s| s.is(State::Queued) && s.bells_count < 2),
    ("recover-1", |s| s.is(State::Running)),
    ("recover-2", |s| s.is_lost() && !s.is_swept),
    ("recover-3", |s| s.is_lost() && s.is_swept),
    ("recover-4", |s| s.is(State::Executed)),
    ("recover-5", |s| s.is(State::Uncommitted)),
    ("takeover-1", |s| s.is(State::Queued) && !s.is_in_requests),
    ("takeover-2", |s| s.is(State::Queued) && s.is_in_requests),
    ("takeover-3", |s| s.is(State::Joined)),
];

/// What a row of the table promises to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Nothing,
    Told(Status),
}

/// The table of `README.md`.
pub(crate) struct Table {
    fates: BTreeMap<String, [Fate; 2]>,
}

impl Table {
    /// Reads the table, and compares its rows with [`ROWS`].
    pub(crate) fn read() -> Self {
        let text = include_str!("../../README.md");
        let mut fates = BTreeMap::new();
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", id, _death, _owner, _seen, _repair, fate, ""] = cells[..] else { continue };
            let Some(id) = id.strip_prefix('`').and_then(|id| id.strip_suffix('`')) else { continue };
            let known = fates.insert(id.to_owned(), read_fates(fate));
            assert!(known.is_none(), "the row {id} stands twice in README.md");
        }
        let ours: Vec<&str> = ROWS.iter().map(|(id, _)| *id).collect();
        for id in fates.keys() {
            assert!(ours.contains(&id.as_str()), "no attack knows the row {id} of README.md");
        }
        for id in ours {
            assert!(fates.contains_key(id), "README.md has no row {id}, which the attack checks");
        }
        Self { fates }
    }

    /// The row that describes this sight, of those that an attack may meet.
    pub(crate) fn row(&self, sight: &Sight, rows: &[&'static str]) -> Option<&'static str> {
        rows.iter().copied().find(|wanted| {
            let row = ROWS.iter().find(|(id, _)| id == wanted);
            row.unwrap_or_else(|| panic!("there is no row {wanted}")).1(sight)
        })
    }

    /// What the caller of a request of this kind gets by a row.
    pub(crate) fn fate(&self, row: &str, kind: Kind) -> Fate {
        self.fates[row][usize::from(kind == Kind::Write)]
    }
}

/// "its answer", or "read: its answer; write: 302".
fn read_fates(cell: &str) -> [Fate; 2] {
    let both = cell
        .split_once("; ")
        .and_then(|(read, write)| Some([read.strip_prefix("read: ")?, write.strip_prefix("write: ")?]));
    both.unwrap_or([cell, cell]).map(|text| match text {
        "nothing" => Fate::Nothing,
        "its answer" => Fate::Told(Status::Done),
        "301" => Fate::Told(Status::TimedOut),
        "302" => Fate::Told(Status::Lost),
        "305" => Fate::Told(Status::Expired),
        other => panic!("README.md promises {other:?}, which is no fate"),
    })
}
