//! The tables and statements of the passage services.

/// Step 1 of the tables.
pub(crate) const PASSAGE_1_SQL: &str = include_str!("schema/passage.sql");
/// Step 2.
pub(crate) const PASSAGE_2_SQL: &str = include_str!("schema/passage_2.sql");
/// Step 3.
pub(crate) const PASSAGE_3_SQL: &str = include_str!("schema/passage_3.sql");
/// Step 4.
pub(crate) const PASSAGE_4_SQL: &str = include_str!("schema/passage_4.sql");

gantry_ledger::statements! {
    /// All that decides about a passage: the card, its account's number of movements so far, and the
    /// same passage if it was recorded before. One whose nanoseconds were not noted (-1) is the same as
    /// any of its millisecond, so there is never another beside it.
    SELECT_BEFORE_PASSAGE = "
        SELECT c.account_id, c.card_status, a.movements_count, p.serial_no, p.balance_fen
        FROM etc_card c
        JOIN customer_account a ON a.account_id = c.account_id
        LEFT JOIN passage p
            ON p.card_id = c.card_id AND p.passed_ms = ? AND p.exit_name = ? AND p.operator_code = ?
                AND (p.passed_ns = ? OR p.passed_ns = -1)
        WHERE c.card_id = ?";

    /// Records a passage.
    INSERT_PASSAGE = "
        INSERT INTO passage
            (serial_no, card_id, account_id, operator_code, entry_name, exit_name, passed_ms, passed_ns,
             fee_fen, balance_fen, movement_no)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

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

    /// As SELECT_BEFORE_PASSAGE, where the passages are documents.
    SELECT_CARD_AND_ACCOUNT = "
        SELECT c.account_id, c.card_status, a.movements_count
        FROM etc_card c
        JOIN customer_account a ON a.account_id = c.account_id
        WHERE c.card_id = ?";

    /// As SELECT_BEFORE_REFUND, from the ledger alone: side 2 of a passage is the operator's.
    SELECT_BOOKED_BEFORE_REFUND = "
        SELECT m.account_id, m.card_id, e.ledger_account, e.amount_fen, r.refund_serial
        FROM ledger_movement m
        JOIN ledger_entry e ON e.account_id = m.account_id AND e.movement_no = m.movement_no AND e.side = 2
        LEFT JOIN passage_refund r ON r.serial_no = m.serial_no
        WHERE m.serial_no = ? AND m.kind = 'passage'";

    /// Which movements there are of some serials.
    SELECT_MOVEMENTS = "
        SELECT serial_no, kind FROM ledger_movement WHERE serial_no IN (?, ?, ?, ?, ?, ?, ?, ?)";

    /// Whether there is such a card.
    SELECT_CARD = "SELECT card_id FROM etc_card WHERE card_id = ?";
}

#[cfg(test)]
#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

#[cfg(test)]
mod tests {
    use gantry_ledger::{CARD_1_SQL, LEDGER_1_SQL, request};
    use rusqlite::{Connection, params};

    use super::{
        INSERT_PASSAGE, PASSAGE_1_SQL, PASSAGE_2_SQL, PASSAGE_3_SQL, PASSAGE_4_SQL, SELECT_BEFORE_PASSAGE,
    };

    /// Every step of the tables, in their order.
    const MIGRATIONS: [&str; 6] =
        [LEDGER_1_SQL, CARD_1_SQL, PASSAGE_1_SQL, PASSAGE_2_SQL, PASSAGE_3_SQL, PASSAGE_4_SQL];

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        super::statement_check::check(&MIGRATIONS, super::ALL, &[]);
    }

    #[test]
    fn columns_hold_the_longest_text_that_a_request_may_bring() {
        let words: Vec<&str> = PASSAGE_1_SQL.split_whitespace().collect();
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

    /// A database with one card, and the passages of the version that did not note nanoseconds.
    fn database_of_version_1() -> Connection {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(&MIGRATIONS[..3].concat()).unwrap();
        database
            .execute_batch(
                "INSERT INTO customer_account VALUES ('A1', 'n', 'i', 0, 0, 0);
                 INSERT INTO etc_card VALUES ('C1', 'A1', 'p', 1, 'active', 0);",
            )
            .unwrap();
        insert_as_version_1(&database, "P1", 1000).unwrap();
        database
    }

    /// The statement as it was released with the tables of step 1.
    fn insert_as_version_1(database: &Connection, serial: &str, ms: i64) -> rusqlite::Result<usize> {
        let text = "INSERT INTO passage
            (serial_no, card_id, account_id, operator_code, entry_name, exit_name, passed_ms, fee_fen,
             balance_fen, movement_no)
            VALUES (?, 'C1', 'A1', 'G4', 'in', 'out', ?, 5, 0, 1)";
        database.execute(text, params![serial, ms])
    }

    fn insert(database: &Connection, serial: &str, ms: i64, ns: i64) -> rusqlite::Result<usize> {
        let values = params![serial, "C1", "A1", "G4", "in", "out", ms, ns, 5, 0, 1];
        database.execute(INSERT_PASSAGE, values)
    }

    /// The serials of what is the same passage.
    fn same(database: &Connection, ms: i64, ns: i64) -> Vec<Option<String>> {
        let mut select = database.prepare(SELECT_BEFORE_PASSAGE).unwrap();
        let rows = select.query_map(params![ms, "out", "G4", ns, "C1"], |row| row.get(3)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn passages_are_the_same_at_the_same_nanosecond_only() {
        let database = database_of_version_1();
        database.execute_batch(&MIGRATIONS[3..].concat()).unwrap();
        insert(&database, "P2", 2000, 0).unwrap();
        insert(&database, "P3", 2000, 999_999).unwrap();
        assert_eq!(same(&database, 2000, 0), [Some("P2".to_owned())]);
        assert_eq!(same(&database, 2000, 999_999), [Some("P3".to_owned())]);
        assert_eq!(same(&database, 2000, 1), [None]);
        assert!(insert(&database, "P4", 2000, 999_999).is_err(), "the index is the last word");
    }

    /// Goal: a passage that was recorded before its nanoseconds could be is not charged again when it is sent again
    /// with all its digits, and workers of the version before go on while the steps are applied.
    #[test]
    fn passage_of_the_version_before_is_the_same_whatever_its_nanoseconds() {
        let database = database_of_version_1();
        for (step, ms) in MIGRATIONS[3..].iter().zip([2000, 3000, 4000]) {
            database.execute_batch(step).unwrap();
            insert_as_version_1(&database, &format!("P{ms}"), ms).unwrap();
        }
        for ns in [0, 456_000, 999_999] {
            assert_eq!(same(&database, 1000, ns), [Some("P1".to_owned())], "{ns}");
            assert_eq!(same(&database, 4000, ns), [Some("P4000".to_owned())], "{ns}");
            assert_eq!(same(&database, 1001, ns), [None], "{ns}");
        }
    }
}
