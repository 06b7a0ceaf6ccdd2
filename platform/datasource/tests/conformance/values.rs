//! Values: what goes in comes out.

use crate::profile::{LIMIT, Profile};
use gantry_datasource::{Connection, ErrorKind, ValueRef};

const CREATE: &str = "CREATE TABLE thing (id BIGINT NOT NULL PRIMARY KEY, whole BIGINT, fraction DOUBLE PRECISION, \
     words VARCHAR(200), bytes {blob 2097152})";
const INSERT: &str = "INSERT INTO thing (id, whole, fraction, words, bytes) VALUES (?, ?, ?, ?, ?)";
const SELECT: &str = "SELECT whole, fraction, words, bytes FROM thing WHERE id = ?";

fn round_trip(connection: &mut dyn Connection, id: i64, values: [ValueRef<'_>; 4]) {
    let params = [id.into(), values[0], values[1], values[2], values[3]];
    assert_eq!(connection.execute(INSERT, &params, LIMIT).unwrap(), 1);
    let rows = connection.query(SELECT, &[id.into()], 1, LIMIT).unwrap();
    assert_eq!(rows.rows(), 1);
    for (column, value) in values.into_iter().enumerate() {
        assert_eq!(rows.value(0, column), value, "column {column} of row {id}");
    }
}

pub(crate) fn every_kind_of_value_comes_back_as_it_went(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    round_trip(&mut *connection, 1, [42.into(), 0.1.into(), "abc".into(), bytes.as_slice().into()]);
    round_trip(&mut *connection, 2, [ValueRef::Null; 4]);
    let smallest = ValueRef::F64(f64::MIN_POSITIVE);
    round_trip(&mut *connection, 3, [0.into(), smallest, "a'b\"c;--".into(), [0u8].as_slice().into()]);
    round_trip(&mut *connection, 4, [1.into(), f64::MAX.into(), "line\nline".into(), b"'".as_slice().into()]);
}

pub(crate) fn null_is_kept_apart_from_empty_text_and_empty_bytes(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    let empty: &[u8] = &[];
    round_trip(&mut *connection, 1, [ValueRef::Null, ValueRef::Null, "".into(), empty.into()]);
    let count = "SELECT COUNT(*) FROM thing WHERE whole IS NULL AND words = '' AND bytes IS NOT NULL";
    assert_eq!(connection.query(count, &[], 1, LIMIT).unwrap().value(0, 0), ValueRef::I64(1));
}

pub(crate) fn integer_extremes_are_exact(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    for (id, whole) in
        [i64::MIN, i64::MIN + 1, -1, 0, (1 << 53) + 1, i64::MAX - 1, i64::MAX].into_iter().enumerate()
    {
        let id = i64::try_from(id).unwrap();
        round_trip(&mut *connection, id, [whole.into(), ValueRef::Null, ValueRef::Null, ValueRef::Null]);
    }
}

pub(crate) fn chinese_text_and_every_plane_of_unicode_come_back(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    for (id, words) in
        ["粤B·12345 高速公路收费站", "𠮷野家", "é e\u{301} \u{10ffff}", "🚗🛣️"].iter().enumerate()
    {
        let id = i64::try_from(id).unwrap();
        round_trip(&mut *connection, id, [ValueRef::Null, ValueRef::Null, (*words).into(), ValueRef::Null]);
    }
    let found = connection.query("SELECT id FROM thing WHERE words = '𠮷野家'", &[], 1, LIMIT).unwrap();
    assert_eq!(found.value(0, 0), ValueRef::I64(1));
}

/// Goal: a letter that ends a text in C neither cuts what is stored nor what is looked for.
pub(crate) fn text_with_a_zero_is_kept_whole_or_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.execute("INSERT INTO item (id, name) VALUES (1, 'a')", &[], LIMIT).unwrap();
    let text = ValueRef::Text("a\0b");
    match connection.execute("INSERT INTO item (id, name) VALUES (2, ?)", &[text], LIMIT) {
        Ok(count) => {
            assert_eq!(count, 1);
            let rows = connection.query("SELECT name FROM item WHERE id = 2", &[], 1, LIMIT).unwrap();
            assert_eq!(rows.value(0, 0), text);
        }
        Err(error) => assert_eq!(error.kind, ErrorKind::BadValue, "{error}"),
    }
    match connection.query("SELECT id FROM item WHERE name = ?", &[text], 9, LIMIT) {
        Ok(found) => assert!((0..found.rows()).all(|row| found.value(row, 0) == ValueRef::I64(2))),
        Err(error) => assert_eq!(error.kind, ErrorKind::BadValue, "{error}"),
    }
    let cut = connection.execute("UPDATE item SET price = 7\0 WHERE id = 99", &[], LIMIT);
    assert_eq!(cut.unwrap_err().kind, ErrorKind::BadStatement);
    let rows = connection.query("SELECT id FROM item WHERE price = 7", &[], 9, LIMIT).unwrap();
    assert!(rows.is_empty() && !connection.is_broken());
}

