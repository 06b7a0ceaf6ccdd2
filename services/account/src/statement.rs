//! 10000004: the statement of an account, newest first.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{Cursor, List, Page, SOURCE, request, time};
use serde::Serialize;

use crate::balance::read_balance;
use crate::sql;

pub(crate) struct Statement;

#[derive(Serialize)]
struct Found {
    entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A movement; `at` is when it was booked, and the balance is the one after it.
#[derive(Serialize)]
struct Entry {
    #[serde(skip)]
    movement_no: i64,
    at: String,
    kind: String,
    amount: i64,
    balance: i64,
    serial: String,
}

impl Service for Statement {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let account = request::id(&body, "account")?;
        let page = Page::read(&body)?;
        let [movement_no] = page.after(List::Statement, 0)?.numbers;

        let sql = context.sql(SOURCE);
        let values = params![&account, movement_no, page.rows_count()];
        let mut entries = sql.query_all(sql::SELECT_STATEMENT, values, |row| {
            Ok(Entry {
                movement_no: row.i64(0)?,
                at: time::format(row.i64(1)?)?,
                kind: row.text(2)?.to_owned(),
                amount: row.i64(3)?,
                balance: row.i64(4)?,
                serial: row.text(5)?.to_owned(),
            })
        })?;
        if entries.is_empty() {
            // Nothing (more) on an account, or no such account: only here is it worth a statement.
            read_balance(&sql, &account)?;
        }
        let next = page.cut(&mut entries, |last| Cursor::encode(List::Statement, [last.movement_no], ""));
        context.reply_json(&Found { entries, next })
    }
}
