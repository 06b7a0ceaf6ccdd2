//! Statements and their errors.

use crate::profile::{LIMIT, Profile, ids, insert_item};
use gantry_datasource::{ConstraintKind, ErrorKind, Mode, ValueRef, insert_unless_present};

pub(crate) fn execute_counts_changed_rows(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    for id in 1..=5 {
        insert_item(&mut *connection, id);
    }
    let mut count = |text| connection.execute(text, &[], LIMIT).unwrap();
    assert_eq!(count("UPDATE item SET price = price + 1 WHERE id <= 3"), 3);
    assert_eq!(count("CREATE TABLE other (a BIGINT)"), 0, "a definition changes no rows");
    assert_eq!(count("UPDATE item SET price = 0 WHERE id = 99"), 0);
    assert_eq!(count("DELETE FROM item WHERE id > 3"), 2);
    assert_eq!(count("DROP TABLE other"), 0);
}

pub(crate) fn columns_are_named_as_the_statement_says(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    for _ in 0..2 {
        let rows = connection.query("SELECT id AS number, name FROM item", &[], 1, LIMIT).unwrap();
        assert!(rows.is_empty());
        let names: Vec<_> = rows.columns().iter().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(names, ["number", "name"]);
    }
}

pub(crate) fn columns_follow_a_changed_table(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    let all = "SELECT * FROM item";
    assert_eq!(connection.query(all, &[], 1, LIMIT).unwrap().columns().len(), 3);
    let mut other = database.writer();
    other.execute("ALTER TABLE item ADD COLUMN weight BIGINT", &[], LIMIT).unwrap();
    let rows = connection.query(all, &[], 1, LIMIT).unwrap();
    assert_eq!((rows.columns().len(), rows.rows()), (4, 1));
    assert_eq!(rows.value(0, 3), ValueRef::Null);
    other.execute("ALTER TABLE item DROP COLUMN weight", &[], LIMIT).unwrap();
    let rows = connection.query(all, &[], 1, LIMIT).unwrap();
    assert_eq!((rows.columns().len(), rows.rows(), rows.value(0, 2)), (3, 1, ValueRef::I64(100)));
}

pub(crate) fn wrong_statement_is_a_typed_error(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let wrong = [
        "SELECT FROM WHERE",
        "SELECT missing FROM item",
        "SELECT id FROM item {limit many}",
        "SELECT id FROM item; SELECT 1",
        "SELECT 'unclosed FROM item",
        "SELECT \"text\" FROM item",
        "",
    ];
    for text in wrong {
        let error = connection.query(text, &[], 1, LIMIT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadStatement, "{text}: {error}");
        assert!(!connection.is_broken());
    }
    insert_item(&mut *connection, 1);
    assert_eq!(ids(&mut *connection), [1], "the connection goes on");
}

pub(crate) fn missing_table_and_existing_table_are_told_apart(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let missing = connection.query("SELECT a FROM nowhere", &[], 1, LIMIT).unwrap_err();
    assert!(missing.is_missing_table() && !missing.is_existing_table(), "{missing}");
    let existing = connection.execute("CREATE TABLE item (a BIGINT)", &[], LIMIT).unwrap_err();
    assert!(existing.is_existing_table() && !existing.is_missing_table(), "{existing}");
}

pub(crate) fn wrong_number_of_parameters_is_a_bad_value(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let text = "SELECT id FROM item WHERE id = ? AND name = '?'";
    for params in [&[][..], &[ValueRef::I64(1), ValueRef::I64(2)][..]] {
        let error = connection.query(text, params, 1, LIMIT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadValue, "{error}");
    }
    assert!(connection.query(text, &[1.into()], 1, LIMIT).unwrap().is_empty());
}

pub(crate) fn statement_that_controls_transactions_is_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    for text in [
        "COMMIT",
        "-- now\ncommit;",
        "ROLLBACK",
        "BEGIN",
        "END",
        "SAVEPOINT a",
        "RELEASE a",
        "START TRANSACTION",
    ] {
        let error = connection.execute(text, &[], LIMIT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadStatement, "{text}");
        assert!(connection.in_transaction());
    }
    connection.rollback().unwrap();
    assert!(ids(&mut *connection).is_empty());
}

pub(crate) fn query_that_writes_and_execute_that_reads_are_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    let insert = "INSERT INTO item (id) VALUES (1)";
    assert_eq!(connection.query(insert, &[], 1, LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
    let returning = "INSERT INTO item (id) VALUES (1) RETURNING id";
    assert_eq!(connection.query(returning, &[], 1, LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
    let select = "SELECT id FROM item";
    assert_eq!(connection.execute(select, &[], LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
    assert!(ids(&mut *connection).is_empty());
}

pub(crate) fn each_kind_of_constraint_is_told(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection
        .execute(
            "CREATE TABLE part (id BIGINT NOT NULL PRIMARY KEY, item BIGINT NOT NULL REFERENCES item (id), \
             code VARCHAR(10) NOT NULL UNIQUE, amount BIGINT NOT NULL CHECK (amount > 0))",
            &[],
            LIMIT,
        )
        .unwrap();
    insert_item(&mut *connection, 1);
    let mut part = |id: i64, item: Option<i64>, code: &str, amount: i64| {
        let params = [id.into(), item.into(), code.into(), amount.into()];
        connection.execute("INSERT INTO part (id, item, code, amount) VALUES (?, ?, ?, ?)", &params, LIMIT)
    };
    part(1, Some(1), "a", 1).unwrap();
    let mut refused = |id, item, code, amount, kind| {
        let error = part(id, item, code, amount).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Constraint(kind), "{error}");
    };
    refused(1, Some(1), "b", 1, ConstraintKind::Unique);
    refused(2, Some(1), "a", 1, ConstraintKind::Unique);
    refused(2, Some(9), "b", 1, ConstraintKind::ForeignKey);
    refused(2, None, "b", 1, ConstraintKind::NotNull);
    refused(2, Some(1), "b", 0, ConstraintKind::Check);
    let referred = connection.execute("DELETE FROM item WHERE id = 1", &[], LIMIT).unwrap_err();
    assert_eq!(referred.kind, ErrorKind::Constraint(ConstraintKind::ForeignKey));
}

pub(crate) fn error_names_source_operation_and_remedy(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    let error = connection.execute("INSERT INTO item (id) VALUES (?)", &[1.into()], LIMIT).unwrap_err();
    assert!(error.is_unique_violation());
    assert_ne!(error.code, 0, "the driver's own code");
    assert_eq!(error.sqlstate.to_string(), "23505");
    let words = error.to_string();
    for part in [&**connection.source_name(), "execute", "unique", "23505", "do not repeat"] {
        assert!(words.contains(part), "`{part}` in: {words}");
    }
}

pub(crate) fn insert_unless_present_leaves_the_transaction_usable(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    connection.begin(Mode::Write, LIMIT).unwrap();
    let insert = "INSERT INTO item (id) VALUES (?)";
    assert!(!insert_unless_present(&mut *connection, insert, &[1.into()], LIMIT).unwrap());
    assert!(insert_unless_present(&mut *connection, insert, &[2.into()], LIMIT).unwrap());
    connection.savepoint("other").unwrap();
    let other = insert_unless_present(&mut *connection, insert, &[ValueRef::Null], LIMIT).unwrap_err();
    assert_eq!(other.kind, ErrorKind::Constraint(ConstraintKind::NotNull));
    connection.rollback_to("other").unwrap();
    connection.commit().unwrap();
    assert_eq!(ids(&mut *connection), [1, 2]);
}
