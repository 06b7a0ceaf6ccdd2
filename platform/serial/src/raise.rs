//! After the database was restored from a backup: lifts the ranges above everything that was leased before.

use std::time::Duration;

use gantry_datasource::Connection;
use gantry_settings::SerialSettings;
use gantry_sys::clock;
use serde::Serialize;

use crate::error::SerialError;
use crate::lease::{failed, insert_kind, note_holder, read_stand, within};
use crate::limits::{FIGURES_LIMIT, LEASE_TRIES_MAX, REDIS_LIMIT};
use crate::node::{NodeCache, ServerName};
use crate::redis::{ListKey, TOP_EXACT_MAX};
use crate::serials::SharedSerials;

/// The holder of numbers that a raise stepped over.
pub(crate) const HOLDER_RAISE: &str = "raise";
const UPDATE: &str = "UPDATE gantry_serial SET next_value = ?, epoch = ?, leased_ms = ? \
     WHERE kind = ? AND next_value = ? AND epoch = ?";
/// When it was last stepped over some.
const NOTE_TIME: &str = "UPDATE gantry_serial_holder SET ended_ms = ? WHERE kind = ? AND holder = ?";

/// What was done for one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The number that would have been leased next.
    pub next_before: i64,
    /// The number that is leased next.
    pub next_after: i64,
    /// The new epoch; ranges of earlier ones are not given out any more.
    pub epoch: u64,
    /// Who knew the highest number: `database`, `node`, `primary`, `standby`, `above`.
    pub known_by: &'static str,
    /// What could not be asked: the numbers it knows may be higher, so look at the services' tables, and raise again
    /// with `above`.
    pub not_asked: Vec<String>,
}

/// Lifts `kind`, or all types, above everything that the node's memory, the Redis servers and the caller know of
/// (`above`: the highest number that is known to be issued), and begins a new epoch, so that whatever was leased from the restored
/// database until now is thrown away by this node at once and by others within
/// [`CHECK_PERIOD`](crate::limits::CHECK_PERIOD).
///
/// It never lowers anything, so it can be repeated; each time costs the numbers that nodes and lists hold. Best
/// done before the nodes are started again: numbers that were drawn between the restoring and this are out already. Not inside a
/// transaction. Blocks for some statements and at most [`REDIS_LIMIT`] for each type and Redis.
///
/// # Errors
/// [`UnknownKind`](SerialError::UnknownKind), [`Exhausted`](SerialError::Exhausted) when `above` is beyond the last number,
/// [`Source`](SerialError::Source), [`NoSpace`](SerialError::NoSpace). Types before the one that failed are raised.
pub fn raise(
    connection: &mut dyn Connection,
    settings: &SerialSettings,
    node: Option<NodeCache<'_>>,
    kind: Option<&str>,
    above: Option<i64>,
) -> Result<Vec<Raised>, SerialError> {
    let mut serials = SharedSerials::of_visitor(settings, node)?;
    serials.attach(connection, FIGURES_LIMIT)?;
    let wanted: Vec<usize> = match kind {
        Some(kind) => vec![serials.find(kind)?],
        None => (0..serials.kinds.len()).collect(),
    };
    wanted.into_iter().map(|index| serials.raise_kind(connection, index, above)).collect()
}

/// Lets all workers of a node use another Redis from their next draw on.
///
/// # Errors
/// [`NoServer`](SerialError::NoServer) when it is not configured.
pub fn switch(node: &NodeCache<'_>, settings: &SerialSettings, to: ServerName) -> Result<(), SerialError> {
    let url = match to {
        ServerName::Primary => &settings.redis,
        ServerName::Standby => &settings.standby,
    };
    if url.is_empty() {
        let server = match to {
            ServerName::Primary => "redis",
            ServerName::Standby => "standby",
        };
        return Err(SerialError::NoServer { server });
    }
    node.choose(to);
    Ok(())
}

