//! The tables' shape and every statement on them.

use crate::error::RegistryError;
use crate::history::{Action, Event};
use crate::limits::{EVENTS_MAX, SERVICES_TOTAL_MAX, STATEMENT_LIMIT};
use crate::record::{Canary, LibraryRecord, Policy, Rule, ServiceKind, ServiceRecord};
use gantry_datasource::{Connection, Migration, ResultSet, ValueRef};
use std::path::PathBuf;

/// The owner of the tables' steps in `gantry_migration`.
pub(crate) const OWNER: &str = "platform/registry";

pub(crate) const MIGRATIONS: &[Migration<'_>] = &[
    Migration { version: 1, sql: TABLES },
    Migration { version: 2, sql: HISTORY },
    Migration { version: 3, sql: CANARY },
    Migration { version: 4, sql: LEFT },
];

/// What the operator set for services that the build in force does not have; another build of their library may bring
/// them back.
const LEFT: &str = "\
CREATE TABLE gantry_service_left (
  number INTEGER NOT NULL PRIMARY KEY,
  library VARCHAR(64) NOT NULL,
  enabled INTEGER NOT NULL,
  policy VARCHAR(8) NOT NULL,
  rule_concurrency INTEGER,
  rule_rate DOUBLE PRECISION,
  rule_burst INTEGER,
  rule_threshold DOUBLE PRECISION,
  rule_refuse INTEGER NOT NULL,
  rule_timeout_ms INTEGER,
  rule_policy VARCHAR(8)
);
";

/// `canary_ppm`: the share of the requests that it is tried on; 0: it is no canary.
const CANARY: &str = "\
ALTER TABLE gantry_library ADD COLUMN canary_ppm INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gantry_library ADD COLUMN canary_promote_after_ms BIGINT;
";

/// `set_aside`: an operator rolled it back, so a later roll-back passes it over.
const HISTORY: &str = "\
ALTER TABLE gantry_library ADD COLUMN set_aside INTEGER NOT NULL DEFAULT 0;
CREATE TABLE gantry_history (
  id INTEGER NOT NULL PRIMARY KEY,
  at_ms BIGINT NOT NULL,
  asker VARCHAR(64) NOT NULL,
  action VARCHAR(16) NOT NULL,
  library VARCHAR(64) NOT NULL,
  number INTEGER,
  version VARCHAR(32) NOT NULL,
  build VARCHAR(64) NOT NULL,
  before VARCHAR(100) NOT NULL,
  why VARCHAR(400) NOT NULL
);
CREATE INDEX gantry_history_library ON gantry_history (library, id);
";

const TABLES: &str = "\
CREATE TABLE gantry_registry (id INTEGER NOT NULL PRIMARY KEY, generation BIGINT NOT NULL);
INSERT INTO gantry_registry (id, generation) VALUES (1, 0);
CREATE TABLE gantry_library (
  name VARCHAR(64) NOT NULL,
  version VARCHAR(32) NOT NULL,
  build VARCHAR(64) NOT NULL,
  file VARCHAR(1000) NOT NULL,
  deployed_ms BIGINT NOT NULL,
  active INTEGER NOT NULL,
  PRIMARY KEY (name, build)
);
CREATE TABLE gantry_service (
  number INTEGER NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  library VARCHAR(64) NOT NULL,
  kind VARCHAR(8) NOT NULL,
  enabled INTEGER NOT NULL,
  timeout_ms INTEGER NOT NULL,
  policy VARCHAR(8) NOT NULL,
  version VARCHAR(32) NOT NULL,
  build VARCHAR(64) NOT NULL,
  idempotent INTEGER NOT NULL,
  description VARCHAR(400) NOT NULL,
  example VARCHAR(4000) NOT NULL,
  example_reply VARCHAR(4000) NOT NULL,
  sources VARCHAR(1100) NOT NULL,
  quarantined INTEGER NOT NULL,
  rule_concurrency INTEGER,
  rule_rate DOUBLE PRECISION,
  rule_burst INTEGER,
  rule_threshold DOUBLE PRECISION,
  rule_refuse INTEGER NOT NULL,
  rule_timeout_ms INTEGER,
  rule_policy VARCHAR(8),
  library_timeout_ms INTEGER NOT NULL
);
CREATE INDEX gantry_service_library ON gantry_service (library);
";

pub(crate) const SELECT_GENERATION: &str = "SELECT generation FROM gantry_registry WHERE id = 1";
pub(crate) const RAISE_GENERATION: &str =
    "UPDATE gantry_registry SET generation = generation + 1 WHERE id = 1";

