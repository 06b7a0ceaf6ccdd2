//! Transactions: who begins, who sees, what is undone.

use crate::profile::{LIMIT, Profile, ids, insert_item};
use gantry_datasource::{ErrorKind, Mode, TransactionState, ValueRef};

pub(crate) fn commit_is_seen_by_other_connections_at_once(profile: &dyn Profile) {
    let database = profile.database();
    let mut writer = database.with_items();
    let mut reader = database.reader();
    for id in 1..=50 {
        writer.begin(Mode::Write, LIMIT).unwrap();
        insert_item(&mut *writer, id);
        assert_eq!(ids(&mut *reader).len() as i64, id - 1, "not before the commit");
        writer.commit().unwrap();
        assert_eq!(ids(&mut *reader).len() as i64, id, "at once after it");
    }
}

pub(crate) fn rollback_undoes_and_dropping_does_too(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 2);
    connection.execute("DELETE FROM item WHERE id = 1", &[], LIMIT).unwrap();
    connection.rollback().unwrap();
    assert!(!connection.in_transaction());
    assert_eq!(ids(&mut *connection), [1]);
    connection.rollback().unwrap();

    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 3);
    drop(connection);
    let mut next = database.writer();
    assert_eq!(ids(&mut *next), [1]);
    next.begin(Mode::Write, LIMIT).unwrap();
    next.commit().unwrap();
}

pub(crate) fn statement_outside_a_transaction_commits_by_itself(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    assert!(!connection.in_transaction());
    drop(connection);
    assert_eq!(ids(&mut *database.reader()), [1]);
}

pub(crate) fn savepoints_group_several_writes_into_one_commit(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    for id in 1..=9 {
        connection.savepoint("request").unwrap();
        insert_item(&mut *connection, id);
        if id % 3 == 0 {
            connection.rollback_to("request").unwrap();
        }
        connection.release("request").unwrap();
    }
    connection.savepoint("outer_1").unwrap();
    insert_item(&mut *connection, 10);
    connection.savepoint("inner_1").unwrap();
    insert_item(&mut *connection, 11);
    connection.rollback_to("outer_1").unwrap();
    insert_item(&mut *connection, 12);
    connection.release("outer_1").unwrap();
    assert!(ids(&mut *database.reader()).is_empty());
    connection.commit().unwrap();
    assert_eq!(ids(&mut *database.reader()), [1, 2, 4, 5, 7, 8, 12]);
}

pub(crate) fn savepoint_used_again_hides_the_older_one(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    connection.savepoint("a").unwrap();
    insert_item(&mut *connection, 1);
    connection.savepoint("a").unwrap();
    insert_item(&mut *connection, 2);
    connection.rollback_to("a").unwrap();
    assert_eq!(ids(&mut *connection), [1], "to the newer one");
    connection.release("a").unwrap();
    connection.rollback_to("a").unwrap();
    assert!(ids(&mut *connection).is_empty(), "the newer one is gone");
    insert_item(&mut *connection, 3);
    connection.commit().unwrap();
    assert_eq!(ids(&mut *connection), [3]);
}

/// Goal: no database answers a commit with success and drops what came before a failed statement, or keeps only what
/// came after it.
pub(crate) fn failed_statement_never_lets_half_a_transaction_commit(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    let twice = connection.execute("INSERT INTO item (id) VALUES (1)", &[], LIMIT).unwrap_err();
    assert!(twice.is_unique_violation());
    let later = connection.execute("INSERT INTO item (id) VALUES (2)", &[], LIMIT);
    let committed = connection.commit();
    if connection.dialect().error_spoils_transaction() {
        assert_eq!(later.unwrap_err().kind, ErrorKind::Aborted);
        assert_eq!(committed.unwrap_err().kind, ErrorKind::Aborted);
        connection.rollback().unwrap();
        assert!(ids(&mut *connection).is_empty());
    } else {
        later.unwrap();
        committed.unwrap();
        assert_eq!(ids(&mut *connection), [1, 2]);
    }
    insert_item(&mut *connection, 3);
    assert_eq!(ids(&mut *connection).last(), Some(&3));
}

