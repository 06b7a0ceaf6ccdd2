//! What `gantry serial status` shows: how many numbers of each type are where, and why those that are nowhere are gone.
//!
//! Numbers flow from the database to a holder (a Redis list, or a node), from a list to nodes, from a node to callers.
//! Each step is counted where it is made, so what is missing is missing at a place, and the place tells the reason.
//! What living processes hold at this moment, and what a node has done since it last reported, is missing too.

use gantry_datasource::Connection;
use gantry_settings::SerialSettings;
use serde::Serialize;

use crate::account::{Account, read_accounts};
use crate::error::SerialError;
use crate::lease::read_stand;
use crate::limits::{FIGURES_LIMIT, REDIS_LIMIT};
use crate::node::{NodeCache, ServerName};
use crate::redis::{Chunk, ListKey};
use crate::report::DAY_MS;
use crate::serials::SharedSerials;

/// All types and servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SerialStatus {
    /// The name of the database's number space; Redis keys carry it.
    pub space: String,
    /// The configured Redis servers.
    pub servers: Vec<ServerStatus>,
    /// The configured types.
    pub types: Vec<TypeStatus>,
}

/// One configured Redis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerStatus {
    /// Primary or standby.
    pub name: ServerName,
    /// Whether this node uses it.
    pub chosen: bool,
    /// Whether it answered just now.
    pub serving: bool,
    /// The server that answered; with a cluster, that of the first type.
    pub address: Option<String>,
    /// Its run id and replication id.
    pub identity: Option<String>,
    /// `maxmemory-policy`; anything but `noeviction` may throw numbers away, which is a gap.
    pub eviction: Option<String>,
    /// Failures that this node's workers met since it started.
    pub failures: u64,
    /// What it answered instead.
    pub error: Option<String>,
}

/// One type. All figures are counts of numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypeStatus {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How a number is written.
    pub format: String,
    /// Numbers leased at once.
    pub range: i64,
    /// Grows with each `serial raise`.
    pub epoch: u64,
    /// Leased in all.
    pub leased: i64,
    /// Given out.
    pub issued: i64,
    /// Left to be leased.
    pub left: i64,
    /// Leased and waiting in Redis lists.
    pub in_lists: i64,
    /// Leased and waiting in nodes.
    pub in_nodes: i64,
    /// Leased for lists of a Redis that does not answer now.
    pub out_of_reach: i64,
    /// Leased on an average day of the last week; `None` until an hour has passed.
    pub per_day: Option<f64>,
    /// Days until the last number, at that rate.
    pub days_left: Option<f64>,
    /// Leased, and never to be given out: the sum of `gaps`.
    pub lost: i64,
    /// Where and why.
    pub gaps: Vec<Gap>,
}

/// Numbers that will never be given out, or that nobody counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// How many.
    pub numbers: i64,
    /// Where they were last: `list …`, `node …`, `process`, `raise`.
    pub place: String,
    /// Why they are gone.
    pub reason: String,
    /// When that was found, in milliseconds since 1970; `None` where it is not one moment.
    pub at_ms: Option<i64>,
}

/// Collects all figures. With `node` its own are written to the database first; other nodes' are at most
/// [`REPORT_PERIOD`](crate::limits::REPORT_PERIOD) old. `connection` may write and has no transaction open. Blocks for
/// some statements, and for a silent Redis at most [`REDIS_LIMIT`] for each type.
///
/// # Errors
/// [`Figures`](SerialError::Figures), [`Source`](SerialError::Source), [`NoSpace`](SerialError::NoSpace), and what
/// [`SharedSerials::of_worker`] says of the settings. A Redis that does not answer is no error.
pub fn status(
    connection: &mut dyn Connection,
    settings: &SerialSettings,
    node: Option<NodeCache<'_>>,
    now_ms: i64,
) -> Result<SerialStatus, SerialError> {
    let mut serials = SharedSerials::of_visitor(settings, node)?;
    serials.attach(connection, FIGURES_LIMIT)?;
    serials.report(connection, now_ms)?;
    let mut servers = serials.servers();
    let mut types = Vec::with_capacity(serials.kinds.len());
    for index in 0..serials.kinds.len() {
        types.push(serials.type_status(connection, index, &mut servers, now_ms)?);
    }
    Ok(SerialStatus { space: serials.space.unwrap_or_default(), servers, types })
}

