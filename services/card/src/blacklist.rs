//! 20000008: puts a card on the blacklist or takes it off.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{Account, SOURCE, request, time};

use crate::sql;
use crate::status::CardRow;

/// An operator's word and the balance each list a card by themselves, and neither ends what the other began: taken off
/// by hand, a card whose account is overdrawn stays listed for that, and one that an operator listed stays when the
/// balance is back. A card that is listed already keeps its place and gets the new reason. Taking it off needs no
/// reason.
pub(crate) struct Blacklist;

impl Service for Blacklist {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let card = request::id(&body, "card")?;
        let listed = request::flag(&body, "listed")?;
        let reason = if listed {
            request::text(&body, "reason", request::REASON_BYTES_MAX)?
        } else {
            request::free_text_opt(&body, "reason")?.unwrap_or_default()
        };

        let sql = context.sql(SOURCE);
        let account = Account::lock(&sql, &CardRow::read(&sql, &card)?.account)?;
        if !listed {
            sql.execute(sql::DELETE_LISTING, params![&card])?;
            sql.execute(sql::LEAVE_OVERDRAWN, params![&card])?;
        } else if sql.query_opt(sql::SELECT_LISTING, params![&card], |row| row.i64(0))?.is_some() {
            sql.execute(sql::UPDATE_LISTING, params![&reason, &card])?;
        } else {
            sql.execute(sql::INSERT_LISTING, params![&card, account.id(), &reason, time::now_ms()])?;
        }
        context.reply(b"{}")
    }
}
