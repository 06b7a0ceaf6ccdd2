//! 100,000 rows in bulk over ODBC beside `psql`, in turns, on a PostgreSQL of its own.
//!
//! `cargo bench -p gantry-datasource --features odbc --bench bulk`. The peer prints the same rows, unaligned, to
//! nowhere; the time that it takes to start and connect is measured with an empty answer and taken off.
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use gantry_datasource::{Access, Connection, OdbcOptions, OdbcSource, Source, ValueRef};
use gantry_test_servers::{Kind, Server};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: usize = 100_000;
const ROUNDS: usize = 11;
const LIMIT: Duration = Duration::from_secs(120);
const SELECT: &str = "SELECT serial_no, card_id, operator_code, entry_name, exit_name, passed_ms, fee_fen, \
     balance_fen, movement_no FROM passage";

fn main() {
    let server = Server::start(Kind::Postgres);
    let options = OdbcOptions::new(server.connection(server.first_database()));
    let source = OdbcSource::new("main", &options).unwrap();
    let mut connection = source.connect(Access::ReadWrite).unwrap();
    fill(&mut *connection);
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(fetch(&mut *connection));
        let start = psql(&server, "SELECT 1 WHERE 1 = 0");
        peers.push(psql(&server, SELECT).saturating_sub(start));
    }
    let (ours, peers) = (Spread::of(ours), Spread::of(peers));
    println!("{ROWS} rows of 9 columns, median of {ROUNDS} rounds (lowest to highest):");
    println!("  gantry-datasource over ODBC  {ours}");
    println!("  psql                         {peers}");
    println!("  rate beside psql's           {:.2}", peers.median.as_secs_f64() / ours.median.as_secs_f64());
}

/// A table like that of the passages.
fn fill(connection: &mut dyn Connection) {
    let table = "CREATE TABLE passage (serial_no VARCHAR(40) NOT NULL PRIMARY KEY, card_id VARCHAR(40) NOT NULL, \
         operator_code VARCHAR(64) NOT NULL, entry_name VARCHAR(128) NOT NULL, exit_name VARCHAR(128) NOT NULL, \
         passed_ms BIGINT NOT NULL, fee_fen BIGINT NOT NULL, balance_fen BIGINT NOT NULL, movement_no BIGINT NOT NULL)";
    connection.execute(table, &[], LIMIT).unwrap();
    let rows = "INSERT INTO passage SELECT 'P' || LPAD(CAST(n AS TEXT), 15, '0'), 'C' || LPAD(CAST(n % 977 AS TEXT), \
         15, '0'), 'G4', '广州北收费站', '深圳湾口岸', 1700000000000 + n * 37, 1500 + n % 300, 100000 - n, n \
         FROM generate_series(1, ?) n";
    let count = connection.execute(rows, &[ValueRef::I64(ROWS.try_into().unwrap())], LIMIT).unwrap();
    assert_eq!(count, ROWS as u64);
}

fn fetch(connection: &mut dyn Connection) -> Duration {
    let began = Instant::now();
    let rows = connection.query(SELECT, &[], ROWS, LIMIT).unwrap();
    let took = began.elapsed();
    assert_eq!((rows.rows(), rows.value(ROWS - 1, 3)), (ROWS, ValueRef::Text("广州北收费站")));
    took
}

fn psql(server: &Server, text: &str) -> Duration {
    let began = Instant::now();
    let status = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-U", "gantry"])
        .args([
            "-h",
            &server.host().to_string(),
            "-p",
            &server.port().to_string(),
            "-c",
            text,
            server.first_database(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}

struct Spread {
    low: Duration,
    median: Duration,
    high: Duration,
}

impl Spread {
    fn of(mut rounds: Vec<Duration>) -> Self {
        rounds.sort();
        Self { low: rounds[0], median: rounds[rounds.len() / 2], high: rounds[rounds.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = ROWS as f64 / self.median.as_secs_f64() / 1e6;
        write!(out, "{:.0?} ({:.0?} to {:.0?}), {rate:.2} million rows/s", self.median, self.low, self.high)
    }
}
