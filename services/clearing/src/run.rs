//! 30000003: runs clearing for a day.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, params};
use gantry_ledger::{Day, SOURCE, refusal, time};

use crate::report::Report;
use crate::sql;

/// A passage counts for the day on which it happened, and not at all once it is refunded. Run again, the day keeps what
/// was found, and gets what was recorded or refunded since as a further finding: nothing is cleared twice, and nothing
/// that came late is lost.
///
/// Five statements, whatever the day has.
pub(crate) struct RunClearing;

impl Service for RunClearing {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let now_ms = time::now_ms();
        let day = Day::read_past(&body, now_ms)?;
        if context.documents("passages").is_here() {
            return Err(refusal::passages_are_documents());
        }
        let date = day.to_string();
        let sql = context.sql(SOURCE);
        let runs_before = lock(&sql, day, &date)?;
        let values = params![day.from_ms(), day.until_ms(), &date, &date];
        if sql.execute(sql::INSERT_AMOUNTS, values)? == 0 {
            sql.execute(sql::UPDATE_DAY, params![runs_before, &date])?;
        } else {
            sql.execute(sql::UPDATE_RUN_TIME, params![now_ms, &date, runs_before + 1])?;
        }
        let report = Report::read(&sql, &date)?;
        context.reply_json(&report)
    }
}

/// Locks the day with the number of the run that begins; returns how many runs found something before.
fn lock(sql: &Sql<'_>, day: Day, date: &str) -> Result<i64, ServiceError> {
    match sql.query_opt(sql::LOCK_DAY, params![date], |row| row.i64(0))? {
        Some(runs_before) => {
            sql.execute(sql::UPDATE_DAY, params![runs_before + 1, date])?;
            Ok(runs_before)
        }
        None => match sql.execute(sql::INSERT_DAY, params![date, day.from_ms(), day.until_ms(), 1]) {
            // Whoever was faster has committed: the day is there now.
            Err(error) if error.is_unique() => {
                Err(ServiceError::again(format!("another request clears {date} for the first time")))
            }
            other => {
                other?;
                Ok(0)
            }
        },
    }
}
