//! Each operation with its options.

use bson::{Document, doc};
use gantry_document::{Access, ErrorKind, Operation};

use crate::support::{Asked, Place, find, ids, insert, read};

fn ten(place: &Place) -> Box<dyn gantry_document::Connection> {
    let mut connection = place.plain();
    let documents =
        (1..=10).map(|id| doc! { "_id": id, "half": id / 2, "name": format!("卡{id}") }).collect();
    let answer = insert(&mut *connection, documents).unwrap();
    assert_eq!((answer.matched, answer.modified), (10, 10));
    connection
}

#[test]
fn find_filters_sorts_skips_limits_and_projects() {
    let place = Place::new();
    let mut connection = ten(&place);
    let options = doc! { "sort": { "_id": -1 }, "skip": 1, "limit": 2_i64, "projection": { "name": 1 } };
    let asked = Asked::new(Operation::Find).filter(doc! { "half": { "$lte": 3 } }).options(options);
    let found = read(&asked.run(&mut *connection).unwrap().documents);
    assert_eq!(found, [doc! { "_id": 6, "name": "卡6" }, doc! { "_id": 5, "name": "卡5" }]);
}

#[test]
fn more_documents_than_one_batch_all_come_and_more_than_asked_for_is_an_error() {
    let place = Place::new();
    let mut connection = place.plain();
    for part in 0..5 {
        let documents = (0..700).map(|id| doc! { "_id": part * 700 + id }).collect();
        insert(&mut *connection, documents).unwrap();
    }
    let mut asked = Asked::new(Operation::Find);
    asked.documents_max = 3500;
    assert_eq!(asked.run(&mut *connection).unwrap().documents.len(), 3500);
    asked.documents_max = 3499;
    let error = asked.run(&mut *connection).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooManyDocuments { documents_max: 3499 });
    // The connection goes on.
    assert_eq!(find(&mut *connection, doc! { "_id": 7 }).len(), 1);
    asked.operation = Operation::Aggregate;
    assert!(matches!(asked.run(&mut *connection).unwrap_err().kind, ErrorKind::TooManyDocuments { .. }));
}

#[test]
fn answers_over_the_bound_in_bytes_are_refused_and_the_connection_goes_on() {
    let place = Place::new();
    let mut connection = place.plain();
    let text = "x".repeat(15_000_000);
    for id in 0..5 {
        insert(&mut *connection, vec![doc! { "_id": id, "text": &text }]).unwrap();
    }
    let error = Asked::new(Operation::Find).run(&mut *connection).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge { bytes_max: 64 << 20 });
    let narrow = Asked::new(Operation::Find).options(doc! { "projection": { "_id": 1 } });
    assert_eq!(narrow.run(&mut *connection).unwrap().documents.len(), 5);
}

#[test]
fn updates_say_what_matched_and_what_changed() {
    let place = Place::new();
    let mut connection = ten(&place);
    let counts = |connection: &mut dyn gantry_document::Connection, asked: Asked| {
        let answer = asked.run(connection).unwrap();
        (answer.matched, answer.modified)
    };
    let set = |operation| {
        Asked::new(operation).filter(doc! { "half": { "$in": [1, 2] } }).with(doc! { "$set": { "half": 2 } })
    };
    assert_eq!(counts(&mut *connection, set(Operation::UpdateMany)), (4, 2));
    assert_eq!(counts(&mut *connection, set(Operation::UpdateOne)), (1, 0));
    let missing =
        || Asked::new(Operation::UpdateOne).filter(doc! { "_id": 11 }).with(doc! { "$set": { "half": 5 } });
    assert_eq!(counts(&mut *connection, missing()), (0, 0));
    assert_eq!(counts(&mut *connection, missing().options(doc! { "upsert": true })), (0, 1));
    assert_eq!(find(&mut *connection, doc! { "_id": 11 }), [doc! { "_id": 11, "half": 5 }]);
}