/// Lists as they stand: the tag and the numbers of each that can be reached.
pub(crate) struct Standing {
    pub(crate) lists: Vec<(u64, i64)>,
    /// For each server whether it answered; `None` = it is not configured.
    pub(crate) answered: [Option<bool>; 2],
}

impl SharedSerials<'_> {
    fn servers(&self) -> Vec<ServerStatus> {
        let chosen = self.node.as_ref().map_or(ServerName::Primary, NodeCache::chosen);
        let configured = ServerName::ALL.into_iter().filter(|name| self.lists[name.index()].is_some());
        let of = |name: ServerName| ServerStatus {
            name,
            chosen: name == chosen,
            serving: true,
            address: None,
            identity: None,
            eviction: None,
            failures: self.failures(name),
            error: None,
        };
        configured.map(of).collect()
    }

    fn type_status(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        servers: &mut [ServerStatus],
        now_ms: i64,
    ) -> Result<TypeStatus, SerialError> {
        let name = self.kinds[index].name.clone();
        let stand = read_stand(connection, &name, FIGURES_LIMIT)?;
        let (next, epoch) = stand.map_or((1, 0), |stand| (stand.next, stand.epoch));
        let standing = self.look(index, epoch, servers);
        let accounts = read_accounts(connection, &name)?;
        let current = self.node.as_ref().map(NodeCache::node);
        let account = Account::close(&accounts, &standing, current, next - 1);
        let kind = &self.kinds[index];
        let left = (kind.number_max() - next + 1).max(0);
        let per_day = accounts
            .since
            .filter(|(_, at_ms)| now_ms - at_ms >= DAY_MS / 24)
            .map(|(from, at_ms)| (next - from) as f64 * DAY_MS as f64 / (now_ms - at_ms) as f64);
        Ok(TypeStatus {
            format: kind.format.as_str().to_owned(),
            range: kind.range,
            epoch,
            leased: next - 1,
            issued: account.issued,
            left,
            in_lists: account.in_lists,
            in_nodes: account.in_nodes,
            out_of_reach: account.out_of_reach,
            per_day,
            days_left: per_day.filter(|rate| *rate > 0.0).map(|rate| left as f64 / rate),
            lost: account.gaps.iter().map(|gap| gap.numbers).sum(),
            gaps: account.gaps,
            kind: name,
        })
    }

    /// Counts what stands in a type's lists.
    fn look(&mut self, index: usize, epoch: u64, servers: &mut [ServerStatus]) -> Standing {
        let mut standing = Standing { lists: Vec::new(), answered: [None, None] };
        let Self { kinds, lists, space, .. } = self;
        let Some(space) = space.as_deref() else { return standing };
        let kind = &kinds[index];
        let key = ListKey { space, kind: &kind.name, epoch };
        for lists in lists.iter_mut().flatten() {
            let place = lists.name.index();
            let server = servers.iter_mut().find(|server| server.name == lists.name);
            match lists.contents(&key, REDIS_LIMIT) {
                Ok((list, texts)) => {
                    standing.answered[place] = Some(true);
                    let number_max = kind.number_max();
                    let chunks = texts.iter().filter_map(|text| Chunk::read(text, number_max));
                    let numbers = chunks.map(|chunk| chunk.numbers.end - chunk.numbers.start).sum();
                    standing.lists.push((list.tag, numbers));
                    if let Some(server) = server
                        && server.identity.is_none()
                    {
                        server.identity = Some(list.identity.to_string());
                        server.address = lists.address(&key).map(ToString::to_string);
                        server.eviction = lists.eviction(&key, REDIS_LIMIT).ok();
                    }
                }
                Err(trouble) => {
                    standing.answered[place] = Some(false);
                    if let Some(server) = server {
                        server.serving = false;
                        server.error = Some(lists.failed(&key, "look at a list", &trouble).to_string());
                    }
                }
            }
        }
        standing
    }
}
