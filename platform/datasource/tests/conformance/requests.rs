//! Writes take effect once: two connections, repeats, errors, fences.

use crate::profile::{Database, LIMIT, Profile};
use gantry_datasource::requests::{
    Begun, Fence, Recorded, Request, RequestKey, begin_request, fence, finish_request, outcome,
    prepare_table, prune, record_error,
};
use gantry_datasource::{Connection, ErrorKind, Mode, SourceError, TransactionState, ValueRef};
use std::sync::Barrier;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);
const KEPT: usize = 64;

/// A connection to a database with the platform's table and a counter that each write adds 1 to.
fn prepare(database: &Database) -> Box<dyn Connection> {
    let mut connection = database.writer();
    prepare_table(&mut *connection).unwrap();
    connection.execute("CREATE TABLE counter (value BIGINT NOT NULL)", &[], LIMIT).unwrap();
    connection.execute("INSERT INTO counter VALUES (0)", &[], LIMIT).unwrap();
    connection
}

fn add_one(connection: &mut dyn Connection) {
    assert_eq!(connection.execute("UPDATE counter SET value = value + 1", &[], LIMIT).unwrap(), 1);
}

fn counter(connection: &mut dyn Connection) -> i64 {
    let rows = connection.query("SELECT value FROM counter", &[], 1, LIMIT).unwrap();
    rows.value(0, 0).as_i64().unwrap()
}

fn key(request_id: &str) -> RequestKey<'_> {
    RequestKey { caller: "toll-1", request_id }
}

fn request(request_id: &str) -> Request<'_> {
    Request { key: key(request_id), service: 20_000_004, body_hash: "00112233445566778899aabbccddeeff" }
}

/// A whole write as the worker does it, again after a lost race; `None` if it was done now.
fn write(connection: &mut dyn Connection, request_id: &str, reply: &[u8]) -> Option<Begun> {
    loop {
        match try_write(connection, request_id, reply) {
            Err(error) if error.kind == ErrorKind::Retryable => connection.rollback().unwrap(),
            outcome => return outcome.unwrap(),
        }
    }
}

fn try_write(
    connection: &mut dyn Connection,
    request_id: &str,
    reply: &[u8],
) -> Result<Option<Begun>, SourceError> {
    connection.begin(Mode::Write, LIMIT)?;
    let begun = begin_request(connection, &request(request_id), 1_000, LIMIT)?;
    if begun == Begun::New {
        connection.execute("UPDATE counter SET value = value + 1", &[], LIMIT)?;
        finish_request(connection, key(request_id), 0, reply, KEPT, LIMIT)?;
        connection.commit()?;
        return Ok(None);
    }
    connection.rollback()?;
    Ok(Some(begun))
}

fn done(status: u16, reply: &[u8]) -> Recorded {
    Recorded { status, reply: Some(reply.to_vec()), reply_bytes: reply.len() as u64, fenced: false }
}

pub(crate) fn repeat_of_a_write_gets_the_recorded_reply_and_changes_nothing(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    assert_eq!(write(&mut *connection, "a", b"{\"balance\":1}"), None);
    for _ in 0..3 {
        let replay = Begun::Replay { status: 0, reply: Some(b"{\"balance\":1}".to_vec()) };
        assert_eq!(write(&mut *connection, "a", b"other"), Some(replay));
    }
    assert_eq!(counter(&mut *connection), 1);
    assert_eq!(outcome(&mut *connection, key("a"), LIMIT).unwrap(), Some(done(0, b"{\"balance\":1}")));
    assert_eq!(outcome(&mut *connection, key("b"), LIMIT).unwrap(), None);
}

pub(crate) fn same_id_of_another_caller_is_another_request(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    write(&mut *connection, "a", b"1");
    let mut other = request("a");
    other.key.caller = "toll-2";
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(begin_request(&mut *connection, &other, 1, LIMIT).unwrap(), Begun::New);
}

pub(crate) fn id_used_for_another_body_or_service_is_a_conflict(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    write(&mut *connection, "a", b"1");
    let other_body = Request { body_hash: "ff", ..request("a") };
    let other_service = Request { service: 20_000_005, ..request("a") };
    for other in [other_body, other_service] {
        connection.begin(Mode::Write, LIMIT).unwrap();
        assert_eq!(begin_request(&mut *connection, &other, 1, LIMIT).unwrap(), Begun::Conflict);
        connection.rollback().unwrap();
    }
}

