//! The books when everything is over: what the services say, and what stands in the database file, against the model.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::books::{Books, Movement};
use super::hall::Hall;
use super::reads::is_whole;
use super::stage::Stage;
use crate::etc::{BALANCE, COUNTER, STATEMENT, TRIAL_BALANCE};
use crate::{Client, Reply};

/// Compares what the services say with the model.
pub(super) fn expect_books(hall: &Hall, stage: &Stage) {
    let books = hall.books();
    let fault = |words: String| hall.chronicle.fault(&words);
    let mut client = stage.node.client();
    for (key, counter) in &books.counters {
        let reply = ask(&mut client, COUNTER, json!({"key": key}));
        if reply.json()["value"] != counter.sum {
            fault(format!("counter {key} is to be {} and is {reply:?}", counter.sum));
        }
    }
    for account in &books.accounts {
        let wanted: i64 = movements_of(&books, account).map(|movement| movement.amount).sum();
        let reply = ask(&mut client, BALANCE, json!({"account": account}));
        if reply.json()["balance"] != wanted {
            fault(format!("account {account} is to hold {wanted} and holds {reply:?}"));
        }
        let found = statement(&mut client, account, &fault);
        let wanted: BTreeSet<Movement> = movements_of(&books, account).cloned().collect();
        compare(&format!("the statement of {account}"), &wanted, &found, &fault);
    }
    let adds: i64 = books.counters.values().map(|counter| counter.sum).sum();
    hall.find(format!(
        "services: {} balances and statements, {} counters (sum {adds}) are what was acknowledged",
        books.accounts.len(),
        books.counters.len()
    ));
    let sides = ask(&mut client, TRIAL_BALANCE, json!({})).json();
    if !sides["debit"].is_i64() || sides["debit"] != sides["credit"] {
        fault(format!("the books are out of balance: {sides}"));
    }
}

fn movements_of<'a>(books: &'a Books, account: &str) -> impl Iterator<Item = &'a Movement> {
    let account = account.to_owned();
    books.movements.iter().filter(move |movement| movement.account == account)
}

/// Nothing is killed any more, so every request is served; refusals for want of room are not to be expected.
fn ask(client: &mut Client, service: u32, body: Value) -> Reply {
    client.call_json(service, body).done()
}

fn statement(client: &mut Client, account: &str, fault: &dyn Fn(String)) -> BTreeSet<Movement> {
    let mut found = BTreeSet::new();
    let mut last: Option<Value> = None;
    let mut after = None;
    loop {
        let mut body = json!({"account": account, "limit": 500});
        if let Some(after) = &after {
            body["after"] = Value::clone(after);
        }
        let page = ask(client, STATEMENT, body).json();
        let mut entries: Vec<Value> = last.into_iter().collect();
        entries.extend(page["entries"].as_array().cloned().unwrap_or_default());
        if !is_whole(&entries) {
            fault(format!("the balances of account {account} do not follow from its movements: {page}"));
        }
        last = entries.last().cloned();
        for entry in &entries {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            found.insert(movement(
                account,
                &text("kind"),
                text("serial"),
                entry["amount"].as_i64().unwrap_or(0),
            ));
        }
        after = page.get("next").filter(|next| next.is_string()).cloned();
        if after.is_none() {
            return found;
        }
    }
}

fn movement(account: &str, kind: &str, serial: String, amount: i64) -> Movement {
    let known = ["recharge", "passage", "refund"].into_iter().find(|known| *known == kind);
    Movement { account: account.to_owned(), kind: known.unwrap_or("(another kind)"), serial, amount }
}

fn compare<T: Ord + std::fmt::Debug>(
    what: &str,
    wanted: &BTreeSet<T>,
    found: &BTreeSet<T>,
    fault: &dyn Fn(String),
) {
    for one in wanted.difference(found) {
        fault(format!("{what}: acknowledged and not there: {one:?}"));
    }
    for one in found.difference(wanted) {
        fault(format!("{what}: there and not acknowledged: {one:?}"));
    }
}

