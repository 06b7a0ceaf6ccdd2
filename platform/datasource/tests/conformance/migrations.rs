//! Migrations: each once, whole, unchanged, by whoever comes first.

use crate::profile::{LIMIT, Profile};
use gantry_datasource::{Connection, ErrorKind, Migration, Mode, migrate};
use std::sync::Barrier;

const FIRST: Migration<'_> = Migration {
    version: 1,
    sql: "-- accounts\nCREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY);\nINSERT INTO account VALUES (1);\n",
};
const SECOND: Migration<'_> = Migration {
    version: 2,
    sql: "ALTER TABLE account ADD COLUMN name VARCHAR(20);\nUPDATE account SET name = 'a;b'",
};

fn names(connection: &mut dyn Connection) -> Vec<String> {
    let rows = connection.query("SELECT name FROM account ORDER BY id", &[], 100, LIMIT).unwrap();
    (0..rows.rows()).map(|row| rows.value(row, 0).as_text().unwrap().to_owned()).collect()
}

pub(crate) fn migrate_applies_each_step_once_in_order(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    assert_eq!(migrate(&mut *connection, "account", &[FIRST]).unwrap(), [1]);
    assert_eq!(migrate(&mut *connection, "account", &[FIRST, SECOND]).unwrap(), [2]);
    assert!(migrate(&mut *connection, "account", &[FIRST, SECOND]).unwrap().is_empty());
    assert_eq!(names(&mut *connection), ["a;b"]);
    assert!(
        migrate(&mut *connection, "account", &[FIRST]).unwrap().is_empty(),
        "an older list is left alone"
    );
    let mut reader = database.reader();
    assert!(
        migrate(&mut *reader, "account", &[FIRST, SECOND]).unwrap().is_empty(),
        "nothing to do: it only reads"
    );
}

pub(crate) fn owners_count_their_versions_apart(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    assert_eq!(migrate(&mut *connection, "account", &[FIRST]).unwrap(), [1]);
    let card = Migration { version: 1, sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY)" };
    assert_eq!(migrate(&mut *connection, "card", &[card]).unwrap(), [1]);
}

pub(crate) fn changed_text_of_an_applied_step_is_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    migrate(&mut *connection, "account", &[FIRST]).unwrap();
    let changed =
        Migration { version: 1, sql: "CREATE TABLE account (id BIGINT NOT NULL PRIMARY KEY, a BIGINT)" };
    let error = migrate(&mut *connection, "account", &[changed, SECOND]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Migration);
    assert!(error.message.contains("version 1 changed"), "{error}");
    assert!(!connection.in_transaction());
}

pub(crate) fn lists_out_of_order_are_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    for list in [&[SECOND, FIRST][..], &[FIRST, FIRST][..], &[Migration { version: 0, sql: "" }][..]] {
        assert_eq!(migrate(&mut *connection, "account", list).unwrap_err().kind, ErrorKind::Migration);
    }
    let third = Migration { version: 3, sql: "CREATE TABLE c (a BIGINT)" };
    migrate(&mut *connection, "account", &[FIRST, third]).unwrap();
    let late = migrate(&mut *connection, "account", &[FIRST, SECOND, third]).unwrap_err();
    assert!(late.kind == ErrorKind::Migration && late.message.contains("version 3 was applied"), "{late}");
    let owner = "x".repeat(65);
    assert_eq!(migrate(&mut *connection, &owner, &[FIRST]).unwrap_err().kind, ErrorKind::Migration);
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(migrate(&mut *connection, "account", &[FIRST]).unwrap_err().kind, ErrorKind::Migration);
}

pub(crate) fn step_that_fails_leaves_nothing_and_names_its_statement(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    let wrong = Migration {
        version: 2,
        sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY);\nINSERT INTO nowhere VALUES (1);\n",
    };
    let error = migrate(&mut *connection, "account", &[FIRST, wrong]).unwrap_err();
    assert!(error.message.starts_with("account, version 2, statement 2: "), "{error}");
    assert!(error.is_missing_table() && !connection.in_transaction());
    if !connection.dialect().definition_commits() {
        assert!(connection.query("SELECT id FROM card", &[], 1, LIMIT).unwrap_err().is_missing_table());
    }
    let right = Migration { version: 2, sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY)" };
    assert_eq!(migrate(&mut *connection, "account", &[FIRST, right]).unwrap(), [2]);
}

/// Goal: a step that was cut off in the middle, on a database that keeps half of it, can be done again whole.
pub(crate) fn step_that_was_cut_off_is_done_again_whole(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    let step = Migration {
        version: 1,
        sql: "CREATE TABLE card (id BIGINT NOT NULL PRIMARY KEY, kind BIGINT);\n\
              CREATE INDEX card_kind ON card (kind);\n\
              ALTER TABLE card ADD COLUMN name VARCHAR(20);\n\
              DROP INDEX card_kind /*! ON card */;\n",
    };
    if connection.dialect().definition_commits() {
        for statement in step.sql.split(";\n").take(3) {
            connection.execute(statement, &[], LIMIT).unwrap();
        }
    }
    assert_eq!(migrate(&mut *connection, "card", &[step]).unwrap(), [1]);
    connection.execute("INSERT INTO card (id, kind, name) VALUES (1, 2, 'a')", &[], LIMIT).unwrap();
}

/// Workers start together and all bring the tables up to date.
pub(crate) fn connections_that_migrate_together_apply_each_step_once(profile: &dyn Profile) {
    for _ in 0..10 {
        let database = profile.database();
        let together = Barrier::new(6);
        let applied: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = database.writer();
                        together.wait();
                        migrate(&mut *connection, "account", &[FIRST, SECOND]).unwrap().len()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(applied, 2);
        assert_eq!(names(&mut *database.reader()), ["a;b"]);
    }
}