pub(crate) fn reply_that_is_empty_or_too_long_is_told_apart(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    write(&mut *connection, "empty", b"");
    write(&mut *connection, "fits", &[7; KEPT]);
    write(&mut *connection, "long", &[7; KEPT + 1]);
    assert_eq!(outcome(&mut *connection, key("empty"), LIMIT).unwrap(), Some(done(0, b"")));
    assert_eq!(outcome(&mut *connection, key("fits"), LIMIT).unwrap(), Some(done(0, &[7; KEPT])));
    let long = Recorded { status: 0, reply: None, reply_bytes: KEPT as u64 + 1, fenced: false };
    assert_eq!(outcome(&mut *connection, key("long"), LIMIT).unwrap(), Some(long));
    assert_eq!(write(&mut *connection, "long", b""), Some(Begun::Replay { status: 0, reply: None }));
}

pub(crate) fn rolled_back_write_leaves_no_row_and_may_run_again(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(begin_request(&mut *connection, &request("a"), 1, LIMIT).unwrap(), Begun::New);
    add_one(&mut *connection);
    connection.rollback().unwrap();
    assert_eq!(outcome(&mut *connection, key("a"), LIMIT).unwrap(), None);
    assert_eq!(write(&mut *connection, "a", b"1"), None);
    assert_eq!(counter(&mut *connection), 1);
}

/// Several small writes share one commit; one of them fails with a business error, which is recorded among them.
pub(crate) fn business_error_in_a_group_is_recorded_and_spares_the_others(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    connection.begin(Mode::Write, LIMIT).unwrap();
    for id in ["a", "b", "c"] {
        connection.savepoint("request").unwrap();
        assert_eq!(begin_request(&mut *connection, &request(id), 1, LIMIT).unwrap(), Begun::New);
        add_one(&mut *connection);
        if id == "b" {
            connection.rollback_to("request").unwrap();
            let recorded = record_error(&mut *connection, &request(id), 304, b"no", KEPT, 1, LIMIT);
            assert_eq!(recorded.unwrap(), None);
        } else {
            finish_request(&mut *connection, key(id), 0, b"ok", KEPT, LIMIT).unwrap();
        }
        connection.release("request").unwrap();
    }
    connection.commit().unwrap();
    assert_eq!(counter(&mut *connection), 2);
    assert_eq!(outcome(&mut *connection, key("b"), LIMIT).unwrap(), Some(done(304, b"no")));
    assert_eq!(
        write(&mut *connection, "b", b"again"),
        Some(Begun::Replay { status: 304, reply: Some(b"no".to_vec()) })
    );
}

pub(crate) fn business_error_after_a_whole_rollback_is_recorded_by_itself(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    assert_eq!(record_error(&mut *connection, &request("a"), 304, b"no", KEPT, 1, LIMIT).unwrap(), None);
    assert!(!connection.in_transaction());
    let mut other = database.writer();
    assert_eq!(outcome(&mut *other, key("a"), LIMIT).unwrap(), Some(done(304, b"no")));
    write(&mut *other, "b", b"1");
    let late = record_error(&mut *connection, &request("b"), 304, b"no", KEPT, 1, LIMIT).unwrap();
    assert_eq!(late, Some(done(0, b"1")), "what was recorded first stays");
}