const SELECT_LIBRARIES: &str = "SELECT name, version, build, file, deployed_ms, active, set_aside, \
     canary_ppm, canary_promote_after_ms FROM gantry_library \
     ORDER BY name, active DESC, deployed_ms DESC, build";
pub(crate) const DEACTIVATE_LIBRARY: &str = "UPDATE gantry_library SET active = 0 WHERE name = ?";
pub(crate) const UPDATE_LIBRARY: &str = "UPDATE gantry_library SET version = ?, file = ?, deployed_ms = ?, \
     active = 1, set_aside = 0, canary_ppm = 0, canary_promote_after_ms = NULL WHERE name = ? AND build = ?";
pub(crate) const INSERT_LIBRARY: &str = "INSERT INTO gantry_library \
     (version, file, deployed_ms, name, build, active) VALUES (?, ?, ?, ?, ?, 1)";
pub(crate) const DELETE_LIBRARY: &str =
    "DELETE FROM gantry_library WHERE name = ? AND build = ? AND active = 0";

pub(crate) const INSERT_CANARY: &str = "INSERT INTO gantry_library \
     (version, file, deployed_ms, canary_ppm, canary_promote_after_ms, name, build, active) VALUES (?, ?, ?, ?, ?, ?, ?, 0)";
pub(crate) const UPDATE_CANARY: &str = "UPDATE gantry_library SET version = ?, file = ?, deployed_ms = ?, \
     canary_ppm = ?, canary_promote_after_ms = ?, set_aside = 0 WHERE name = ? AND build = ?";
pub(crate) const END_CANARY: &str =
    "UPDATE gantry_library SET canary_ppm = 0, canary_promote_after_ms = NULL WHERE name = ?";

pub(crate) const SET_LIBRARY_ASIDE: &str =
    "UPDATE gantry_library SET set_aside = 1 WHERE name = ? AND build = ?";
pub(crate) const RESTORE_LIBRARY: &str =
    "UPDATE gantry_library SET set_aside = 0 WHERE name = ? AND build = ?";
/// What came after a build.
pub(crate) const SET_LATER_ASIDE: &str = "UPDATE gantry_library SET set_aside = 1 WHERE name = ? AND deployed_ms > \
     (SELECT target.deployed_ms FROM gantry_library AS target WHERE target.name = ? AND target.build = ?)";

const INSERT_EVENT: &str = "INSERT INTO gantry_history \
     (id, at_ms, asker, action, library, number, version, build, before, why) \
     SELECT COALESCE(MAX(id), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM gantry_history";
/// The newest stay: an event is some hundred bytes, and an operator makes a few a day.
const DELETE_EVENTS: &str = "DELETE FROM gantry_history WHERE library = ? AND id NOT IN \
     (SELECT id FROM gantry_history WHERE library = ? ORDER BY id DESC {limit ?})";
const SELECT_EVENTS: &str = "SELECT at_ms, asker, action, library, number, version, build, before, why \
     FROM gantry_history WHERE library = ? ORDER BY id DESC {limit ?}";

const SELECT_SERVICES: &str = "SELECT number, name, library, kind, enabled, timeout_ms, policy, version, build, \
     idempotent, description, example, sources, quarantined, rule_concurrency, rule_rate, rule_burst, \
     rule_threshold, rule_refuse, rule_timeout_ms, rule_policy, example_reply FROM gantry_service ORDER BY number";
pub(crate) const INSERT_SERVICE: &str = "INSERT INTO gantry_service (name, library, kind, version, build, \
     idempotent, description, example, example_reply, sources, library_timeout_ms, timeout_ms, number, enabled, \
     policy, quarantined, rule_refuse) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 'kill', 0, 0)";
/// Its parameters are those of [`INSERT_SERVICE`]. What the operator set stays.
pub(crate) const UPDATE_SERVICE: &str = "UPDATE gantry_service SET name = ?, library = ?, kind = ?, version = ?, \
     build = ?, idempotent = ?, description = ?, example = ?, example_reply = ?, sources = ?, library_timeout_ms = ?, \
     timeout_ms = COALESCE(rule_timeout_ms, ?), quarantined = 0 WHERE number = ?";