pub(crate) fn blob_of_a_mebibyte_comes_back(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    let bytes: Vec<u8> =
        (0..1u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    round_trip(
        &mut *connection,
        1,
        [ValueRef::Null, ValueRef::Null, ValueRef::Null, bytes.as_slice().into()],
    );
}

pub(crate) fn timestamps_come_back_to_the_microsecond(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection
        .execute("CREATE TABLE event (id BIGINT NOT NULL PRIMARY KEY, at {timestamp type})", &[], LIMIT)
        .unwrap();
    let at = ValueRef::Text("2026-02-28 23:59:59.000001");
    connection.execute("INSERT INTO event (id, at) VALUES (?, ?)", &[1.into(), at], LIMIT).unwrap();
    connection.execute("INSERT INTO event (id, at) VALUES (2, {timestamp now})", &[], LIMIT).unwrap();
    connection.execute("INSERT INTO event (id, at) VALUES (3, NULL)", &[], LIMIT).unwrap();
    let rows = connection.query("SELECT at FROM event ORDER BY id", &[], 3, LIMIT).unwrap();
    assert_eq!(rows.value(0, 0), at);
    let now = rows.value(1, 0).as_text().unwrap();
    assert!(now.len() >= 19 && now.starts_with("20") && &now[10..11] == " ", "{now}");
    assert_eq!(rows.value(2, 0), ValueRef::Null);
    let later = "SELECT COUNT(*) FROM event WHERE at > ?";
    assert_eq!(connection.query(later, &[at], 1, LIMIT).unwrap().value(0, 0), ValueRef::I64(1));
}

pub(crate) fn keys_count_by_themselves(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute("CREATE TABLE entry (id {identity key}, name VARCHAR(10))", &[], LIMIT).unwrap();
    for name in ["a", "b", "c"] {
        connection.execute("INSERT INTO entry (name) VALUES (?)", &[name.into()], LIMIT).unwrap();
    }
    let rows = connection.query("SELECT id FROM entry ORDER BY name", &[], 3, LIMIT).unwrap();
    assert_eq!([0, 1, 2].map(|row| rows.value(row, 0)), [1, 2, 3].map(ValueRef::I64));
}

pub(crate) fn sums_of_whole_numbers_are_whole_numbers(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    for (id, whole) in [(1, 9_007_199_254_740_993), (2, 4), (3, -1)] {
        let params =
            [ValueRef::I64(id), ValueRef::I64(whole), ValueRef::Null, ValueRef::Null, ValueRef::Null];
        connection.execute(INSERT, &params, LIMIT).unwrap();
    }
    let sums = "SELECT SUM(whole), COALESCE(SUM(CASE WHEN id > 1 THEN whole ELSE 0 END), 0), COUNT(*), MAX(whole) \
         FROM thing";
    let rows = connection.query(sums, &[], 1, LIMIT).unwrap();
    let expected = [9_007_199_254_740_996, 3, 3, 9_007_199_254_740_993].map(ValueRef::I64);
    assert_eq!([0, 1, 2, 3].map(|column| rows.value(0, column)), expected);
}

pub(crate) fn float_that_is_not_finite_is_refused(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let params = [1.into(), ValueRef::Null, number.into(), ValueRef::Null, ValueRef::Null];
        assert_eq!(connection.execute(INSERT, &params, LIMIT).unwrap_err().kind, ErrorKind::BadValue);
    }
    let count = connection.query("SELECT COUNT(*) FROM thing", &[], 1, LIMIT).unwrap();
    assert_eq!(count.value(0, 0), ValueRef::I64(0));
}

pub(crate) fn parameters_are_never_read_as_sql(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = database.writer();
    connection.execute(CREATE, &[], LIMIT).unwrap();
    let attack = "'); DROP TABLE thing; -- {limit ?}";
    round_trip(&mut *connection, 1, [ValueRef::Null, ValueRef::Null, attack.into(), ValueRef::Null]);
}
