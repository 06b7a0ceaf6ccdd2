//! The statements of the ledger.

crate::statements! {
    /// Locks an account. Every write that concerns an account does so before it writes, which puts these
    /// writes in one order. A single table by its key, since some databases lock nothing else.
    LOCK_ACCOUNT = "
        SELECT account_id, balance_fen, movements_count
        FROM customer_account
        WHERE account_id = ? {for update}";

    /// Adds a movement's amount, which is negative for a deduction.
    MOVE_BALANCE = "
        UPDATE customer_account
        SET balance_fen = balance_fen + ?, movements_count = movements_count + 1
        WHERE account_id = ?";

    /// Records a movement.
    INSERT_MOVEMENT = "
        INSERT INTO ledger_movement
            (account_id, movement_no, kind, serial_no, card_id, amount_fen, balance_fen, booked_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

    /// Records both sides of a movement: debit, then credit.
    INSERT_ENTRIES = "
        INSERT INTO ledger_entry (account_id, movement_no, side, ledger_account, amount_fen)
        VALUES (?, ?, 1, ?, ?), (?, ?, 2, ?, ?)";

    /// Whether a card is on the blacklist, and there because its account is overdrawn.
    SELECT_OVERDRAWN = "SELECT overdrawn FROM card_listing WHERE card_id = ?";

    /// Puts a card that was not on the blacklist there, because its account is overdrawn.
    INSERT_OVERDRAWN = "
        INSERT INTO card_listing (card_id, account_id, overdrawn, by_operator, reason, listed_ms)
        VALUES (?, ?, 1, 0, 'overdrawn', ?)";

    /// Notes that a card on the blacklist is overdrawn besides.
    MARK_OVERDRAWN = "UPDATE card_listing SET overdrawn = 1 WHERE card_id = ?";

    /// Takes the cards of an account off the blacklist that no operator put there.
    DELETE_OVERDRAWN = "DELETE FROM card_listing WHERE account_id = ? AND by_operator = 0";

    /// Leaves on the blacklist what an operator put there.
    UNMARK_OVERDRAWN = "UPDATE card_listing SET overdrawn = 0 WHERE account_id = ? AND overdrawn = 1";
}

#[cfg(test)]
mod tests {
    use crate::schema::{CARD_1_SQL, LEDGER_1_SQL};

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        crate::statement_check::check(&[LEDGER_1_SQL, CARD_1_SQL], super::ALL, &[]);
    }
}
