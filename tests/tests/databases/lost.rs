//! A write loses its connection in the middle of its transaction, and its service goes on as if nothing had happened.
//!
//! The worst that can follow is a new connection, opened in silence, on which the rest of the statements is run and kept
//! while the first ones are gone.

use gantry_test_servers::{Kind, Server};
use gantry_tests::etc::{add, counter, outcome};
use gantry_tests::{Client, Node, Request, compile_plugin, repository_root, until};
use std::fs;
use std::path::PathBuf;

use super::{SHARED, options, server};

/// The service of `plugins/script.c`.
const SCRIPT: u32 = 29_900_012;

/// What the script replies of a line without an error.
const WENT_WELL: &str = "99";

/// A node with that service on a server of its own.
struct Place {
    server: Server,
    node: Node,
}

impl Place {
    fn new(kind: Kind) -> Self {
        let server = server(kind);
        let options = options(&server).set("workers.write", 1).text("service.timeout", "60s");
        let node = Node::start(options);
        let source = repository_root().join("tests/plugins/script.c");
        let library = compile_plugin(&source, &node.folder().join("script"), &[]);
        node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
        Self { server, node }
    }

    /// A file that a script waits for.
    fn gate(&self) -> PathBuf {
        self.node.folder().join("gate")
    }

    fn until_reached(&self) {
        let reached = self.node.folder().join("gate.reached");
        until("the script waits", || reached.exists().then_some(()));
    }

    fn open_gate(&self) {
        fs::write(self.gate(), "").expect("the folder is ours");
    }

    /// The server's numbers of the sessions with a write transaction that `where_it_is` holds of.
    fn sessions(&self, where_it_is: &str) -> Vec<String> {
        let text = match self.server.kind() {
            Kind::Postgres => format!(
                "SELECT pid FROM pg_stat_activity WHERE datname = '{SHARED}' AND pid <> pg_backend_pid() \
                 AND xact_start IS NOT NULL AND {where_it_is}"
            ),
            Kind::MariaDb => format!(
                "SELECT p.id FROM information_schema.processlist p JOIN information_schema.innodb_trx t \
                 ON t.trx_mysql_thread_id = p.id WHERE p.id <> CONNECTION_ID() AND {where_it_is}"
            ),
        };
        self.server.rows(SHARED, &text)
    }

    /// Ends the session of the running write once `where_it_is` holds of it, and waits until it is gone.
    fn end_session(&self, where_it_is: &str) {
        let session = until("the write stands there", || {
            let sessions = self.sessions(where_it_is);
            assert!(sessions.len() < 2, "one write runs, in the sessions {sessions:?}");
            sessions.into_iter().next()
        });
        let (end, is_there) = match self.server.kind() {
            Kind::Postgres => (
                format!("SELECT pg_terminate_backend({session})"),
                format!("SELECT 1 FROM pg_stat_activity WHERE pid = {session}"),
            ),
            Kind::MariaDb => (
                format!("KILL CONNECTION {session}"),
                format!("SELECT 1 FROM information_schema.processlist WHERE id = {session}"),
            ),
        };
        self.server.sql(SHARED, &end);
        until("its session is gone", || self.server.rows(SHARED, &is_there).is_empty().then_some(()));
    }

    /// What the database has of `first`, `second` and `third`, asked past the platform.
    fn written(&self) -> Vec<String> {
        let text = "SELECT counter_key FROM diag_counter WHERE counter_key IN ('first', 'second', 'third') \
                    ORDER BY counter_key";
        self.server.rows(SHARED, text)
    }
}

fn insert(key: &str) -> String {
    format!("INSERT INTO diag_counter (counter_key, counter_value) VALUES ('{key}', 1)")
}

fn script(lines: &[String]) -> Request {
    Request::new(SCRIPT, lines.join("\n"))
}

/// Nothing of the write is there, the same worker serves others at once, and a repeat is done once, with the replies of
/// all its lines.
fn nothing_is_kept_and_a_repeat_is_done(
    place: &Place,
    request: &Request,
    worker: nix::unistd::Pid,
    lines: usize,
) {
    let (mut client, mut asking) = (place.node.client(), place.node.client());
    assert_eq!(place.written(), Vec::<String>::new());
    assert_eq!(add(&mut client, "others", 1), 1, "the next request is served");
    assert_eq!(outcome(&mut asking, &request.id).0, "failed");
    let reply = client.exchange(request).done();
    assert_eq!(String::from_utf8_lossy(&reply.body), vec![WENT_WELL; lines].join(" "));
    assert_eq!(client.exchange(request).done().body, reply.body, "a further one is given the same");
    assert_eq!(place.written(), ["first", "second", "third"]);
    for key in ["first", "second", "third"] {
        assert_eq!(counter(&mut client, key), 1, "{key}");
    }
    assert_eq!(place.node.pid("write"), worker, "no worker was replaced for it");
    place.node.until_quiet();
}

