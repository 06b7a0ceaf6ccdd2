//! A server that goes away and comes back.

use std::time::{Duration, Instant};

use bson::doc;
use gantry_document::mongodb::MongoSource;
use gantry_document::{Access, Connection, ErrorKind, Source};
use gantry_test_servers::MongoServer;

use crate::support::{LIMIT, ids, insert};

fn begun(source: &MongoSource) -> Box<dyn Connection> {
    let began = Instant::now();
    loop {
        match source.connect(Access::ReadWrite, Duration::from_secs(5)) {
            Ok(mut connection) => {
                connection.begin(LIMIT).unwrap();
                return connection;
            }
            Err(error) => assert!(began.elapsed() < LIMIT * 3, "{error}"),
        }
    }
}

#[test]
fn a_server_killed_in_the_middle_is_noticed_and_found_again() {
    let mut server = MongoServer::start_durable();
    let source = MongoSource::new("passages", &server.uri("books"), None).unwrap();
    let mut connection = begun(&source);
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    connection.commit(LIMIT).unwrap();
    connection.begin(LIMIT).unwrap();
    insert(&mut *connection, vec![doc! { "_id": 2 }]).unwrap();
    server.kill();
    let error = insert(&mut *connection, vec![doc! { "_id": 3 }]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConnectionLost, "{error}");
    assert!(connection.is_broken());
    connection.rollback();
    server.restart();
    let mut connection = begun(&source);
    assert_eq!(ids(&mut *connection, doc! {}), [1], "what was committed is there, and nothing else");
}

#[test]
fn a_server_that_went_while_nothing_was_asked_is_noticed_before_anything_is() {
    let mut server = MongoServer::start_durable();
    let source = MongoSource::new("passages", &server.uri("books"), Some(false)).unwrap();
    let mut connection = begun(&source);
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    connection.commit(LIMIT).unwrap();
    server.kill();
    server.restart();
    std::thread::sleep(gantry_document::limits::IDLE_TRUSTED);
    // Either the driver has found the new server by itself, or it says so here.
    if connection.begin(LIMIT).is_err() {
        assert!(connection.is_broken());
        connection = begun(&source);
    }
    assert_eq!(ids(&mut *connection, doc! {}), [1]);
}

#[test]
fn a_commit_that_gets_no_answer_is_told_as_unknown() {
    let mut server = MongoServer::start_durable();
    let source = MongoSource::new("passages", &server.uri("books"), None).unwrap();
    let mut connection = begun(&source);
    insert(&mut *connection, vec![doc! { "_id": 1 }]).unwrap();
    server.kill();
    let error = connection.commit(Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::ConnectionLost | ErrorKind::Timeout), "{error}");
    assert!(connection.is_broken());
}