/// Before [`DELETE_SERVICE`], where another build of the library may bring the service back.
pub(crate) const KEEP_SETTINGS: &str = "INSERT INTO gantry_service_left (number, library, enabled, policy, \
     rule_concurrency, rule_rate, rule_burst, rule_threshold, rule_refuse, rule_timeout_ms, rule_policy) \
     SELECT number, library, enabled, policy, rule_concurrency, rule_rate, rule_burst, rule_threshold, rule_refuse, \
     rule_timeout_ms, rule_policy FROM gantry_service WHERE number = ?";
/// After [`INSERT_SERVICE`], for its number and library.
pub(crate) const TAKE_SETTINGS: &str = "UPDATE gantry_service SET (enabled, policy, rule_concurrency, rule_rate, \
     rule_burst, rule_threshold, rule_refuse, rule_timeout_ms, rule_policy) = (SELECT enabled, policy, \
     rule_concurrency, rule_rate, rule_burst, rule_threshold, rule_refuse, rule_timeout_ms, rule_policy \
     FROM gantry_service_left AS kept WHERE kept.number = gantry_service.number) \
     WHERE number = ? AND EXISTS (SELECT 1 FROM gantry_service_left AS kept \
     WHERE kept.number = gantry_service.number AND kept.library = gantry_service.library)";
/// Of a number that is served again, by whichever library.
pub(crate) const FORGET_SETTINGS: &str = "DELETE FROM gantry_service_left WHERE number = ?";
pub(crate) const FORGET_LIBRARY_SETTINGS: &str = "DELETE FROM gantry_service_left WHERE library = ?";
pub(crate) const DELETE_SERVICE: &str = "DELETE FROM gantry_service WHERE number = ?";
pub(crate) const UPDATE_STATE: &str =
    "UPDATE gantry_service SET enabled = ?, quarantined = ? WHERE number = ?";
pub(crate) const UPDATE_RULE: &str = "UPDATE gantry_service SET rule_concurrency = ?, rule_rate = ?, \
     rule_burst = ?, rule_threshold = ?, rule_refuse = ?, rule_timeout_ms = ?, rule_policy = ?, policy = ? \
     WHERE number = ?";
/// After [`UPDATE_RULE`]: the operator's time-out, or else the library's.
pub(crate) const UPDATE_TIMEOUT: &str =
    "UPDATE gantry_service SET timeout_ms = COALESCE(rule_timeout_ms, library_timeout_ms) WHERE number = ?";

/// Rows of `gantry_library`: each service's library with its history.
const LIBRARIES_MAX: usize = SERVICES_TOTAL_MAX;

pub(crate) fn read_generation(connection: &mut dyn Connection) -> Result<u64, RegistryError> {
    let rows = connection.query(SELECT_GENERATION, &[], 1, STATEMENT_LIMIT)?;
    rows.get(0, 0)
        .and_then(ValueRef::as_i64)
        .and_then(|generation| u64::try_from(generation).ok())
        .ok_or(RegistryError::Damaged { table: "gantry_registry", row: 0 })
}

pub(crate) fn read_libraries(connection: &mut dyn Connection) -> Result<Vec<LibraryRecord>, RegistryError> {
    let rows = connection.query(SELECT_LIBRARIES, &[], LIBRARIES_MAX, STATEMENT_LIMIT)?;
    (0..rows.rows())
        .map(|row| {
            let cells = Cells { rows: &rows, row };
            read_library(&cells).ok_or(RegistryError::Damaged { table: "gantry_library", row })
        })
        .collect()
}

pub(crate) fn read_services(connection: &mut dyn Connection) -> Result<Vec<ServiceRecord>, RegistryError> {
    let rows = connection.query(SELECT_SERVICES, &[], SERVICES_TOTAL_MAX, STATEMENT_LIMIT)?;
    (0..rows.rows())
        .map(|row| {
            let cells = Cells { rows: &rows, row };
            read_service(&cells).ok_or(RegistryError::Damaged { table: "gantry_service", row })
        })
        .collect()
}

pub(crate) fn write_event(connection: &mut dyn Connection, event: &Event) -> Result<(), RegistryError> {
    let library = event.library.as_str();
    let params = [
        event.at_ms.into(),
        event.asker.as_str().into(),
        event.action.name().into(),
        library.into(),
        event.number.into(),
        event.version.as_str().into(),
        event.build.as_str().into(),
        event.before.as_str().into(),
        event.why.as_str().into(),
    ];
    connection.execute(INSERT_EVENT, &params, STATEMENT_LIMIT)?;
    let kept = EVENTS_MAX as i64;
    connection.execute(DELETE_EVENTS, &[library.into(), library.into(), kept.into()], STATEMENT_LIMIT)?;
    Ok(())
}

