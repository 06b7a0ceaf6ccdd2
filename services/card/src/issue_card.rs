//! 20000002: issues a card.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, params};
use gantry_ledger::{Account, SOURCE, request, time};
use serde::Serialize;

use crate::sql;
use crate::status::claim;

/// A plate belongs to one card that is not cancelled.
pub(crate) struct IssueCard;

#[derive(Serialize)]
struct Issued {
    card: String,
}

impl Service for IssueCard {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let account = request::id(&body, "account")?;
        let plate = request::text(&body, "plate", request::PLATE_BYTES_MAX)?;
        let vehicle_class = request::whole(&body, "vehicle_class", 1..=6)?;

        let sql = context.sql(SOURCE);
        Account::lock(&sql, &account)?;
        let card = context.serial("card")?;
        let values = params![&card, &account, &plate, vehicle_class, time::now_ms()];
        sql.execute(sql::INSERT_CARD, values)?;
        claim(&sql, sql::CLAIM_PLATE, params![&plate, &card], || {
            format!("plate {plate} has a card already")
        })?;
        context.reply_json(&Issued { card })
    }
}
