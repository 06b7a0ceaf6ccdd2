//! Filling up between requests, outside of every transaction: the own cells from the list, the list from the database.
//!
//! Nobody holds a lock. Who fills a list says so for two seconds, in the node's memory and in Redis; if it dies, the
//! word runs out, and if it was only slow, two fill at once, which costs nothing but a longer list.

use std::time::Duration;

use gantry_datasource::Connection;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;

use crate::error::SerialError;
use crate::kind::Kind;
use crate::lease::{Leased, failed, read_stand, within};
use crate::limits::{CHECK_PERIOD, FILL_LEASE, REDIS_BETWEEN_LIMIT, REPORT_PERIOD};
use crate::node::{KindCache, NodeCache, ServerName, is_due};
use crate::redis::{Chunk, ListId, Survey, TOP_EXACT_MAX};
use crate::serials::{SharedSerials, share};
use crate::supply::went_back;

/// How long topping up is let be after it failed.
const AGAIN_NS: u64 = 250_000_000;
const NEXT_EPOCH: &str = "UPDATE gantry_serial SET epoch = epoch + 1 WHERE kind = ? AND epoch = ?";

impl SharedSerials<'_> {
    /// Whether [`top_up`](SharedSerials::top_up) has something to do. A few loads; for every turn of a worker's loop.
    #[must_use]
    pub fn wants_top_up(&self) -> bool {
        let now_ns = clock::monotonic_ns();
        let Some(node) = &self.node else { return false };
        if now_ns < self.again_ns {
            return false;
        }
        let is_wanted = |kind: &Kind<'_>| {
            let Some(shared) = kind.shared else { return false };
            if shared.kind.is_used.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let words = shared.kind;
            (kind.is_used && self.is_own_low(kind, &shared))
                || now_ns >= words.check_due_ns.load(Ordering::Relaxed)
                || (words.is_low.load(Ordering::Relaxed) != 0
                    && now_ns >= words.fill_until_ns.load(Ordering::Relaxed)
                    && self.serving_now())
        };
        self.kinds.iter().any(is_wanted)
            || self.wants_probe()
            || (self.space.is_some() && now_ns >= node.node_words().report_due_ns.load(Ordering::Relaxed))
    }

    /// Fills up what is below half: this process's cells, and the Redis lists, whose level it looks at now and then.
    /// Writes the node's figures down when it is time. To be called **between requests**, with a connection that may
    /// write; inside a transaction it does nothing. `now_ms` is the time since 1970. Blocks for at most `limit` for each
    /// statement, and [`REDIS_BETWEEN_LIMIT`] for an exchange with a Redis that falls silent, once: whether one that is away is
    /// back is found on a thread of its own.
    ///
    /// # Errors
    /// As [`next`](SharedSerials::next), and [`Figures`](SerialError::Figures). What was filled up stays; after an error it is
    /// not wanted again for a quarter of a second.
    pub fn top_up(
        &mut self,
        connection: &mut dyn Connection,
        now_ms: i64,
        limit: Duration,
    ) -> Result<(), SerialError> {
        if self.node.is_none() || connection.in_transaction() {
            return Ok(());
        }
        let outcome = self.top_up_all(connection, now_ms, limit);
        if outcome.is_err() {
            self.again_ns = clock::monotonic_ns() + AGAIN_NS;
        }
        outcome
    }

    /// Leaves what this process still holds to the node's other workers, and writes the node's figures down. For a
    /// process that ends in peace.
    ///
    /// # Errors
    /// [`Figures`](SerialError::Figures).
    pub fn leave(&mut self, connection: &mut dyn Connection, now_ms: i64) -> Result<(), SerialError> {
        for kind in &mut self.kinds {
            share(kind);
        }
        if self.space.is_some() && !connection.in_transaction() {
            self.report(connection, now_ms)?;
        }
        Ok(())
    }

    fn top_up_all(
        &mut self,
        connection: &mut dyn Connection,
        now_ms: i64,
        limit: Duration,
    ) -> Result<(), SerialError> {
        self.attach(connection, limit)?;
        self.probe();
        for index in 0..self.kinds.len() {
            let Some(shared) = self.kinds[index].shared else { continue };
            if shared.kind.is_used.load(Ordering::Relaxed) == 0 {
                continue;
            }
            if is_due(&shared.kind.check_due_ns, CHECK_PERIOD) {
                self.check(connection, index, &shared, limit)?;
            }
            if shared.kind.is_low.load(Ordering::Relaxed) != 0 {
                self.fill(connection, index, &shared, now_ms, limit)?;
            }
            if self.kinds[index].is_used && self.is_own_low(&self.kinds[index], &shared) {
                self.fill_own(connection, index, &shared, now_ms, limit)?;
            }
        }
        let is_due =
            self.node.as_ref().is_some_and(|node| is_due(&node.node_words().report_due_ns, REPORT_PERIOD));
        if is_due { self.report(connection, now_ms) } else { Ok(()) }
    }

    /// Whether this process's cells are below half of what they are filled with.
    fn is_own_low(&self, kind: &Kind<'_>, shared: &KindCache<'_>) -> bool {
        let full = if self.has_lists() { kind.chunk() } else { kind.range };
        shared.own_left() * 2 < full
    }

    /// Whether so many chunks are below half of a range.
    pub(crate) fn is_low(&self, index: usize, level: i64) -> bool {
        let kind = &self.kinds[index];
        level.saturating_mul(kind.chunk()).saturating_mul(2) < kind.range
    }

    fn has_lists(&self) -> bool {
        self.node.as_ref().is_some_and(|node| self.lists[node.chosen().index()].is_some())
    }

    /// Says that a type is drawn from, so that it is worth filling. A process that draws from it for the first time learns
    /// its epoch before it looks at any list or cell: what those of an epoch that is over hold may be out already.
    pub(crate) fn begin_use(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        limit: Duration,
    ) -> Result<(), SerialError> {
        let kind = &mut self.kinds[index];
        if kind.is_used {
            return Ok(());
        }
        if let Some(shared) = kind.shared {
            if let Some(stand) = read_stand(connection, &kind.name, limit)? {
                shared.learn_epoch(stand.epoch);
            }
            shared.kind.is_used.store(1, Ordering::Relaxed);
        }
        kind.is_used = true;
        Ok(())
    }

    /// Looks at the type's epoch and at the level of its list.
    fn check(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        shared: &KindCache<'_>,
        limit: Duration,
    ) -> Result<(), SerialError> {
        let name = &self.kinds[index].name;
        if let Some(stand) = read_stand(connection, name, limit)? {
            shared.learn_epoch(stand.epoch);
        }
        let Some(server) = self.serving(limit) else { return Ok(()) };
        let Some(survey) = self.survey(index, server, shared.epoch(), false, limit) else { return Ok(()) };
        if survey.list.epoch == shared.epoch() && went_back(shared, &survey.list) {
            // Its name cannot tell that it was given up, so all nodes are told to use another one.
            return self.begin_epoch(connection, index, shared, limit);
        }
        let is_low = self.is_low(index, survey.level);
        shared.kind.is_low.store(u32::from(is_low), Ordering::Relaxed);
        Ok(())
    }

    fn begin_epoch(
        &self,
        connection: &mut dyn Connection,
        index: usize,
        shared: &KindCache<'_>,
        limit: Duration,
    ) -> Result<(), SerialError> {
        let kind = &self.kinds[index].name;
        let known = i64::try_from(shared.epoch()).unwrap_or(i64::MAX);
        within(
            connection,
            limit,
            |cause| failed(kind, cause),
            |connection| {
                // No row changed: another node was faster.
                connection
                    .execute(NEXT_EPOCH, &[kind.as_str().into(), known.into()], limit)
                    .map(|_changed| ())
                    .map_err(|cause| failed(kind, cause))
            },
        )?;
        if let Some(stand) = read_stand(connection, kind, limit)? {
            shared.learn_epoch(stand.epoch);
        }
        Ok(())
    }

    /// Looks at a list, tells its Redis the highest range that this node knows of, and learns what it knows.
    pub(crate) fn survey(
        &mut self,
        index: usize,
        server: ServerName,
        epoch: u64,
        to_fill: bool,
        limit: Duration,
    ) -> Option<Survey> {
        let shared = self.kinds[index].shared;
        // More is no number of this type.
        let top_max = self.kinds[index].number_max().saturating_add(1).min(TOP_EXACT_MAX);
        let known_top = shared.map_or(0, |shared| shared.top());
        let (lists, key) = self.list_of(index, server, epoch)?;
        match lists.survey(&key, to_fill, known_top, limit.min(REDIS_BETWEEN_LIMIT)) {
            Ok(survey) => {
                self.meet_list(index, server, &survey.list);
                // A range is committed before it is told to Redis, so a lease from now on begins behind it.
                if let Some(shared) = shared
                    && survey.top <= top_max
                {
                    shared.learn_top(survey.top);
                }
                Some(survey)
            }
            Err(failure) => {
                let error = lists.failed(&key, "look at a list", &failure);
                self.went_away(server, &error);
                None
            }
        }
    }

    /// Leases a range for the list in use and pushes it, unless somebody else does. Gives whether it did.
    fn fill(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        shared: &KindCache<'_>,
        now_ms: i64,
        limit: Duration,
    ) -> Result<bool, SerialError> {
        if !self.serving_now() || !is_due(&shared.kind.fill_until_ns, FILL_LEASE) {
            return Ok(false);
        }
        let Some(server) = self.serving(limit) else {
            shared.kind.fill_until_ns.store(0, Ordering::Relaxed);
            return Ok(false);
        };
        let epoch = shared.epoch();
        // Looked at first, since whoever asks to fill keeps the others from it for a while.
        let Some(survey) = self.survey(index, server, epoch, false, limit) else { return Ok(false) };
        if !self.is_low(index, survey.level) || went_back(shared, &survey.list) {
            shared.kind.is_low.store(0, Ordering::Relaxed);
            shared.kind.fill_until_ns.store(0, Ordering::Relaxed);
            return Ok(false);
        }
        let Some(survey) = self.survey(index, server, epoch, true, limit) else { return Ok(false) };
        if !survey.is_ours_to_fill {
            return Ok(false);
        }
        let holder = holder(survey.list.tag);
        let leased = self.lease(connection, index, &holder, self.kinds[index].range, 1, now_ms, limit)?;
        let mut pushed = Pushed::Refused;
        // Where a raise came in between, the list of its epoch is another one.
        if leased.epoch == epoch {
            let chunks = Chunk::cut(epoch, &leased.numbers, self.kinds[index].chunk());
            pushed = self.push(index, server, &survey, &chunks, limit);
        }
        match pushed {
            Pushed::Done => shared.kind.is_low.store(0, Ordering::Relaxed),
            Pushed::Lost => {}
            Pushed::Refused => self.take_over(index, shared, &survey.list, leased),
        }
        shared.kind.fill_until_ns.store(0, Ordering::Relaxed);
        Ok(pushed == Pushed::Done)
    }

    fn push(
        &mut self,
        index: usize,
        server: ServerName,
        survey: &Survey,
        chunks: &[Chunk],
        limit: Duration,
    ) -> Pushed {
        let Some((lists, key)) = self.list_of(index, server, survey.list.epoch) else {
            return Pushed::Refused;
        };
        match lists.push(&key, &survey.list, chunks, limit.min(REDIS_BETWEEN_LIMIT)) {
            Ok((list, _length)) => {
                self.meet_list(index, server, &list);
                if list == survey.list { Pushed::Done } else { Pushed::Lost }
            }
            Err(failure) => {
                let error = lists.failed(&key, "push numbers", &failure);
                self.went_away(server, &error);
                if failure.is_refusal() { Pushed::Refused } else { Pushed::Lost }
            }
        }
    }

    /// Keeps a range for this node that was leased for a list and is not in it, as if it had been popped.
    fn take_over(&mut self, index: usize, shared: &KindCache<'_>, list: &ListId, leased: Leased) {
        if let Some(list) = shared.list(list.tag) {
            shared.count(&list.taken, leased.numbers.end - leased.numbers.start);
        }
        self.kinds[index].keep(leased.numbers, leased.epoch);
        share(&mut self.kinds[index]);
    }

    /// Fills this process's cells: with what dead processes left, from the list, or from the database.
    fn fill_own(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        shared: &KindCache<'_>,
        now_ms: i64,
        limit: Duration,
    ) -> Result<(), SerialError> {
        let epoch = shared.epoch();
        if let Some(range) = self.node.as_ref().and_then(|node| node.adopt(shared)) {
            self.kinds[index].keep(range, epoch);
            share(&mut self.kinds[index]);
            return Ok(());
        }
        share(&mut self.kinds[index]);
        let before = shared.own_left();
        self.pop(index, 0, REDIS_BETWEEN_LIMIT.min(limit));
        if shared.own_left() == before
            && self.has_lists()
            && self.fill(connection, index, shared, now_ms, limit)?
        {
            self.pop(index, 0, REDIS_BETWEEN_LIMIT.min(limit));
        }
        if !self.is_own_low(&self.kinds[index], shared) || self.serving_now() {
            return Ok(());
        }
        let holder = self.node.as_ref().map_or("", NodeCache::node).to_owned();
        let range = self.kinds[index].range;
        let leased = self.lease(connection, index, &holder, range, 1, now_ms, limit)?;
        self.kinds[index].keep(leased.numbers, leased.epoch);
        share(&mut self.kinds[index]);
        Ok(())
    }
}

/// What became of numbers that were pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pushed {
    /// They are in the list.
    Done,
    /// They may be in some list, so they are nobody else's any more.
    Lost,
    /// They are in no list for certain.
    Refused,
}

/// The name of a list as the holder of ranges.
pub(crate) fn holder(tag: u64) -> String {
    format!("list {tag:016x}")
}
