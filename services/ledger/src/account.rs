//! A customer's account and the movements on it.

use gantry_abi::{ServiceError, Sql, params};
use serde::Serialize;

use crate::{listing, refusal, sql};

/// Largest balance in fen, above zero or below: what every reader of JSON takes exactly (2^53 - 1).
const BALANCE_FEN_MAX: i64 = (1 << 53) - 1;

/// An account that is locked until the transaction ends.
#[derive(Debug)]
pub struct Account {
    id: String,
    balance_fen: i64,
    movements_count: i64,
}

impl Account {
    /// Locks the account with this number; waits while another transaction holds it.
    ///
    /// # Errors
    /// `account_unknown`, or the statement failed.
    pub fn lock(sql: &Sql<'_>, account: &str) -> Result<Self, ServiceError> {
        let found = sql.query_opt(sql::LOCK_ACCOUNT, params![account], |row| {
            Ok(Self { id: row.text(0)?.to_owned(), balance_fen: row.i64(1)?, movements_count: row.i64(2)? })
        })?;
        found.ok_or_else(|| refusal::account_unknown(account))
    }

    /// The account's number.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many movements there are on the account. It only grows, so a reader that finds the same count
    /// before and after it got the lock knows that nothing was booked in between.
    #[must_use]
    pub fn movements_count(&self) -> i64 {
        self.movements_count
    }

    /// Books a movement: changes the balance, records the movement and both its sides. When it brings
    /// the balance from below zero to zero or more, the account's cards are no longer overdrawn.
    ///
    /// Three statements, two more in that last case.
    ///
    /// # Errors
    /// `amount_invalid` if the balance would be beyond 2^53 - 1 fen, or a statement failed.
    pub fn post(&mut self, sql: &Sql<'_>, movement: &Movement<'_>) -> Result<Posted, ServiceError> {
        let before_fen = self.balance_fen;
        let change_fen = movement.kind.change(movement.amount_fen);
        let balance_fen = balance_after(before_fen, change_fen)?;
        let movement_no = self.movements_count + 1;

        if sql.execute(sql::MOVE_BALANCE, params![change_fen, &self.id])? != 1 {
            return Err(ServiceError::failed(format!("account {} is locked and not there", self.id)));
        }
        sql.execute(
            sql::INSERT_MOVEMENT,
            params![
                &self.id,
                movement_no,
                movement.kind.name(),
                movement.serial,
                movement.card,
                change_fen,
                balance_fen,
                movement.booked_ms
            ],
        )?;
        let customer = format!("customer:{}", self.id);
        let other = movement.counterpart.ledger_account();
        let (debit, credit) =
            if movement.kind.debits_customer() { (&customer, &other) } else { (&other, &customer) };
        let amount_fen = movement.amount_fen;
        sql.execute(
            sql::INSERT_ENTRIES,
            params![&self.id, movement_no, debit, amount_fen, &self.id, movement_no, credit, amount_fen],
        )?;

        if before_fen < 0 && balance_fen >= 0 {
            listing::lift_overdrawn(sql, &self.id)?;
        }
        self.balance_fen = balance_fen;
        self.movements_count = movement_no;
        Ok(Posted { movement_no, balance_fen })
    }
}

/// What is booked.
#[derive(Debug)]
pub struct Movement<'a> {
    /// What moves the money; decides in which direction.
    pub kind: MovementKind,
    /// The movement's own serial, unique among movements of its kind.
    pub serial: &'a str,
    /// The card by which the money moves.
    pub card: &'a str,
    /// How much, in fen; never negative.
    pub amount_fen: i64,
    /// The other side of the movement.
    pub counterpart: Counterpart<'a>,
    /// When it is booked, in milliseconds since the epoch.
    pub booked_ms: i64,
}

/// What moves money. An account is a debt of ours to the customer: a credit makes it larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovementKind {
    /// The customer pays in: debit the channel's cash, credit the customer.
    Recharge,
    /// The customer owes for a passage: debit the customer, credit the road operator.
    Passage,
    /// A passage is taken back: debit the road operator, credit the customer.
    Refund,
    /// The customer's bank has paid what it was asked for: debit the bank, credit the customer.
    Collection,
}

impl MovementKind {
    /// Its name in tables and statements.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recharge => "recharge",
            Self::Passage => "passage",
            Self::Refund => "refund",
            Self::Collection => "collection",
        }
    }

    const fn debits_customer(self) -> bool {
        matches!(self, Self::Passage)
    }

    /// What the movement does to the customer's balance.
    const fn change(self, amount_fen: i64) -> i64 {
        if self.debits_customer() { -amount_fen } else { amount_fen }
    }
}

/// The other side of a movement on a customer's account.
#[derive(Clone, Copy, Debug)]
pub enum Counterpart<'a> {
    /// Cash that came in by this channel.
    Cash(&'a str),
    /// What is owed to this road operator.
    Operator(&'a str),
    /// What this bank owes us for what it collected.
    Bank(&'a str),
}

impl Counterpart<'_> {
    fn ledger_account(&self) -> String {
        match self {
            Self::Cash(channel) => format!("cash:{channel}"),
            Self::Operator(operator) => format!("operator:{operator}"),
            Self::Bank(bank) => format!("bank:{bank}"),
        }
    }
}

/// A movement that was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its place in the account's statement, from 1.
    pub movement_no: i64,
    /// The balance after it, in fen.
    pub balance_fen: i64,
}

/// The reply to a movement: `{"balance":fen,"serial":s}`.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// The balance after it, in fen.
    pub balance: i64,
    /// The movement's serial.
    pub serial: String,
}

fn balance_after(before_fen: i64, change_fen: i64) -> Result<i64, ServiceError> {
    let after = before_fen.checked_add(change_fen);
    after
        .filter(|fen| (-BALANCE_FEN_MAX..=BALANCE_FEN_MAX).contains(fen))
        .ok_or_else(|| refusal::amount_invalid(format!("the balance would be beyond {BALANCE_FEN_MAX} fen")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_beyond_what_json_holds_exactly_is_refused() {
        assert_eq!(balance_after(5, -8).unwrap(), -3);
        assert_eq!(balance_after(BALANCE_FEN_MAX - 1, 1).unwrap(), BALANCE_FEN_MAX);
        for (before, change) in [(BALANCE_FEN_MAX, 1), (-BALANCE_FEN_MAX, -1), (i64::MAX, 1), (i64::MIN, -1)]
        {
            let error = balance_after(before, change).unwrap_err();
            assert!(matches!(error, ServiceError::Business { code, .. } if code == "amount_invalid"));
        }
    }

    #[test]
    fn passage_takes_and_the_others_give() {
        assert_eq!(MovementKind::Recharge.change(5), 5);
        assert_eq!(MovementKind::Passage.change(5), -5);
        assert_eq!(MovementKind::Refund.change(5), 5);
        assert_eq!(MovementKind::Collection.change(5), 5);
    }

    #[test]
    fn ledger_accounts_fit_their_column() {
        let longest = [
            Counterpart::Cash(&"c".repeat(crate::request::CHANNEL_BYTES_MAX)).ledger_account(),
            Counterpart::Operator(&"o".repeat(crate::request::OPERATOR_BYTES_MAX)).ledger_account(),
            format!("customer:{}", "a".repeat(crate::request::ID_BYTES_MAX)),
        ];
        for name in longest {
            assert!(name.len() <= 80, "{name}");
        }
    }
}
