//! What the server refuses, in kinds.

use std::time::{Duration, Instant};

use bson::doc;
use gantry_document::mongodb::MongoSource;
use gantry_document::{Access, Command, ErrorKind, Operation, Source};
use nix::sys::signal::Signal;

use crate::support::{Asked, LIMIT, Place, find, ids, insert};

#[test]
fn a_key_that_is_there_is_unique_and_what_came_before_it_stays_without_a_transaction() {
    let place = Place::new();
    let mut connection = place.plain();
    let error = insert(&mut *connection, vec![doc! { "_id": 1 }, doc! { "_id": 1 }, doc! { "_id": 2 }]);
    let error = error.unwrap_err();
    assert_eq!((error.kind, error.code, error.operation), (ErrorKind::Unique, 11_000, "insert"));
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
}

#[test]
fn wrong_commands_are_bad_statements_and_the_connection_goes_on() {
    let place = Place::new();
    let mut connection = place.plain();
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    let wrong = [
        Asked::new(Operation::Find).filter(doc! { "a": { "$nonsense": 1 } }),
        Asked::new(Operation::Find).options(doc! { "sorted": 1 }),
        Asked::new(Operation::UpdateOne).with(doc! { "$nonsense": { "a": 1 } }),
        Asked::new(Operation::FindAndUpdate)
            .with(doc! { "$set": { "a": 1 } })
            .options(doc! { "return": "both" }),
        Asked::new(Operation::Aggregate).with(doc! { "$nonsense": {} }),
        Asked::new(Operation::Insert),
    ];
    for asked in wrong {
        let error = asked.run(&mut *connection).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadStatement, "{error}");
        assert!(!connection.is_broken());
    }
    assert_eq!(find(&mut *connection, doc! {}).len(), 1);
}

#[test]
fn names_that_are_no_collection_are_refused() {
    let place = Place::new();
    let mut connection = place.plain();
    let long = "c".repeat(121);
    for collection in ["", "$cmd", "a$b", "a\0b", "system.users", &long] {
        let (operation, filter, documents, options) = (Operation::Find, &[][..], &[][..], &[][..]);
        let command = Command { operation, collection, filter, documents, options, documents_max: 1 };
        let error = connection.run(&command, LIMIT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadStatement, "{collection:?}");
    }
}

#[test]
fn broken_bson_never_reaches_the_server() {
    let place = Place::new();
    let mut connection = place.plain();
    for documents in [&[9, 0, 0, 0, 0][..], b"{\"json\":1}", &[5, 0, 0, 0, 1]] {
        let operation = Operation::Insert;
        let command =
            Command { operation, collection: "c", filter: &[], documents, options: &[], documents_max: 1 };
        assert_eq!(connection.run(&command, LIMIT).unwrap_err().kind, ErrorKind::BadValue);
    }
}

#[test]
fn a_uri_that_is_of_no_use_is_refused_without_showing_its_password() {
    for uri in ["", "http://h/db", "mongodb://", "mongodb://user:secret@127.0.0.1:1"] {
        let error = MongoSource::new("passages", uri, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{uri}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_a_lost_connection_within_the_limit() {
    let source = MongoSource::new("passages", "mongodb://127.9.9.9:9/db", None).unwrap();
    let error = source.connect(Access::ReadWrite, Duration::from_millis(300)).err().unwrap();
    assert!(matches!(error.kind, ErrorKind::ConnectionLost | ErrorKind::Timeout), "{error}");
}

/// A server that does not answer any more: the limit is ours, and the connection is not used again.
#[test]
fn a_command_without_an_answer_ends_at_its_limit() {
    let place = Place::new();
    let mut connection = place.plain();
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    place.server.signal(Signal::SIGSTOP);
    let began = Instant::now();
    let limit = Duration::from_millis(300);
    let error = Asked::new(Operation::Find).run_within(&mut *connection, limit).unwrap_err();
    assert!(began.elapsed() >= limit);
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(connection.is_broken());
    drop(connection);
    place.server.signal(Signal::SIGCONT);
    let mut connection = place.plain();
    assert_eq!(find(&mut *connection, doc! {}).len(), 1);
    assert_eq!(
        Asked::new(Operation::Find).run_within(&mut *connection, Duration::ZERO).unwrap_err().kind,
        ErrorKind::Timeout
    );
    assert!(!connection.is_broken(), "nothing was sent");
}
