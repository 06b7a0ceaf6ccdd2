//! 10000007: the trial balance.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::SOURCE;
use serde::Serialize;

use crate::sql;

pub(crate) struct TrialBalance;

#[derive(Serialize)]
struct Found {
    debit: i64,
    credit: i64,
}

impl Service for TrialBalance {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        Body::read(request)?;
        let found = context.sql(SOURCE).query_one(sql::SELECT_TRIAL_BALANCE, params![], |row| {
            Ok(Found { debit: row.i64(0)?, credit: row.i64(1)? })
        })?;
        context.reply_json(&found)
    }
}