/// Reads the database file of the stopped node, past all of the platform, and compares it with the model.
///
/// # Errors
/// SQLite's.
pub(super) fn expect_database(hall: &Hall, stage: &Stage) -> rusqlite::Result<()> {
    let books = hall.books();
    let fault = |words: String| hall.chronicle.fault(&words);
    let file = stage.node.state_folder().join("data.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if check != "ok" {
        fault(format!("the database is damaged: {check}"));
    }
    let texts = |sql: &str| -> rusqlite::Result<BTreeSet<String>> {
        let mut statement = database.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    compare("accounts", &books.accounts, &texts("SELECT account_id FROM customer_account")?, &fault);
    let cards = books.cards.iter().map(|card| card.card.clone()).collect();
    compare("cards", &cards, &texts("SELECT card_id FROM etc_card")?, &fault);
    expect_movements(&books, &database, &fault)?;
    expect_counters(&books, &database, &fault)?;
    expect_balance(hall, &books, &database)
}

fn expect_movements(books: &Books, database: &Connection, fault: &dyn Fn(String)) -> rusqlite::Result<()> {
    let mut statement =
        database.prepare("SELECT account_id, kind, serial_no, amount_fen FROM ledger_movement")?;
    let rows = statement.query_map([], |row| {
        let (account, kind): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(movement(&account, &kind, row.get(2)?, row.get(3)?))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<Movement>>>()?;
    let found: BTreeSet<Movement> = rows.iter().cloned().collect();
    if found.len() != rows.len() {
        fault(format!("{} movements are there twice", rows.len() - found.len()));
    }
    compare("movements", &books.movements, &found, fault);
    Ok(())
}

fn expect_counters(books: &Books, database: &Connection, fault: &dyn Fn(String)) -> rusqlite::Result<()> {
    let mut statement = database.prepare("SELECT counter_key, counter_value FROM diag_counter")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let found = rows.collect::<rusqlite::Result<BTreeSet<(String, i64)>>>()?;
    let found: BTreeSet<_> = found.into_iter().filter(|(key, _)| key != "idle").collect();
    let wanted = books.counters.iter().map(|(key, counter)| (key.clone(), counter.sum)).collect();
    compare("counters", &wanted, &found, fault);
    Ok(())
}

/// The trial balance, and behind it each movement with its two sides: sums alone would also agree with no entry at all.
fn expect_balance(hall: &Hall, books: &Books, database: &Connection) -> rusqlite::Result<()> {
    let fault = |words: String| hall.chronicle.fault(&words);
    let sides: (i64, i64) = database.query_row(
        "SELECT COALESCE(SUM(CASE side WHEN 1 THEN amount_fen END), 0), \
         COALESCE(SUM(CASE side WHEN 2 THEN amount_fen END), 0) FROM ledger_entry",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if sides.0 != sides.1 {
        fault(format!("the books are out of balance in the file: {sides:?}"));
    }
    let wanted: i64 = books.movements.iter().map(|movement| movement.amount.abs()).sum();
    if sides.0 != wanted {
        fault(format!("the sides of all movements are to be {wanted} and are {sides:?}"));
    }
    let odd: i64 = database.query_row(
        "SELECT COUNT(*) FROM ledger_movement m WHERE \
         (SELECT COUNT(*) FROM ledger_entry e WHERE e.account_id = m.account_id AND e.movement_no = m.movement_no) <> 2 \
         OR EXISTS (SELECT 1 FROM ledger_entry e WHERE e.account_id = m.account_id AND e.movement_no = m.movement_no \
         AND e.amount_fen <> ABS(m.amount_fen))",
        [],
        |row| row.get(0),
    )?;
    let entries: i64 = database.query_row("SELECT COUNT(*) FROM ledger_entry", [], |row| row.get(0))?;
    if odd != 0 || entries != 2 * books.movements.len() as i64 {
        let movements = books.movements.len();
        fault(format!("{entries} entries of {movements} movements; {odd} movements lack a side"));
    }
    hall.find(format!(
        "database: integrity ok, {} accounts, {} cards, {} movements each once, {entries} entries, debit {} = credit {} fen",
        books.accounts.len(),
        books.cards.len(),
        books.movements.len(),
        sides.0,
        sides.1
    ));
    Ok(())
}

/// A run in which next to nothing was asked and done would prove next to nothing. Very short ones are for trying things out.
pub(super) fn expect_work(hall: &Hall) {
    if hall.plan.duration < WORK_AFTER {
        return;
    }
    let books = hall.books();
    let of = |kind: &str| books.movements.iter().filter(|movement| movement.kind == kind).count();
    let work = [
        ("recharges", of("recharge")),
        ("passages", of("passage")),
        ("refunds", of("refund")),
        ("counters", books.counters.len()),
        ("accounts", books.accounts.len()),
        ("cards", books.cards.len()),
    ];
    for (what, count) in work {
        if count < WORK_MIN {
            hall.chronicle.fault(&format!("{count} {what} only: the run had too little to do"));
        }
    }
}

/// Of each kind of work, how much there must have been.
const WORK_MIN: usize = 3;

/// From which length of a run on.
const WORK_AFTER: Duration = Duration::from_secs(30);
