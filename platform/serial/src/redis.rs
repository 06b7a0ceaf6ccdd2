//! Lists of leased chunks in one Redis, and who answered.
//!
//! Every exchange that a number depends on is one `MULTI` that also reads the server's identity back. The list's name
//! carries the identity that it was filled under, so a chunk counts only if the list's server, at the very moment of the
//! pop, was what the name says. `README.md` goes through the cases.

mod ask;
mod chunk;
mod identity;
mod place;
mod probe;

use std::time::{Duration, Instant};

use gantry_settings::{RedisAddress, RedisUrl};
use redis::{FromRedisValue, Pipeline, Value};

pub(crate) use chunk::Chunk;
pub(crate) use identity::{Ended, Identity};

use crate::error::SerialError;
use crate::limits::{FILL_LEASE, REDIS_LIMIT, UNUSED_KEPT};
use crate::node::{ServerName, tag};
use ask::{ask, ask_at_once};
use place::Link;
use probe::Probe;

/// Why a server was of no use. The draw goes on without it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    #[error("it did not answer in time")]
    Late,
    /// It executed nothing of a `MULTI`.
    #[error("it refused: {why}")]
    Refused { why: String },
    #[error("it is no master but \"{role}\"")]
    NotMaster { role: String },
    #[error("{what}")]
    Answer { what: &'static str },
    /// The server has another list for this type than the caller expects.
    #[error("it became another server just now")]
    Renamed,
}

impl Trouble {
    /// Whether the server said that it executed nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Which list: a type of a database in an epoch. The server's identity completes the name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListKey<'a> {
    pub(crate) space: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) epoch: u64,
}

impl ListKey<'_> {
    /// What all names of a type begin with; the braces put them into one slot of a cluster.
    fn base(&self) -> String {
        format!("gantry:serial:{{{}:{}}}", self.space, self.kind)
    }

    fn list(&self, identity: &Identity) -> String {
        format!("{}:e{}:{identity}", self.base(), self.epoch)
    }
}

/// The count of pops of a list.
fn turn_of(list: &str) -> String {
    format!("{list}:turn")
}

/// The list that an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListId {
    /// Stands for the list's name in figures.
    pub(crate) tag: u64,
    pub(crate) epoch: u64,
    pub(crate) identity: Identity,
}

/// What a pop gave.
#[derive(Debug)]
pub(crate) struct Popped {
    pub(crate) list: ListId,
    /// A chunk as text; `None` = the list is empty.
    pub(crate) text: Option<String>,
    /// Chunks left in the list.
    pub(crate) level: i64,
    /// Pops that the server has counted for this list.
    pub(crate) turn: u64,
}

/// What a look at a list showed.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) list: ListId,
    /// Chunks in the list.
    pub(crate) level: i64,
    /// The end of the highest range that was pushed for this type, as far as this Redis knows; may be a little high
    /// above 2^53, where Redis counts in steps.
    pub(crate) top: i64,
    /// Whether the caller may fill the list, because nobody else does.
    pub(crate) is_ours_to_fill: bool,
}

/// One configured Redis, as one process talks to it.
pub(crate) struct Lists {
    pub(crate) name: ServerName,
    url: RedisUrl,
    /// Open connections; more than one in a cluster only.
    links: Vec<Link>,
    /// The server of each type's list, by the list's base name.
    routes: Vec<(String, RedisAddress)>,
    /// A look at the server while it is away.
    probe: Option<Probe>,
}

/// Redis counts `top` as a float: up to here it is exact, above in steps.
pub(crate) const TOP_EXACT_MAX: i64 = 1 << 53;

impl Lists {
    pub(crate) fn new(name: ServerName, url: RedisUrl) -> Self {
        Self { name, url, links: Vec::new(), routes: Vec::new(), probe: None }
    }

