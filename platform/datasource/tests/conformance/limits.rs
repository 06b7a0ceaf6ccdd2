//! Limits: time, rows, bytes, space.

use crate::profile::{Database, LIMIT, Profile, ids, insert_item};
use gantry_datasource::{Connection, ErrorKind, Mode, TransactionState, ValueRef};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(250);

pub(crate) fn slow_query_ends_at_its_limit_and_the_connection_goes_on(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    for _ in 0..3 {
        let error = connection.query(profile.slow_query(), &[], 1, SHORT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
        assert!(!connection.is_broken() && !connection.in_transaction());
        assert!(ids(&mut *connection).is_empty(), "the limit of one call is not that of the next");
    }
}

/// Goal: limits of calls that overlap do not hit each other. Method: three connections with limits of their own.
pub(crate) fn each_call_has_its_own_limit(profile: &dyn Profile) {
    let database = profile.database();
    drop(database.with_items());
    std::thread::scope(|scope| {
        for limit_ms in [30, 90, 60] {
            let mut connection = database.writer();
            scope.spawn(move || {
                let limit = Duration::from_millis(limit_ms);
                for _ in 0..3 {
                    let error = connection.query(profile.slow_query(), &[], 1, limit).unwrap_err();
                    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
                    assert!(ids(&mut *connection).is_empty());
                }
            });
        }
    });
}

fn slow_write(profile: &dyn Profile) -> String {
    format!("INSERT INTO item (id) {}", profile.slow_query())
}

pub(crate) fn slow_write_ends_at_its_limit_and_takes_no_effect(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let slow = slow_write(profile);
    assert_eq!(connection.execute(&slow, &[], SHORT).unwrap_err().kind, ErrorKind::Timeout);
    assert!(!connection.in_transaction());

    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    assert_eq!(connection.execute(&slow, &[], SHORT).unwrap_err().kind, ErrorKind::Timeout);
    assert!(connection.in_transaction(), "it is the owner who ends it");
    if connection.transaction() == TransactionState::Aborted {
        refuses_all_but_rollback(&mut *connection);
    }
    connection.rollback().unwrap();
    assert!(ids(&mut *connection).is_empty());
    insert_item(&mut *connection, 2);
    assert_eq!(ids(&mut *database.reader()), [2], "the connection goes on");
}

fn refuses_all_but_rollback(connection: &mut dyn Connection) {
    let refused = [
        connection.execute("INSERT INTO item (id) VALUES (9)", &[], LIMIT).map(|_| ()),
        connection.query("SELECT id FROM item", &[], 1, LIMIT).map(|_| ()),
        connection.savepoint("a"),
        connection.rollback_to("a"),
        connection.release("a"),
        connection.begin(Mode::Write, LIMIT),
        connection.commit(),
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Aborted);
    }
    assert!(connection.in_transaction());
}

pub(crate) fn time_limit_in_a_savepoint_is_repaired_or_told(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    connection.savepoint("request").unwrap();
    insert_item(&mut *connection, 2);
    let error = connection.query(profile.slow_query(), &[], 1, SHORT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    let expected: &[i64] = match connection.transaction() {
        TransactionState::Open => {
            connection.rollback_to("request").unwrap();
            connection.commit().unwrap();
            &[1]
        }
        TransactionState::Aborted => {
            connection.rollback().unwrap();
            &[]
        }
        TransactionState::None => panic!("only its owner ends a transaction"),
    };
    assert_eq!(ids(&mut *connection), expected);
}

pub(crate) fn zero_limit_sends_nothing(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let insert = "INSERT INTO item (id) VALUES (1)";
    let outcomes = [
        connection.execute(insert, &[], Duration::ZERO).map(|_| ()),
        connection.query("SELECT id FROM item", &[], 1, Duration::ZERO).map(|_| ()),
        connection.begin(Mode::Write, Duration::ZERO),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Timeout);
    }
    assert!(!connection.in_transaction());
    assert!(ids(&mut *connection).is_empty());
}