pub(crate) fn fence_answers_failed_done_or_blocked(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    let mut asker = database.writer();
    write(&mut *connection, "a", b"1");
    assert_eq!(fence(&mut *asker, key("a"), 1, LIMIT).unwrap(), Fence::AlreadyDone(done(0, b"1")));

    connection.begin(Mode::Write, LIMIT).unwrap();
    begin_request(&mut *connection, &request("b"), 1, LIMIT).unwrap();
    assert_eq!(fence(&mut *asker, key("b"), 1, SHORT).unwrap(), Fence::Blocked);
    assert!(!asker.in_transaction());
    connection.rollback().unwrap();

    assert_eq!(fence(&mut *asker, key("b"), 1, LIMIT).unwrap(), Fence::Fenced);
    assert_eq!(
        fence(&mut *asker, key("b"), 1, LIMIT).unwrap(),
        Fence::Fenced,
        "asking twice changes nothing"
    );
    let recorded = outcome(&mut *connection, key("b"), LIMIT).unwrap().unwrap();
    assert!(recorded.fenced && recorded.reply.is_none());

    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(fence(&mut *connection, key("c"), 1, LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
    assert_eq!(connection.transaction(), TransactionState::Open);
}

pub(crate) fn repeat_after_failed_is_a_new_attempt_that_replaces_the_fence(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    for id in ["a", "b", "c"] {
        assert_eq!(fence(&mut *connection, key(id), 1, LIMIT).unwrap(), Fence::Fenced);
    }
    assert_eq!(write(&mut *connection, "a", b"1"), None);
    assert_eq!(outcome(&mut *connection, key("a"), LIMIT).unwrap(), Some(done(0, b"1")));
    assert_eq!(fence(&mut *connection, key("a"), 1, LIMIT).unwrap(), Fence::AlreadyDone(done(0, b"1")));

    assert_eq!(record_error(&mut *connection, &request("b"), 304, b"no", KEPT, 1, LIMIT).unwrap(), None);
    assert_eq!(outcome(&mut *connection, key("b"), LIMIT).unwrap(), Some(done(304, b"no")));

    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(begin_request(&mut *connection, &request("c"), 1, LIMIT).unwrap(), Begun::New);
    connection.rollback().unwrap();
    assert!(
        outcome(&mut *connection, key("c"), LIMIT).unwrap().unwrap().fenced,
        "its own transaction: undone with it"
    );
    assert_eq!(counter(&mut *connection), 1);
}

pub(crate) fn begin_needs_a_transaction_and_finish_needs_a_begin(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    let outside = begin_request(&mut *connection, &request("a"), 1, LIMIT).unwrap_err();
    assert_eq!(outside.kind, ErrorKind::BadStatement);
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(
        finish_request(&mut *connection, key("a"), 0, b"", KEPT, LIMIT).unwrap_err().kind,
        ErrorKind::Other
    );
    begin_request(&mut *connection, &request("a"), 1, LIMIT).unwrap();
    finish_request(&mut *connection, key("a"), 0, b"", KEPT, LIMIT).unwrap();
    let twice = finish_request(&mut *connection, key("a"), 0, b"", KEPT, LIMIT).unwrap_err();
    assert_eq!(twice.kind, ErrorKind::Other);
    let long =
        Request { key: RequestKey { caller: "a", request_id: "1234567890123456789012345" }, ..request("a") };
    assert_eq!(begin_request(&mut *connection, &long, 1, LIMIT).unwrap_err().kind, ErrorKind::BadValue);
}

pub(crate) fn prune_deletes_the_oldest_in_batches_and_spares_the_young(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    for number in 0..25_i64 {
        connection.begin(Mode::Write, LIMIT).unwrap();
        let id = format!("id-{number}");
        begin_request(&mut *connection, &request(&id), 100 + number, LIMIT).unwrap();
        finish_request(&mut *connection, key(&id), 0, b"", KEPT, LIMIT).unwrap();
        connection.commit().unwrap();
    }
    assert_eq!(prune(&mut *connection, 115, 10, LIMIT).unwrap(), 10);
    assert_eq!(outcome(&mut *connection, key("id-9"), LIMIT).unwrap(), None);
    assert!(outcome(&mut *connection, key("id-10"), LIMIT).unwrap().is_some());
    assert_eq!(prune(&mut *connection, 115, 10, LIMIT).unwrap(), 5);
    assert_eq!(prune(&mut *connection, 115, 10, LIMIT).unwrap(), 0);
    let left = connection.query("SELECT COUNT(*) FROM gantry_request", &[], 1, LIMIT).unwrap();
    assert_eq!(left.value(0, 0), ValueRef::I64(10));
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(prune(&mut *connection, 115, 10, LIMIT).unwrap_err().kind, ErrorKind::BadStatement);
}

/// Goal: of two workers that are given the same request, one does it and the other gets its reply. Method: both
/// start together, 200 times; some writes are rolled back at the end, which leaves the other to do it.
pub(crate) fn two_connections_that_race_take_effect_once(profile: &dyn Profile) {
    const ROUNDS: usize = 200;
    let database = profile.database();
    let mut connection = prepare(&database);
    let together = Barrier::new(2);
    let new = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let together = &together;
                let mut connection = database.writer();
                scope.spawn(move || {
                    (0..ROUNDS).filter(|round| race(&mut *connection, together, worker, *round)).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(counter(&mut *connection), i64::try_from(ROUNDS).unwrap());
    assert_eq!(new, ROUNDS);
}

/// Whether this worker's write took effect.
fn race(connection: &mut dyn Connection, together: &Barrier, worker: usize, round: usize) -> bool {
    let id = format!("round-{round}");
    together.wait();
    if (round + worker).is_multiple_of(3) {
        connection.begin(Mode::Write, LIMIT).unwrap();
        match begin_request(connection, &request(&id), 1, LIMIT) {
            Ok(Begun::New) => add_one(connection),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind, ErrorKind::Retryable, "{error}"),
        }
        connection.rollback().unwrap();
    }
    match write(connection, &id, id.as_bytes()) {
        None => true,
        Some(begun) => {
            assert_eq!(begun, Begun::Replay { status: 0, reply: Some(id.into_bytes()) });
            false
        }
    }
}

/// Goal: `failed` is a promise. Method: a write and a fence of the same request start together, 200 times; never
/// may the fence say failed and the write commit without having replaced the fence.
pub(crate) fn fence_and_write_that_race_never_contradict_each_other(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    let mut asker = database.writer();
    let together = Barrier::new(2);
    let mut fenced_first = 0;
    for round in 0..200 {
        let id = format!("round-{round}");
        let before = counter(&mut *connection);
        let answer = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                together.wait();
                fence(&mut *asker, key(&id), 1, LIMIT).unwrap()
            });
            together.wait();
            assert_eq!(write(&mut *connection, &id, b"1"), None);
            asking.join().unwrap()
        });
        // The write always commits here: after a fence it is the new attempt.
        assert_eq!(counter(&mut *connection), before + 1);
        assert_eq!(outcome(&mut *connection, key(&id), LIMIT).unwrap(), Some(done(0, b"1")));
        match answer {
            Fence::AlreadyDone(recorded) => assert_eq!(recorded, done(0, b"1")),
            Fence::Fenced => fenced_first += 1,
            Fence::Blocked => panic!("nobody held the place for long"),
        }
    }
    println!("fence first in {fenced_first} of 200 rounds");
}

