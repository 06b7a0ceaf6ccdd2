//! 20000005: records a passage and deducts its fee.

use std::cell::Cell;

use gantry_abi::bson::{Document, doc};
use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, SqlError, params};
use gantry_ledger::time::Moment;
use gantry_ledger::{
    Account, Counterpart, Movement, MovementKind, Posted, Receipt, SOURCE, listing, refusal, request, time,
};

use crate::sql;
use crate::store::{self, Known, Store};

/// A passage has already happened. So an active card is charged whatever its balance, and one that is
/// left below zero goes on the blacklist. The same passage sent again, by card, operator, exit and time, gets
/// its first reply, also when its fee or entry differ or the card is blocked by now.
///
/// Six statements: read what decides, lock the account, three to post, and record the passage; one or
/// two more when the balance is below zero. A passage sent again takes one.
///
/// Where passages are documents, the ledger's statements are the same, and the document is written after them.
#[derive(Default)]
pub(crate) struct Record {
    /// Whether this process has seen to the documents' indexes.
    is_prepared: Cell<bool>,
}

impl Service for Record {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self::default())
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let passage = Passage::read(request)?;
        let sql = context.sql(SOURCE);
        let store = Store::of(context, sql);
        if let Some(store) = store.as_ref().filter(|_| !self.is_prepared.get()) {
            store.prepare()?;
            self.is_prepared.set(true);
        }
        let mut before = Before::read(&sql, store.as_ref(), &passage)?;
        if let Some(first_reply) = before.decide(&passage)? {
            return context.reply_json(&first_reply);
        }
        let mut account = Account::lock(&sql, &before.account)?;
        if account.movements_count() != before.movements_count {
            // Something was booked before the lock was got, perhaps this very passage.
            before = Before::read(&sql, store.as_ref(), &passage)?;
            if let Some(first_reply) = before.decide(&passage)? {
                return context.reply_json(&first_reply);
            }
        }

        let serial = context.serial("passage")?;
        let now_ms = time::now_ms();
        let posted = account.post(&sql, &passage.movement(&serial, now_ms))?;
        if store.is_none() {
            passage.insert(&sql, &serial, account.id(), posted)?;
        }
        let balance = posted.balance_fen;
        if balance < 0 {
            listing::list_overdrawn(&sql, &passage.card, account.id(), now_ms)?;
        }
        if let Some(store) = store {
            store.close(&passage.card, Some(&passage.id()))?;
            let document = passage.document(&serial, account.id(), posted, &store::attempt(context));
            store.write(&document, before.known)?;
        }
        context.reply_json(&Receipt { balance, serial })
    }
}

/// A request.
struct Passage {
    card: String,
    operator: String,
    entry: String,
    exit: String,
    passed: Moment,
    fee_fen: i64,
}

impl Passage {
    fn read(request: &[u8]) -> Result<Self, ServiceError> {
        let body = Body::read(request)?;
        Ok(Self {
            card: request::id(&body, "card")?,
            operator: request::text(&body, "operator", request::OPERATOR_BYTES_MAX)?,
            entry: request::text(&body, "entry", request::PLAZA_BYTES_MAX)?,
            exit: request::text(&body, "exit", request::PLAZA_BYTES_MAX)?,
            passed: request::time(&body, "at")?,
            // Some ways are free, and are passages all the same.
            fee_fen: request::fen(&body, "fee", 0)?,
        })
    }

    fn movement<'a>(&'a self, serial: &'a str, booked_ms: i64) -> Movement<'a> {
        Movement {
            kind: MovementKind::Passage,
            serial,
            card: &self.card,
            amount_fen: self.fee_fen,
            counterpart: Counterpart::Operator(&self.operator),
            booked_ms,
        }
    }

    /// What makes it the same passage.
    fn id(&self) -> Document {
        let Moment { ms, ns } = self.passed;
        doc! { "card": &self.card, "ms": ms, "ns": ns, "operator": &self.operator, "exit": &self.exit }
    }

    fn document(&self, serial: &str, account: &str, posted: Posted, attempt: &str) -> Document {
        doc! {
            "_id": self.id(),
            "card": &self.card,
            "ms": self.passed.ms,
            "no": posted.movement_no,
            "serial": serial,
            "account": account,
            "operator": &self.operator,
            "entry": &self.entry,
            "exit": &self.exit,
            "fee": self.fee_fen,
            "balance": posted.balance_fen,
            "attempt": attempt,
            "open": &self.card,
        }
    }

    fn insert(&self, sql: &Sql<'_>, serial: &str, account: &str, posted: Posted) -> Result<(), SqlError> {
        let values = params![
            serial,
            &self.card,
            account,
            &self.operator,
            &self.entry,
            &self.exit,
            self.passed.ms,
            self.passed.ns,
            self.fee_fen,
            posted.balance_fen,
            posted.movement_no
        ];
        sql.execute(sql::INSERT_PASSAGE, values)?;
        Ok(())
    }
}

/// What there was before a passage.
struct Before {
    account: String,
    movements_count: i64,
    card_status: String,
    /// The same passage, if it was recorded.
    known: Known,
}

impl Before {
    fn read(sql: &Sql<'_>, store: Option<&Store<'_>>, passage: &Passage) -> Result<Self, ServiceError> {
        let before = match store {
            None => Self::read_tables(sql, passage)?,
            Some(store) => Self::read_documents(sql, store, passage)?,
        };
        before.ok_or_else(|| refusal::card_unknown(&passage.card))
    }

    /// The ledger first: what is booked after that is noticed by the number of movements.
    fn read_documents(
        sql: &Sql<'_>,
        store: &Store<'_>,
        passage: &Passage,
    ) -> Result<Option<Self>, ServiceError> {
        let before = sql.query_opt(sql::SELECT_CARD_AND_ACCOUNT, params![&passage.card], |row| {
            let (account, card_status) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            Ok(Self { account, card_status, movements_count: row.i64(2)?, known: Known::Nothing })
        })?;
        let Some(before) = before else { return Ok(None) };
        Ok(Some(Self { known: store.look(&passage.id())?, ..before }))
    }

    fn read_tables(sql: &Sql<'_>, passage: &Passage) -> Result<Option<Self>, SqlError> {
        let Moment { ms, ns } = passage.passed;
        let values = params![ms, &passage.exit, &passage.operator, ns, &passage.card];
        sql.query_opt(sql::SELECT_BEFORE_PASSAGE, values, |row| {
            let serial = row.opt_text(3)?.map(str::to_owned);
            let first_reply =
                serial.zip(row.opt_i64(4)?).map(|(serial, balance)| Receipt { balance, serial });
            Ok(Self {
                account: row.text(0)?.to_owned(),
                card_status: row.text(1)?.to_owned(),
                movements_count: row.i64(2)?,
                known: first_reply.map_or(Known::Nothing, Known::Recorded),
            })
        })
    }

    /// The first reply to a passage that was recorded, `None` if it is to be recorded now, or
    /// `card_blocked`.
    fn decide(&mut self, passage: &Passage) -> Result<Option<Receipt>, ServiceError> {
        match std::mem::replace(&mut self.known, Known::Nothing) {
            Known::Recorded(first_reply) => Ok(Some(first_reply)),
            _ if self.card_status != "active" => Err(refusal::card_blocked(&passage.card, &self.card_status)),
            known => {
                self.known = known;
                Ok(None)
            }
        }
    }
}
