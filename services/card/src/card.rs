//! 10000001: a card.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{SOURCE, refusal, request};
use serde::Serialize;

use crate::sql;

pub(crate) struct ShowCard;

#[derive(Serialize)]
struct Found<'a> {
    card: &'a str,
    account: String,
    plate: String,
    status: String,
    balance: i64,
    listed: bool,
}

impl Service for ShowCard {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let card = request::id(&Body::read(request)?, "card")?;
        let found = context.sql(SOURCE).query_opt(sql::SELECT_CARD, params![&card], |row| {
            Ok(Found {
                card: &card,
                account: row.text(0)?.to_owned(),
                plate: row.text(1)?.to_owned(),
                status: row.text(2)?.to_owned(),
                balance: row.i64(3)?,
                listed: !row.is_null(4)?,
            })
        })?;
        context.reply_json(&found.ok_or_else(|| refusal::card_unknown(&card))?)
    }
}
