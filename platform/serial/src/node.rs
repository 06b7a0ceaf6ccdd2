//! The node's part in shared memory: ranges that any process takes from, and the figures of all processes.
//!
//! Each process fills the cells of its own row and takes from its own first, so workers do not meet; who has none left
//! takes from the others, the dead ones' included. See `cell.rs` for why no number is taken twice.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use gantry_segment::{Control, SerialCell, SerialCells, SerialKind, SerialList, SerialNode};
use gantry_sys::atomic::{AtomicU64, Ordering};
use gantry_sys::clock;
use serde::Serialize;

use crate::cell::{self, Take};

/// Which of the two configured Redis servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerName {
    /// `[serial] redis`.
    Primary,
    /// `[serial] standby`.
    Standby,
}

impl ServerName {
    /// Both, in the order in which shared memory keeps them.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Standby];

    /// The word of the command line: `primary` or `standby`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Primary => 0,
            Self::Standby => 1,
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The serial numbers of one node in its control segment.
#[derive(Debug, Clone)]
pub struct NodeCache<'a> {
    control: &'a Control,
    row: Option<usize>,
    node: String,
}

impl<'a> NodeCache<'a> {
    /// The view of a worker, whose row of the process table is `row`. **One living process per row**: its cells are
    /// filled without a rival. `node` is the node's name.
    #[must_use]
    pub fn of_worker(control: &'a Control, node: &str, row: u8) -> Self {
        let row = usize::from(row);
        let row = (row < control.processes().len()).then_some(row);
        Self { control, row, node: life_name(control, node) }
    }

    /// The view of somebody who fills nothing, as commands do.
    #[must_use]
    pub fn of_visitor(control: &'a Control, node: &str) -> Self {
        Self { control, row: None, node: life_name(control, node) }
    }

    /// The Redis server that the workers of this node use.
    #[must_use]
    pub fn chosen(&self) -> ServerName {
        // Relaxed: the word orders nothing; ranges from either server are good at any time.
        match self.node_words().chosen.load(Ordering::Relaxed) {
            1 => ServerName::Standby,
            _ => ServerName::Primary,
        }
    }

    /// Lets all workers of this node use another server from their next draw on. Safe at any moment: both are caches
    /// over ranges of the same database.
    pub fn choose(&self, server: ServerName) {
        self.node_words().chosen.store(server.index() as u32, Ordering::Relaxed);
    }

    /// The node's name with the making of its segments, as the database knows it.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn node_words(&self) -> &'a SerialNode {
        self.control.serial_node()
    }

    /// Whether the row of the process table has no living process. A row whose process is just being started counts as
    /// dead, which is harmless: whoever takes from its cells takes by exchange.
    fn is_dead(&self, row: usize) -> bool {
        self.control.processes().get(row).is_none_or(|row| row.life().pid.is_none())
    }

    /// The place of a type of the database `space`; `None` when there is no room.
    pub(crate) fn kind(&self, space: &str, name: &str) -> Option<KindCache<'a>> {
        let tag = tag(&[space, name]);
        for (index, kind) in self.control.serial_kinds().iter().enumerate() {
            let mut found = kind.tag.load(Ordering::Acquire);
            if found == 0 {
                // Everybody takes the first free row and none is ever freed, so a type has one row.
                match kind.tag.compare_exchange(0, tag, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        kind.name.set(name.as_bytes());
                        found = tag;
                    }
                    Err(other) => found = other,
                }
            }
            if found == tag {
                return Some(KindCache { kind, cells: self.control.serial_cells(index), row: self.row });
            }
        }
        None
    }

    /// Takes the remaining range of a cell whose process is dead.
    pub(crate) fn adopt(&self, kind: &KindCache<'a>) -> Option<Range<i64>> {
        for (row, cells) in kind.cells.iter().enumerate() {
            if Some(row) != self.row
                && cells.cells.iter().any(|cell| cell::left(cell) > 0)
                && self.is_dead(row)
            {
                let taken = cells.cells.iter().find_map(|cell| kind.take_from(cell, cell::CELL_NUMBERS_MAX));
                if taken.is_some() {
                    return taken;
                }
            }
        }
        None
    }
}

/// A type's ranges and figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KindCache<'a> {
    pub(crate) kind: &'a SerialKind,
    cells: &'a [SerialCells],
    row: Option<usize>,
}

impl<'a> KindCache<'a> {
    /// The highest epoch that this node knows.
    pub(crate) fn epoch(&self) -> u64 {
        self.kind.epoch.load(Ordering::Acquire)
    }

    /// Learns of an epoch. Where that is a new one, what earlier ones left in cells is thrown away: these carry an epoch's low
    /// bits only, so nothing of it may stay until they come round.
    pub(crate) fn learn_epoch(&self, epoch: u64) {
        if self.kind.epoch.fetch_max(epoch, Ordering::AcqRel) < epoch {
            self.sweep();
        }
    }

    /// The end of the highest range that was leased for certain, 0 = none is known.
    pub(crate) fn top(&self) -> i64 {
        // Acquire: pairs with the Release in `learn_top`; a lease asked for from now on comes after that one.
        i64::try_from(self.kind.top.load(Ordering::Acquire)).unwrap_or(i64::MAX)
    }

    /// Learns of a range that is committed.
    pub(crate) fn learn_top(&self, end: i64) {
        self.kind.top.fetch_max(end.unsigned_abs(), Ordering::AcqRel);
    }

