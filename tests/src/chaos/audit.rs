//! What is looked at when everything is over: the books, the database file, the node's resources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::books::{Books, Movement};
use super::hall::Hall;
use super::reads::is_whole;
use super::stage::{RECEIVE_BUFFERS, Stage};
use crate::etc::{ADD, BALANCE, COUNTER, ECHO, STATEMENT, TRIAL_BALANCE};
use crate::processes::{descriptors, kill_hard, mentioning};
use crate::{Client, Node, Reply, Status};

/// How long everything may take to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Twice as long as a half-received frame is let alone where buffers are short.
const CUT_OFF_AFTER: Duration = Duration::from_millis(250);

/// What no process of a sound node ever writes down.
const FORBIDDEN_WORDS: [&str; 4] =
    ["panicked", "taken from a living worker", "damaged", "names no I/O thread"];

/// How many descriptors each process has when nothing is going on.
pub(super) type Idle = BTreeMap<(String, Pid), usize>;

/// Has every worker serve something, and counts the descriptors of all processes when no client is connected.
///
/// # Panics
/// When the node does not answer.
pub(super) fn idle_descriptors(node: &Node) -> Idle {
    let mut idle: Idle = BTreeMap::new();
    // A worker that was a spare once has opened more than one that was started for its place.
    for queue in ["read", "write"] {
        for victim in node.pids(queue) {
            kill_hard(victim);
            node.successor(queue, victim);
            crate::until("the node is at rest", || unrest(node).is_empty().then_some(()));
        }
    }
    warm_up(node);
    // A connection of a command that has just ended is none of the idle ones: the fewest count.
    for _ in 0..10 {
        for (name, pid, count) in counts(&node.status()) {
            let least = idle.entry((name, pid)).or_insert(count);
            *least = (*least).min(count);
        }
    }
    idle
}

/// Until every worker has run a statement: connections to data sources are opened when they are first used.
fn warm_up(node: &Node) {
    crate::until("every worker has served", || {
        let mut clients: Vec<Client> = (0..8).map(|_| node.client()).collect();
        for client in &mut clients {
            for number in 0..8 {
                let body = json!({"key": "idle", "add": 1}).to_string();
                client.send(&crate::Request::new(ADD, body));
                client.send(&crate::Request::new(COUNTER, json!({"key": "idle"}).to_string()));
                client.send(&crate::Request::new(ECHO, vec![number; 100]));
            }
        }
        for client in &mut clients {
            for _ in 0..24 {
                client.receive();
            }
        }
        let status = node.status();
        let has_served = |row: &Value| row["role"] != "worker" || row["requests"].as_u64() > Some(3);
        status.0["processes"].as_array().is_some_and(|rows| rows.iter().all(has_served)).then_some(())
    });
    crate::until("no client is connected", || (node.status().connections() == 0).then_some(()));
}

/// Role (and queue), pid and number of descriptors of each process.
fn counts(status: &Status) -> Vec<(String, Pid, usize)> {
    // The supervisor notes only a little later that the command which has just asked it is gone.
    thread::sleep(Duration::from_millis(40));
    let name = |process: &crate::Process| match &process.queue {
        Some(queue) => format!("{} ({queue})", process.role),
        None => process.role.clone(),
    };
    let count = |process: &crate::Process| (name(process), process.pid, descriptors(process.pid).len());
    status.processes().iter().map(count).collect()
}

