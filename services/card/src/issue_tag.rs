//! 20000003: issues a tag, which is an on-board unit that goes with a card.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{SOURCE, refusal, request, time};
use serde::Serialize;

use crate::sql;
use crate::status::{ACTIVE, CardRow, claim};

/// An on-board unit belongs to one card that is not cancelled, and goes with an active card only.
pub(crate) struct IssueTag;

#[derive(Serialize)]
struct Issued {
    tag: String,
}

impl Service for IssueTag {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let card = request::id(&body, "card")?;
        let obu = request::text(&body, "obu", request::OBU_BYTES_MAX)?;

        let sql = context.sql(SOURCE);
        let (_, CardRow { status, .. }) = CardRow::read_locked(&sql, &card)?;
        if status != ACTIVE {
            return Err(refusal::card_blocked(&card, &status));
        }
        let tag = context.serial("tag")?;
        claim(&sql, sql::CLAIM_OBU, params![&obu, &card], || {
            format!("unit {obu} belongs to a card already")
        })?;
        sql.execute(sql::INSERT_TAG, params![&tag, &card, &obu, time::now_ms()])?;
        context.reply_json(&Issued { tag })
    }
}
