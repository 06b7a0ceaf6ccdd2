//! The two platforms of the shipped files, `config/db2.toml` and `config/mongo.toml`, in one folder of one host; only addresses
//! and who connects are others. The first runs on PostgreSQL over ODBC, as its file says it can.

use std::collections::BTreeSet;
use std::thread;

use gantry_test_servers::{Kind, MongoServer, Server};
use gantry_tests::etc::{
    PASSAGES, REFUND, RUN_CLEARING, SERIALS, STATEMENT, balance, customer, expect_books_to_balance, outcome,
    passage, recharge,
};
use gantry_tests::{Node, Request};
use serde_json::{Value, json};

/// The database that the first is given.
const BOOKS: &str = "books";
/// What an account begins with, in fen.
const MONEY: i64 = 100_000;

/// Both, prepared.
struct Platforms {
    sql: Node,
    documents: Node,
    _postgres: Server,
    _mongo: MongoServer,
    /// The folder of both goes last.
    _root: tempfile::TempDir,
}

fn platforms() -> Platforms {
    let root = tempfile::Builder::new().prefix("gantry-").tempdir().expect("a temporary folder");
    let postgres = Server::start_wide(Kind::Postgres, 60);
    postgres.create_database(BOOKS);
    let mongo = MongoServer::start();
    let file = gantry_tests::repository_root().join("config/db2.toml");
    let text = std::fs::read_to_string(file).expect("the configuration ships");
    let shipped = text.lines().find(|line| line.starts_with("connection = ")).expect("it says where DB2 is");
    let here = format!("connection = {:?}", postgres.connection(BOOKS));
    let sql = Node::prepare_shipped(root.path(), "db2.toml", &[(shipped, &here)]);
    let uri = format!("uri = {:?}", mongo.uri("gantry"));
    let changes = [("uri = \"mongodb://127.0.0.1:27017/gantry\"", &*uri)];
    let documents = Node::prepare_shipped(root.path(), "mongo.toml", &changes);
    Platforms { sql, documents, _postgres: postgres, _mongo: mongo, _root: root }
}

/// The story of a customer, each step with its figures; gives the account.
fn journey(node: &Node) -> String {
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    let (left, serial) = passage(&mut client, &card, 1_500, 1);
    assert_eq!(left, MONEY - 1_500);
    assert_eq!(passage(&mut client, &card, 1_500, 1), (left, serial.clone()), "the same passage");
    let (left, _) = passage(&mut client, &card, 2_000, 2);
    assert_eq!(left, MONEY - 3_500);
    let refund = Request::new(REFUND, json!({"serial": serial, "reason": "收费两次"}).to_string());
    let refunded = client.exchange(&refund).done();
    assert_eq!(refunded.json()["balance"], MONEY - 2_000);
    assert_eq!(client.exchange(&refund).done().body, refunded.body, "the same request");
    assert_eq!(outcome(&mut client, &refund.id).0, "done");
    let listed = client.call_json(PASSAGES, json!({"card": card})).done().json();
    let listed: Vec<&Value> =
        listed["passages"].as_array().expect("a list").iter().map(|one| &one["refunded"]).collect();
    assert_eq!(listed, [false, true]);
    let entries = client.call_json(STATEMENT, json!({"account": account})).done().json();
    assert_eq!(entries["entries"].as_array().expect("a list").len(), 4);
    assert_eq!(balance(&mut client, &account), MONEY - 2_000);
    assert_eq!(recharge(&mut client, &card, 500), MONEY - 1_500);
    client.call_json(SERIALS, json!({"type": "recharge", "count": 10})).done();
    expect_books_to_balance(&mut client);
    account
}

/// Everything by which a platform is found on a host.
fn places(node: &Node) -> BTreeSet<String> {
    let status = node.status();
    let segments = status.0["segments"].as_array().expect("segments").iter();
    let segments = segments.map(|segment| format!("segment {}", segment["id"]));
    let socket = node.folder().join("admin.sock");
    assert!(socket.exists(), "{}", socket.display());
    let own = [
        format!("name {}", node.name()),
        format!("socket {}", socket.display()),
        format!("address {}", node.address()),
    ];
    segments.chain(own).collect()
}

#[test]
fn platforms_of_the_shipped_files_run_side_by_side_each_with_its_own_services() {
    let mut both = platforms();
    both.sql.run();
    both.documents.run();
    assert_ne!(both.sql.name(), both.documents.name());
    let (sql_places, documents_places) = (places(&both.sql), places(&both.documents));
    assert!(sql_places.is_disjoint(&documents_places), "{sql_places:?} {documents_places:?}");

    // Both at the same time.
    let (sql, documents) = (&both.sql, &both.documents);
    let [sql_account, account] = thread::scope(|scope| {
        [sql, documents]
            .map(|node| scope.spawn(|| journey(node)))
            .map(|thread| thread.join().expect("it ends well"))
    });
    let day = json!({"date": "2025-03-01"});
    let cleared = sql.client().call_json(RUN_CLEARING, day.clone()).done().json();
    assert_eq!(cleared["total"], 2_000, "what was not refunded");
    assert_eq!(documents.client().call_json(RUN_CLEARING, day).status, 102, "a service of the other alone");

    // Each is stopped while the other serves, and comes back with what it had.
    let others = documents.pids("worker");
    assert_eq!(both.sql.stop(), Some(0));
    assert!(both.sql.segments().is_empty(), "{:?}", both.sql.segments());
    assert_eq!((places(&both.documents), both.documents.pids("worker")), (documents_places, others));
    journey(&both.documents);
    both.sql.run();
    assert_eq!(balance(&mut both.sql.client(), &sql_account), MONEY - 1_500);
    let others = both.sql.pids("worker");
    assert_eq!(both.documents.stop(), Some(0));
    assert_eq!(both.sql.pids("worker"), others);
    journey(&both.sql);
    both.documents.run();
    assert_eq!(balance(&mut both.documents.client(), &account), MONEY - 1_500);
    journey(&both.documents);
}
