//! 20000004: pays money into the account of a card.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError};
use gantry_ledger::{Account, Counterpart, Movement, MovementKind, Receipt, SOURCE, refusal, request, time};

use crate::status::{CANCELLED, CardRow};

/// A card that is lost can be recharged, since the money goes to the account and may be owed; a card that
/// is cancelled cannot. What an overdrawn account needs lifts its cards from the blacklist.
///
/// Five statements: read the card, lock the account, and three to post; two more to lift.
pub(crate) struct Recharge;

impl Service for Recharge {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let card = request::id(&body, "card")?;
        let amount_fen = request::fen(&body, "amount", 1)?;
        let channel = request::text(&body, "channel", request::CHANNEL_BYTES_MAX)?;

        let sql = context.sql(SOURCE);
        let row = CardRow::read(&sql, &card)?;
        if row.status == CANCELLED {
            return Err(refusal::card_blocked(&card, &row.status));
        }
        let mut account = Account::lock(&sql, &row.account)?;
        let serial = context.serial("recharge")?;
        let movement = Movement {
            kind: MovementKind::Recharge,
            serial: &serial,
            card: &card,
            amount_fen,
            counterpart: Counterpart::Cash(&channel),
            booked_ms: time::now_ms(),
        };
        let balance = account.post(&sql, &movement)?.balance_fen;
        context.reply_json(&Receipt { balance, serial })
    }
}
