//! The tables and statements of the passage services.

/// Step 1 of the tables.
pub(crate) const PASSAGE_1_SQL: &str = include_str!("schema/passage.sql");

gantry_ledger::statements! {
    /// All that decides about a passage: the card, its account's number of movements so far, and the
    /// same passage if it was recorded before.
    SELECT_BEFORE_PASSAGE = "
        SELECT c.account_id, c.card_status, a.movements_count, p.serial_no, p.balance_fen
        FROM etc_card c
        JOIN customer_account a ON a.account_id = c.account_id
        LEFT JOIN passage p
            ON p.card_id = c.card_id AND p.passed_ms = ? AND p.exit_name = ? AND p.operator_code = ?
        WHERE c.card_id = ?";

    /// Records a passage.
    INSERT_PASSAGE = "
        INSERT INTO passage
            (serial_no, card_id, account_id, operator_code, entry_name, exit_name, passed_ms, fee_fen,
             balance_fen, movement_no)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

    /// What a refund gives back, and the refund that there was before.
    SELECT_BEFORE_REFUND = "
        SELECT p.account_id, p.card_id, p.operator_code, p.fee_fen, r.refund_serial
        FROM passage p
        LEFT JOIN passage_refund r ON r.serial_no = p.serial_no
        WHERE p.serial_no = ?";

    /// Notes that a passage is refunded. The primary key refuses a second time.
    INSERT_REFUND = "
        INSERT INTO passage_refund (serial_no, refund_serial, reason, refunded_ms) VALUES (?, ?, ?, ?)";

    /// A page of a card's passages, from below a time and a movement on. The first conditions bound what
    /// is read from the index; the last only sorts out passages of the same millisecond.
    SELECT_PASSAGES = "
        SELECT p.serial_no, p.operator_code, p.entry_name, p.exit_name, p.passed_ms, p.fee_fen, p.balance_fen,
               r.refund_serial, p.movement_no
        FROM passage p
        LEFT JOIN passage_refund r ON r.serial_no = p.serial_no
        WHERE p.card_id = ? AND p.passed_ms <= ? AND (p.passed_ms < ? OR p.movement_no < ?)
        ORDER BY p.passed_ms DESC, p.movement_no DESC {limit ?}";

    /// Whether there is such a card.
    SELECT_CARD = "SELECT card_id FROM etc_card WHERE card_id = ?";
}

#[cfg(test)]
#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

#[cfg(test)]
mod tests {
    use gantry_ledger::{CARD_1_SQL, LEDGER_1_SQL, request};

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        let migrations = [LEDGER_1_SQL, CARD_1_SQL, super::PASSAGE_1_SQL];
        super::statement_check::check(&migrations, super::ALL, &[]);
    }

    #[test]
    fn columns_hold_the_longest_text_that_a_request_may_bring() {
        let words: Vec<&str> = super::PASSAGE_1_SQL.split_whitespace().collect();
        for (column, bytes_max) in [
            ("serial_no", request::ID_BYTES_MAX),
            ("card_id", request::ID_BYTES_MAX),
            ("operator_code", request::OPERATOR_BYTES_MAX),
            ("entry_name", request::PLAZA_BYTES_MAX),
            ("exit_name", request::PLAZA_BYTES_MAX),
            ("reason", request::REASON_BYTES_MAX),
        ] {
            let has = words.windows(2).any(|pair| pair == [column, &format!("VARCHAR({bytes_max})")]);
            assert!(has, "{column} is no VARCHAR({bytes_max})");
        }
    }
}
