//! What a request does is kept or undone as one.

use bson::doc;
use gantry_document::{Access, ErrorKind, Operation};

use crate::support::{Asked, LIMIT, Place, ids, insert};

#[test]
fn transactions_are_detected_and_can_be_switched_off() {
    let place = Place::new();
    assert!(place.begun(None, Access::ReadWrite).has_transactions());
    assert!(!place.begun(Some(false), Access::ReadWrite).has_transactions());
    assert!(place.begun(Some(true), Access::ReadWrite).has_transactions());
}

#[test]
fn what_is_committed_stays_and_what_is_rolled_back_never_was() {
    let place = Place::new();
    let mut other = place.plain();
    insert(&mut *other, vec![doc! { "_id": 0 }]).unwrap();
    let mut connection = place.begun(None, Access::ReadWrite);
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    assert_eq!(ids(&mut *connection, doc! {}), [0, 1], "a transaction sees what it wrote");
    assert_eq!(ids(&mut *other, doc! {}), [0], "and nobody else does");
    connection.commit(LIMIT).unwrap();
    assert_eq!(ids(&mut *other, doc! {}), [0, 1]);

    connection.begin(LIMIT).unwrap();
    insert(&mut *connection, vec![doc! { "_id": 2 }]).unwrap();
    Asked::new(Operation::DeleteMany).run(&mut *connection).unwrap();
    connection.rollback();
    assert!(!connection.is_broken());
    assert_eq!(ids(&mut *other, doc! {}), [0, 1]);
    // Nothing was done in this one.
    connection.begin(LIMIT).unwrap();
    connection.commit(LIMIT).unwrap();
}

#[test]
fn a_connection_that_goes_takes_its_transaction_with_it() {
    let place = Place::new();
    let mut other = place.plain();
    insert(&mut *other, vec![doc! { "_id": 0 }]).unwrap();
    let mut connection = place.begun(None, Access::ReadWrite);
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    drop(connection);
    assert_eq!(ids(&mut *other, doc! {}), [0]);
}

#[test]
fn without_transactions_each_command_is_kept_at_once() {
    let place = Place::new();
    let mut connection = place.plain();
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    connection.rollback();
    connection.begin(LIMIT).unwrap();
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
}

#[test]
fn an_error_ends_the_transaction_and_only_a_roll_back_is_left() {
    let place = Place::new();
    let mut other = place.plain();
    insert(&mut *other, vec![doc! { "_id": 1 }]).unwrap();
    let mut connection = place.begun(None, Access::ReadWrite);
    insert(&mut *connection, vec![doc! { "_id": 2 }]).unwrap();
    let twice = insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap_err();
    assert_eq!(twice.kind, ErrorKind::Unique);
    let after = insert(&mut *connection, vec![doc! { "_id": 3 }]).unwrap_err();
    assert_eq!(after.kind, ErrorKind::Aborted);
    assert_eq!(connection.commit(LIMIT).unwrap_err().kind, ErrorKind::Aborted);
    assert_eq!(ids(&mut *other, doc! {}), [1]);
    connection.begin(LIMIT).unwrap();
    insert(&mut *connection, vec![doc! { "_id": 2 }]).unwrap();
    connection.commit(LIMIT).unwrap();
    assert_eq!(ids(&mut *other, doc! {}), [1, 2]);
}

#[test]
fn the_second_of_two_transactions_on_one_document_may_be_run_again() {
    let place = Place::new();
    let mut setup = place.plain();
    insert(&mut *setup, vec![doc! { "_id": 1, "n": 0 }]).unwrap();
    let add = || Asked::new(Operation::UpdateOne).filter(doc! { "_id": 1 }).with(doc! { "$inc": { "n": 1 } });
    let mut first = place.begun(None, Access::ReadWrite);
    let mut second = place.begun(None, Access::ReadWrite);
    add().run(&mut *first).unwrap();
    let error = add().run(&mut *second).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retryable, "{error}");
    second.rollback();
    first.commit(LIMIT).unwrap();
    second.begin(LIMIT).unwrap();
    add().run(&mut *second).unwrap();
    second.commit(LIMIT).unwrap();
    assert_eq!(crate::support::find(&mut *setup, doc! {}), [doc! { "_id": 1, "n": 2 }]);
}

#[test]
fn a_transaction_reads_what_there_was_when_it_began() {
    let place = Place::new();
    let mut other = place.plain();
    insert(&mut *other, vec![doc! { "_id": 1 }]).unwrap();
    let mut connection = place.begun(None, Access::ReadWrite);
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
    insert(&mut *other, vec![doc! { "_id": 2 }]).unwrap();
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
    connection.commit(LIMIT).unwrap();
    connection.begin(LIMIT).unwrap();
    assert_eq!(ids(&mut *connection, doc! {}), [1, 2]);
}