    /// Takes up to `count` numbers of any cell, own ones first, and appends them as ranges.
    pub(crate) fn take(&self, count: i64, into: &mut Vec<Range<i64>>) {
        let mut missing = count;
        let rows = self.cells.len();
        let first = self.row.unwrap_or(0);
        for row in (0..rows).map(|step| (first + step) % rows) {
            let cells = &self.cells[row].cells;
            if missing <= 0 {
                return;
            }
            // The oldest first: its numbers are the smallest.
            let mut order: [usize; gantry_segment::SERIAL_CELLS] = std::array::from_fn(|index| index);
            order.sort_unstable_by_key(|index| cell::end(&cells[*index]));
            for cell in order.map(|index| &cells[index]) {
                if let Some(range) = self.take_from(cell, missing) {
                    missing -= range.end - range.start;
                    into.push(range);
                }
            }
        }
    }

    fn take_from(&self, cell: &SerialCell, count: i64) -> Option<Range<i64>> {
        match cell::take(cell, self.epoch(), count) {
            Take::Empty => None,
            Take::Taken(range) if range.start >= 1 => Some(range),
            // Damaged memory: what it says is no number.
            Take::Taken(range) => {
                self.count(&self.kind.dropped, range.end - range.start);
                None
            }
            Take::Dropped(numbers) => {
                self.count(&self.kind.dropped, numbers);
                None
            }
        }
    }

    /// Puts a range into one of the own cells; gives back what found no room.
    pub(crate) fn put(&self, epoch: u64, range: Range<i64>) -> Option<Range<i64>> {
        let cells = self.row.and_then(|row| self.cells.get(row)).map_or(&[][..], |cells| &cells.cells[..]);
        let mut rest = range;
        for cell in cells {
            if rest.is_empty() {
                return None;
            }
            let part = rest.start..rest.end.min(rest.start.saturating_add(cell::CELL_NUMBERS_MAX));
            if cell::fill(cell, epoch, &part) {
                rest.start = part.end;
            }
        }
        (!rest.is_empty()).then_some(rest)
    }

    /// Throws away what other epochs left in any cell.
    fn sweep(&self) {
        let epoch = self.epoch();
        for cell in self.cells.iter().flat_map(|cells| &cells.cells) {
            self.count(&self.kind.dropped, cell::sweep(cell, epoch));
        }
    }

    /// Numbers in the own cells.
    pub(crate) fn own_left(&self) -> i64 {
        let cells = self.row.and_then(|row| self.cells.get(row));
        cells.map_or(0, |cells| cells.cells.iter().map(cell::left).sum())
    }

    /// Numbers in all cells of the node.
    pub(crate) fn left(&self) -> i64 {
        self.cells.iter().flat_map(|cells| &cells.cells).map(cell::left).sum()
    }

    /// Adds to a figure.
    pub(crate) fn count(&self, figure: &AtomicU64, numbers: i64) {
        figure.fetch_add(u64::try_from(numbers).unwrap_or(0), Ordering::Relaxed);
    }

    /// Where the figures of a Redis list are, if this node has met it.
    pub(crate) fn known_list(&self, tag: u64) -> Option<&'a SerialList> {
        self.kind.lists.iter().find(|list| list.tag.load(Ordering::Acquire) == tag)
    }

    /// The lists that this node has met on the same server, but for this one.
    pub(crate) fn other_lists(&self, tag: u64) -> impl Iterator<Item = u64> + use<'a> {
        let tags = self.kind.lists.iter().map(|list| list.tag.load(Ordering::Acquire));
        tags.filter(move |other| *other != 0 && *other != tag && (other ^ tag) & 1 == 0)
    }

    /// Where the figures of a Redis list are; `None` when there is no room until those of lists that are over were written
    /// down.
    pub(crate) fn list(&self, tag: u64) -> Option<&'a SerialList> {
        let lists = &self.kind.lists;
        self.known_list(tag).or_else(|| {
            // A place that was never used before one that is over: whoever comes upon that one while it is made anew
            // may take its old count of pops for the new list's.
            let mut places = lists.iter().chain(lists);
            let (mut seen, free) = (0, lists.len());
            places.find(|list| {
                seen += 1;
                claim(list, tag, seen > free)
            })
        })
    }
}

/// Claims a place for a list; gives whether it is that list's now.
fn claim(list: &SerialList, tag: u64, may_be_over: bool) -> bool {
    let old = list.tag.load(Ordering::Acquire);
    if old == tag {
        return true;
    }
    if old != 0 && !(may_be_over && is_settled(list)) {
        return false;
    }
    if list.tag.compare_exchange(old, tag, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return list.tag.load(Ordering::Acquire) == tag;
    }
    if old != 0 {
        for figure in [&list.taken, &list.reported, &list.turn] {
            figure.store(0, Ordering::Relaxed);
        }
        list.ended_reported.store(0, Ordering::Relaxed);
        list.ended.store(0, Ordering::Relaxed);
    }
    true
}

/// Whether the list was given up and the database knows all about it.
fn is_settled(list: &SerialList) -> bool {
    list.ended.load(Ordering::Acquire) != 0
        && list.ended_reported.load(Ordering::Acquire) != 0
        && list.taken.load(Ordering::Relaxed) == list.reported.load(Ordering::Relaxed)
}

/// Takes a turn that comes round every `period`: true for one process of the node, once in each.
pub(crate) fn is_due(word: &AtomicU64, period: Duration) -> bool {
    let now_ns = clock::monotonic_ns();
    let due_ns = word.load(Ordering::Relaxed);
    let next_ns = now_ns.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX));
    now_ns >= due_ns && word.compare_exchange(due_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// 64 bits that stand for a few texts (FNV-1a); never 0.
pub(crate) fn tag(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash.max(1)
}

fn life_name(control: &Control, node: &str) -> String {
    format!("{node}/{:016x}", control.header().creation())
}
