//! 100,000 rows through a service beside `psql` and `isql`, in turns, on a PostgreSQL of their own.
//!
//! `cargo xtask build --odbc && cargo bench -p gantry-benches --bench bulk -- [ROUNDS]`
//!
//! The service (`bulk.c`) fetches the rows over ODBC in a worker process, takes each value through the host's table and
//! writes the same text as `psql -At`, to nowhere; its time is the whole call over a socket. The peers print to nowhere. Their
//! times are told with their start, which includes connecting, and without it: a run with an empty answer, in the same
//! round, is taken off.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gantry_benches::Rounds;
use gantry_test_servers::{Kind, Server};
use gantry_tests::{Client, Database, Node, NodeOptions, Request, compile_plugin, repository_root};

const SERVICE: u32 = 19_900_020;
const DATABASE: &str = "bulk";
const ROWS: u32 = 100_000;
const SELECT: &str = "SELECT serial_no, card_id, operator_code, entry_name, exit_name, passed_ms, fee_fen, \
     balance_fen, movement_no FROM passage";
const EMPTY: &str = "SELECT 1 WHERE 1 = 0";

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(15);
    let server = Server::start(Kind::Postgres);
    server.create_database(DATABASE);
    let options = NodeOptions::small().on_existing(Database::on(&server), DATABASE);
    let node = Node::start(options.text("log.level", "warn").text("service.timeout", "60s"));
    fill(&server);
    let source = repository_root().join("benches/benches/bulk.c");
    let library = compile_plugin(&source, &node.folder().join("bulk"), &["-O2"]);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
    let mut client = node.client();
    let printed = psql(&server, SELECT).stdout(Stdio::piped()).output().expect("psql is installed").stdout;
    let told = format!("{ROWS} {}", printed.len());
    assert_eq!(client.call(SERVICE, SELECT).done().body, told.as_bytes(), "the same text as psql's");
    println!("{ROWS} rows of 9 columns, {} bytes as text", printed.len());
    compare(&server, &mut client, rounds);
}

fn compare(server: &Server, client: &mut Client, rounds: u32) {
    let mut ours = Rounds::new("a service over ODBC");
    let mut peers = ["psql -At", "isql -b"]
        .map(|name| [Rounds::new(name), Rounds::new(&format!("{name}, without its start"))]);
    // How many times as fast as each peer, with its start and without.
    let mut ratios = [[const { Vec::new() }; 2], [const { Vec::new() }; 2]];
    for _ in 0..rounds {
        let own = timed(|| drop(client.exchange(&Request::new(SERVICE, SELECT)).done()));
        ours.note(own, ROWS);
        let runs = [
            [psql(server, SELECT), psql(server, EMPTY)].map(|command| run(command, None)),
            [SELECT, EMPTY].map(|text| run(isql(server), Some(text))),
        ];
        for (peer, [whole, start]) in runs.into_iter().enumerate() {
            for (index, took) in [whole, whole.saturating_sub(start)].into_iter().enumerate() {
                peers[peer][index].note(took, ROWS);
                ratios[peer][index].push(took.as_secs_f64() / own.as_secs_f64());
            }
        }
    }
    println!("for one row:\n{ours}");
    for (peer, ratios) in peers.iter().flatten().zip(ratios.iter_mut().flatten()) {
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "{peer}\n    the service's rate is {:.2} of it ({low:.2} to {high:.2})",
            ratios[ratios.len() / 2]
        );
    }
}

/// A table like that of the passages.
fn fill(server: &Server) {
    server.sql(
        DATABASE,
        &format!(
            "CREATE TABLE passage (serial_no VARCHAR(40) NOT NULL PRIMARY KEY, card_id VARCHAR(40) NOT NULL, \
             operator_code VARCHAR(64) NOT NULL, entry_name VARCHAR(128) NOT NULL, exit_name VARCHAR(128) NOT NULL, \
             passed_ms BIGINT NOT NULL, fee_fen BIGINT NOT NULL, balance_fen BIGINT NOT NULL, movement_no BIGINT \
             NOT NULL); INSERT INTO passage SELECT 'P' || LPAD(CAST(n AS TEXT), 15, '0'), 'C' || LPAD(CAST(n % 977 \
             AS TEXT), 15, '0'), 'G4', '广州北收费站', '深圳湾口岸', 1700000000000 + n * 37, 1500 + n % 300, \
             100000 - n, n FROM generate_series(1, {ROWS}) n; ANALYZE passage"
        ),
    );
}

fn psql(server: &Server, text: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-U", "gantry", "-h", &server.host().to_string()]);
    command.args(["-p", &server.port().to_string(), "-c", text, DATABASE]);
    command
}

/// Reads its statement from its standard input, a line of it.
fn isql(server: &Server) -> Command {
    let mut command = Command::new("isql");
    command.args(["-k", &server.connection(DATABASE), "-b", "-d|"]);
    command
}

fn run(mut command: Command, input: Option<&str>) -> Duration {
    use std::io::Write;
    timed(|| {
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::null()).spawn().expect("the peer is installed");
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
            writeln!(pipe, "{text}").expect("the peer reads");
        }
        assert!(child.wait().expect("our child").success(), "the peer fails");
    })
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
