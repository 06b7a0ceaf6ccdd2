//! `[data.NAME] transactions`: what is kept of a request's documents when its service does not end well.

use gantry_test_servers::MongoServer;
use gantry_tests::etc::outcome;
use gantry_tests::processes::{is_stopped, send_signal};
use gantry_tests::{Client, Node, NodeOptions, Request, compile_plugin, repository_root, until};
use nix::sys::signal::Signal;

/// The services of `plugins/documents.c`.
const STORE: u32 = 29_900_020;
const COUNT: u32 = 19_900_020;

/// A node with that plugin, and these words about transactions.
fn node(server: &MongoServer, transactions: &str) -> Node {
    let options = NodeOptions::small().with_documents(&server.place());
    let node = Node::start(options.text("data.passages.transactions", transactions));
    let source = repository_root().join("tests/plugins/documents.c");
    let headers = format!("-I{}", repository_root().join("tests/plugins").display());
    let library = compile_plugin(&source, &node.folder().join("documents"), &[&headers]);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
    node
}

fn count(client: &mut Client) -> String {
    client.call(COUNT, "").done().text()
}

/// Stores a document for each way to end, and says how many are there after it.
fn ends(client: &mut Client) -> [(u16, String); 4] {
    ["k1", "b2", "f3", "d4"].map(|body| {
        let status = client.call(STORE, body).status;
        (status, count(client))
    })
}

#[test]
fn documents_of_a_request_that_fails_are_undone_where_there_are_transactions() {
    let server = MongoServer::start();
    // Of a replica set, so that they are detected.
    for transactions in ["on", "detect"] {
        let node = node(&server, transactions);
        let mut client = node.client();
        let [well, refused, failed, careless] = ends(&mut client);
        assert_eq!(well, (0, "1".to_owned()), "{transactions}");
        assert_eq!(refused, (304, "1".to_owned()), "{transactions}");
        assert_eq!(failed, (306, "1".to_owned()), "{transactions}");
        // The service took no notice of an error, but the server has ended the transaction.
        assert_eq!(careless, (306, "1".to_owned()), "{transactions}");
        // The same document again: nothing holds it.
        assert_eq!(client.call(STORE, "k2").status, 0, "{transactions}");
        let again = Request::new(STORE, "k5");
        assert_eq!(client.exchange(&again).done().body, client.exchange(&again).done().body);
        assert_eq!(count(&mut client), "3", "{transactions}");
    }
}

#[test]
fn documents_of_a_request_that_fails_stay_where_there_are_no_transactions() {
    let replicated = MongoServer::start();
    let alone = MongoServer::start_with(&["--standalone"]);
    for (server, transactions) in [(&replicated, "off"), (&alone, "detect")] {
        let node = node(server, transactions);
        let counted = |number: u16| number.to_string();
        let wanted = [(0, counted(1)), (304, counted(2)), (306, counted(3)), (0, counted(4))];
        assert_eq!(ends(&mut node.client()), wanted, "{transactions}");
    }
}

#[test]
fn transactions_that_the_server_does_not_have_are_refused_in_words_that_name_the_key() {
    let server = MongoServer::start_with(&["--standalone"]);
    let node = node(&server, "on");
    let mut client = node.client();
    assert_eq!(client.call(STORE, "k1").status, 306);
    let words = "say transactions = \"off\"";
    until("the log says what to do", || node.logs().replace('\\', "").contains(words).then_some(()));
    assert_eq!(client.call(COUNT, "").status, 0, "reading needs none");
}

/// The worker stands between its document and the commit, and is killed there.
#[test]
fn document_of_a_worker_that_is_killed_before_its_commit_never_was() {
    let server = MongoServer::start();
    let node = node(&server, "on");
    let mut client = node.client();
    assert_eq!(client.call(STORE, "k1").status, 0);
    let worker = node.pid("write");
    let request = Request::new(STORE, "s2");
    client.send(&request);
    until("the service has stopped itself", || is_stopped(worker).then_some(()));
    assert_eq!(count(&mut node.client()), "1", "nobody sees it before the commit");
    send_signal(worker, Signal::SIGKILL);
    client.receive().expect_status(302);
    node.successor("write", worker);
    assert_eq!(outcome(&mut client, &request.id).0, "failed");
    assert_eq!(count(&mut client), "1");
    assert_eq!(client.call(STORE, "k3").status, 0, "others are not held up");
    assert_eq!(count(&mut client), "2");
}

/// The memory of the first start is gone, so the database has to know; and it is asked before any document is written.
#[test]
fn repeat_after_a_start_anew_is_given_the_recorded_reply() {
    let server = MongoServer::start();
    for transactions in ["on", "off"] {
        let mut node = node(&server, transactions);
        let request = Request::new(STORE, "k1");
        let reply = node.client().exchange(&request).done();
        assert_eq!(node.stop(), Some(0));
        node.run();
        let mut client = node.client();
        assert_eq!(client.exchange(&request).done().body, reply.body, "{transactions}");
        assert_eq!(count(&mut client), "1", "{transactions}");
    }
}
