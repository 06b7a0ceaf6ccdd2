//! 10000005: the blacklist, newest first.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{Cursor, List, Page, SOURCE, request, time};
use serde::Serialize;

use crate::sql;

pub(crate) struct BlacklistPage;

#[derive(Serialize)]
struct Found {
    cards: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A card on the list; `at` is when it came there.
#[derive(Serialize)]
struct Listed {
    card: String,
    reason: String,
    at: String,
    #[serde(skip)]
    listed_ms: i64,
}

impl Service for BlacklistPage {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let page = Page::read(&Body::read(request)?)?;
        let Cursor { numbers: [listed_ms], text: card } =
            page.after(List::Blacklist, request::ID_BYTES_MAX)?;

        let values = params![listed_ms, listed_ms, &card, page.rows_count()];
        let mut cards = context.sql(SOURCE).query_all(sql::SELECT_BLACKLIST, values, |row| {
            let listed_ms = row.i64(2)?;
            Ok(Listed {
                card: row.text(0)?.to_owned(),
                reason: row.text(1)?.to_owned(),
                at: time::format(listed_ms)?,
                listed_ms,
            })
        })?;
        let next = page.cut(&mut cards, |last| Cursor::encode(List::Blacklist, [last.listed_ms], &last.card));
        context.reply_json(&Found { cards, next })
    }
}