/// Between two statements, while the service does something else.
fn lost_between_two_statements(kind: Kind) {
    let place = Place::new(kind);
    let worker = place.node.pid("write");
    let wait = format!("wait {}", place.gate().display());
    let read = "SELECT COUNT(*) FROM diag_counter".to_owned();
    let request = script(&[insert("first"), wait, insert("second"), read, insert("third")]);
    let mut client = place.node.client();
    client.send(&request);
    place.until_reached();
    place.end_session(match kind {
        Kind::Postgres => "state = 'idle in transaction'",
        Kind::MariaDb => "p.command = 'Sleep'",
    });
    place.open_gate();
    client.receive().expect_status(306);
    nothing_is_kept_and_a_repeat_is_done(&place, &request, worker, 4);
}

/// A statement that takes as long as the counter `nap` says, in seconds.
fn nap(kind: Kind) -> String {
    let seconds = "(SELECT counter_value FROM diag_counter WHERE counter_key = 'nap')";
    match kind {
        Kind::Postgres => format!("SELECT 1 FROM pg_sleep({seconds})"),
        Kind::MariaDb => format!("SELECT SLEEP({seconds})"),
    }
}

/// In the middle of a statement.
fn lost_in_a_statement(kind: Kind) {
    let place = Place::new(kind);
    let worker = place.node.pid("write");
    let mut client: Client = place.node.client();
    add(&mut client, "nap", 50);
    let request = script(&[insert("first"), nap(kind), insert("second"), insert("third")]);
    client.send(&request);
    place.end_session(match kind {
        Kind::Postgres => "wait_event = 'PgSleep'",
        Kind::MariaDb => "p.state = 'User sleep'",
    });
    client.receive().expect_status(306);
    add(&mut client, "nap", -50);
    nothing_is_kept_and_a_repeat_is_done(&place, &request, worker, 4);
}

#[test]
fn transaction_whose_connection_is_lost_between_two_statements_is_not_continued_on_postgres() {
    lost_between_two_statements(Kind::Postgres);
}

#[test]
fn transaction_whose_connection_is_lost_between_two_statements_is_not_continued_on_mariadb() {
    lost_between_two_statements(Kind::MariaDb);
}

#[test]
fn transaction_whose_connection_is_lost_in_a_statement_is_not_continued_on_postgres() {
    lost_in_a_statement(Kind::Postgres);
}

#[test]
fn transaction_whose_connection_is_lost_in_a_statement_is_not_continued_on_mariadb() {
    lost_in_a_statement(Kind::MariaDb);
}

/// The commit itself takes long, and its connection is lost before the server has done it.
#[test]
fn write_whose_connection_is_lost_before_its_commit_is_done_has_failed() {
    let place = Place::new(Kind::Postgres);
    let worker = place.node.pid("write");
    let mut client = place.node.client();
    add(&mut client, "nap", 50);
    place.server.sql(
        SHARED,
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep((SELECT \
         counter_value FROM diag_counter WHERE counter_key = 'nap')); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON diag_counter DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW WHEN (NEW.counter_key = 'third') EXECUTE FUNCTION nap()",
    );
    let request = script(&[insert("first"), insert("second"), insert("third")]);
    client.send(&request);
    place.end_session("wait_event = 'PgSleep' AND query = 'COMMIT'");
    // Nobody but the database can know.
    client.receive().expect_status(500);
    add(&mut client, "nap", -50);
    nothing_is_kept_and_a_repeat_is_done(&place, &request, worker, 3);
}

/// The commit is done and not told: the server waits for a second one, which does not exist, when the connection is lost.
#[test]
fn write_whose_connection_is_lost_after_its_commit_is_done_and_found() {
    let place = Place::new(Kind::Postgres);
    let wait = format!("wait {}", place.gate().display());
    let request = script(&[insert("first"), wait, insert("second"), insert("third")]);
    let (mut client, mut asking) = (place.node.client(), place.node.client());
    client.send(&request);
    place.until_reached();
    let set = |names: &str| {
        place.server.sql(SHARED, &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        place.server.sql(SHARED, "SELECT pg_reload_conf()");
        until("the server has heard of it", || {
            (place.server.sql(SHARED, "SHOW synchronous_standby_names").trim() == names).then_some(())
        });
    };
    set("nobody");
    place.open_gate();
    place.end_session("wait_event = 'SyncRep'");
    client.receive().expect_status(500);
    set("");
    assert_eq!(outcome(&mut asking, &request.id).0, "done");
    assert_eq!(place.written(), ["first", "second", "third"]);
    let reply = client.exchange(&request).done();
    assert_eq!(String::from_utf8_lossy(&reply.body), [WENT_WELL; 3].join(" "));
    assert_eq!(counter(&mut client, "third"), 1, "a repeat is given the reply of the first time");
    place.node.until_quiet();
}
