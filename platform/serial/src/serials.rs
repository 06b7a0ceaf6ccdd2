//! Drawing, and what rolling back does to what was drawn.

use std::time::Duration;

use gantry_datasource::Connection;
use gantry_settings::{RedisUrl, SerialFormat, SerialSettings};

use crate::error::SerialError;
use crate::kind::{Drawn, Kind};
use crate::limits::{COUNT_MAX, NAME_BYTES_MAX, RANGE_MAX};
use crate::node::{NodeCache, ServerName};
use crate::redis::Lists;
use crate::tables;

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

impl SerialType {
    /// The types of the configuration.
    #[must_use]
    pub fn of_settings(settings: &SerialSettings) -> Vec<Self> {
        let of = |(name, kind): (&String, &gantry_settings::SerialType)| Self {
            name: name.clone(),
            range: kind.range,
            format: kind.format.clone(),
        };
        settings.types.iter().map(of).collect()
    }
}

/// A point in a transaction, taken together with a savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    leases: u64,
    draws: usize,
}

/// The serial numbers of one process, drawn over one connection at a time.
///
/// A number comes from where it is nearest: a range of this process, the node's cache in shared memory, a Redis list,
/// the database. What is left of the process's own ranges is forgotten when the value is dropped.
pub struct SharedSerials<'a> {
    pub(crate) kinds: Vec<Kind<'a>>,
    /// Leases made so far; orders them against marks.
    pub(crate) leases_count: u64,
    /// What the open transaction drew.
    draws: Vec<Drawn>,
    pub(crate) node: Option<NodeCache<'a>>,
    /// Whether others draw from the same ranges; else the space's name is of no use.
    is_shared: bool,
    /// The primary and the standby.
    pub(crate) lists: [Option<Lists>; 2],
    /// The name of the database's number space, once it was read.
    pub(crate) space: Option<String>,
    /// When topping up is tried again after it failed; monotonic clock, ns.
    pub(crate) again_ns: u64,
}

/// The serial numbers of a process that keeps its node's memory for life, as workers do, or that has no node.
pub type Serials = SharedSerials<'static>;

impl std::fmt::Debug for SharedSerials<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Serials").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl SharedSerials<'static> {
    /// Serial numbers of a process without a node: ranges of its own from the database. Checks the types; nothing is
    /// leased yet.
    ///
    /// # Errors
    /// [`BadName`](SerialError::BadName), [`BadRange`](SerialError::BadRange).
    pub fn new(types: &[SerialType]) -> Result<Self, SerialError> {
        let mut serials = Self::with(types, None, [None, None])?;
        serials.is_shared = false;
        Ok(serials)
    }
}

impl<'a> SharedSerials<'a> {
    /// Serial numbers of a worker: shared with the node's other workers in `node`, and by Redis with other nodes, if
    /// `settings` name one. Checks the types; nothing is connected or leased yet.
    ///
    /// # Errors
    /// [`BadName`](SerialError::BadName), [`BadRange`](SerialError::BadRange), [`BadUrl`](SerialError::BadUrl).
    pub fn of_worker(settings: &SerialSettings, node: NodeCache<'a>) -> Result<Self, SerialError> {
        Self::with(&SerialType::of_settings(settings), Some(node), lists(settings)?)
    }

    /// Serial numbers of a command that draws none: what it needs to look and to raise.
    pub(crate) fn of_visitor(
        settings: &SerialSettings,
        node: Option<NodeCache<'a>>,
    ) -> Result<Self, SerialError> {
        Self::with(&SerialType::of_settings(settings), node, lists(settings)?)
    }

    fn with(
        types: &[SerialType],
        node: Option<NodeCache<'a>>,
        lists: [Option<Lists>; 2],
    ) -> Result<Self, SerialError> {
        let mut kinds: Vec<Kind<'a>> = Vec::with_capacity(types.len());
        for configured in types {
            let name = configured.name.clone();
            if !is_name(&name) || kinds.iter().any(|kind| kind.name == name) {
                return Err(SerialError::BadName { kind: name });
            }
            let range = i64::try_from(configured.range)
                .ok()
                .filter(|_| (1..=RANGE_MAX).contains(&configured.range))
                .ok_or_else(|| SerialError::BadRange { kind: name.clone(), range: configured.range })?;
            kinds.push(Kind {
                name,
                range,
                format: configured.format.clone(),
                cached: Default::default(),
                shared: None,
                lists: [None, None],
                is_used: false,
            });
        }
        Ok(Self {
            kinds,
            leases_count: 0,
            draws: Vec::new(),
            node,
            is_shared: true,
            lists,
            space: None,
            again_ns: 0,
        })
    }