pub(crate) fn read_events(
    connection: &mut dyn Connection,
    library: &str,
) -> Result<Vec<Event>, RegistryError> {
    let params = [library.into(), (EVENTS_MAX as i64).into()];
    let rows = connection.query(SELECT_EVENTS, &params, EVENTS_MAX, STATEMENT_LIMIT)?;
    let event = |row| {
        let cells = Cells { rows: &rows, row };
        read_event(&cells).ok_or(RegistryError::Damaged { table: "gantry_history", row })
    };
    (0..rows.rows()).map(event).collect()
}

fn read_event(cells: &Cells<'_>) -> Option<Event> {
    let action = cells.text(2)?;
    Some(Event {
        at_ms: cells.value(0).as_i64()?,
        asker: cells.text(1)?,
        action: Action::ALL.into_iter().find(|known| known.name() == action)?,
        library: cells.text(3)?,
        number: cells.optional(4, as_u32)?,
        version: cells.text(5)?,
        build: cells.text(6)?,
        before: cells.text(7)?,
        why: cells.text(8)?,
    })
}

fn read_library(cells: &Cells<'_>) -> Option<LibraryRecord> {
    Some(LibraryRecord {
        name: cells.text(0)?,
        version: cells.text(1)?,
        build: cells.text(2)?,
        file: PathBuf::from(cells.text(3)?),
        deployed_ms: cells.value(4).as_i64()?,
        active: cells.flag(5)?,
        set_aside: cells.flag(6)?,
        canary: read_canary(cells)?,
    })
}

fn read_canary(cells: &Cells<'_>) -> Option<Option<Canary>> {
    let share_ppm = cells.number(7)?;
    let promote_after_ms = cells.optional(8, |value| value.as_i64().and_then(|ms| u64::try_from(ms).ok()))?;
    Some((share_ppm > 0).then_some(Canary { share_ppm, promote_after_ms }))
}

fn read_service(cells: &Cells<'_>) -> Option<ServiceRecord> {
    let policy = |name: &str| Policy::ALL.into_iter().find(|policy| policy.name() == name);
    let sources = cells.text(12)?;
    Some(ServiceRecord {
        number: cells.number(0)?,
        name: cells.text(1)?,
        library: cells.text(2)?,
        kind: ServiceKind::ALL.into_iter().find(|kind| cells.value(3).as_text() == Some(kind.name()))?,
        enabled: cells.flag(4)?,
        timeout_ms: cells.number(5)?,
        policy: policy(cells.value(6).as_text()?)?,
        version: cells.text(7)?,
        build: cells.text(8)?,
        idempotent: cells.flag(9)?,
        description: cells.text(10)?,
        example: cells.text(11)?,
        example_reply: cells.text(21)?,
        sources: sources.split(',').filter(|source| !source.is_empty()).map(str::to_owned).collect(),
        quarantined: cells.flag(13)?,
        rule: Rule {
            concurrency: cells.optional(14, as_u32)?,
            rate: cells.optional(15, |value| value.as_f64())?,
            burst: cells.optional(16, as_u32)?,
            threshold: cells.optional(17, |value| value.as_f64())?,
            refuse: cells.flag(18)?,
            timeout_ms: cells.optional(19, as_u32)?,
            policy: cells.optional(20, |value| value.as_text().and_then(policy))?,
        },
    })
}

/// One row, read with the types that were written. `None` means that something else was.
struct Cells<'a> {
    rows: &'a ResultSet,
    row: usize,
}

impl Cells<'_> {
    fn value(&self, column: usize) -> ValueRef<'_> {
        self.rows.value(self.row, column)
    }

    fn text(&self, column: usize) -> Option<String> {
        self.value(column).as_text().map(str::to_owned)
    }

    fn number(&self, column: usize) -> Option<u32> {
        as_u32(self.value(column))
    }

    fn flag(&self, column: usize) -> Option<bool> {
        match self.value(column).as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn optional<T>(&self, column: usize, read: impl Fn(ValueRef<'_>) -> Option<T>) -> Option<Option<T>> {
        let value = self.value(column);
        if value.is_null() { Some(None) } else { read(value).map(Some) }
    }
}

fn as_u32(value: ValueRef<'_>) -> Option<u32> {
    value.as_i64().and_then(|number| u32::try_from(number).ok())
}
