//! Values of types that embedded SQLite does not have, and sizes that drivers tell wrong.

use crate::profile::{LIMIT, Profile};
use crate::server_profile::OnServer;
use gantry_datasource::{ErrorKind, ValueRef};
use gantry_test_servers::Kind;

pub(crate) fn decimals_and_dates_are_exact_text(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.writer();
    connection
        .execute(
            "CREATE TABLE price (id BIGINT NOT NULL PRIMARY KEY, amount DECIMAL(20, 2), rate DECIMAL(9, 6), \
             pieces DECIMAL(12, 0), big DECIMAL(30, 0), day DATE)",
            &[],
            LIMIT,
        )
        .unwrap();
    let insert = "INSERT INTO price (id, amount, rate, pieces, big, day) VALUES (?, ?, ?, ?, ?, ?)";
    let exact = [
        ["123456789012345678.91", "0.000001", "7", "123456789012345678901234567890", "2026-02-28"],
        ["-0.01", "-999.999999", "-7", "-1", "0001-01-01"],
    ];
    for (id, row) in (1..).zip(exact) {
        let mut params = vec![ValueRef::I64(id)];
        params.extend(row.map(ValueRef::Text));
        connection.execute(insert, &params, LIMIT).unwrap();
    }
    let params = [ValueRef::I64(3), 12.into(), ValueRef::Null, 5.into(), ValueRef::Null, ValueRef::Null];
    connection.execute(insert, &params, LIMIT).unwrap();
    let select = "SELECT amount, rate, pieces, big, day FROM price ORDER BY id";
    let rows = connection.query(select, &[], 3, LIMIT).unwrap();
    let row = |row| [0, 1, 2, 3, 4].map(|column| rows.value(row, column));
    let text = ValueRef::Text;
    assert_eq!(
        row(0),
        [text(exact[0][0]), text(exact[0][1]), ValueRef::I64(7), text(exact[0][3]), text(exact[0][4])]
    );
    assert_eq!(
        row(1),
        [text("-0.01"), text(exact[1][1]), ValueRef::I64(-7), ValueRef::I64(-1), text(exact[1][4])]
    );
    assert_eq!(row(2), [text("12.00"), ValueRef::Null, ValueRef::I64(5), ValueRef::Null, ValueRef::Null]);
    let sum = connection.query("SELECT SUM(amount) FROM price WHERE id > 1", &[], 1, LIMIT).unwrap();
    assert_eq!(sum.value(0, 0), text("11.99"));
    let too_precise = [ValueRef::I64(4), text("1e400"), 1.into(), 1.into(), 1.into(), ValueRef::Null];
    assert_eq!(connection.execute(insert, &too_precise, LIMIT).unwrap_err().kind, ErrorKind::BadValue);
}

/// Goal: drivers tell 8,190 or 1,073,741,823 as the size of long text, whatever is in it; neither may be believed.
pub(crate) fn long_values_come_whole_whatever_their_type_claims(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.writer();
    let long = if profile.kind() == Kind::Postgres { "TEXT" } else { "LONGTEXT" };
    connection
        .execute(
            &format!(
                "CREATE TABLE page (id BIGINT NOT NULL PRIMARY KEY, title VARCHAR(4000), body {long}, \
                 bytes {{blob 16777216}}, price DOUBLE PRECISION)"
            ),
            &[],
            LIMIT,
        )
        .unwrap();
    let bodies =
        ["收".repeat(200_000), String::new(), "x".repeat(65_535), "é".repeat(32_768), "a".repeat(65_536)];
    let insert = "INSERT INTO page (id, title, body, bytes, price) VALUES (?, ?, ?, ?, ?)";
    for (id, body) in (0..).zip(&bodies) {
        let title = "粤".repeat(usize::try_from(id).unwrap() * 999);
        let params = [
            ValueRef::I64(id),
            title.as_str().into(),
            body.as_str().into(),
            body.as_bytes().into(),
            0.25.into(),
        ];
        connection.execute(insert, &params, LIMIT).unwrap();
    }
    let nulls = [9.into(), ValueRef::Null, ValueRef::Null, ValueRef::Null, ValueRef::Null];
    connection.execute(insert, &nulls, LIMIT).unwrap();
    let rows = connection
        .query("SELECT id, body, title, bytes, price FROM page ORDER BY id", &[], 9, LIMIT)
        .unwrap();
    assert_eq!(rows.rows(), bodies.len() + 1);
    for (row, body) in bodies.iter().enumerate() {
        assert_eq!(rows.value(row, 0), ValueRef::I64(row.try_into().unwrap()));
        assert!(rows.value(row, 1) == ValueRef::Text(body), "body of row {row}");
        assert_eq!(rows.value(row, 2), ValueRef::Text(&"粤".repeat(row * 999)));
        assert!(rows.value(row, 3) == ValueRef::Blob(body.as_bytes()), "bytes of row {row}");
        assert_eq!(rows.value(row, 4), ValueRef::F64(0.25));
    }
    for column in 1..5 {
        assert_eq!(rows.value(bodies.len(), column), ValueRef::Null);
    }
}

/// Goal: a value longer than its column's buffer is neither cut nor refused. Method: numbers of more digits
/// than any buffer has room for, behind many that fit, so that the first batches are long read.
pub(crate) fn value_over_its_buffer_is_read_again_whole(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    for id in 0..50 {
        crate::profile::insert_item(&mut *connection, id);
    }
    let (digits, number) = match profile.kind() {
        Kind::Postgres => (100, "NUMERIC"),
        Kind::MariaDb => (65, "DECIMAL(65, 0)"),
    };
    let text = format!(
        "SELECT id, CAST(CASE WHEN id = 49 THEN REPEAT('9', {digits}) ELSE '7' END AS {number}) FROM item ORDER BY id"
    );
    for _ in 0..2 {
        let rows = connection.query(&text, &[], 50, LIMIT).unwrap();
        assert_eq!(rows.rows(), 50);
        assert_eq!(rows.value(48, 1), ValueRef::I64(7));
        assert_eq!(rows.value(49, 1), ValueRef::Text(&"9".repeat(digits)));
    }
}

pub(crate) fn value_over_every_bound_is_refused_and_not_allocated(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    crate::profile::insert_item(&mut *connection, 1);
    let text = "SELECT REPEAT('0123456789', 7000000) FROM item";
    let error = connection.query(text, &[], 1, LIMIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge { bytes_max: 64 << 20 }, "{error}");
    assert_eq!(crate::profile::ids(&mut *connection), [1], "the connection goes on");
}

/// Goal: text in statements and errors is UTF-8 whatever the locale says.
pub(crate) fn text_in_a_statement_is_utf8(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    let text = "INSERT INTO item (id, name) VALUES (1, '收费站 é 𠮷')";
    connection.execute(text, &[], LIMIT).unwrap();
    let found = "SELECT id, name FROM item WHERE name = '收费站 é 𠮷' AND name = ?";
    let rows = connection.query(found, &["收费站 é 𠮷".into()], 1, LIMIT).unwrap();
    assert_eq!(rows.value(0, 1), ValueRef::Text("收费站 é 𠮷"));
    let error = connection.query("SELECT \"收费\" FROM item", &[], 1, LIMIT).unwrap_err();
    assert!(error.message.contains("收费"), "{error}");
}
