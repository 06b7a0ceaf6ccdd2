//! 20000007: makes a card active, lost or cancelled.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, Value, params};
use gantry_ledger::{Account, SOURCE, refusal, request};

use crate::sql;

/// The card can be used.
pub(crate) const ACTIVE: &str = "active";
/// The card is lost: no passages, until it is found.
const LOST: &str = "lost";
/// The card has ended: neither passages nor recharges.
pub(crate) const CANCELLED: &str = "cancelled";

/// Any status may follow any other, so that a mistake can be undone. A card that is cancelled frees its
/// plate and its on-board units; one that is no longer cancelled takes them again, which is `duplicate`
/// if another card has got one of them in the meantime.
pub(crate) struct SetStatus;

impl Service for SetStatus {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let card = request::id(&body, "card")?;
        let status = request::one_of(&body, "status", &[ACTIVE, LOST, CANCELLED])?;

        let sql = context.sql(SOURCE);
        let (_, before) = CardRow::read_locked(&sql, &card)?;
        if before.status != status {
            sql.execute(sql::UPDATE_STATUS, params![status, &card])?;
        }
        if status == CANCELLED {
            sql.execute(sql::DELETE_CLAIMS, params![&card])?;
        } else if before.status == CANCELLED {
            let taken = || format!("another card has got the plate or a unit of card {card}");
            claim(&sql, sql::CLAIM_PLATE, params![&before.plate, &card], taken)?;
            claim(&sql, sql::CLAIM_OBUS_AGAIN, params![&card], taken)?;
        }
        context.reply(b"{}")
    }
}

/// A card's own row.
pub(crate) struct CardRow {
    pub(crate) account: String,
    pub(crate) status: String,
    pub(crate) plate: String,
}

impl CardRow {
    /// Reads the row, or says `card_unknown`.
    pub(crate) fn read(sql: &Sql<'_>, card: &str) -> Result<Self, ServiceError> {
        let row = sql.query_opt(sql::SELECT_CARD_ROW, params![card], |row| {
            Ok(Self {
                account: row.text(0)?.to_owned(),
                status: row.text(1)?.to_owned(),
                plate: row.text(2)?.to_owned(),
            })
        })?;
        row.ok_or_else(|| refusal::card_unknown(card))
    }

    /// Locks the card's account, without which nobody changes the card, and reads the row as it then is.
    pub(crate) fn read_locked(sql: &Sql<'_>, card: &str) -> Result<(Account, Self), ServiceError> {
        let account = Account::lock(sql, &Self::read(sql, card)?.account)?;
        Ok((account, Self::read(sql, card)?))
    }
}

/// Claims a natural key for a card; `duplicate`, with the message of `taken`, if it has another owner.
pub(crate) fn claim(
    sql: &Sql<'_>,
    statement: &str,
    values: &[Value<'_>],
    taken: impl Fn() -> String,
) -> Result<(), ServiceError> {
    match sql.execute(statement, values) {
        Err(error) if error.is_unique() => Err(refusal::duplicate(taken())),
        other => Ok(other.map(|_| ())?),
    }
}