pub(crate) fn savepoint_needs_a_transaction_a_name_and_a_match(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    assert_eq!(connection.savepoint("a").unwrap_err().kind, ErrorKind::BadStatement);
    connection.begin(Mode::Write, LIMIT).unwrap();
    for name in ["", "1a", "a b", "a;", "A", "é", "a234567890123456789012345678901"] {
        assert_eq!(connection.savepoint(name).unwrap_err().kind, ErrorKind::BadStatement, "{name}");
    }
    if !connection.dialect().error_spoils_transaction() {
        assert_eq!(connection.release("nowhere").unwrap_err().kind, ErrorKind::BadStatement);
        assert_eq!(connection.rollback_to("nowhere").unwrap_err().kind, ErrorKind::BadStatement);
    }
    connection.rollback().unwrap();
}

pub(crate) fn begin_twice_and_commit_without_begin_are_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    assert_eq!(connection.commit().unwrap_err().kind, ErrorKind::BadStatement);
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    assert_eq!(connection.begin(Mode::Write, LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
    connection.commit().unwrap();
    assert_eq!(ids(&mut *connection), [1]);
}

pub(crate) fn failed_statement_in_a_savepoint_spares_the_others(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    connection.savepoint("request").unwrap();
    insert_item(&mut *connection, 2);
    let failed = connection.execute("INSERT INTO item (id) VALUES (3), (1), (4)", &[], LIMIT).unwrap_err();
    assert!(failed.is_unique_violation());
    assert_eq!(connection.transaction(), TransactionState::Open);
    connection.rollback_to("request").unwrap();
    connection.release("request").unwrap();
    insert_item(&mut *connection, 5);
    connection.commit().unwrap();
    assert_eq!(ids(&mut *connection), [1, 5]);
}

pub(crate) fn reading_transaction_keeps_its_view_and_refuses_writes(profile: &dyn Profile) {
    let database = profile.database();
    let mut writer = database.with_items();
    insert_item(&mut *writer, 1);
    let mut viewer = database.writer();
    viewer.begin(Mode::ReadOnly, LIMIT).unwrap();
    assert_eq!(ids(&mut *viewer), [1]);
    insert_item(&mut *writer, 2);
    assert_eq!(ids(&mut *viewer), [1], "one view for the whole transaction");
    for text in ["INSERT INTO item (id) VALUES (3)", "CREATE TABLE other (a BIGINT)"] {
        assert_eq!(viewer.execute(text, &[], LIMIT).unwrap_err().kind, ErrorKind::ReadOnly);
    }
    viewer.rollback().unwrap();
    assert_eq!(ids(&mut *viewer), [1, 2]);
    viewer.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *viewer, 3);
    viewer.commit().unwrap();
    assert_eq!(ids(&mut *writer), [1, 2, 3]);
}

pub(crate) fn reading_connection_refuses_writes(profile: &dyn Profile) {
    let database = profile.database();
    let mut writer = database.with_items();
    insert_item(&mut *writer, 1);
    let mut reader = database.reader();
    assert_eq!(reader.begin(Mode::Write, LIMIT).unwrap_err().kind, ErrorKind::ReadOnly);
    for text in ["INSERT INTO item (id) VALUES (2)", "DELETE FROM item", "DROP TABLE item"] {
        assert_eq!(reader.execute(text, &[], LIMIT).unwrap_err().kind, ErrorKind::ReadOnly, "{text}");
        reader.begin(Mode::ReadOnly, LIMIT).unwrap();
        assert_eq!(reader.execute(text, &[], LIMIT).unwrap_err().kind, ErrorKind::ReadOnly, "{text}");
        reader.rollback().unwrap();
    }
    assert_eq!(ids(&mut *reader), [1]);
}

/// Four writers read, add and write back: any two that overlapped would lose an addition.
pub(crate) fn writers_never_lose_an_update(profile: &dyn Profile) {
    const WRITERS: i64 = 4;
    const ROUNDS: i64 = 50;
    let database = profile.database();
    insert_item(&mut *database.with_items(), 0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let mut connection = database.writer();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    connection.begin(Mode::Write, LIMIT).unwrap();
                    let read = "SELECT price FROM item WHERE id = 0 {for update}";
                    let price = connection.query(read, &[], 1, LIMIT).unwrap().value(0, 0).as_i64().unwrap();
                    let params = [(price + 1).into()];
                    connection.execute("UPDATE item SET price = ? WHERE id = 0", &params, LIMIT).unwrap();
                    connection.commit().unwrap();
                }
            });
        }
    });
    let total = database.reader().query("SELECT price FROM item WHERE id = 0", &[], 1, LIMIT).unwrap();
    assert_eq!(total.value(0, 0), ValueRef::I64(WRITERS * ROUNDS));
}