    /// Draws `count` (1 to 10,000) serial numbers of the type `kind`, ascending within the call.
    ///
    /// `now_ms` is the time since 1970 in milliseconds, for `{date}`. Mostly the numbers are in memory. Else it asks
    /// Redis, for at most half of `limit` and [`REDIS_LIMIT`](crate::limits::REDIS_LIMIT) in all, and never one that is known
    /// to be away, and at last leases a range, inside the connection's open transaction if there is one, else in one of its
    /// own, and blocks for at most what is left of `limit` per statement.
    ///
    /// Whoever draws inside a transaction tells how it ended, before drawing again:
    /// [`transaction_committed`](SharedSerials::transaction_committed),
    /// [`transaction_rolled_back`](SharedSerials::transaction_rolled_back) (also when the outcome is unknown), or, for
    /// a savepoint, [`rolled_back_to`](SharedSerials::rolled_back_to). Ranges leased in a transaction of which nothing
    /// was told are dropped when the next draw finds none open, which costs a gap and nothing else. Numbers drawn
    /// in a transaction that is rolled back may come again: they must not have left it.
    ///
    /// # Errors
    /// [`UnknownKind`](SerialError::UnknownKind), [`CountOutOfRange`](SerialError::CountOutOfRange),
    /// [`Exhausted`](SerialError::Exhausted), [`Source`](SerialError::Source), [`Damaged`](SerialError::Damaged),
    /// [`WentBack`](SerialError::WentBack), [`NoSpace`](SerialError::NoSpace). No number was given out then.
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
        let is_in_transaction = connection.in_transaction();
        if !is_in_transaction {
            self.transaction_rolled_back();
        }
        self.attach(connection, limit)?;
        self.begin_use(connection, index, limit)?;
        self.kinds[index].drop_old();
        self.gather(connection, index, i64::from(count), now_ms, limit)?;
        let (serials, draws) = self.kinds[index].take(index, count, now_ms);
        assert_eq!(serials.len(), count as usize, "numbers were gathered before they are taken");
        self.draws.extend(draws);
        if !is_in_transaction {
            self.settle_draws(true);
        }
        Ok(serials)
    }

    /// The point to come back to when the savepoint that is set now is rolled back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { leases: self.leases_count, draws: self.draws.len() }
    }

    /// Says that the transaction was rolled back to the savepoint of `mark`: ranges leased since are dropped.
    pub fn rolled_back_to(&mut self, mark: Mark) {
        for kind in &mut self.kinds {
            kind.cached.retain(|cached| !cached.provisional || cached.lease <= mark.leases);
        }
        let later = self.draws.split_off(mark.draws.min(self.draws.len()));
        // Numbers of a lease that came undone were never leased; the others are a gap.
        let stay = later.into_iter().filter(|drawn| !drawn.provisional || drawn.lease <= mark.leases);
        self.draws.extend(stay.map(|drawn| Drawn { is_undone: true, ..drawn }));
    }

    /// Says that the transaction was rolled back, or that nobody knows: ranges leased in it are dropped.
    pub fn transaction_rolled_back(&mut self) {
        for kind in &mut self.kinds {
            kind.cached.retain(|cached| !cached.provisional);
        }
        self.settle_draws(false);
    }

    /// Says that the transaction was committed: ranges leased in it are kept, and what is left of them is shared with
    /// the node's other workers.
    pub fn transaction_committed(&mut self) {
        for kind in &mut self.kinds {
            for cached in kind.cached.iter_mut().filter(|cached| cached.provisional) {
                cached.provisional = false;
                if let Some(shared) = kind.shared {
                    shared.learn_top(cached.numbers.end);
                    shared.learn_epoch(cached.epoch);
                }
            }
            share(kind);
        }
        self.settle_draws(true);
    }

    /// Whether anything was drawn or looked at yet, so that this process has its places in the node's memory.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.space.is_some()
    }

    /// Names of the types.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.name.as_str())
    }

    /// Numbers of a type that this process alone holds and has not given out.
    ///
    /// # Errors
    /// [`UnknownKind`](SerialError::UnknownKind).
    pub fn left(&self, kind: &str) -> Result<u64, SerialError> {
        let index = self.find(kind)?;
        Ok(self.kinds[index].left().unsigned_abs())
    }

    /// A node has a handful of types: looking through them costs less than hashing a name.
    pub(crate) fn find(&self, kind: &str) -> Result<usize, SerialError> {
        self.kinds.iter().position(|known| known.name == kind).ok_or_else(|| SerialError::UnknownKind {
            kind: kind.to_owned(),
            known: self.kinds().map(str::to_owned).collect(),
        })
    }

    /// Finds the types' places in shared memory, which are those of this database. Once in a process's life.
    pub(crate) fn attach(
        &mut self,
        connection: &mut dyn Connection,
        limit: Duration,
    ) -> Result<(), SerialError> {
        if self.space.is_some() || !self.is_shared {
            return Ok(());
        }
        let space = tables::space_name(connection, limit)?;
        for kind in &mut self.kinds {
            kind.shared = self.node.as_ref().and_then(|node| node.kind(&space, &kind.name));
            if kind.shared.is_none() && self.node.is_some() {
                tracing::warn!(
                    kind = kind.name,
                    "the node's memory has no room for this type of serial numbers; each process leases its own \
                     ranges until the node was stopped and started"
                );
            }
        }
        self.space = Some(space);
        Ok(())
    }

    /// Counts what the transaction drew.
    fn settle_draws(&mut self, is_committed: bool) {
        for drawn in self.draws.drain(..) {
            let Some(shared) = self.kinds[drawn.kind].shared else { continue };
            if is_committed && !drawn.is_undone {
                shared.count(&shared.kind.issued, drawn.numbers);
            } else if is_committed || !drawn.provisional {
                shared.count(&shared.kind.rolled_back, drawn.numbers);
            }
        }
    }
}

/// Puts what this process holds for certain where the node's other workers find it.
pub(crate) fn share(kind: &mut Kind<'_>) {
    let Some(shared) = kind.shared else { return };
    kind.cached.retain_mut(|cached| {
        if cached.provisional {
            return true;
        }
        match shared.put(cached.epoch, cached.numbers.clone()) {
            Some(rest) => {
                cached.numbers = rest;
                true
            }
            None => false,
        }
    });
}

fn lists(settings: &SerialSettings) -> Result<[Option<Lists>; 2], SerialError> {
    let of = |name: ServerName, url: &gantry_settings::Secret| {
        if url.is_empty() {
            return Ok(None);
        }
        let parsed = RedisUrl::parse(url.expose())
            .map_err(|cause| SerialError::BadUrl { message: format!("{name}: {cause}") })?;
        Ok(Some(Lists::new(name, parsed)))
    };
    Ok([of(ServerName::Primary, &settings.redis)?, of(ServerName::Standby, &settings.standby)?])
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}
