//! What holds for SQLite alone: its file, its settings, its processes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gantry_datasource::{
    Access, Connection, ErrorKind, Mode, Pool, SqliteConnection, SqliteOptions, SqliteSource,
    TransactionState, ValueRef,
};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn open(path: &Path, access: Access) -> SqliteConnection {
    SqliteConnection::open(&Arc::from("main"), &SqliteOptions::new(path), access).unwrap()
}

fn open_error(path: &Path) -> gantry_datasource::SourceError {
    SqliteConnection::open(&Arc::from("main"), &SqliteOptions::new(path), Access::ReadWrite).unwrap_err()
}

fn create(connection: &mut dyn Connection) {
    connection.execute("CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY)", &[], LIMIT).unwrap();
}

fn insert(connection: &mut dyn Connection, id: i64) {
    connection.execute("INSERT INTO item (id) VALUES (?)", &[id.into()], LIMIT).unwrap();
}

fn count(connection: &mut dyn Connection) -> i64 {
    let rows = connection.query("SELECT COUNT(*) FROM item", &[], 1, LIMIT).unwrap();
    rows.value(0, 0).as_i64().unwrap()
}

#[test]
fn new_file_and_its_log_belong_to_their_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let mut connection = open(&path, Access::ReadWrite);
    create(&mut connection);
    for name in ["data.db", "data.db-wal", "data.db-shm"] {
        let mode = folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn name_that_looks_like_a_uri_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["file:a.db?mode=memory", ":memory:", "a b%20c.db"] {
        let path = folder.path().join(name);
        create(&mut open(&path, Access::ReadWrite));
        assert!(path.is_file(), "{name}");
    }
}

#[test]
fn file_that_cannot_be_used_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = open_error(&folder.path().join("nowhere/data.db"));
    assert_eq!(missing.kind, ErrorKind::ConnectionLost);
    assert!(missing.to_string().contains("create it"), "{missing}");

    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database, but it is long enough to be looked at. ".repeat(40)).unwrap();
    assert_eq!(open_error(&text).kind, ErrorKind::Corrupt);

    assert_eq!(open_error(folder.path()).kind, ErrorKind::ConnectionLost);
}

#[test]
fn damaged_page_is_told_and_breaks_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let mut connection = open(&path, Access::ReadWrite);
    create(&mut connection);
    connection.begin(Mode::Write, LIMIT).unwrap();
    for id in 0..5_000 {
        insert(&mut connection, id);
    }
    connection.commit().unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();

    let mut connection = open(&path, Access::ReadWrite);
    let error = connection.query("SELECT id FROM item ORDER BY id", &[], 10_000, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(connection.is_broken());
    let next = connection.query("SELECT 1", &[], 1, LIMIT).unwrap_err();
    assert_eq!(next.kind, ErrorKind::ConnectionLost);
}

/// Processes of a node open a new file all at once; none may find it half made.
#[test]
fn many_connections_that_open_a_new_file_together_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = folder.path().join(format!("{round}.db"));
        let together = Barrier::new(8);
        std::thread::scope(|scope| {
            for index in 0..8 {
                let (path, together) = (&path, &together);
                scope.spawn(move || {
                    together.wait();
                    let access = if index % 2 == 0 { Access::ReadWrite } else { Access::ReadOnly };
                    let mut connection = open(path, access);
                    connection.query("SELECT 1", &[], 1, LIMIT).unwrap();
                });
            }
        });
    }
}

#[test]
fn write_cut_off_by_its_limit_aborts_the_whole_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    create(&mut connection);
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert(&mut connection, -1);
    let slow = "INSERT INTO item (id) WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL \
                SELECT n + 1 FROM number WHERE n < 2000000000) SELECT n FROM number";
    let error = connection.execute(slow, &[], Duration::from_millis(40)).unwrap_err();
    assert_eq!((error.kind, connection.transaction()), (ErrorKind::Timeout, TransactionState::Aborted));
    // Without the guard this one would now commit by itself.
    let next = connection.execute("INSERT INTO item (id) VALUES (-2)", &[], LIMIT).unwrap_err();
    assert_eq!(next.kind, ErrorKind::Aborted);
    connection.rollback().unwrap();
    assert_eq!(count(&mut connection), 0);
}

