//! Latency with the volumes of production: a seeded database, then each service over the wire, one request after the
//! other, and a page far back beside the first one. Ends with the plans of the statements that took longest.
//!
//! `cargo xtask build && cargo bench -p gantry-benches --bench volume -- [ACCOUNTS [PASSAGES]]`
//!
//! On another database than SQLite: inside `with-server postgres COMMAND`, as for the tests. The folder of the database is made
//! below `TMPDIR`; a million accounts with five million passages take some gigabytes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gantry_tests::{Client, Database, Node, NodeOptions, gantry_binary};
use rusqlite::Connection;

const CARD: u32 = 10_000_001;
const BALANCE: u32 = 10_000_002;
const PASSAGES: u32 = 10_000_003;
const STATEMENT: u32 = 10_000_004;
const BLACKLIST: u32 = 10_000_005;
const PASSAGE: u32 = 20_000_005;
const RECHARGE: u32 = 20_000_004;
const BANK_FILE: u32 = 30_000_002;
const CLEARING: u32 = 30_000_003;
/// Requests of each kind.
const ROUNDS: u64 = 2_000;
/// Pages between the first and the one far back, of 50 rows each.
const PAGES_BACK: usize = 1_000;
/// Days before the seeded passages' end that are cleared and billed.
const DAYS: [&str; 5] = ["2025-12-05", "2025-12-10", "2025-12-15", "2025-12-20", "2025-12-25"];

/// Statements whose plans are shown, by the file of their service.
const STATEMENTS: [(&str, &str, &[&str]); 5] = [
    ("account", include_str!("../../services/account/src/sql.rs"), &["SELECT_BALANCE", "SELECT_STATEMENT"]),
    ("card", include_str!("../../services/card/src/sql.rs"), &["SELECT_CARD", "SELECT_BLACKLIST"]),
    (
        "passage",
        include_str!("../../services/passage/src/sql.rs"),
        &["SELECT_BEFORE_PASSAGE", "SELECT_PASSAGES"],
    ),
    ("clearing", include_str!("../../services/clearing/src/sql.rs"), &["INSERT_AMOUNTS"]),
    ("bank", include_str!("../../services/bank/src/sql.rs"), &["INSERT_DEBITS"]),
];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (accounts, passages) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(5_000_000));
    let options = NodeOptions::business().text("log.level", "warn").text("service.timeout", "60s");
    let is_sqlite = options.database() == Database::Sqlite;
    println!(
        "{accounts} accounts, {passages} passages on {:?}; {ROUNDS} requests each, one at a time",
        options.database()
    );
    let mut node = Node::prepare(options);
    let began = Instant::now();
    seed(&node, accounts, passages);
    println!("seeded in {:.1} s", began.elapsed().as_secs_f64());
    node.run();
    let mut client = node.client();
    reads(&mut client, accounts);
    writes(&mut client, accounts);
    paging(&mut client);
    days(&mut client);
    drop(client);
    node.stop();
    if is_sqlite {
        let file = node.state_folder().join("data.db");
        let bytes = std::fs::metadata(&file).map_or(0, |file| file.len());
        println!("the database has {:.2} GB", bytes as f64 / 1e9);
        plans(&Connection::open(file).expect("the database can be opened"));
    }
}