/// Waits until the node is at rest, and notes what does not come back.
pub(super) fn expect_rest(hall: &Hall, stage: &Stage, idle: &Idle) {
    let fault = |words: String| hall.chronicle.fault(&words);
    let begin = Instant::now();
    loop {
        let unrest = unrest(&stage.node);
        if unrest.is_empty() {
            break;
        }
        if begin.elapsed() > REST_LIMIT {
            return fault(format!("not at rest after {REST_LIMIT:?}: {unrest}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    warm_up(&stage.node);
    loop {
        let grown = grown(&stage.node, idle);
        if grown.is_empty() {
            return;
        }
        if begin.elapsed() > REST_LIMIT {
            return fault(format!("descriptors are left open: {grown}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Holds every receive buffer at once with frames that are cut off, and then sends the rest of each. Where one is missing,
/// somebody waits for it, and after a while the node cuts off whoever has waited longest in the middle of a frame.
pub(super) fn expect_every_receive_buffer(hall: &Hall, stage: &Stage) {
    let mut halves: Vec<Client> = (0..RECEIVE_BUFFERS - 1).map(|_| stage.node.client()).collect();
    let frame = crate::Request::new(ECHO, vec![b'h'; 600]).encode();
    let (front, rest) = frame.split_at(300);
    let faults = |halves: &mut Vec<Client>, part: &[u8]| {
        halves.iter_mut().filter_map(|half| half.send_bytes(part).err()).count()
    };
    let mut broken = faults(&mut halves, front);
    // One buffer is left for this client; meanwhile those who would have to be cut off are.
    let mut other = stage.node.client();
    let begin = Instant::now();
    while begin.elapsed() < CUT_OFF_AFTER {
        other.call(ECHO, "meanwhile").done();
    }
    broken += faults(&mut halves, rest);
    for half in &mut halves {
        if !matches!(half.try_receive(), Ok(Some(reply)) if reply.status == 0 && reply.body.len() == 600) {
            broken += 1;
        }
    }
    if broken > 0 {
        hall.chronicle.fault(&format!("of {RECEIVE_BUFFERS} receive buffers, {broken} were not to be had"));
    }
}

/// Which processes have more descriptors than their like had before, in words.
fn grown(node: &Node, idle: &Idle) -> String {
    let mut words = String::new();
    for (name, pid, count) in counts(&node.status()) {
        let before = idle.iter().filter(|((role, _), _)| *role == name).map(|(_, count)| *count).max();
        if before.is_some_and(|before| count > before) {
            let held = descriptors(pid);
            words.push_str(&format!("{name} {pid} has {count}, {before:?} when idle before: {held:?}; "));
        }
    }
    words
}

/// What is not as in an idle node, in words.
fn unrest(node: &Node) -> String {
    let output = node.gantry(&["status", "--json"]);
    if output.code != Some(0) {
        return format!("status ended with {:?}: {}", output.code, output.stderr);
    }
    let status = Status(output.json());
    let mut words = String::new();
    let (free, total) = (status.slots("free"), status.slots("total"));
    if free != total {
        words.push_str(&format!("{} slots are not free: {}; ", total - free, status.0["slots"]));
    }
    for ring in ["read", "write"] {
        let used = status.used(ring);
        if used != 0 {
            words.push_str(&format!("{used} in the {ring} ring; "));
        }
    }
    if status.connections() != 0 {
        words.push_str(&format!("{} connections; ", status.connections()));
    }
    for class in status.0["blocks"].as_array().unwrap_or(&Vec::new()) {
        if class["taken"] != 0 {
            words.push_str(&format!("blocks {class}; "));
        }
    }
    for process in status.processes() {
        if process.state != "idle" && process.role != "supervisor" {
            words.push_str(&format!("{} {} is {}; ", process.role, process.pid, process.state));
        }
    }
    if let Some(waiting) = status.0.get("waiting") {
        words.push_str(&format!("places wait to be filled: {waiting}; "));
    }
    words
}

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
    let sides = ask(&mut client, TRIAL_BALANCE, json!({})).json();
    if sides["debit"] != sides["credit"] {
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
    compare("movements", &books.movements, &found, &fault);
    let mut statement = database.prepare("SELECT counter_key, counter_value FROM diag_counter")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let found = rows.collect::<rusqlite::Result<BTreeSet<(String, i64)>>>()?;
    let found: BTreeSet<_> = found.into_iter().filter(|(key, _)| key != "idle").collect();
    let wanted = books.counters.iter().map(|(key, counter)| (key.clone(), counter.sum)).collect();
    compare("counters", &wanted, &found, &fault);
    let sides: (i64, i64) = database.query_row(
        "SELECT COALESCE(SUM(CASE side WHEN 1 THEN amount_fen END), 0), \
         COALESCE(SUM(CASE side WHEN 2 THEN amount_fen END), 0) FROM ledger_entry",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if sides.0 != sides.1 {
        fault(format!("the books are out of balance in the file: {sides:?}"));
    }
    Ok(())
}

/// Looks for what a stopped node must not leave, and for what must not stand in its logs.
pub(super) fn expect_nothing_left(hall: &Hall, stage: &Stage) {
    let folder = stage.node.folder();
    let left: Vec<Pid> = mentioning(&folder.to_string_lossy());
    if !left.is_empty() {
        let words: Vec<_> = left.iter().map(|pid| crate::processes::command_line(*pid)).collect();
        hall.chronicle.fault(&format!("processes are left after the stop: {left:?} {words:?}"));
    }
    let segments = stage.node.segments();
    if !segments.is_empty() {
        hall.chronicle.fault(&format!("segments are left after the stop: {segments:?}"));
    }
    look_for_words(hall, &stage.node.state_folder());
}

fn look_for_words(hall: &Hall, folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            look_for_words(hall, &path);
        } else if path.to_string_lossy().contains(".log")
            || path.extension().is_some_and(|end| end == "stderr")
        {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let bad = |line: &&str| FORBIDDEN_WORDS.iter().any(|word| line.contains(word));
            if let Some(line) = text.lines().find(bad) {
                hall.chronicle.fault(&format!("{}: {line}", path.display()));
            }
        }
    }
}
