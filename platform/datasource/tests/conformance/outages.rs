//! Servers that refuse, wait, die and come back.

use crate::profile::{LIMIT, Profile, ids, insert_item};
use crate::server_profile::OnServer;
use gantry_datasource::{
    Access, Connection, ErrorKind, Mode, OdbcOptions, OdbcSource, Source, TransactionState, ValueRef,
};
use gantry_test_servers::{CONNECTIONS_MAX, Kind};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Goal: the watchdog's cancel works, and the server has a limit of its own for when nobody is left to cancel.
pub(crate) fn cancel_comes_at_the_limit_and_the_server_keeps_one_too(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    let error = connection.query(profile.slow_query(), &[], 1, Duration::from_millis(1_500)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    // 1,875 ms and a little: what the server was told, and would have done later by itself.
    let told = match profile.kind() {
        Kind::Postgres => {
            assert!(error.message.contains("user request"), "cancelled, not timed out: {error}");
            "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'"
        }
        Kind::MariaDb => {
            assert_eq!(error.code, 1317, "cancelled, not timed out: {error}");
            "SELECT CAST(ROUND(@@max_statement_time * 1000) AS CHAR(10))"
        }
    };
    let rows = connection.query(told, &[], 1, Duration::from_millis(1_200)).unwrap();
    let told_ms: u64 = rows.value(0, 0).as_text().unwrap().parse().unwrap();
    assert!((1_500..3_000).contains(&told_ms), "{told_ms}");
}

/// Goal: of two transactions that wait for each other one is told to try again, and its earlier work is undone whole.
pub(crate) fn deadlock_is_told_to_one_and_spares_the_other(profile: &OnServer) {
    let database = profile.database();
    let mut setup = database.with_items();
    insert_item(&mut *setup, 1);
    insert_item(&mut *setup, 2);
    let together = Barrier::new(2);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = [(1, 2), (2, 1)]
            .into_iter()
            .map(|(first, second)| {
                let mut connection = database.writer();
                let together = &together;
                scope.spawn(move || {
                    let add = "UPDATE item SET price = price + 1 WHERE id = ?";
                    connection.begin(Mode::Write, LIMIT).unwrap();
                    connection.execute(add, &[ValueRef::I64(first)], LIMIT).unwrap();
                    together.wait();
                    let outcome = connection.execute(add, &[ValueRef::I64(second)], LIMIT);
                    match outcome {
                        Ok(_) => connection.commit().unwrap(),
                        Err(_) => connection.rollback().unwrap(),
                    }
                    outcome
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].kind, ErrorKind::Retryable, "{}", failed[0]);
    let sum = setup.query("SELECT SUM(price) FROM item", &[], 1, LIMIT).unwrap();
    assert_eq!(sum.value(0, 0), ValueRef::I64(302));
}

pub(crate) fn definition_is_refused_where_it_would_commit(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 1);
    let outcome = connection.execute("CREATE TABLE other (a BIGINT)", &[], LIMIT);
    if connection.dialect().definition_commits() {
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Unsupported);
    } else {
        outcome.unwrap();
    }
    connection.rollback().unwrap();
    assert!(ids(&mut *connection).is_empty());
    assert!(connection.query("SELECT a FROM other", &[], 1, LIMIT).unwrap_err().is_missing_table());
}

pub(crate) fn more_statements_than_are_kept_go_on_working(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    insert_item(&mut *connection, 1);
    for round in 0..2 {
        for number in 0..700 {
            let text = format!("SELECT id + {number} FROM item WHERE id = ?");
            let rows = connection.query(&text, &[ValueRef::I64(1)], 1, LIMIT).unwrap();
            assert_eq!(rows.value(0, 0), ValueRef::I64(1 + number), "round {round}");
        }
    }
}

pub(crate) fn wrong_password_and_unknown_database_are_told(profile: &OnServer) {
    let server = profile.server();
    let open = |connection: &str| {
        let source = OdbcSource::new("main", &OdbcOptions::new(connection)).unwrap();
        source.connect(Access::ReadWrite).map(drop).unwrap_err()
    };
    let unknown = open(&server.connection("nowhere"));
    assert!(unknown.message.contains("nowhere"), "{unknown}");
    let nobody = open(&server.connection(server.first_database()).replace("Uid=gantry", "Uid=nobody"));
    for error in [&unknown, &nobody] {
        assert!(matches!(error.kind, ErrorKind::Unsupported | ErrorKind::ConnectionLost), "{error}");
        assert_eq!(error.operation, "open");
        assert!(!error.to_string().contains("ntry};"), "no password in {error}");
    }
    let refused = server.connection("x").replace(&format!("Port={}", server.port()), "Port=1");
    assert_eq!(open(&refused).kind, ErrorKind::ConnectionLost);
}

pub(crate) fn server_without_connections_left_is_told_and_recovers(profile: &OnServer) {
    let database = profile.database();
    drop(database.with_items());
    let source = database.source();
    let mut held = Vec::new();
    let refused = loop {
        match source.connect(Access::ReadWrite) {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
        assert!(held.len() <= CONNECTIONS_MAX + 1, "the server takes more than it was told");
    };
    assert_eq!(refused.kind, ErrorKind::ConnectionLost, "{refused}");
    assert!(held.len() >= CONNECTIONS_MAX / 2);
    for connection in &mut held {
        assert!(ids(&mut **connection).is_empty(), "those that are open go on");
    }
    drop(held);
    drop(open_patiently(&*source));
}

/// The server learns in its own time that connections were closed.
fn open_patiently(source: &dyn Source) -> Box<dyn Connection> {
    let began = Instant::now();
    loop {
        match source.connect(Access::ReadWrite) {
            Ok(connection) => return connection,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
        }
    }
}

pub(crate) fn server_killed_in_a_transaction_is_told_and_found_again(profile: &OnServer) {
    let database = profile.database();
    let mut pool = database.pool();
    let mut connection = pool.begin(Mode::Write, LIMIT).unwrap();
    connection.rollback().unwrap();
    connection
        .execute(
            "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(40), price BIGINT)",
            &[],
            LIMIT,
        )
        .unwrap();
    insert_item(&mut *connection, 1);
    let idle = pool.take().unwrap();
    pool.put_back(idle).unwrap();
    connection.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 2);
    let mut committing = pool.source().connect(Access::ReadWrite).unwrap();
    committing.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *committing, 3);

    profile.server().kill();
    let lost = connection.execute("INSERT INTO item (id) VALUES (4)", &[], LIMIT).unwrap_err();
    assert_eq!(lost.kind, ErrorKind::ConnectionLost, "{lost}");
    assert!(connection.is_broken() && connection.transaction() == TransactionState::Aborted);
    assert_eq!(connection.commit().unwrap_err().kind, ErrorKind::ConnectionLost);
    connection.rollback().unwrap();
    let lost = committing.commit().unwrap_err();
    assert_eq!(lost.kind, ErrorKind::ConnectionLost, "at a commit the outcome is unknown: {lost}");
    committing.rollback().unwrap();
    drop(committing);
    pool.put_back(connection).unwrap();
    assert_eq!(pool.idle_count(), 1, "the broken one was closed");
    let down = pool.begin(Mode::Write, LIMIT).map(drop).unwrap_err();
    assert_eq!(down.kind, ErrorKind::ConnectionLost, "{down}");

    profile.server().restart();
    let mut connection = pool.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(ids(&mut *connection), [1]);
    insert_item(&mut *connection, 5);
    connection.commit().unwrap();
    assert_eq!(ids(&mut *database.reader()), [1, 5]);
}

