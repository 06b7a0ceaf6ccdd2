//! A counter in the database: shows whether a write took effect once.

use gantry_abi::json::Body;
use gantry_abi::{
    Context, CreateError, GantryMigration, Host, Row, Service, ServiceError, Sql, SqlError, migration, params,
};
use gantry_ledger::request;
use serde_json::json;

/// Where the counters are.
const SOURCE: &str = "main";

/// Longest key, in bytes: the width of its column.
const KEY_BYTES_MAX: usize = 64;

/// The table. `counter_key`, because `key` is a reserved word in MariaDB.
pub(crate) const TABLE: GantryMigration = migration(
    SOURCE,
    "diag",
    1,
    "CREATE TABLE diag_counter (\
     counter_key VARCHAR(64) NOT NULL PRIMARY KEY, \
     counter_value BIGINT NOT NULL)",
);

const READ: &str = "SELECT counter_value FROM diag_counter WHERE counter_key = ?";
const READ_AND_LOCK: &str = "SELECT counter_value FROM diag_counter WHERE counter_key = ? {for update}";
const INSERT: &str = "INSERT INTO diag_counter (counter_key, counter_value) VALUES (?, ?)";
const UPDATE: &str = "UPDATE diag_counter SET counter_value = ? WHERE counter_key = ?";

/// 29000004: `{"key":s,"add":n}` → `{"value":n}`.
pub(crate) struct CounterAdd;

impl Service for CounterAdd {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let key = key_of(&body)?;
        let add = request::whole(&body, "add", i64::MIN..=i64::MAX)?;
        let sql = context.sql(SOURCE);
        let found = value_of(&sql, READ_AND_LOCK, &key)?;
        let value = found.unwrap_or(0).checked_add(add).ok_or_else(|| {
            ServiceError::bad_request("add", "the sum would be outside the range of 64-bit integers")
        })?;
        if found.is_some() {
            sql.execute(UPDATE, params![value, &key])?;
        } else {
            sql.execute(INSERT, params![&key, value])?;
        }
        context.reply_json(&json!({ "value": value }))
    }
}

/// 19000004: `{"key":s}` → `{"value":n}`.
pub(crate) struct CounterRead;

impl Service for CounterRead {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let key = key_of(&Body::read(request)?)?;
        let value = value_of(&context.sql(SOURCE), READ, &key)?.unwrap_or(0);
        context.reply_json(&json!({ "value": value }))
    }
}

fn key_of(body: &Body<'_>) -> Result<String, ServiceError> {
    let key = request::free_text(body, "key")?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
        let message = format!("`key` must have 1 to {KEY_BYTES_MAX} bytes and no zero byte");
        return Err(ServiceError::bad_request("key", message));
    }
    Ok(key)
}

fn value_of(sql: &Sql<'_>, text: &str, key: &String) -> Result<Option<i64>, SqlError> {
    sql.query_opt(text, params![key], |row: &Row<'_>| row.i64(0))
}
