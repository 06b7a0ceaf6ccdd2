//! 10000002: the balance of an account.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, params};
use gantry_ledger::{SOURCE, refusal, request};
use serde::Serialize;

use crate::sql;

pub(crate) struct Balance;

#[derive(Serialize)]
struct Found {
    balance: i64,
}

impl Service for Balance {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let account = request::id(&Body::read(request)?, "account")?;
        let balance = read_balance(&context.sql(SOURCE), &account)?;
        context.reply_json(&Found { balance })
    }
}

/// The balance of an account in fen, or `account_unknown`.
pub(crate) fn read_balance(sql: &Sql<'_>, account: &str) -> Result<i64, ServiceError> {
    sql.query_opt(sql::SELECT_BALANCE, params![account], |row| row.i64(0))?
        .ok_or_else(|| refusal::account_unknown(account))
}