    /// Begins to look, on a thread of its own, whether the servers of these lists can be reached again.
    pub(crate) fn start_probe(&mut self, keys: &[ListKey<'_>]) {
        if self.probe.is_none() {
            self.probe = Probe::start(self.url.clone(), keys.iter().map(ListKey::base).collect());
        }
    }

    /// Whether a probe has come to its end and waits to be [finished](Self::finish_probe).
    pub(crate) fn is_probe_over(&self) -> bool {
        self.probe.as_ref().is_some_and(Probe::is_over)
    }

    /// What a probe found, once it is over; where that is good, its connections are the ones in use.
    pub(crate) fn finish_probe(&mut self) -> Option<Result<(), Trouble>> {
        let over = self.probe.take_if(|probe| probe.is_over())?;
        Some(over.finish().map(|found| {
            self.links = found.links;
            self.routes = found.routes;
        }))
    }

    /// The list that the server is believed to have for a type. Asks only where no connection is open.
    pub(crate) fn current(&mut self, key: &ListKey<'_>, limit: Duration) -> Result<ListId, Trouble> {
        let (place, _) = self.link(key, Instant::now() + limit.min(REDIS_LIMIT))?;
        Ok(self.list_id(key, self.links[place].identity.clone()))
    }

    /// Pops one chunk of the list that is `expected`. Another list is [`Renamed`](Trouble::Renamed).
    pub(crate) fn pop(
        &mut self,
        key: &ListKey<'_>,
        expected: &ListId,
        limit: Duration,
    ) -> Result<Popped, Trouble> {
        type Answer = (Option<String>, i64, u64, i64);
        let build = |list: &str| {
            let turn = turn_of(list);
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("LPOP").arg(list).cmd("LLEN").arg(list).cmd("INCR").arg(&turn);
            pipe.cmd("EXPIRE").arg(turn).arg(UNUSED_KEPT.as_secs());
            pipe
        };
        let (list, (text, level, turn, _)) = self.exchange::<Answer>(key, Some(expected), limit, build)?;
        Ok(Popped { list, text, level, turn })
    }

    /// Pushes chunks, whose numbers nobody else has. Gives the list's new length. Never tried twice: after a failure
    /// that is no [refusal](Trouble::is_refusal) they may be in the list, and the caller must forget them. So must it when another list answered than `expected`:
    /// what was pushed has that one's name.
    pub(crate) fn push(
        &mut self,
        key: &ListKey<'_>,
        expected: &ListId,
        chunks: &[Chunk],
        limit: Duration,
    ) -> Result<(ListId, i64), Trouble> {
        let top = chunks.last().map_or(0, |chunk| chunk.numbers.end);
        let list = key.list(&expected.identity);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("RPUSH").arg(&list);
        for chunk in chunks {
            pipe.arg(chunk.to_string());
        }
        pipe.cmd("EXPIRE").arg(&list).arg(UNUSED_KEPT.as_secs());
        pipe.cmd("ZADD").arg(format!("{}:top", key.base())).arg("GT").arg(top).arg("top");
        pipe.cmd("DEL").arg(format!("{}:filling", key.base()));
        let place = self.link(key, Instant::now() + limit.min(REDIS_LIMIT))?.0;
        let outcome = exchange_once::<(i64, i64, i64, i64)>(&mut self.links[place], &mut pipe, limit);
        match outcome {
            Ok(((length, ..), identity)) => {
                self.links[place].identity = identity.clone();
                Ok((self.list_id(key, identity), length))
            }
            Err(trouble) => {
                self.forget(place);
                Err(trouble)
            }
        }
    }

    /// Looks at a list and keeps it and its count from running out; with `to_fill` it also asks to be the one who fills it.
    /// Tells Redis the end of the highest range that the caller knows to be leased, if that is `known_top` > 0, so that
    /// others learn of it.
    pub(crate) fn survey(
        &mut self,
        key: &ListKey<'_>,
        to_fill: bool,
        known_top: i64,
        limit: Duration,
    ) -> Result<Survey, Trouble> {
        type Answer = (i64, Option<f64>, i64, Option<String>);
        let base = key.base();
        // What follows these answers is done for its effect.
        const ANSWERS: usize = 4;
        let build = |list: &str| {
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("LLEN").arg(list).cmd("ZSCORE").arg(format!("{base}:top")).arg("top");
            pipe.cmd("EXPIRE").arg(list).arg(UNUSED_KEPT.as_secs());
            if to_fill {
                let lease = u64::try_from(FILL_LEASE.as_millis()).unwrap_or(u64::MAX);
                pipe.cmd("SET").arg(format!("{base}:filling")).arg(1).arg("NX").arg("PX").arg(lease);
            } else {
                pipe.cmd("GET").arg(format!("{base}:filling"));
            }
            // A type that is not drawn from keeps its list by these looks alone; the count must not go before it.
            pipe.cmd("EXPIRE").arg(turn_of(list)).arg(UNUSED_KEPT.as_secs());
            if (1..=TOP_EXACT_MAX).contains(&known_top) {
                pipe.cmd("ZADD").arg(format!("{base}:top")).arg("GT").arg(known_top).arg("top");
            }
            pipe
        };
        let (list, mut answers) = self.exchange::<Vec<Value>>(key, None, limit, build)?;
        answers.truncate(ANSWERS);
        let (level, top, _, filling) = read::<Answer>(answers)?;
        // A number above 2^53 is stored rounded to one of 128; what is asked is a bound from above.
        let top = top.filter(|top| (0.0..9.2e18).contains(top)).map_or(0, |top| top as i64);
        Ok(Survey { list, level, top, is_ours_to_fill: to_fill && filling.is_some() })
    }

    /// All that stands in a list, for status.
    pub(crate) fn contents(
        &mut self,
        key: &ListKey<'_>,
        limit: Duration,
    ) -> Result<(ListId, Vec<String>), Trouble> {
        let build = |list: &str| {
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("LRANGE").arg(list).arg(0).arg(-1);
            pipe
        };
        let (list, (texts,)) = self.exchange::<(Vec<String>,)>(key, None, limit, build)?;
        Ok((list, texts))
    }

    /// What the server does when its memory is full, for status.
    pub(crate) fn eviction(&mut self, key: &ListKey<'_>, limit: Duration) -> Result<String, Trouble> {
        let (place, _) = self.link(key, Instant::now() + limit.min(REDIS_LIMIT))?;
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg("memory");
        let outcome = ask(&mut self.links[place].connection, &pipe, Instant::now() + REDIS_LIMIT);
        if outcome.is_err() {
            self.forget(place);
        }
        let (memory,) = read::<(String,)>(outcome?)?;
        Ok(identity::field(&memory, "maxmemory_policy").unwrap_or("unknown").to_owned())
    }

    /// The address of the server that answered last for a type.
    pub(crate) fn address(&self, key: &ListKey<'_>) -> Option<&RedisAddress> {
        let base = key.base();
        self.routes.iter().find(|(name, _)| *name == base).map(|(_, address)| address)
    }

    /// What went wrong, with the address it went wrong at.
    pub(crate) fn failed(&self, key: &ListKey<'_>, doing: &'static str, trouble: &Trouble) -> SerialError {
        let address = match self.address(key) {
            Some(address) => address.to_string(),
            None => self.url.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        SerialError::Redis { address, doing, message: trouble.to_string() }
    }

    /// Runs a `MULTI` on the list's server, once more on a fresh connection if the old one turns out to be broken, and
    /// once more under its new name if the server has become another. What the first one took is lost then.
    fn exchange<T: FromRedisValue>(
        &mut self,
        key: &ListKey<'_>,
        expected: Option<&ListId>,
        limit: Duration,
        build: impl Fn(&str) -> Pipeline,
    ) -> Result<(ListId, T), Trouble> {
        let deadline = Instant::now() + limit.min(REDIS_LIMIT);
        let mut last = Trouble::Answer { what: "its identity changed again and again" };
        for _ in 0..3 {
            let (place, is_fresh) = self.link(key, deadline)?;
            let link = &mut self.links[place];
            if expected.is_some_and(|list| list.identity != link.identity) {
                return Err(Trouble::Renamed);
            }
            let mut pipe = build(&key.list(&link.identity));
            let left = deadline.saturating_duration_since(Instant::now());
            match exchange_once::<T>(link, &mut pipe, left) {
                Ok((answer, identity)) if identity == link.identity => {
                    return Ok((self.list_id(key, identity), answer));
                }
                // It answered as another than the list's name says.
                Ok((_, identity)) => link.identity = identity,
                Err(trouble) => {
                    self.forget(place);
                    if is_fresh || Instant::now() >= deadline {
                        return Err(trouble);
                    }
                    last = trouble;
                }
            }
        }
        Err(last)
    }

    /// The place of an open connection to the list's server, and whether it was opened just now.
    fn link(&mut self, key: &ListKey<'_>, deadline: Instant) -> Result<(usize, bool), Trouble> {
        let base = key.base();
        let known = self.routes.iter().find(|(name, _)| *name == base).map(|(_, address)| address.clone());
        let address = match known {
            Some(address) => address,
            None => {
                let found = place::find(&self.url, &base, deadline)?;
                self.routes.push((base.clone(), found.clone()));
                found
            }
        };
        if let Some(place) = self.links.iter().position(|link| link.address == address) {
            return Ok((place, false));
        }
        match place::connect(&self.url, &address, deadline) {
            Ok(link) => {
                self.links.push(link);
                Ok((self.links.len() - 1, true))
            }
            Err(trouble) => {
                self.routes.retain(|(name, _)| *name != base);
                Err(trouble)
            }
        }
    }

    fn list_id(&self, key: &ListKey<'_>, identity: Identity) -> ListId {
        // The lowest bit says which server, so that figures tell it.
        let tag = tag(&[&key.list(&identity)]) & !1 | self.name.index() as u64;
        ListId { tag, epoch: key.epoch, identity }
    }

    /// Drops a connection after any failure: an answer may still be on its way, and the server may be the wrong one.
    fn forget(&mut self, place: usize) {
        let link = self.links.swap_remove(place);
        self.routes.retain(|(_, address)| *address != link.address);
    }
}

/// Runs a `MULTI` with the reading back of the identity behind it.
fn exchange_once<T: FromRedisValue>(
    link: &mut Link,
    pipe: &mut Pipeline,
    limit: Duration,
) -> Result<(T, Identity), Trouble> {
    pipe.cmd("INFO").arg("server").cmd("INFO").arg("replication");
    let mut answers = ask_at_once(&mut link.connection, pipe, Instant::now() + limit.min(REDIS_LIMIT))?;
    let behind = answers.split_off(answers.len().saturating_sub(2));
    let (server, replication): (String, String) = read(behind)?;
    let identity = Identity::read(&server, &replication)?;
    Ok((read(answers)?, identity))
}

/// Reads the answers to a few commands.
fn read<T: FromRedisValue>(answers: Vec<Value>) -> Result<T, Trouble> {
    Ok(redis::from_redis_value(Value::Array(answers)).map_err(redis::RedisError::from)?)
}