pub(crate) fn writer_that_waits_in_vain_is_told_to_retry(profile: &dyn Profile) {
    let database = profile.database();
    let mut holder = database.with_items();
    let mut waiter = database.writer();
    holder.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *holder, 1);
    let update = "UPDATE item SET price = 5 WHERE id = 1";
    let vain = waiter
        .begin(Mode::Write, SHORT)
        .and_then(|()| waiter.execute("INSERT INTO item (id) VALUES (1)", &[], SHORT).map(|_| ()))
        .unwrap_err();
    assert_eq!(vain.kind, ErrorKind::Retryable, "{vain}");
    waiter.rollback().unwrap();
    assert!(!waiter.is_broken());
    holder.commit().unwrap();
    waiter.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(waiter.execute(update, &[], LIMIT).unwrap(), 1);
    waiter.commit().unwrap();
}

pub(crate) fn more_rows_than_allowed_is_an_error_and_not_a_cut(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    for id in 1..=10 {
        insert_item(&mut *connection, id);
    }
    let all = "SELECT id FROM item";
    assert_eq!(connection.query(all, &[], 10, LIMIT).unwrap().rows(), 10);
    let error = connection.query(all, &[], 9, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooManyRows { rows_max: 9 });
    assert_eq!(
        connection.query(all, &[], 0, LIMIT).unwrap_err().kind,
        ErrorKind::TooManyRows { rows_max: 0 }
    );
    assert!(connection.query("SELECT id FROM item WHERE id = 99", &[], 0, LIMIT).unwrap().is_empty());
}

pub(crate) fn limit_escape_bounds_rows(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    for id in 1..=10 {
        insert_item(&mut *connection, id);
    }
    let text = "SELECT id FROM item WHERE id > ? ORDER BY id {limit ?}";
    for limit in [1, 3, 7] {
        let rows = connection.query(text, &[2.into(), limit.into()], 100, LIMIT).unwrap();
        assert_eq!(rows.rows() as i64, i64::from(limit));
        assert_eq!(rows.value(0, 0), ValueRef::I64(3));
    }
    assert_eq!(
        connection.query("SELECT id FROM item ORDER BY id {limit 4}", &[], 4, LIMIT).unwrap().rows(),
        4
    );
}

fn fill_blobs(connection: &mut dyn Connection, count: i64, bytes: usize) {
    connection
        .execute("CREATE TABLE page (id BIGINT NOT NULL PRIMARY KEY, body {blob 16777216})", &[], LIMIT)
        .unwrap();
    let body = vec![7u8; bytes];
    for id in 0..count {
        let params = [id.into(), body.as_slice().into()];
        connection.execute("INSERT INTO page (id, body) VALUES (?, ?)", &params, LIMIT).unwrap();
    }
}

pub(crate) fn answer_over_its_bytes_is_an_error(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    fill_blobs(&mut *connection, 5, 16 << 20);
    let all = "SELECT body FROM page";
    let error = connection.query(all, &[], 10, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge { bytes_max: 64 << 20 }, "{error}");
    assert_eq!(connection.query("SELECT id FROM page", &[], 10, LIMIT).unwrap().rows(), 5);
}

pub(crate) fn many_rows_come_back_in_order(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    for id in 0..20_000 {
        insert_item(&mut *connection, id);
    }
    connection.commit().unwrap();
    let rows = connection.query("SELECT id, name, price FROM item ORDER BY id", &[], 20_000, LIMIT).unwrap();
    for row in 0..20_000 {
        let id = i64::try_from(row).unwrap();
        assert_eq!(rows.value(row, 0), ValueRef::I64(id));
        assert_eq!(rows.value(row, 1), ValueRef::Text("物品"));
        assert_eq!(rows.value(row, 2), ValueRef::I64(id * 100));
    }
}

pub(crate) fn full_database_refuses_and_recovers(database: &Database) {
    let mut connection = database.writer();
    fill_blobs(&mut *connection, 2, 64 << 10);
    connection.begin(Mode::Write, LIMIT).unwrap();
    let body = vec![1u8; 1 << 20];
    let params = [9.into(), body.as_slice().into()];
    let error = connection.execute("INSERT INTO page (id, body) VALUES (?, ?)", &params, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full, "{error}");
    assert!(connection.in_transaction() && !connection.is_broken());
    connection.rollback().unwrap();
    connection.execute("DELETE FROM page WHERE id = 1", &[], LIMIT).unwrap();
    let count = connection.query("SELECT COUNT(*) FROM page", &[], 1, LIMIT).unwrap();
    assert_eq!(count.value(0, 0), ValueRef::I64(1));
}