#[test]
fn find_and_update_gives_the_document_before_or_after() {
    let place = Place::new();
    let mut connection = ten(&place);
    let asked =
        || Asked::new(Operation::FindAndUpdate).filter(doc! { "half": 2 }).with(doc! { "$inc": { "n": 1 } });
    let options = |then: &str| doc! { "sort": { "_id": -1 }, "return": then, "projection": { "n": 1 } };
    let first = asked().options(options("before")).run(&mut *connection).unwrap();
    assert_eq!((read(&first.documents), first.matched), (vec![doc! { "_id": 5 }], 1));
    let second = asked().options(options("after")).run(&mut *connection).unwrap();
    assert_eq!(read(&second.documents), [doc! { "_id": 5, "n": 2 }]);
    let nothing = asked().filter(doc! { "_id": 99 }).run(&mut *connection).unwrap();
    assert_eq!((nothing.documents.len(), nothing.matched, nothing.modified), (0, 0, 0));
}

#[test]
fn deletes_take_one_or_all() {
    let place = Place::new();
    let mut connection = ten(&place);
    let asked = |operation| Asked::new(operation).filter(doc! { "_id": { "$gt": 5 } });
    assert_eq!(asked(Operation::DeleteOne).run(&mut *connection).unwrap().matched, 1);
    assert_eq!(asked(Operation::DeleteMany).run(&mut *connection).unwrap().matched, 4);
    assert_eq!(ids(&mut *connection, doc! {}), [1, 2, 3, 4, 5]);
}

#[test]
fn aggregate_runs_its_stages() {
    let place = Place::new();
    let mut connection = ten(&place);
    let asked = Asked::new(Operation::Aggregate)
        .with(doc! { "$match": { "_id": { "$lte": 5 } } })
        .with(doc! { "$group": { "_id": "$half", "count": { "$sum": 1 } } })
        .with(doc! { "$sort": { "_id": 1 } });
    let found = read(&asked.run(&mut *connection).unwrap().documents);
    let count = |id: i32, count: i32| doc! { "_id": id, "count": count };
    assert_eq!(found, [count(0, 1), count(1, 2), count(2, 2)]);
}

#[test]
fn indexes_are_made_once_and_used_by_hint() {
    let place = Place::new();
    let mut connection = ten(&place);
    let keys = doc! { "half": 1, "_id": -1 };
    let asked = || Asked::new(Operation::CreateIndex).with(keys.clone());
    asked().run(&mut *connection).unwrap();
    asked().run(&mut *connection).unwrap();
    let by = |hint: Document| Asked::new(Operation::Find).options(doc! { "hint": hint });
    assert_eq!(by(keys.clone()).run(&mut *connection).unwrap().documents.len(), 10);
    assert_eq!(by(doc! { "name": 1 }).run(&mut *connection).unwrap_err().kind, ErrorKind::BadStatement);
    let unique = Asked::new(Operation::CreateIndex)
        .with(doc! { "name": 1 })
        .options(doc! { "unique": true, "name": "one_name" });
    unique.run(&mut *connection).unwrap();
    let twice = insert(&mut *connection, vec![doc! { "_id": 50, "name": "卡5" }]);
    assert_eq!(twice.unwrap_err().kind, ErrorKind::Unique);
}

#[test]
fn a_reader_cannot_write_by_any_operation() {
    let place = Place::new();
    ten(&place);
    let mut reader = place.begun(None, Access::ReadOnly);
    assert!(!reader.has_transactions(), "a reader needs none");
    for number in 1..=9 {
        let operation = Operation::from_number(number).unwrap();
        let asked = Asked::new(operation).filter(doc! { "_id": 1 }).with(doc! { "$set": { "x": 1 } });
        let outcome = asked.run(&mut *reader);
        if operation.is_write() {
            assert_eq!(outcome.unwrap_err().kind, ErrorKind::ReadOnly, "{operation:?}");
        }
    }
    for stage in ["$out", "$merge"] {
        let asked = Asked::new(Operation::Aggregate).with(doc! { stage: "elsewhere" });
        assert_eq!(asked.run(&mut *reader).unwrap_err().kind, ErrorKind::BadStatement, "{stage}");
    }
    assert_eq!(ids(&mut *reader, doc! {}), (1..=10).collect::<Vec<_>>());
}
