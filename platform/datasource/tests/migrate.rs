//! Migrations: each once, whole, unchanged, by whoever comes first.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gantry_datasource::{
    Access, Connection, ErrorKind, Migration, Mode, SqliteConnection, SqliteOptions, migrate,
};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const FIRST: Migration<'_> = Migration {
    version: 1,
    sql: "-- accounts\nCREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY);\nINSERT INTO account VALUES (1);\n",
};
const SECOND: Migration<'_> = Migration {
    version: 2,
    sql: "ALTER TABLE account ADD COLUMN name VARCHAR(20);\nUPDATE account SET name = 'a;b'",
};

fn open(path: &Path, access: Access) -> SqliteConnection {
    SqliteConnection::open(&Arc::from("main"), &SqliteOptions::new(path), access).unwrap()
}

fn names(connection: &mut dyn Connection) -> Vec<String> {
    let rows = connection.query("SELECT name FROM account ORDER BY id", &[], 100, LIMIT).unwrap();
    (0..rows.rows()).map(|row| rows.value(row, 0).as_text().unwrap().to_owned()).collect()
}

#[test]
fn migrate_applies_each_step_once_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.db");
    let mut connection = open(&path, Access::ReadWrite);
    assert_eq!(migrate(&mut connection, "account", &[FIRST]).unwrap(), [1]);
    assert_eq!(migrate(&mut connection, "account", &[FIRST, SECOND]).unwrap(), [2]);
    assert!(migrate(&mut connection, "account", &[FIRST, SECOND]).unwrap().is_empty());
    assert_eq!(names(&mut connection), ["a;b"]);
    assert!(migrate(&mut connection, "account", &[FIRST]).unwrap().is_empty(), "an older list is left alone");
    let mut reader = open(&path, Access::ReadOnly);
    assert!(
        migrate(&mut reader, "account", &[FIRST, SECOND]).unwrap().is_empty(),
        "nothing to do: it only reads"
    );
}

#[test]
fn owners_count_their_versions_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    assert_eq!(migrate(&mut connection, "account", &[FIRST]).unwrap(), [1]);
    let card = Migration { version: 1, sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY)" };
    assert_eq!(migrate(&mut connection, "card", &[card]).unwrap(), [1]);
}

#[test]
fn changed_text_of_an_applied_step_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    migrate(&mut connection, "account", &[FIRST]).unwrap();
    let changed =
        Migration { version: 1, sql: "CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, a BIGINT)" };
    let error = migrate(&mut connection, "account", &[changed, SECOND]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Migration);
    assert!(error.message.contains("version 1 changed"), "{error}");
    assert!(!connection.in_transaction());
}

#[test]
fn lists_out_of_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    for list in [&[SECOND, FIRST][..], &[FIRST, FIRST][..], &[Migration { version: 0, sql: "" }][..]] {
        assert_eq!(migrate(&mut connection, "account", list).unwrap_err().kind, ErrorKind::Migration);
    }
    let third = Migration { version: 3, sql: "CREATE TABLE c (a BIGINT)" };
    migrate(&mut connection, "account", &[FIRST, third]).unwrap();
    let late = migrate(&mut connection, "account", &[FIRST, SECOND, third]).unwrap_err();
    assert!(late.kind == ErrorKind::Migration && late.message.contains("version 3 was applied"), "{late}");
    let owner = "x".repeat(65);
    assert_eq!(migrate(&mut connection, &owner, &[FIRST]).unwrap_err().kind, ErrorKind::Migration);
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(migrate(&mut connection, "account", &[FIRST]).unwrap_err().kind, ErrorKind::Migration);
}

#[test]
fn step_that_fails_leaves_nothing_and_names_its_statement() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"), Access::ReadWrite);
    let wrong = Migration {
        version: 2,
        sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY);\nINSERT INTO nowhere VALUES (1);\n",
    };
    let error = migrate(&mut connection, "account", &[FIRST, wrong]).unwrap_err();
    assert!(error.message.starts_with("account, version 2, statement 2: no such table"), "{error}");
    assert!(!connection.in_transaction());
    assert!(connection.query("SELECT id FROM card", &[], 1, LIMIT).unwrap_err().is_missing_table());
    let right = Migration { version: 2, sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY)" };
    assert_eq!(migrate(&mut connection, "account", &[FIRST, right]).unwrap(), [2]);
}

/// Workers start together and all bring the tables up to date.
#[test]
fn connections_that_migrate_together_apply_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let path = folder.path().join(format!("{round}.db"));
        let together = Barrier::new(6);
        let applied: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = open(&path, Access::ReadWrite);
                        together.wait();
                        migrate(&mut connection, "account", &[FIRST, SECOND]).unwrap().len()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(applied, 2);
        assert_eq!(names(&mut open(&path, Access::ReadOnly)), ["a;b"]);
    }
}
