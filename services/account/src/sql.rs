//! The statements of the account services.

gantry_ledger::statements! {
    /// Opens an account.
    INSERT_ACCOUNT = "
        INSERT INTO customer_account (account_id, customer_name, id_no, balance_fen, movements_count, opened_ms)
        VALUES (?, ?, ?, 0, 0, ?)";

    /// The balance of an account; also tells whether there is such an account.
    SELECT_BALANCE = "SELECT balance_fen FROM customer_account WHERE account_id = ?";

    /// A page of a statement, from below a movement on.
    SELECT_STATEMENT = "
        SELECT movement_no, booked_ms, kind, amount_fen, balance_fen, serial_no
        FROM ledger_movement
        WHERE account_id = ? AND movement_no < ?
        ORDER BY movement_no DESC {limit ?}";

    /// Both sides of all movements. Reads the whole table, on purpose: it is what checks the totals.
    SELECT_TRIAL_BALANCE = "
        SELECT
            COALESCE(SUM(CASE WHEN side = 1 THEN amount_fen ELSE 0 END), 0),
            COALESCE(SUM(CASE WHEN side = 2 THEN amount_fen ELSE 0 END), 0)
        FROM ledger_entry";
}

#[cfg(test)]
#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

#[cfg(test)]
mod tests {
    use gantry_ledger::LEDGER_1_SQL;

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        super::statement_check::check(&[LEDGER_1_SQL], super::ALL, &["SELECT_TRIAL_BALANCE"]);
    }
}
