//! What a server says or does at the worst moment, provoked by its own test commands.

use std::time::Duration;

use bson::{Bson, doc};
use gantry_document::{Access, ErrorKind, Operation};

use crate::support::{Asked, LIMIT, Place, find, ids, insert};

fn place() -> Place {
    Place::with(&["--enable-test-commands"])
}

/// The next so many commands of these names fail in this way.
fn next(place: &Place, times: i32, commands: &[&str], mut how: bson::Document) {
    how.insert("failCommands", commands.iter().map(|name| Bson::from(*name)).collect::<Vec<_>>());
    place.provoke("failCommand", doc! { "times": times }.into(), how);
}

fn add_one() -> Asked {
    Asked::new(Operation::UpdateOne).filter(doc! { "_id": 1 }).with(doc! { "$inc": { "n": 1 } })
}

#[test]
fn every_operation_that_the_server_cuts_off_is_a_time_out_and_the_connection_goes_on() {
    let place = place();
    let mut connection = place.plain();
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    place.provoke("maxTimeAlwaysTimeOut", "alwaysOn".into(), doc! {});
    for operation in (1..=8).filter_map(Operation::from_number) {
        let document = match operation {
            Operation::Aggregate => doc! { "$match": {} },
            Operation::Insert => doc! { "_id": 2 },
            _ => doc! { "$set": { "a": 1 } },
        };
        let error = Asked::new(operation).with(document).run(&mut *connection).unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Timeout, 50), "{operation:?}: {error}");
        assert!(!connection.is_broken(), "{operation:?}: the server has answered");
    }
    place.provoke("maxTimeAlwaysTimeOut", "off".into(), doc! {});
    assert_eq!(find(&mut *connection, doc! {}), [doc! { "_id": 1 }]);
}

/// The driver could repeat a command by itself. Then an insert that was done would be refused as a key that is there.
#[test]
fn nothing_is_repeated_behind_our_back() {
    let place = place();
    for (operation, command) in [(Operation::Insert, "insert"), (Operation::Find, "find")] {
        let mut connection = place.plain();
        // Not the primary any more: what drivers repeat.
        next(&place, 1, &[command], doc! { "errorCode": 10_107 });
        let asked = || {
            if operation == Operation::Insert {
                Asked::new(operation).with(doc! { "_id": 1 })
            } else {
                Asked::new(operation)
            }
        };
        let error = asked().run(&mut *connection).unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::ConnectionLost, 10_107), "{error}");
        assert!(connection.is_broken(), "who takes the writes now is asked anew");
        asked().run(&mut *place.plain()).unwrap();
    }
}

#[test]
fn connection_that_the_server_closes_is_lost_and_it_is_unknown_what_was_done() {
    let place = place();
    let mut connection = place.plain();
    next(&place, 1, &["insert"], doc! { "closeConnection": true });
    let error = insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionLost, "{error}");
    assert!(connection.is_broken());
}

#[test]
fn a_command_that_takes_longer_than_its_limit_ends_at_it() {
    let place = place();
    let mut connection = place.plain();
    next(&place, 1, &["insert"], doc! { "blockConnection": true, "blockTimeMS": 3_000 });
    let asked = Asked::new(Operation::Insert).with(doc! { "_id": 1 });
    let error = asked.run_within(&mut *connection, Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(connection.is_broken(), "its answer may still come");
}

#[test]
fn a_write_that_too_few_have_is_as_unknown_as_one_whose_connection_was_lost() {
    let place = place();
    let mut connection = place.plain();
    let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
    next(&place, 1, &["insert"], doc! { "writeConcernError": concern });
    let error = insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::ConnectionLost, 64), "{error}");
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
}

#[test]
fn conflicts_in_a_transaction_and_at_its_commit_may_be_run_again() {
    let place = place();
    let mut setup = place.plain();
    insert(&mut *setup, vec![doc! { "_id": 1, "n": 0 }]).unwrap();
    let mut connection = place.begun(Some(true), Access::ReadWrite);
    let labels = || ["TransientTransactionError"].map(Bson::from).to_vec();
    for code in [112, 251] {
        next(&place, 1, &["update"], doc! { "errorCode": code, "errorLabels": labels() });
        let error = add_one().run(&mut *connection).unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Retryable, code), "{error}");
        connection.rollback();
        assert!(!connection.is_broken());
        connection.begin(LIMIT).unwrap();
    }
    add_one().run(&mut *connection).unwrap();
    connection.commit(LIMIT).unwrap();
    assert_eq!(find(&mut *setup, doc! {}), [doc! { "_id": 1, "n": 1 }], "only the last was kept");
    connection.begin(LIMIT).unwrap();
    insert(&mut *connection, vec![doc! { "_id": 2 }]).unwrap();
    next(&place, 1, &["commitTransaction"], doc! { "errorCode": 251, "errorLabels": labels() });
    let error = connection.commit(LIMIT).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Retryable, 251), "{error}");
    assert!(!connection.is_broken());
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_for_once_more_and_then_unknown() {
    let place = place();
    insert(&mut *place.plain(), vec![doc! { "_id": 0 }]).unwrap();
    for (id, losses) in [(1, 1), (2, 2)] {
        let mut connection = place.begun(Some(true), Access::ReadWrite);
        insert(&mut *connection, vec![doc! { "_id": id }]).unwrap();
        next(&place, losses, &["commitTransaction"], doc! { "closeConnection": true });
        let committed = connection.commit(LIMIT);
        if losses == 1 {
            // A commit may be repeated: the server knows the transaction's number.
            assert!(committed.is_ok(), "{committed:?}");
        } else {
            let error = committed.unwrap_err();
            assert_eq!(error.kind, ErrorKind::ConnectionLost, "{error}");
            assert!(connection.is_broken());
        }
    }
}

/// Otherwise it would hold its documents until the server gives it up, which takes a minute.
#[test]
fn a_roll_back_lets_go_of_its_documents_at_once() {
    let place = place();
    let mut other = place.plain();
    insert(&mut *other, vec![doc! { "_id": 1, "n": 0 }]).unwrap();
    let mut connection = place.begun(Some(true), Access::ReadWrite);
    add_one().run(&mut *connection).unwrap();
    connection.rollback();
    let mut next = place.begun(Some(true), Access::ReadWrite);
    add_one().run(&mut *next).unwrap();
    next.commit(LIMIT).unwrap();
    assert_eq!(find(&mut *other, doc! {}), [doc! { "_id": 1, "n": 1 }]);
}

#[test]
fn a_server_alone_has_no_transactions_and_says_so_before_anything_is_done() {
    use gantry_document::Source;

    let place = Place::with(&["--standalone"]);
    let mut connection = place.begun(None, Access::ReadWrite);
    assert!(!connection.has_transactions(), "detected");
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    connection.rollback();
    let error = place.source(Some(true)).connect(Access::ReadWrite, LIMIT).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("transactions = \"off\""), "{error}");
    assert_eq!(ids(&mut *place.begun(Some(false), Access::ReadOnly), doc! {}), [1]);
}