impl SharedSerials<'_> {
    fn raise_kind(
        &mut self,
        connection: &mut dyn Connection,
        index: usize,
        above: Option<i64>,
    ) -> Result<Raised, SerialError> {
        let (mut highest, mut known_by, mut not_asked) = (1, "database", Vec::new());
        let mut learn = |end: i64, by: &'static str| {
            if end > highest {
                (highest, known_by) = (end, by);
            }
        };
        let shared = self.kinds[index].shared;
        learn(shared.map_or(0, |shared| shared.top()), "node");
        learn(above.map_or(0, |above| above.saturating_add(1)), "above");
        let Self { kinds, lists, space, .. } = self;
        let key = ListKey { space: space.as_deref().unwrap_or_default(), kind: &kinds[index].name, epoch: 0 };
        for lists in lists.iter_mut().flatten() {
            match lists.survey(&key, false, 0, REDIS_LIMIT) {
                Ok(survey) => learn(round_up(survey.top), lists.name.as_str()),
                Err(trouble) => {
                    not_asked.push(lists.failed(&key, "ask for its highest number", &trouble).to_string())
                }
            }
        }
        let (next_before, next_after, epoch) = self.lift(connection, index, highest)?;
        if let Some(shared) = shared {
            shared.learn_epoch(epoch);
            shared.learn_top(next_after);
        }
        let known_by = if next_after > highest || next_after == next_before { "database" } else { known_by };
        Ok(Raised {
            kind: self.kinds[index].name.clone(),
            next_before,
            next_after,
            epoch,
            known_by,
            not_asked,
        })
    }

    fn lift(
        &self,
        connection: &mut dyn Connection,
        index: usize,
        highest: i64,
    ) -> Result<(i64, i64, u64), SerialError> {
        let kind = &self.kinds[index];
        let name = kind.name.as_str();
        let number_max = kind.number_max();
        if highest > number_max.saturating_add(1) {
            let needed = highest.unsigned_abs();
            return Err(SerialError::Exhausted { kind: name.to_owned(), number_max, needed, left: 0 });
        }
        let known_epoch = kind.shared.map_or(0, |shared| shared.epoch());
        let now_ms = i64::try_from(clock::realtime_ms()).unwrap_or(i64::MAX);
        let limit: Duration = FIGURES_LIMIT;
        within(
            connection,
            limit,
            |cause| failed(name, cause),
            |connection| {
                for _ in 0..LEASE_TRIES_MAX {
                    let Some(stand) = read_stand(connection, name, limit)? else {
                        insert_kind(connection, name, now_ms, limit)?;
                        continue;
                    };
                    let next = stand.next.max(highest);
                    let epoch = stand.epoch.max(known_epoch).saturating_add(1);
                    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                    let params = [
                        next.into(),
                        number(epoch).into(),
                        now_ms.into(),
                        name.into(),
                        stand.next.into(),
                        number(stand.epoch).into(),
                    ];
                    let changed =
                        connection.execute(UPDATE, &params, limit).map_err(|cause| failed(name, cause))?;
                    if changed == 1 {
                        if next > stand.next {
                            note_holder(connection, name, HOLDER_RAISE, next - stand.next, now_ms, limit)
                                .map_err(|cause| failed(name, cause))?;
                            connection
                                .execute(NOTE_TIME, &[now_ms.into(), name.into(), HOLDER_RAISE.into()], limit)
                                .map_err(|cause| failed(name, cause))?;
                        }
                        return Ok((stand.next, next, epoch));
                    }
                }
                Err(SerialError::Damaged { kind: name.to_owned() })
            },
        )
    }
}

/// Redis keeps what it remembers as a float: above 2^53 it may stand a little lower than what was told it.
fn round_up(top: i64) -> i64 {
    const STEP_MAX: i64 = 128;
    if top > TOP_EXACT_MAX { top.saturating_add(STEP_MAX) } else { top }
}
