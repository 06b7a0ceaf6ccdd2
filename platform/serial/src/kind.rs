//! One type of serial numbers as one process holds it: its ranges, and what an open transaction drew.

use std::collections::VecDeque;
use std::ops::Range;

use gantry_settings::SerialFormat;
use jiff::Timestamp;

use crate::limits::{CHUNK_NUMBERS_MAX, CHUNKS_PER_RANGE};
use crate::node::KindCache;
use crate::redis::ListId;

/// A type with what this process knows of it.
#[derive(Debug)]
pub(crate) struct Kind<'a> {
    pub(crate) name: String,
    pub(crate) range: i64,
    pub(crate) format: SerialFormat,
    /// Ranges that this process alone holds.
    pub(crate) cached: VecDeque<Cached>,
    /// The node's; `None` where there is no node, or no room in it.
    pub(crate) shared: Option<KindCache<'a>>,
    /// The list that was last met on each server.
    pub(crate) lists: [Option<ListId>; 2],
    /// Whether this process has drawn from it.
    pub(crate) is_used: bool,
}

/// A range that is not used up.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) numbers: Range<i64>,
    /// The lease's place among all of this process, from 1; 0 = it came from the node or from Redis.
    pub(crate) lease: u64,
    /// Whether the transaction it was leased in is still open.
    pub(crate) provisional: bool,
    pub(crate) epoch: u64,
}

/// Numbers that were given out in the transaction that is open.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) kind: usize,
    pub(crate) numbers: i64,
    /// The lease they are of, and whether that comes undone with the transaction.
    pub(crate) lease: u64,
    pub(crate) provisional: bool,
    /// Whether the savepoint after which they were drawn was rolled back to.
    pub(crate) is_undone: bool,
}

impl Kind<'_> {
    /// The largest number that its format shows.
    pub(crate) fn number_max(&self) -> i64 {
        i64::try_from(self.format.sequence_max()).unwrap_or(i64::MAX)
    }

    /// Numbers in one chunk of its lists.
    pub(crate) fn chunk(&self) -> i64 {
        (self.range / CHUNKS_PER_RANGE).clamp(1, CHUNK_NUMBERS_MAX)
    }

    pub(crate) fn left(&self) -> i64 {
        self.cached.iter().map(|cached| cached.numbers.end - cached.numbers.start).sum()
    }

    /// Keeps a range that nobody can take back.
    pub(crate) fn keep(&mut self, numbers: Range<i64>, epoch: u64) {
        if !numbers.is_empty() {
            self.cached.push_back(Cached { numbers, lease: 0, provisional: false, epoch });
        }
    }

    /// Throws away ranges of epochs that are over.
    pub(crate) fn drop_old(&mut self) {
        let Some(shared) = self.shared else { return };
        let epoch = shared.epoch();
        self.cached.retain(|cached| {
            let stays = cached.epoch >= epoch;
            if !stays && !cached.provisional {
                shared.count(&shared.kind.dropped, cached.numbers.end - cached.numbers.start);
            }
            stays
        });
    }

    /// Gives out `count` numbers in ascending order, taken from the oldest ranges, or as many as there are, and says
    /// what they are of.
    pub(crate) fn take(&mut self, index: usize, count: u32, now_ms: i64) -> (Vec<String>, Vec<Drawn>) {
        let (mut numbers, mut draws) = (Vec::with_capacity(count as usize), Vec::new());
        let mut missing = i64::from(count);
        while missing > 0 {
            let Some(oldest) = self.cached.front_mut() else { break };
            let end = oldest.numbers.end.min(oldest.numbers.start + missing);
            let taken = oldest.numbers.start..end;
            oldest.numbers.start = end;
            missing -= taken.end - taken.start;
            draws.push(Drawn {
                kind: index,
                numbers: taken.end - taken.start,
                lease: oldest.lease,
                provisional: oldest.provisional,
                is_undone: false,
            });
            numbers.extend(taken);
            if oldest.numbers.is_empty() {
                self.cached.pop_front();
            }
        }
        numbers.sort_unstable();
        let date = date(now_ms);
        let serials = numbers.iter().map(|number| self.format.render(&date, number.unsigned_abs())).collect();
        (serials, draws)
    }
}

/// The day in UTC as yyyymmdd; a time that no calendar has is shown as the first day of 1970.
fn date(now_ms: i64) -> String {
    Timestamp::from_millisecond(now_ms).unwrap_or_default().strftime("%Y%m%d").to_string()
}
