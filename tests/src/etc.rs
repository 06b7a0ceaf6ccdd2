//! Steps of the business stories, each checked as it is taken.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::{Client, Reply};

/// Open account.
pub const OPEN_ACCOUNT: u32 = 20_000_001;
/// Issue card.
pub const ISSUE_CARD: u32 = 20_000_002;
/// Issue tag.
pub const ISSUE_TAG: u32 = 20_000_003;
/// Recharge.
pub const RECHARGE: u32 = 20_000_004;
/// Passage: record and deduct.
pub const PASSAGE: u32 = 20_000_005;
/// Refund a passage.
pub const REFUND: u32 = 20_000_006;
/// Card status.
pub const CARD_STATUS: u32 = 20_000_007;
/// Put on or take off the blacklist.
pub const BLACKLIST: u32 = 20_000_008;
/// Bank file result.
pub const BANK_RESULT: u32 = 20_000_009;
/// Card.
pub const CARD: u32 = 10_000_001;
/// Balance of an account.
pub const BALANCE: u32 = 10_000_002;
/// Passages of a card.
pub const PASSAGES: u32 = 10_000_003;
/// Statement of an account.
pub const STATEMENT: u32 = 10_000_004;
/// Blacklist page.
pub const BLACKLIST_PAGE: u32 = 10_000_005;
/// Clearing report.
pub const CLEARING_REPORT: u32 = 10_000_006;
/// Trial balance.
pub const TRIAL_BALANCE: u32 = 10_000_007;
/// Next serials.
pub const SERIALS: u32 = 30_000_001;
/// Build a bank file.
pub const BANK_FILE: u32 = 30_000_002;
/// Run clearing.
pub const RUN_CLEARING: u32 = 30_000_003;

/// Diag echo over the read queue.
pub const ECHO: u32 = 19_000_001;
/// Diag echo over the write queue.
pub const ECHO_WRITE: u32 = 29_000_001;
/// Diag sleep over the read queue.
pub const SLEEP: u32 = 19_000_002;
/// Diag sleep over the write queue.
pub const SLEEP_WRITE: u32 = 29_000_002;
/// Diag fault over the read queue.
pub const FAULT: u32 = 19_000_003;
/// Diag fault over the write queue.
pub const FAULT_WRITE: u32 = 29_000_003;
/// Diag counter, read.
pub const COUNTER: u32 = 19_000_004;
/// Diag counter, add once.
pub const ADD: u32 = 29_000_004;

/// The platform's own numbers: ping, outcome, node.
pub const PING: u32 = 1;
/// Did a request commit?
pub const OUTCOME: u32 = 2;
/// The node's name, load and whether it drains.
pub const NODE: u32 = 3;

/// Plates and tags given out by this process, so that none is given twice.
static NAMES_GIVEN: Mutex<u32> = Mutex::new(0);

/// A text nobody else in this process has: plates and tags are natural keys.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let mut given = NAMES_GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    *given += 1;
    format!("{prefix}{:05}", *given)
}

/// Opens an account and returns it.
///
/// # Panics
/// When that fails.
#[must_use]
#[track_caller]
pub fn open_account(client: &mut Client) -> String {
    let body = json!({"customer": "Li Na", "id_no": unique("11010519900101")});
    text(&client.call_json(OPEN_ACCOUNT, body).done(), "account")
}

/// Issues a card of an account and returns it.
///
/// # Panics
/// When that fails.
#[must_use]
#[track_caller]
pub fn issue_card(client: &mut Client, account: &str) -> String {
    let body = json!({"account": account, "plate": unique("JA"), "vehicle_class": 1});
    text(&client.call_json(ISSUE_CARD, body).done(), "card")
}

/// Opens an account with a card and this much money (in fen; 0 = none), and returns account and card.
///
/// # Panics
/// When that fails.
#[must_use]
#[track_caller]
pub fn customer(client: &mut Client, money: i64) -> (String, String) {
    let account = open_account(client);
    let card = issue_card(client, &account);
    if money > 0 {
        assert_eq!(recharge(client, &card, money), money, "a new account holds what was paid in");
    }
    (account, card)
}

/// Recharges a card by `amount` fen and returns the balance after it.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn recharge(client: &mut Client, card: &str, amount: i64) -> i64 {
    let reply =
        client.call_json(RECHARGE, json!({"card": card, "amount": amount, "channel": "counter"})).done();
    number(&reply, "balance")
}

/// The body of a passage over `fee` fen; `minute` 0 to 59 tells one passage of a card from another.
#[must_use]
pub fn passage_body(card: &str, fee: i64, minute: u32) -> Value {
    let at = format!("2025-03-01T08:{minute:02}:00+08:00");
    json!({"card": card, "operator": "G4", "entry": "Beijing", "exit": "Zhuozhou", "at": at, "fee": fee})
}

/// Records a passage and returns the balance after it and the passage's serial.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn passage(client: &mut Client, card: &str, fee: i64, minute: u32) -> (i64, String) {
    let reply = client.call_json(PASSAGE, passage_body(card, fee, minute)).done();
    (number(&reply, "balance"), text(&reply, "serial"))
}

/// The balance of an account in fen.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn balance(client: &mut Client, account: &str) -> i64 {
    number(&client.call_json(BALANCE, json!({"account": account})).done(), "balance")
}

/// Whether a card is on the blacklist.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn listed(client: &mut Client, card: &str) -> bool {
    let reply = client.call_json(CARD, json!({"card": card})).done();
    reply.json()["listed"].as_bool().unwrap_or_else(|| panic!("a card says whether it is listed: {reply:?}"))
}

/// Adds once to a diag counter and returns the new value.
///
/// # Panics
/// When that fails.
#[track_caller]
pub fn add(client: &mut Client, key: &str, amount: i64) -> i64 {
    number(&client.call_json(ADD, json!({"key": key, "add": amount})).done(), "value")
}

/// The value of a diag counter.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn counter(client: &mut Client, key: &str) -> i64 {
    number(&client.call_json(COUNTER, json!({"key": key})).done(), "value")
}

/// The books balance: every movement has two sides.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn expect_books_to_balance(client: &mut Client) {
    let reply = client.call_json(TRIAL_BALANCE, json!({})).done();
    assert_eq!(number(&reply, "debit"), number(&reply, "credit"), "the books are out of balance");
}

/// The field `key` of a JSON reply, a whole number.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn number(reply: &Reply, key: &str) -> i64 {
    reply.json()[key].as_i64().unwrap_or_else(|| panic!("no whole number {key} in {reply:?}"))
}

/// The field `key` of a JSON reply, a text that is not empty.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn text(reply: &Reply, key: &str) -> String {
    let body = reply.json();
    let text = body[key].as_str().filter(|text| !text.is_empty());
    text.unwrap_or_else(|| panic!("no text {key} in {reply:?}")).to_owned()
}

/// What the platform knows about the request `id`: the state of an outcome query, and its whole reply.
///
/// # Panics
/// When the query fails.
#[must_use]
#[track_caller]
pub fn outcome(client: &mut Client, id: &crate::RequestId) -> (String, Value) {
    let reply = client.call(OUTCOME, id.as_str()).done();
    (text(&reply, "state"), reply.json())
}
