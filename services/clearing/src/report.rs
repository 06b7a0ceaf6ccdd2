//! 10000006: the clearing report.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, SqlError, params};
use gantry_ledger::{Day, SOURCE};
use serde::Serialize;

use crate::sql;

/// A day that was never cleared has no operators and a total of 0.
pub(crate) struct ClearingReport;

/// What was found for a day, operators by their codes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    operators: Vec<Operator>,
    total: i64,
}

#[derive(Debug, Serialize)]
struct Operator {
    operator: String,
    count: i64,
    amount: i64,
}

impl Service for ClearingReport {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let day = Day::read(&Body::read(request)?)?;
        let report = Report::read(&context.sql(SOURCE), &day.to_string())?;
        context.reply_json(&report)
    }
}

impl Report {
    pub(crate) fn read(sql: &Sql<'_>, date: &str) -> Result<Self, SqlError> {
        let operators = sql.query_all(sql::SELECT_REPORT, params![date], |row| {
            Ok(Operator { operator: row.text(0)?.to_owned(), count: row.i64(1)?, amount: row.i64(2)? })
        })?;
        let total = operators.iter().map(|operator| operator.amount).sum();
        Ok(Self { operators, total })
    }
}