/// Goal: the fence of a worker that is dead, or only thought dead, is the last word. Method: a connection that did all
/// but the commit is fenced while it still lives, and again when it has vanished.
pub(crate) fn fence_after_a_writer_vanished_is_the_last_word(profile: &dyn Profile) {
    let database = profile.database();
    let mut asker = prepare(&database);
    let mut writer = database.writer();
    writer.begin(Mode::Write, LIMIT).unwrap();
    begin_request(&mut *writer, &request("a"), 1, LIMIT).unwrap();
    add_one(&mut *writer);
    finish_request(&mut *writer, key("a"), 0, b"1", KEPT, LIMIT).unwrap();
    assert_eq!(fence(&mut *asker, key("a"), 1, SHORT).unwrap(), Fence::Blocked, "it may still commit");
    drop(writer);
    // The server learns of it in its own time; until then the answer is that somebody holds the row.
    let answer = until_settled(|| fence(&mut *asker, key("a"), 1, SHORT).unwrap());
    assert_eq!(answer, Fence::Fenced);
    assert_eq!(counter(&mut *asker), 0);
    assert_eq!(write(&mut *asker, "a", b"1"), None, "a repeat is a new attempt");
    assert_eq!(counter(&mut *asker), 1);
}

fn until_settled(mut ask: impl FnMut() -> Fence) -> Fence {
    let began = std::time::Instant::now();
    loop {
        let answer = ask();
        if answer != Fence::Blocked {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "the vanished writer still holds its row");
    }
}

/// Goal: request ids are bytes. Method: ids that a careless collation takes for one another.
pub(crate) fn ids_that_differ_in_case_or_accent_are_different_requests(profile: &dyn Profile) {
    let database = profile.database();
    let mut connection = prepare(&database);
    for id in ["abc", "ABC", "abc.", "Abc", "ss", "s~"] {
        assert_eq!(write(&mut *connection, id, id.as_bytes()), None, "{id}");
    }
    assert_eq!(counter(&mut *connection), 6);
    assert_eq!(outcome(&mut *connection, key("ABC"), LIMIT).unwrap(), Some(done(0, b"ABC")));
}
