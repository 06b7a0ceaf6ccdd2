//! Where the numbers of a draw come from, nearest first: the node's cells, a Redis list, the database.

use std::time::{Duration, Instant};

use gantry_datasource::Connection;
use gantry_segment::SerialServer;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;

use crate::error::SerialError;
use crate::kind::Cached;
use crate::lease::{Leased, Wanted};
use crate::limits::{AWAY_FIRST, AWAY_MAX, POPS_MAX, REDIS_BETWEEN_LIMIT, REDIS_LIMIT};
use crate::node::{KindCache, NodeCache, ServerName};
use crate::redis::{Chunk, Ended, ListId, ListKey, Lists, Popped, Trouble};
use crate::serials::SharedSerials;

/// The holder of ranges that no node shares and nobody counts.
pub(crate) const HOLDER_PROCESS: &str = "process";
/// Times that a pop follows a server that becomes another one, before the database serves.
const RENAMED_MAX: u32 = 3;

impl SharedSerials<'_> {
    /// Sees to it that this process holds `needed` numbers of a type.
    pub(crate) fn gather(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        needed: i64,
        now_ms: i64,
        limit: Duration,
    ) -> Result<(), SerialError> {
        let kind = &mut self.kinds[index];
        if let Some(shared) = kind.shared
            && kind.left() < needed
        {
            // Read before: a range of a later epoch passes for one of this, never the other way round.
            let epoch = shared.epoch();
            let mut taken = Vec::new();
            shared.take(needed - kind.left(), &mut taken);
            for range in taken {
                kind.keep(range, epoch);
            }
        }
        let started = Instant::now();
        // The database's half of the limit stays, however slow Redis is.
        let redis_limit = REDIS_LIMIT.min(limit / 2);
        for _ in 0..POPS_MAX {
            let left = redis_limit.saturating_sub(started.elapsed());
            if self.kinds[index].left() >= needed || !self.pop(index, needed, left) {
                break;
            }
        }
        let missing = needed - self.kinds[index].left();
        if missing > 0 {
            let limit = limit.saturating_sub(started.elapsed());
            let holder = self.node.as_ref().map_or(HOLDER_PROCESS, NodeCache::node).to_owned();
            // Where a list serves, it is only empty at this moment: the next draw finds it filled.
            let kind = &self.kinds[index];
            let range = if self.serving_now() { kind.chunk() } else { kind.range }.max(missing);
            let leased = self.lease(connection, index, &holder, range, missing, now_ms, limit)?;
            self.leases_count += 1;
            self.kinds[index].cached.push_back(Cached {
                numbers: leased.numbers,
                lease: self.leases_count,
                provisional: leased.provisional,
                epoch: leased.epoch,
            });
        }
        Ok(())
    }

    /// Leases a range from the database, and checks that it has not gone back.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a figure of the lease; a struct would only name them twice"
    )]
    pub(crate) fn lease(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        holder: &str,
        range: i64,
        needed: i64,
        now_ms: i64,
        limit: Duration,
    ) -> Result<Leased, SerialError> {
        let shared = self.kinds[index].shared;
        if let Some(shared) = shared
            && shared.top() == 0
        {
            self.ask_for_top(index, &shared, limit);
        }
        let kind = &self.kinds[index];
        let wanted = Wanted {
            kind: &kind.name,
            holder,
            range,
            needed,
            number_max: kind.number_max(),
            known_top: shared.map_or(0, |shared| shared.top()),
            known_epoch: shared.map_or(0, |shared| shared.epoch()),
            now_ms,
            limit,
        };
        let leased = wanted.lease(connection)?;
        if let Some(shared) = shared
            && !leased.provisional
        {
            shared.learn_epoch(leased.epoch);
            shared.learn_top(leased.numbers.end);
        }
        Ok(leased)
    }

    /// Asks every Redis that can be asked for the highest range that it knows of, before a node that knows of none leases its
    /// first: its memory may be new and the database older than it was.
    fn ask_for_top(&mut self, index: usize, shared: &KindCache<'_>, limit: Duration) {
        for server in ServerName::ALL {
            if self.is_serving(server) && !limit.is_zero() {
                // What it answers is learned on the way; where it does not answer, nobody can know.
                let _ = self.survey(index, server, shared.epoch(), false, REDIS_BETWEEN_LIMIT.min(limit));
            }
        }
    }

    /// Pops a chunk of the list in use: what is `needed` goes to this process, the rest to the node. Gives whether it
    /// is worth trying again.
    pub(crate) fn pop(&mut self, index: usize, needed: i64, limit: Duration) -> bool {
        let Some(shared) = self.kinds[index].shared else { return false };
        let Some(server) = self.serving(limit) else { return false };
        let epoch = shared.epoch();
        let deadline = Instant::now() + limit;
        // Its name may change under our hands; each time another list is meant.
        for _ in 0..RENAMED_MAX {
            match self.pop_once(index, &shared, server, epoch, deadline) {
                Ok(Some((popped, turn_before))) => {
                    self.came_back(server);
                    return self.accept(index, server, popped, turn_before, needed);
                }
                Ok(None) => return false,
                Err(Trouble::Renamed) => {}
                Err(failure) => {
                    if let Some((lists, key)) = self.list_of(index, server, epoch) {
                        let error = lists.failed(&key, "pop numbers", &failure);
                        self.went_away(server, &error);
                    }
                    return false;
                }
            }
        }
        false
    }

    /// `None`: the list was given up, or this node has no place for its figures and its count of pops now, which the next
    /// report makes. Else also the count of pops that was known before.
    fn pop_once(
        &mut self,
        index: usize,
        shared: &KindCache<'_>,
        server: ServerName,
        epoch: u64,
        deadline: Instant,
    ) -> Result<Option<(Popped, u64)>, Trouble> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let Some((lists, key)) = self.list_of(index, server, epoch) else { return Ok(None) };
        let list = lists.current(&key, left())?;
        self.meet_list(index, server, &list);
        if went_back(shared, &list) {
            return Ok(None);
        }
        let Some(place) = shared.list(list.tag) else { return Ok(None) };
        // Loaded before the pop is asked for: the pops that are counted here were over by then, so ours is a later one.
        let turn_before = place.turn.load(Ordering::Acquire);
        let Some((lists, key)) = self.list_of(index, server, epoch) else { return Ok(None) };
        lists.pop(&key, &list, left()).map(|popped| Some((popped, turn_before)))
    }

    /// Takes over what was popped, if it is what the list's name says.
    fn accept(
        &mut self,
        index: usize,
        server: ServerName,
        popped: Popped,
        turn_before: u64,
        needed: i64,
    ) -> bool {
        let is_low = self.is_low(index, popped.level);
        let kind = &mut self.kinds[index];
        let Some(shared) = kind.shared else { return false };
        let list = shared.list(popped.list.tag);
        if let Some(list) = list {
            if popped.turn <= turn_before {
                tracing::error!(
                    kind = kind.name, %server, turn = popped.turn, turn_before,
                    "the data of a Redis went back while it ran (a snapshot of its machine, DEBUG RELOAD, or its \
                     count was evicted); its list is given up"
                );
                list.ended.store(Ended::WentBack.code(), Ordering::Release);
                return false;
            }
            list.turn.fetch_max(popped.turn, Ordering::AcqRel);
        }
        if is_low {
            shared.kind.is_low.store(1, Ordering::Relaxed);
        }
        let Some(text) = popped.text else { return false };
        let chunk = Chunk::read(&text, kind.number_max());
        let Some(chunk) = chunk.filter(|chunk| chunk.epoch == popped.list.epoch) else {
            let text: String = text.chars().take(60).collect();
            tracing::error!(kind = kind.name, %server, text, "a list of serial numbers holds what nobody of ours wrote; skipped");
            return true;
        };
        let numbers = chunk.numbers;
        if let Some(list) = list {
            shared.count(&list.taken, numbers.end - numbers.start);
        }
        let own_end = numbers.end.min(numbers.start + (needed - kind.left()).max(0));
        kind.keep(numbers.start..own_end, chunk.epoch);
        if own_end < numbers.end
            && let Some(rest) = shared.put(chunk.epoch, own_end..numbers.end)
        {
            kind.keep(rest, chunk.epoch);
        }
        true
    }

    /// Notes which list a server has for a type, and why it is another one than before.
    pub(crate) fn meet_list(&mut self, index: usize, server: ServerName, list: &ListId) {
        let kind = &mut self.kinds[index];
        let known = &mut kind.lists[server.index()];
        if known.as_ref() == Some(list) {
            return;
        }
        if let Some(shared) = kind.shared {
            let has_ended = match known.as_ref() {
                Some(old) => {
                    let ended = if old.epoch == list.epoch {
                        old.identity.difference(&list.identity)
                    } else {
                        Ended::Raised
                    };
                    end_list(&shared, old.tag, ended)
                }
                // What earlier processes of this node met on this server is over, if it is another one.
                None => {
                    let others = shared.other_lists(list.tag);
                    others.filter(|tag| end_list(&shared, *tag, Ended::Unseen)).count() > 0
                }
            };
            if has_ended {
                tracing::warn!(
                    kind = kind.name, %server, list = %list.identity,
                    "another list of serial numbers is in use; what was left in the one before is a gap"
                );
                // Soon, so that its place is free for the next one.
                if let Some(node) = &self.node {
                    node.node_words().report_due_ns.store(0, Ordering::Relaxed);
                }
            }
        }
        *known = Some(list.clone());
        // Two servers that both call themselves master, met in turn: each list is good, and given up for a while only.
        if let Some(place) = kind.shared.and_then(|shared| shared.list(list.tag)) {
            let ended = place.ended.load(Ordering::Acquire);
            if ended != 0 && ended != Ended::WentBack.code() {
                place.ended.store(0, Ordering::Release);
                place.ended_reported.store(0, Ordering::Release);
            }
        }
    }

    /// The server in use, if one is configured and it is not away. Nobody waits for one that is: whether it is back, a
    /// [probe](Self::probe) finds.
    pub(crate) fn serving(&self, limit: Duration) -> Option<ServerName> {
        let server = self.node.as_ref()?.chosen();
        (!limit.is_zero() && self.is_serving(server)).then_some(server)
    }

    /// Whether the server in use can be asked.
    pub(crate) fn serving_now(&self) -> bool {
        self.node.as_ref().is_some_and(|node| self.is_serving(node.chosen()))
    }

    /// Whether a server is configured and not away.
    fn is_serving(&self, server: ServerName) -> bool {
        let is_away = |words: &SerialServer| words.away_until_ns.load(Ordering::Relaxed) != 0;
        self.lists[server.index()].is_some() && self.server_words(server).is_some_and(|words| !is_away(words))
    }

    /// Whether a look at the server in use is due, or one is over.
    pub(crate) fn wants_probe(&self) -> bool {
        let Some(node) = &self.node else { return false };
        let until_ns = |server: ServerName| {
            self.server_words(server).map_or(0, |words| words.away_until_ns.load(Ordering::Relaxed))
        };
        let (server, now_ns) = (node.chosen(), clock::monotonic_ns());
        let is_due = self.lists[server.index()].is_some() && (1..=now_ns).contains(&until_ns(server));
        is_due || self.lists.iter().flatten().any(Lists::is_probe_over)
    }

    /// Looks from aside whether the server in use is back, and takes in what such a look found. Never blocks.
    pub(crate) fn probe(&mut self) {
        for server in ServerName::ALL {
            let over = self.lists[server.index()].as_mut().and_then(Lists::finish_probe);
            match over {
                Some(Ok(())) => self.came_back(server),
                Some(Err(failure)) => {
                    if let Some((lists, key)) = self.list_of(0, server, 0) {
                        let error = lists.failed(&key, "look whether it is back", &failure);
                        self.went_away(server, &error);
                    }
                }
                None => {}
            }
        }
        let Some(server) = self.node.as_ref().map(NodeCache::chosen) else { return };
        if !self.is_our_turn_to_probe(server) {
            return;
        }
        let Self { kinds, lists, space: Some(space), .. } = self else { return };
        let used = kinds.iter().filter(|kind| {
            kind.shared.is_some_and(|shared| shared.kind.is_used.load(Ordering::Relaxed) != 0)
        });
        let keys: Vec<_> = used.map(|kind| ListKey { space, kind: &kind.name, epoch: 0 }).collect();
        if let Some(lists) = &mut lists[server.index()] {
            lists.start_probe(&keys);
        }
    }

    /// Takes the turn to look at a server that is away, which is one process's of the node; its word runs out if it dies.
    fn is_our_turn_to_probe(&self, server: ServerName) -> bool {
        let Some(words) = self.server_words(server) else { return false };
        let until_ns = words.away_until_ns.load(Ordering::Relaxed);
        let now_ns = clock::monotonic_ns();
        if until_ns == 0 || now_ns < until_ns || self.lists[server.index()].is_none() {
            return false;
        }
        let next_ns = now_ns + nanoseconds(REDIS_LIMIT) * 2;
        words.away_until_ns.compare_exchange(until_ns, next_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Leaves a server alone for a while.
    pub(crate) fn went_away(&self, server: ServerName, error: &SerialError) {
        let Some(words) = self.server_words(server) else { return };
        let failures = words.failures.fetch_add(1, Ordering::Relaxed);
        words.failures_total.fetch_add(1, Ordering::Relaxed);
        if failures == 0 {
            tracing::warn!(%server, %error, "serial numbers come from the database until Redis answers again");
        } else {
            tracing::debug!(%server, %error, failures, "Redis is still away");
        }
        let shift = u32::try_from(failures.min(16)).unwrap_or(16);
        let wait = AWAY_FIRST.saturating_mul(1 << shift).min(AWAY_MAX);
        words.away_until_ns.store(clock::monotonic_ns() + nanoseconds(wait), Ordering::Relaxed);
    }

    /// A server answered.
    pub(crate) fn came_back(&self, server: ServerName) {
        let Some(words) = self.server_words(server) else { return };
        if words.away_until_ns.load(Ordering::Relaxed) != 0 {
            words.away_until_ns.store(0, Ordering::Relaxed);
            let failures = words.failures.swap(0, Ordering::Relaxed);
            tracing::warn!(%server, failures, "Redis answers again and gives serial numbers");
        }
    }

    /// The lists of a server, and the key of a type's list.
    pub(crate) fn list_of(
        &mut self,
        index: usize,
        server: ServerName,
        epoch: u64,
    ) -> Option<(&mut Lists, ListKey<'_>)> {
        let lists = self.lists[server.index()].as_mut()?;
        Some((lists, ListKey { space: self.space.as_ref()?, kind: &self.kinds[index].name, epoch }))
    }

    /// Failures of a server that this node's workers met.
    pub(crate) fn failures(&self, server: ServerName) -> u64 {
        self.server_words(server).map_or(0, |words| words.failures_total.load(Ordering::Relaxed))
    }

    fn server_words(&self, server: ServerName) -> Option<&SerialServer> {
        Some(&self.node.as_ref()?.node_words().servers[server.index()])
    }
}

/// Notes that a list is over; gives whether it was in use until now.
fn end_list(shared: &KindCache<'_>, tag: u64, ended: Ended) -> bool {
    shared.known_list(tag).is_some_and(|place| {
        place.ended.compare_exchange(0, ended.code(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })
}

/// Whether a list was given up for the one reason that its name does not tell.
pub(crate) fn went_back(shared: &KindCache<'_>, list: &ListId) -> bool {
    let ended = shared.list(list.tag).map_or(0, |place| place.ended.load(Ordering::Acquire));
    ended == Ended::WentBack.code()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
