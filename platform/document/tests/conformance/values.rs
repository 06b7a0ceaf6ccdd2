//! What is stored comes back as it was.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, Timestamp, doc, oid::ObjectId};

use crate::support::{Place, find, insert};

#[test]
fn every_type_comes_back_as_it_was_stored() {
    let place = Place::new();
    let mut connection = place.plain();
    let decimal: Decimal128 = "12345678901234567890.1234567890123".parse().unwrap();
    let stored = doc! {
        "_id": 1,
        "null": Bson::Null,
        "bool": true,
        "int": i32::MIN,
        "long": i64::MAX,
        "small long": 5_i64,
        "double": 0.1,
        "infinite": f64::INFINITY,
        "decimal": decimal,
        "text": "北京收费站 🚗 \"quoted\" \\ \u{1}",
        "empty": "",
        "date": DateTime::from_millis(-62_135_596_800_000),
        "late": DateTime::from_millis(253_402_300_799_999),
        "stamp": Bson::Timestamp(Timestamp { time: 7, increment: 9 }),
        "id": ObjectId::from_bytes([7; 12]),
        "nested": { "list": [1, "二", Bson::Null, { "deep": [[]] }] },
    };
    insert(&mut *connection, vec![stored.clone()]).unwrap();
    assert_eq!(find(&mut *connection, doc! { "_id": 1 }), [stored]);
}

#[test]
fn long_text_and_bytes_come_back_whole() {
    let place = Place::new();
    let mut connection = place.plain();
    let text: String = "收费".repeat(700_000);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(7919) >> 3) as u8).collect();
    let binary = Binary { subtype: BinarySubtype::Generic, bytes };
    let stored = doc! { "_id": 1, "text": text, "bytes": binary };
    insert(&mut *connection, vec![stored.clone()]).unwrap();
    assert!(find(&mut *connection, doc! {}) == [stored], "four megabytes of text and three of bytes");
}

#[test]
fn null_is_not_the_same_as_missing_in_what_comes_back() {
    let place = Place::new();
    let mut connection = place.plain();
    let both = [doc! { "_id": 1, "a": Bson::Null }, doc! { "_id": 2 }];
    insert(&mut *connection, both.to_vec()).unwrap();
    // A filter for null finds both, as MongoDB defines it.
    let found = find(&mut *connection, doc! { "a": Bson::Null });
    assert_eq!(found, both);
    assert_eq!(found.iter().map(|found| found.contains_key("a")).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn decimals_are_compared_as_numbers() {
    let place = Place::new();
    let mut connection = place.plain();
    let number = |text: &str| -> Decimal128 { text.parse().unwrap() };
    let documents: Vec<Document> = ["9.99", "10.00", "100.5"]
        .into_iter()
        .zip(1..)
        .map(|(text, id)| doc! { "_id": id, "fee": number(text) })
        .collect();
    insert(&mut *connection, documents.clone()).unwrap();
    assert_eq!(find(&mut *connection, doc! { "fee": { "$lt": number("10.0") } }), documents[..1]);
    assert_eq!(find(&mut *connection, doc! { "fee": { "$gte": number("10") } }), documents[1..]);
}
