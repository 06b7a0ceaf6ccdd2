//! 20000006: refunds a passage.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, params};
use gantry_ledger::{Account, Counterpart, Movement, MovementKind, Receipt, SOURCE, refusal, request, time};

use crate::sql;
use crate::store::{self, Store};

/// The whole fee goes back to the account, once, whatever the card's status is by now. The refund has a
/// serial of its own, drawn from those of the passages.
///
/// Six statements: read the passage, lock the account, note the refund, and three to post; two more when
/// the account is no longer overdrawn.
pub(crate) struct Refund;

impl Service for Refund {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let passage = request::id(&body, "serial")?;
        let reason = request::text(&body, "reason", request::REASON_BYTES_MAX)?;

        let sql = context.sql(SOURCE);
        let store = Store::of(context, sql);
        let before = if store.is_some() {
            Before::read_booked(&sql, &passage)?
        } else {
            Before::read(&sql, &passage)?
        };
        if before.is_refunded {
            return Err(refusal::already_refunded(&passage));
        }
        let mut account = Account::lock(&sql, &before.account)?;

        let serial = context.serial("passage")?;
        let now_ms = time::now_ms();
        match sql.execute(sql::INSERT_REFUND, params![&passage, &serial, &reason, now_ms]) {
            // Another transaction refunded it before the lock was got.
            Err(error) if error.is_unique() => return Err(refusal::already_refunded(&passage)),
            other => other?,
        };
        let movement = Movement {
            kind: MovementKind::Refund,
            serial: &serial,
            card: &before.card,
            amount_fen: before.fee_fen,
            counterpart: Counterpart::Operator(&before.operator),
            booked_ms: now_ms,
        };
        let balance = account.post(&sql, &movement)?.balance_fen;
        if let Some(store) = store {
            store.close(&before.card, None)?;
            store.refund(&passage, &serial, &store::attempt(context))?;
        }
        context.reply_json(&Receipt { balance, serial })
    }
}

/// A passage before its refund.
struct Before {
    account: String,
    card: String,
    operator: String,
    fee_fen: i64,
    is_refunded: bool,
}

impl Before {
    fn read(sql: &Sql<'_>, passage: &str) -> Result<Self, ServiceError> {
        let before = sql.query_opt(sql::SELECT_BEFORE_REFUND, params![passage], |row| {
            Ok(Self {
                account: row.text(0)?.to_owned(),
                card: row.text(1)?.to_owned(),
                operator: row.text(2)?.to_owned(),
                fee_fen: row.i64(3)?,
                is_refunded: !row.is_null(4)?,
            })
        })?;
        before.ok_or_else(|| refusal::passage_unknown(passage))
    }
    /// The same where passages are documents: all that a refund needs is in the ledger.
    fn read_booked(sql: &Sql<'_>, passage: &str) -> Result<Self, ServiceError> {
        let before = sql.query_opt(sql::SELECT_BOOKED_BEFORE_REFUND, params![passage], |row| {
            let operator = row.text(2)?;
            Ok(Self {
                account: row.text(0)?.to_owned(),
                card: row.text(1)?.to_owned(),
                operator: operator.strip_prefix("operator:").unwrap_or(operator).to_owned(),
                fee_fen: row.i64(3)?,
                is_refunded: !row.is_null(4)?,
            })
        })?;
        before.ok_or_else(|| refusal::passage_unknown(passage))
    }
}