fn seed(node: &Node, accounts: u64, passages: u64) {
    let mut command = Command::new(gantry_binary());
    command.arg("-c").arg(node.config()).args(["data", "seed"]);
    command.args(["--accounts", &accounts.to_string(), "--passages", &passages.to_string()]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("gantry can be started");
    assert!(status.success(), "seeding failed");
}

/// An account's number, all over the table.
fn scattered(round: u64, accounts: u64) -> u64 {
    round.wrapping_mul(2_654_435_761) % accounts + 1
}

fn reads(client: &mut Client, accounts: u64) {
    let on_account = |round| format!(r#"{{"account":"SA{:011}"}}"#, scattered(round, accounts));
    let on_card = |round| format!(r#"{{"card":"SC{:011}"}}"#, scattered(round, accounts));
    measure("balance", ROUNDS, |round| call(client, BALANCE, &on_account(round)));
    measure("card", ROUNDS, |round| call(client, CARD, &on_card(round)));
    measure("statement, first page", ROUNDS, |round| call(client, STATEMENT, &on_account(round)));
    measure("passages, first page", ROUNDS, |round| call(client, PASSAGES, &on_card(round)));
    measure("blacklist, first page", ROUNDS, |_| call(client, BLACKLIST, "{}"));
}

fn writes(client: &mut Client, accounts: u64) {
    measure("passage", ROUNDS, |round| {
        let body = format!(
            r#"{{"card":"SC{:011}","operator":"G4","entry":"a","exit":"b","at":"2026-02-01T00:00:00Z","fee":500}}"#,
            scattered(round, accounts)
        );
        call(client, PASSAGE, &body)
    });
    measure("recharge", ROUNDS, |round| {
        let body =
            format!(r#"{{"card":"SC{:011}","amount":500,"channel":"app"}}"#, scattered(round, accounts));
        call(client, RECHARGE, &body)
    });
}

/// The first page of the longest statement beside one far back, and the same for its card's passages.
fn paging(client: &mut Client) {
    for (name, service, whose) in [
        ("statement", STATEMENT, r#""account":"SA00000000001""#),
        ("passages", PASSAGES, r#""card":"SC00000000001""#),
    ] {
        let first = format!("{{{whose}}}");
        let mut page = first.clone();
        let mut depth = 1;
        while depth < PAGES_BACK {
            let reply = client.call(service, &page).done().json();
            let Some(next) = reply["next"].as_str() else { break };
            page = format!(r#"{{{whose},"after":"{next}"}}"#);
            depth += 1;
        }
        measure(&format!("longest {name}, page 1"), ROUNDS, |_| call(client, service, &first));
        measure(&format!("longest {name}, page {depth}"), ROUNDS, |_| call(client, service, &page));
    }
}

fn days(client: &mut Client) {
    let days = DAYS.len() as u64;
    let of = |round: u64| DAYS[usize::try_from(round).unwrap_or_default() % DAYS.len()];
    let clearing = |round| format!(r#"{{"date":"{}"}}"#, of(round));
    measure("clearing of a day", days, |round| call(client, CLEARING, &clearing(round)));
    measure("clearing of a day, again", days, |round| call(client, CLEARING, &clearing(round)));
    let bank = |round| format!(r#"{{"date":"{}","bank":"ICBC"}}"#, of(round));
    measure("bank files of a day, built", days, |round| call(client, BANK_FILE, &bank(round)));
    measure("bank file, built again", days, |round| call(client, BANK_FILE, &bank(round)));
}

fn call(client: &mut Client, service: u32, body: &str) -> Duration {
    let began = Instant::now();
    client.call(service, body).done();
    began.elapsed()
}

fn measure(what: &str, rounds: u64, mut one: impl FnMut(u64) -> Duration) {
    let mut times: Vec<Duration> = (0..rounds).map(&mut one).collect();
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what:32} median {:9.3} ms   99th percentile {:9.3} ms", at(50), at(99));
}

fn plans(database: &Connection) {
    for (service, source, names) in STATEMENTS {
        for name in names {
            println!("{service}: {name}");
            let text = statement(source, name);
            let mut explain =
                database.prepare(&format!("EXPLAIN QUERY PLAN {text}")).expect("it is a statement");
            let nulls = vec![rusqlite::types::Null; explain.parameter_count()];
            let steps = explain
                .query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>("detail"))
                .expect("a plan can be read");
            steps.flatten().for_each(|step| println!("    {step}"));
        }
    }
}

/// The text of a statement, out of the source of its service.
fn statement(source: &str, name: &str) -> String {
    let from = source.split(&format!(" {name} = \"")).nth(1).unwrap_or_else(|| panic!("there is no {name}"));
    let text = from.split("\";").next().unwrap_or_default();
    text.replace("{limit ?}", "LIMIT ?").replace("{for update}", "")
}
