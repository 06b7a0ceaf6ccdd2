//! The tables and statements of the bank files.

/// Step 1 of the tables.
pub(crate) const BANK_1_SQL: &str = include_str!("schema/bank.sql");

gantry_ledger::statements! {
    /// Locks a day that was begun before, and tells how often it was built.
    LOCK_DAY = "SELECT runs_count FROM bank_day WHERE bank_date = ? {for update}";

    /// Begins a day. The primary key lets one of two first builds do so.
    INSERT_DAY = "INSERT INTO bank_day (bank_date, bank, runs_count) VALUES (?, ?, ?)";

    /// Says whose build is under way, and its number.
    UPDATE_DAY = "UPDATE bank_day SET bank = ?, runs_count = ? WHERE bank_date = ?";

    /// Finds what is to be collected: for each account the day's passages that are not refunded, less what other builds
    /// found and no bank rejected. One statement, however many passages there are. The day's own row brings what
    /// would be parameters among the selected columns, where not every database takes them.
    INSERT_DEBITS = "
        INSERT INTO bank_debit
            (bank_date, account_id, run_no, bank, file_no, amount_fen, debit_state, reason_code)
        SELECT d.bank_date, n.account_id, d.runs_count, d.bank, 0, n.amount_fen - COALESCE(b.amount_fen, 0), 'open', '-'
        FROM bank_day d
        CROSS JOIN (
            SELECT p.account_id, SUM(p.fee_fen) AS amount_fen
            FROM passage p
            LEFT JOIN passage_refund r ON r.serial_no = p.serial_no
            WHERE p.passed_ms >= ? AND p.passed_ms < ? AND r.serial_no IS NULL
            GROUP BY p.account_id
        ) n
        LEFT JOIN (
            SELECT account_id, SUM(amount_fen) AS amount_fen
            FROM bank_debit
            WHERE bank_date = ? AND debit_state <> 'rejected'
            GROUP BY account_id
        ) b ON b.account_id = n.account_id
        WHERE d.bank_date = ? AND n.amount_fen > COALESCE(b.amount_fen, 0)";

    /// Debits that a build found and that are in no file, by account, from behind an account on.
    SELECT_UNFILED = "
        SELECT account_id
        FROM bank_debit
        WHERE bank = ? AND bank_date = ? AND file_no = 0 AND account_id > ? AND debit_state = 'open'
        ORDER BY account_id {limit ?}";

    /// Puts the debits of accounts between two into a file.
    UPDATE_FILE_NO = "
        UPDATE bank_debit SET file_no = ?
        WHERE bank = ? AND bank_date = ? AND file_no = 0 AND account_id > ? AND account_id <= ?
            AND debit_state = 'open'";

    /// Notes a file.
    INSERT_FILE = "
        INSERT INTO bank_file (bank, bank_date, file_no, files_count, charset, left_out_count, created_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?)";

    /// A file as it was built.
    SELECT_FILE = "
        SELECT files_count, charset, left_out_count, created_ms
        FROM bank_file
        WHERE bank = ? AND bank_date = ? AND file_no = ?";

    /// How many files there are of a bank and day.
    SELECT_FILES_COUNT = "SELECT COALESCE(MAX(file_no), 0) FROM bank_file WHERE bank = ? AND bank_date = ?";

    /// What is in a file, with the customers.
    SELECT_FILE_DEBITS = "
        SELECT b.account_id, b.run_no, b.amount_fen, a.id_no, a.customer_name
        FROM bank_debit b
        JOIN customer_account a ON a.account_id = b.account_id
        WHERE b.bank = ? AND b.bank_date = ? AND b.file_no = ?
        ORDER BY b.account_id, b.run_no";

    /// What is in a file, with what became of it.
    SELECT_DEBIT_STATES = "
        SELECT account_id, run_no, amount_fen, debit_state
        FROM bank_debit
        WHERE bank = ? AND bank_date = ? AND file_no = ?
        ORDER BY account_id, run_no";

    /// Notes what became of a debit. One that was left out of its file has none any more.
    UPDATE_DEBIT = "
        UPDATE bank_debit SET debit_state = ?, reason_code = ?, file_no = ?
        WHERE bank_date = ? AND account_id = ? AND run_no = ?";

    /// Locks a file that was built; two results of one file are taken one after the other.
    LOCK_FILE = "
        SELECT charset FROM bank_file WHERE bank = ? AND bank_date = ? AND file_no = ? {for update}";

    /// Whether a result was taken.
    SELECT_RESULT = "
        SELECT taken_ms FROM bank_result WHERE bank = ? AND bank_date = ? AND file_no = ? AND result_no = ?";

    /// Notes a result that is taken.
    INSERT_RESULT = "
        INSERT INTO bank_result
            (bank, bank_date, file_no, result_no, accepted_count, rejected_count, bad_count, taken_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
}

#[cfg(test)]
#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

#[cfg(test)]
mod tests {
    use gantry_ledger::{CARD_1_SQL, LEDGER_1_SQL, PASSAGE_DAY_1_SQL, PASSAGE_SQL};

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        let [one, two, three, four] = PASSAGE_SQL;
        let tables = [LEDGER_1_SQL, CARD_1_SQL, one, two, three, four, PASSAGE_DAY_1_SQL, super::BANK_1_SQL];
        // Grouping sorts what it has found by the index.
        super::statement_check::check(&tables, super::ALL, &["INSERT_DEBITS"]);
    }
}
