//! 10000003: the passages of a card, newest first.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, SqlError, params};
use gantry_ledger::{Cursor, List, Page, SOURCE, refusal, request, time};
use serde::Serialize;

use crate::sql;
use crate::store::{Store, number, text};

/// In the order in which the vehicle passed, not in which the passages came in: one that comes in late takes
/// its place among the others.
pub(crate) struct Passages;

#[derive(Serialize)]
struct Found {
    passages: Vec<Passage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A passage; the balance is the one after it was recorded.
#[derive(Serialize)]
struct Passage {
    serial: String,
    operator: String,
    entry: String,
    exit: String,
    at: String,
    fee: i64,
    balance: i64,
    refunded: bool,
    #[serde(skip)]
    key: [i64; 2],
}

impl Service for Passages {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let card = request::id(&body, "card")?;
        let page = Page::read(&body)?;
        let after = page.after(List::Passages, 0)?.numbers;

        let sql = context.sql(SOURCE);
        let mut passages = match Store::of(context, sql) {
            None => read_tables(&sql, &card, after, page.rows_count())?,
            Some(store) => read_documents(&store, &card, after, page.rows_count())?,
        };
        if passages.is_empty() {
            // No (more) passages of a card, or no such card: only here is it worth a statement.
            let found = sql.query_opt(sql::SELECT_CARD, params![&card], |_| Ok(()))?;
            found.ok_or_else(|| refusal::card_unknown(&card))?;
        }
        let next = page.cut(&mut passages, |last| Cursor::encode(List::Passages, last.key, ""));
        context.reply_json(&Found { passages, next })
    }
}

fn read_tables(
    sql: &Sql<'_>,
    card: &str,
    [passed_ms, movement_no]: [i64; 2],
    rows: i64,
) -> Result<Vec<Passage>, SqlError> {
    let values = params![card, passed_ms, passed_ms, movement_no, rows];
    sql.query_all(sql::SELECT_PASSAGES, values, |row| {
        let passed_ms = row.i64(4)?;
        Ok(Passage {
            serial: row.text(0)?.to_owned(),
            operator: row.text(1)?.to_owned(),
            entry: row.text(2)?.to_owned(),
            exit: row.text(3)?.to_owned(),
            at: time::format(passed_ms)?,
            fee: row.i64(5)?,
            balance: row.i64(6)?,
            refunded: !row.is_null(7)?,
            key: [passed_ms, row.i64(8)?],
        })
    })
}

fn read_documents(
    store: &Store<'_>,
    card: &str,
    after: [i64; 2],
    rows: i64,
) -> Result<Vec<Passage>, SqlError> {
    let found = store.page(card, after, rows)?;
    let passages = found.into_iter().map(|(found, refunded)| {
        let key = [number(&found, "ms"), number(&found, "no")];
        Ok(Passage {
            serial: text(&found, "serial"),
            operator: text(&found, "operator"),
            entry: text(&found, "entry"),
            exit: text(&found, "exit"),
            at: time::format(key[0])?,
            fee: number(&found, "fee"),
            balance: number(&found, "balance"),
            refunded,
            key,
        })
    });
    passages.collect()
}
