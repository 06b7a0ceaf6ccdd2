//! The rows against the tables of the services, on an in-memory SQLite database.

use gantry_seed::{Cell, PASSAGE, Plan, Rows, TABLES};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

const DEFINITIONS: [&str; 6] = [
    include_str!("../../ledger/src/schema/ledger.sql"),
    include_str!("../../ledger/src/schema/card.sql"),
    include_str!("../../passage/src/schema/passage.sql"),
    include_str!("../../passage/src/schema/passage_2.sql"),
    include_str!("../../passage/src/schema/passage_3.sql"),
    include_str!("../../passage/src/schema/passage_4.sql"),
];

const PLAN: Plan =
    Plan { accounts: 301, passages: 2_000, first: 1, seed: 42, from_ms: 1_000, until_ms: 2_592_001_000 };

fn rows(plan: &Plan) -> Rows {
    let mut rows = Rows::default();
    (0..plan.accounts).for_each(|index| plan.account(index, &mut rows));
    rows
}

fn write(database: &Connection, rows: &mut Rows) {
    for (index, table) in TABLES.iter().enumerate() {
        let marks = vec!["?"; table.columns.len()].join(", ");
        let text = format!("INSERT INTO {} ({}) VALUES ({marks})", table.name, table.columns.join(", "));
        rows.drain(index, 1, true, |cells| {
            let values = cells.iter().map(|cell| match cell {
                Cell::Number(number) => Value::Integer(*number),
                Cell::Text(text) => Value::Text(text.clone()),
            });
            database.execute(&text, params_from_iter(values)).map(drop)
        })
        .expect("the row fits its table");
    }
}

fn number(database: &Connection, text: &str) -> i64 {
    database.query_row(text, [], |row| row.get(0)).expect("it is a number")
}

/// Goal: what is seeded could have been written by the services: nothing that they keep equal differs.
#[test]
fn books_of_seeded_accounts_balance() {
    let database = Connection::open_in_memory().unwrap();
    DEFINITIONS.iter().for_each(|text| database.execute_batch(text).unwrap());
    database.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    write(&database, &mut rows(&PLAN));
    let more = Plan { first: 302, accounts: 10, passages: 3, ..PLAN };
    write(&database, &mut rows(&more));
    assert_eq!(number(&database, "SELECT COUNT(*) FROM passage"), 2_003);
    assert_eq!(number(&database, "SELECT COUNT(*) FROM customer_account"), 311);
    assert!(number(&database, "SELECT COUNT(*) FROM passage_refund") > 0);
    assert!(number(&database, "SELECT COUNT(*) FROM card_listing") > 0);
    for (equal, text) in [
        ("sides", "SELECT COALESCE(SUM(CASE side WHEN 1 THEN amount_fen ELSE -amount_fen END), 1) FROM ledger_entry"),
        (
            "balances",
            "SELECT COUNT(*) FROM customer_account a WHERE balance_fen <>
             (SELECT SUM(amount_fen) FROM ledger_movement m WHERE m.account_id = a.account_id)",
        ),
        (
            "last movements",
            "SELECT COUNT(*) FROM customer_account a WHERE NOT EXISTS (SELECT 1 FROM ledger_movement m
             WHERE m.account_id = a.account_id AND m.movement_no = a.movements_count AND m.balance_fen = a.balance_fen)",
        ),
        (
            "passages",
            "SELECT COUNT(*) FROM passage p WHERE NOT EXISTS (SELECT 1 FROM ledger_movement m
             WHERE m.serial_no = p.serial_no AND m.movement_no = p.movement_no AND m.amount_fen = -p.fee_fen
             AND m.balance_fen = p.balance_fen AND m.account_id = p.account_id)",
        ),
        ("listed", "SELECT COUNT(*) FROM customer_account a LEFT JOIN card_listing l ON l.account_id = a.account_id
             WHERE (a.balance_fen < 0) <> (l.card_id IS NOT NULL)"),
        ("times", "SELECT COUNT(*) FROM passage WHERE passed_ms < 1000 OR passed_ms >= 2592001000"),
    ] {
        assert_eq!(number(&database, text), 0, "{equal}");
    }
}

#[test]
fn same_plan_gives_the_same_rows_and_another_seed_others() {
    let cells = |plan: &Plan| {
        let mut all = Vec::new();
        rows(plan)
            .drain(PASSAGE, 7, true, |cells| {
                all.extend_from_slice(cells);
                Ok::<(), ()>(())
            })
            .unwrap();
        all
    };
    assert_eq!(cells(&PLAN), cells(&PLAN));
    assert_ne!(cells(&PLAN), cells(&Plan { seed: 43, ..PLAN }));
}

#[test]
fn every_plan_has_as_many_passages_as_it_says() {
    for (accounts, passages) in [(1, 0), (1, 9), (2, 9), (3, 100), (50, 10), (64, 6_400), (101, 1_000)] {
        let plan = Plan { accounts, passages, ..PLAN };
        assert_eq!(rows(&plan).count(PASSAGE) as u64, passages, "{accounts} accounts");
    }
}