#[test]
fn deferred_foreign_key_that_fails_at_commit_leaves_the_rollback_to_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    create(&mut connection);
    let part = "CREATE TABLE part (item BIGINT REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED)";
    connection.execute(part, &[], LIMIT).unwrap();
    connection.begin(Mode::Write, LIMIT).unwrap();
    connection.execute("INSERT INTO part (item) VALUES (7)", &[], LIMIT).unwrap();
    let error = connection.commit().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Constraint(_)), "{error}");
    assert!(connection.in_transaction());
    connection.rollback().unwrap();
    let rows = connection.query("SELECT COUNT(*) FROM part", &[], 1, LIMIT).unwrap();
    assert_eq!(rows.value(0, 0), ValueRef::I64(0));
}

#[test]
fn stored_text_that_is_not_utf8_is_a_bad_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    let error = connection.query("SELECT CAST(x'ff' AS TEXT)", &[], 1, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadValue);
}

#[test]
fn more_texts_than_are_remembered_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    for round in 0..2 {
        for number in 0..1_500 {
            let rows = connection.query(&format!("SELECT {number}"), &[], 1, LIMIT).unwrap();
            assert_eq!(rows.value(0, 0), ValueRef::I64(number), "round {round}");
        }
    }
}

#[test]
fn pool_keeps_what_works_and_replaces_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let source = SqliteSource::new("main", SqliteOptions::new(folder.path().join("data.db")));
    let mut pool = Pool::new(Box::new(source), Access::ReadWrite);
    assert_eq!((&**pool.source().name(), pool.idle_count()), ("main", 0));
    let mut connection = pool.begin(Mode::Write, LIMIT).unwrap();
    create(&mut *connection);
    connection.commit().unwrap();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert(&mut *connection, 1);
    pool.put_back(connection).unwrap();
    assert_eq!(pool.idle_count(), 1);
    let mut connection = pool.take().unwrap();
    assert!(!connection.in_transaction(), "what was left open was rolled back");
    assert_eq!((count(&mut *connection), pool.idle_count()), (0, 0));
    let read = connection.query("SELECT CAST(x'ff' AS TEXT)", &[], 1, LIMIT);
    assert!(read.is_err() && !connection.is_broken());
    pool.put_back(connection).unwrap();
    assert_eq!(pool.idle_count(), 1);
}

#[test]
fn pool_gives_the_connection_back_when_the_writer_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let source = SqliteSource::new("main", SqliteOptions::new(&path));
    let mut pool = Pool::new(Box::new(source), Access::ReadWrite);
    let mut holder = open(&path, Access::ReadWrite);
    holder.begin(Mode::Write, LIMIT).unwrap();
    for _ in 0..3 {
        let Err(error) = pool.begin(Mode::Write, Duration::from_millis(5)) else {
            panic!("the place is taken")
        };
        assert_eq!((error.kind, pool.idle_count()), (ErrorKind::Retryable, 1));
    }
}

/// A child that does not outlive its test, also when that fails.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Goal: what `commit` returned for is there, whatever happens to the process. Method: a child commits and says
/// so, is killed with SIGKILL at no particular point, and every number it said is looked up.
#[test]
fn commit_survives_the_kill_of_its_process() {
    const CHILD: &str = "GANTRY_TEST_COMMIT_INTO";
    if let Some(path) = std::env::var_os(CHILD) {
        let mut connection = open(Path::new(&path), Access::ReadWrite);
        for id in 1.. {
            connection.begin(Mode::Write, LIMIT).unwrap();
            insert(&mut connection, id);
            insert(&mut connection, -id);
            connection.commit().unwrap();
            println!("committed {id}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.db"));
        create(&mut open(&path, Access::ReadWrite));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commit_survives_the_kill_of_its_process", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = KilledOnDrop(child);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut said = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.split("committed ").nth(1) {
                said = id.parse().unwrap();
                if said == 20 + round * 7 {
                    child.0.kill().unwrap();
                }
            }
        }
        child.0.wait().unwrap();
        let mut connection = open(&path, Access::ReadWrite);
        let found = count(&mut connection);
        assert!(said >= 20 && found >= 2 * said, "{said} commits were told, {found} rows are there");
        assert_eq!(found % 2, 0, "a transaction is there whole or not at all");
    }
}