pub(crate) fn server_killed_under_a_running_statement_is_told(profile: &OnServer) {
    let database = profile.database();
    let mut connection = database.with_items();
    let mut watcher = database.writer();
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| connection.query(profile.slow_query(), &[], 1, LIMIT).unwrap_err());
        wait_until_running(profile, &mut *watcher);
        profile.server().kill();
        running.join().unwrap()
    });
    profile.server().restart();
    assert_eq!(error.kind, ErrorKind::ConnectionLost, "{error}");
    assert!(connection.is_broken());
    assert!(ids(&mut *database.writer()).is_empty());
}

fn wait_until_running(profile: &OnServer, watcher: &mut dyn Connection) {
    let text = match profile.kind() {
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 1%' \
             AND pid <> pg_backend_pid()"
        }
        Kind::MariaDb => {
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%seq_1_to_100000 b%' \
             AND ID <> CONNECTION_ID()"
        }
    };
    let began = Instant::now();
    while watcher.query(text, &[], 1, LIMIT).unwrap().value(0, 0) != ValueRef::I64(1) {
        assert!(began.elapsed() < LIMIT, "the slow query never began");
    }
}

/// Goal: an operator may end a session while it lies idle, and a server may have been restarted meanwhile.
pub(crate) fn session_ended_by_the_server_is_replaced_by_the_pool(profile: &OnServer) {
    let database = profile.database();
    let mut pool = database.pool();
    drop(database.with_items());
    let mut connection = pool.take().unwrap();
    let id = "SELECT pg_backend_pid()";
    let id = (profile.kind() == Kind::Postgres)
        .then(|| connection.query(id, &[], 1, LIMIT).unwrap().value(0, 0).as_i64().unwrap());
    pool.put_back(connection).unwrap();
    match id {
        Some(id) => {
            let end = format!("SELECT pg_terminate_backend({id})");
            database.writer().query(&end, &[], 1, LIMIT).unwrap();
        }
        // MariaDB's `KILL` is no statement that a service may send.
        None => {
            profile.server().kill();
            profile.server().restart();
        }
    }
    let mut connection = pool.begin(Mode::Write, LIMIT).unwrap();
    insert_item(&mut *connection, 7);
    connection.commit().unwrap();
    assert_eq!(ids(&mut *connection), [7]);
}

/// Goal: a server whose machine vanished is noticed, also while a connection only waits. Method: the kernel shows when it
/// will ask the other side of each socket for a sign of life.
pub(crate) fn silent_server_is_asked_for_a_sign_of_life(profile: &OnServer) {
    if profile.kind() == Kind::MariaDb {
        // Its client library asks too, but leaves the times to the machine's settings (two hours).
        return;
    }
    let database = profile.database();
    let connection = database.with_items();
    let (host, port) = {
        let server = profile.server();
        (server.host(), server.port())
    };
    let remote = format!("{:08X}:{port:04X}", u32::from_le_bytes(host.octets()));
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    // Columns: number, local, remote, state, queues, timer and ticks of 10 ms until it rings. 02 is the timer for signs of
    // life.
    let waits: Vec<u64> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns[2] == remote && columns[3] == "01")
        .map(|columns| {
            let (timer, ticks) = columns[5].split_once(':').unwrap();
            assert_eq!(timer, "02", "{columns:?}");
            u64::from_str_radix(ticks, 16).unwrap() / 100
        })
        .collect();
    assert!(!waits.is_empty() && waits.iter().all(|wait_s| *wait_s <= 15), "{waits:?}");
    drop(connection);
}
