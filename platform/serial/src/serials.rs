//! The ranges that a process holds, and what rolling back does to them.

use crate::error::SerialError;
use crate::lease::Wanted;
use crate::limits::{COUNT_MAX, NAME_BYTES_MAX, RANGE_MAX};
use gantry_datasource::Connection;
use gantry_settings::SerialFormat;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// A configured type of serial numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialType {
    /// Its name: 1 to 32 of `a-z`, `0-9`, `_`, `-`.
    pub name: String,
    /// Numbers leased at once, 1 to 10,000,000. Ten minutes of the busiest hour are a good choice: a process that
    /// dies leaves a gap of at most this many.
    pub range: u64,
    /// How a number is written; `{date}` is the day of the draw in UTC. The number alone makes it unique: it does not
    /// start again with a new day.
    pub format: SerialFormat,
}

/// A point in a transaction, taken together with a savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// The serial numbers of one process, drawn over one connection at a time.
///
/// Numbers are given out of cached ranges. What is left of them is forgotten when the value is dropped.
#[derive(Debug)]
pub struct Serials {
    kinds: Vec<Kind>,
    /// Leases made so far; orders them against marks.
    leases_count: u64,
}

#[derive(Debug)]
struct Kind {
    name: String,
    range: i64,
    format: SerialFormat,
    cached: VecDeque<Cached>,
}

/// A range that is not used up.
#[derive(Debug)]
struct Cached {
    numbers: Range<i64>,
    /// The lease's place among all, from 1.
    lease: u64,
    /// Whether the transaction it was leased in is still open.
    provisional: bool,
}

impl Serials {
    /// Checks the types; nothing is leased yet.
    ///
    /// # Errors
    /// [`BadName`](SerialError::BadName), [`BadRange`](SerialError::BadRange).
    pub fn new(types: &[SerialType]) -> Result<Self, SerialError> {
        let mut kinds: Vec<Kind> = Vec::with_capacity(types.len());
        for configured in types {
            let name = configured.name.clone();
            if !is_name(&name) || kinds.iter().any(|kind| kind.name == name) {
                return Err(SerialError::BadName { kind: name });
            }
            let range = i64::try_from(configured.range)
                .ok()
                .filter(|_| (1..=RANGE_MAX).contains(&configured.range))
                .ok_or_else(|| SerialError::BadRange { kind: name.clone(), range: configured.range })?;
            let format = configured.format.clone();
            kinds.push(Kind { name, range, format, cached: VecDeque::new() });
        }
        Ok(Self { kinds, leases_count: 0 })
    }

    /// Draws `count` (1 to 10,000) serial numbers of the type `kind`, ascending within the call.
    ///
    /// `now_ms` is the time since 1970 in milliseconds, for `{date}`. Mostly the numbers are in memory; else it
    /// leases a range, inside the connection's open transaction if there is one, else in one of its own, and
    /// blocks for at most `limit` per statement.
    ///
    /// Whoever draws inside a transaction tells how it ended, before drawing again:
    /// [`transaction_committed`](Serials::transaction_committed),
    /// [`transaction_rolled_back`](Serials::transaction_rolled_back) (also when the outcome is unknown), or, for
    /// a savepoint, [`rolled_back_to`](Serials::rolled_back_to). Ranges leased in a transaction of which nothing
    /// was told are dropped when the next draw finds none open, which costs a gap and nothing else. Numbers drawn
    /// in a transaction that is rolled back may come again: they must not have left it.
    ///
    /// # Errors
    /// [`UnknownKind`](SerialError::UnknownKind), [`CountOutOfRange`](SerialError::CountOutOfRange),
    /// [`Exhausted`](SerialError::Exhausted), [`Source`](SerialError::Source), [`Damaged`](SerialError::Damaged).
    /// No number was given out then.
    pub fn next(
        &mut self,
        connection: &mut dyn Connection,
        kind: &str,
        count: u32,
        now_ms: i64,
        limit: Duration,
    ) -> Result<Vec<String>, SerialError> {
        let index = self.find(kind)?;
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(SerialError::CountOutOfRange { count });
        }
        if !connection.in_transaction() {
            self.transaction_rolled_back();
        }
        let kind = &mut self.kinds[index];
        let missing = i64::from(count) - kind.left();
        if missing > 0 {
            let wanted = Wanted {
                kind: &kind.name,
                range: kind.range.max(missing),
                needed: missing,
                number_max: i64::try_from(kind.format.sequence_max()).unwrap_or(i64::MAX),
                now_ms,
                limit,
            };
            let leased = wanted.lease(connection)?;
            self.leases_count += 1;
            kind.cached.push_back(Cached {
                numbers: leased.numbers,
                lease: self.leases_count,
                provisional: leased.provisional,
            });
        }
        Ok(kind.take(count, now_ms))
    }

    /// The point to come back to when the savepoint that is set now is rolled back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.leases_count)
    }

    /// Says that the transaction was rolled back to the savepoint of `mark`: ranges leased since are dropped.
    pub fn rolled_back_to(&mut self, mark: Mark) {
        self.keep(|cached| !cached.provisional || cached.lease <= mark.0);
    }

    /// Says that the transaction was rolled back, or that nobody knows: ranges leased in it are dropped.
    pub fn transaction_rolled_back(&mut self) {
        self.keep(|cached| !cached.provisional);
    }

    /// Says that the transaction was committed: ranges leased in it are kept.
    pub fn transaction_committed(&mut self) {
        for cached in self.kinds.iter_mut().flat_map(|kind| &mut kind.cached) {
            cached.provisional = false;
        }
    }

    /// Names of the types.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.name.as_str())
    }

    /// Numbers of a type that this process holds and has not given out.
    ///
    /// # Errors
    /// [`UnknownKind`](SerialError::UnknownKind).
    pub fn left(&self, kind: &str) -> Result<u64, SerialError> {
        let index = self.find(kind)?;
        Ok(self.kinds[index].left().unsigned_abs())
    }

    /// A node has a handful of types: looking through them costs less than hashing a name.
    fn find(&self, kind: &str) -> Result<usize, SerialError> {
        self.kinds.iter().position(|known| known.name == kind).ok_or_else(|| SerialError::UnknownKind {
            kind: kind.to_owned(),
            known: self.kinds().map(str::to_owned).collect(),
        })
    }

    fn keep(&mut self, stays: impl Fn(&Cached) -> bool) {
        for kind in &mut self.kinds {
            kind.cached.retain(&stays);
        }
    }
}

/// The day in UTC as yyyymmdd; a time that no calendar has is shown as the first day of 1970.
fn date(now_ms: i64) -> String {
    Timestamp::from_millisecond(now_ms).unwrap_or_default().strftime("%Y%m%d").to_string()
}

impl Kind {
    fn left(&self) -> i64 {
        self.cached.iter().map(|cached| cached.numbers.end - cached.numbers.start).sum()
    }

    /// Gives out `count` numbers, the oldest range first; the caller made sure that they are there.
    fn take(&mut self, count: u32, now_ms: i64) -> Vec<String> {
        let mut taken = Vec::with_capacity(count as usize);
        let date = date(now_ms);
        while taken.len() < count as usize {
            let Some(oldest) = self.cached.front_mut() else { break };
            match oldest.numbers.next() {
                Some(number) => taken.push(self.format.render(&date, number.unsigned_abs())),
                None => drop(self.cached.pop_front()),
            }
        }
        assert_eq!(taken.len(), count as usize, "numbers were leased before they are taken");
        taken
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}
