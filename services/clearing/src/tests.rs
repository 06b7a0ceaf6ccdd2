//! The statements against the tables, and what they find against the ledger.

use gantry_ledger::{CARD_1_SQL, LEDGER_1_SQL, PASSAGE_DAY_1_SQL, PASSAGE_SQL};
use rusqlite::{Connection, params};

use crate::sql;

#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

const TABLES: [&str; 8] = [
    LEDGER_1_SQL,
    CARD_1_SQL,
    PASSAGE_SQL[0],
    PASSAGE_SQL[1],
    PASSAGE_SQL[2],
    PASSAGE_SQL[3],
    PASSAGE_DAY_1_SQL,
    sql::CLEARING_1_SQL,
];
const DATE: &str = "2026-05-01";

#[test]
fn every_statement_fits_the_tables_and_uses_an_index() {
    // Grouping sorts what it has found by the index.
    statement_check::check(&TABLES, sql::ALL, &["INSERT_AMOUNTS"]);
}

/// The plan of the one statement that reads passages, which the check above lets sort.
#[test]
fn day_is_found_by_its_index() {
    let database = database();
    let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {}", sql::INSERT_AMOUNTS)).unwrap();
    let steps = explain.query_map(params![1, 2, DATE, DATE], |row| row.get::<_, String>("detail")).unwrap();
    let plan: Vec<String> = steps.map(Result::unwrap).collect();
    assert!(plan.iter().any(|step| step.contains("USING COVERING INDEX passage_day")), "{plan:#?}");
}

fn database() -> Connection {
    let database = Connection::open_in_memory().unwrap();
    for text in TABLES {
        database.execute_batch(text).unwrap();
    }
    database
}

/// Books a passage, or its refund, as the services do: both sides of the movement, and the rows of the passage.
fn book(database: &Connection, no: i64, operator: &str, passed_ms: i64, fee: i64) {
    let serial = format!("P{no}");
    database
        .execute(
            "INSERT INTO passage VALUES (?, 'C1', 'A1', ?, 'in', 'out', ?, ?, 0, ?, 0)",
            params![serial, operator, passed_ms, fee, no],
        )
        .unwrap();
    entries(database, no, &serial, "passage", operator, fee, 2);
}

fn refund(database: &Connection, no: i64, passage: i64) {
    let (operator, fee): (String, i64) = database
        .query_row(
            "SELECT operator_code, fee_fen FROM passage WHERE serial_no = ?",
            [format!("P{passage}")],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let serial = format!("P{no}");
    database
        .execute("INSERT INTO passage_refund VALUES (?, ?, 'r', 0)", params![format!("P{passage}"), serial])
        .unwrap();
    entries(database, no, &serial, "refund", &operator, fee, 1);
}

/// `operator_side` is 2 where the operator is credited.
fn entries(
    database: &Connection,
    no: i64,
    serial: &str,
    kind: &str,
    operator: &str,
    fee: i64,
    operator_side: i64,
) {
    let values = params![no, kind, serial, fee];
    database.execute("INSERT INTO ledger_movement VALUES ('A1', ?, ?, ?, 'C1', ?, 0, 0)", values).unwrap();
    for (side, account) in
        [(operator_side, format!("operator:{operator}")), (3 - operator_side, "customer:A1".to_owned())]
    {
        database
            .execute("INSERT INTO ledger_entry VALUES ('A1', ?, ?, ?, ?)", params![no, side, account, fee])
            .unwrap();
    }
}

/// Runs clearing as the service does, and returns whether something was found.
fn run(database: &Connection) -> bool {
    let select = sql::LOCK_DAY.replace(" {for update}", "");
    let before: Option<i64> = database.query_row(&select, [DATE], |row| row.get(0)).ok();
    match before {
        Some(runs) => database.execute(sql::UPDATE_DAY, params![runs + 1, DATE]).unwrap(),
        None => database.execute(sql::INSERT_DAY, params![DATE, 1000, 2000, 1]).unwrap(),
    };
    let found = database.execute(sql::INSERT_AMOUNTS, params![1000, 2000, DATE, DATE]).unwrap();
    if found == 0 {
        database.execute(sql::UPDATE_DAY, params![before.unwrap_or(0), DATE]).unwrap();
    }
    found > 0
}

fn report(database: &Connection) -> Vec<(String, i64, i64)> {
    let mut select = database.prepare(sql::SELECT_REPORT).unwrap();
    let rows = select.query_map([DATE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// What the ledger's accounts of the operators moved by the day's passages and their refunds.
fn ledger(database: &Connection) -> Vec<(String, i64)> {
    let text = "SELECT e.ledger_account, SUM(CASE WHEN e.side = 2 THEN e.amount_fen ELSE -e.amount_fen END)
        FROM ledger_movement m
        JOIN ledger_entry e ON e.account_id = m.account_id AND e.movement_no = m.movement_no
        LEFT JOIN passage_refund r ON r.refund_serial = m.serial_no AND m.kind = 'refund'
        JOIN passage p ON p.serial_no = COALESCE(r.serial_no, m.serial_no)
        WHERE e.ledger_account LIKE 'operator:%' AND p.passed_ms >= 1000 AND p.passed_ms < 2000
        GROUP BY e.ledger_account ORDER BY e.ledger_account";
    let mut select = database.prepare(text).unwrap();
    let rows = select
        .query_map([], |row| Ok((row.get::<_, String>(0)?.replace("operator:", ""), row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// Goal: sums tie to the ledger, whatever was refunded or came late, and a run without news changes nothing.
#[test]
fn sums_are_those_of_the_operators_accounts_in_the_ledger() {
    let database = database();
    for (no, operator, ms, fee) in [
        (1, "G4", 999, 7),
        (2, "G4", 1000, 100),
        (3, "S1", 1500, 20),
        (4, "G4", 1999, 3),
        (5, "S1", 2000, 9),
        (6, "X", 1200, 50),
        (7, "F", 1300, 0),
    ] {
        book(&database, no, operator, ms, fee);
    }
    refund(&database, 8, 6);
    assert!(run(&database));
    let first = [("F".to_owned(), 1, 0), ("G4".to_owned(), 2, 103), ("S1".to_owned(), 1, 20)];
    assert_eq!(report(&database), first);
    assert!(!run(&database));
    assert_eq!(report(&database), first);

    // One comes late, one is refunded after the day was cleared, and an operator's only passage is.
    book(&database, 9, "G4", 1001, 1_000);
    refund(&database, 10, 2);
    refund(&database, 11, 3);
    assert!(run(&database));
    assert!(!run(&database), "what came late is cleared once");
    let cleared = report(&database);
    assert_eq!(cleared, [("F".to_owned(), 1, 0), ("G4".to_owned(), 2, 1_003), ("S1".to_owned(), 0, 0)]);
    let of_ledger: Vec<(String, i64)> =
        ledger(&database).into_iter().filter(|(operator, _)| operator != "X").collect();
    let amounts: Vec<(String, i64)> =
        cleared.into_iter().map(|(operator, _, amount)| (operator, amount)).collect();
    assert_eq!(amounts, of_ledger);
    let rows: i64 = database
        .query_row("SELECT COUNT(*) FROM clearing_amount WHERE run_no = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3, "what the first run found stays as it is");
}
