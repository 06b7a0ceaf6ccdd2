//! A node without Redis: what its workers share in memory, what dead ones leave, and a database that went back.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;

use gantry_datasource::{Connection, Mode};
use gantry_serials::{NodeCache, SerialError, ServerName, prepare_table, raise, status, switch};
use gantry_sys::atomic::Ordering;
use support::{Database, LIMIT, NEW_YEAR_MS, Seen, draw, node, now_ms, open, settings, worker, worker_of};

#[test]
fn what_one_worker_leased_the_others_draw() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let settings = settings(100, 9, "", "");
    let (mut first, mut second) = (worker(&control, 2, &settings), worker(&control, 3, &settings));
    // A lease inside a transaction is nobody else's until that is committed.
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(draw(&mut first, &mut connection, 3), [1, 2, 3]);
    connection.commit().unwrap();
    first.transaction_committed();
    assert_eq!(first.left("card").unwrap(), 0, "the rest is the node's");
    assert_eq!(draw(&mut second, &mut connection, 2), [4, 5]);
    assert_eq!(draw(&mut first, &mut connection, 1), [6]);
}

#[test]
fn lease_that_was_rolled_back_never_reaches_the_node() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let settings = settings(100, 9, "", "");
    let (mut first, mut second) = (worker(&control, 2, &settings), worker(&control, 3, &settings));
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(draw(&mut first, &mut connection, 3), [1, 2, 3]);
    connection.rollback().unwrap();
    first.transaction_rolled_back();
    assert_eq!(draw(&mut second, &mut connection, 1), [1]);
    assert_eq!(draw(&mut first, &mut connection, 1), [101]);
}

#[test]
fn topping_up_goes_on_before_the_last_number_and_outside_of_transactions_only() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let mut serials = worker(&control, 2, &settings(100, 9, "", ""));
    assert!(!serials.wants_top_up(), "nothing was drawn, so nothing is worth filling");
    draw(&mut serials, &mut connection, 1);
    assert!(serials.wants_top_up());
    connection.begin(Mode::Write, LIMIT).unwrap();
    serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    connection.rollback().unwrap();
    assert_eq!(next_value(&mut connection), 101);
    serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    assert!(!serials.wants_top_up());
    let mut seen = Seen::default();
    for _ in 0..300 {
        // Never is a lease made inside a transaction.
        if serials.wants_top_up() {
            serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        }
        connection.begin(Mode::Write, LIMIT).unwrap();
        let before = next_value(&mut connection);
        let drawn = serials.next(&mut connection, "card", 7, NEW_YEAR_MS, LIMIT).unwrap();
        seen.add(drawn.iter().map(|serial| serial.parse().unwrap()));
        assert_eq!(next_value(&mut connection), before);
        connection.commit().unwrap();
        serials.transaction_committed();
    }
}

fn next_value(connection: &mut impl Connection) -> i64 {
    let rows = connection.query("SELECT next_value FROM gantry_serial", &[], 1, LIMIT).unwrap();
    match rows.value(0, 0) {
        gantry_datasource::ValueRef::I64(next) => next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_dead_worker_left_is_drawn_by_the_others() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let settings = settings(100, 9, "", "");
    let (mut topped_up, mut held) = (worker(&control, 2, &settings), worker(&control, 3, &settings));
    draw(&mut topped_up, &mut connection, 1);
    topped_up.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    drop(topped_up);
    // This one dies with what it leased for itself: numbers that it has not shared yet.
    draw(&mut held, &mut connection, 100);
    let next = held.next(&mut connection, "card", 1, NEW_YEAR_MS, LIMIT).unwrap();
    assert_eq!((next, held.left("card").unwrap()), (vec!["000000102".to_owned()], 98));
    drop(held);
    let mut other = worker(&control, 4, &settings);
    for _ in 0..150 {
        draw(&mut other, &mut connection, 1);
    }
    let figures =
        status(&mut connection, &settings, Some(NodeCache::of_visitor(&control, "test")), now_ms()).unwrap();
    let card = &figures.types[0];
    assert_eq!(card.issued, 252);
    let why: Vec<_> = card.gaps.iter().map(|gap| (gap.numbers, gap.reason.as_str())).collect();
    assert_eq!(why, [(98, "held by processes that died, or still held")], "{card:#?}");
    assert_eq!(card.leased, card.issued + card.in_nodes + card.lost);
}

#[test]
fn gaps_of_roll_backs_are_told_apart() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let settings = settings(100, 9, "", "");
    let mut serials = worker(&control, 2, &settings);
    draw(&mut serials, &mut connection, 10);
    serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    connection.begin(Mode::Write, LIMIT).unwrap();
    draw(&mut serials, &mut connection, 5);
    connection.savepoint("request").unwrap();
    let mark = serials.mark();
    draw(&mut serials, &mut connection, 7);
    connection.rollback_to("request").unwrap();
    serials.rolled_back_to(mark);
    connection.commit().unwrap();
    serials.transaction_committed();
    connection.begin(Mode::Write, LIMIT).unwrap();
    draw(&mut serials, &mut connection, 11);
    connection.rollback().unwrap();
    serials.transaction_rolled_back();
    serials.leave(&mut connection, now_ms()).unwrap();
    let node = NodeCache::of_visitor(&control, "test");
    let figures = status(&mut connection, &settings, Some(node), now_ms()).unwrap();
    let card = &figures.types[0];
    assert_eq!((card.issued, card.lost), (15, 18), "{card:#?}");
    assert_eq!(card.gaps[0].reason, "drawn in transactions that were rolled back");
    assert_eq!(card.leased, card.issued + card.lost + card.in_nodes);
}

/// The database is put back to a copy while the node's memory lives on: nothing is leased until it was raised.
#[test]
fn database_restored_from_a_backup_is_noticed_and_raised_above_what_was_issued() {
    let (database, control) = (Database::new(), node());
    let settings = settings(100, 9, "", "");
    let mut serials = worker(&control, 2, &settings);
    let backup = database.path.with_extension("backup");
    let mut seen = Seen::default();
    {
        let mut connection = database.connection();
        seen.add(draw(&mut serials, &mut connection, 50));
        let target = backup.display().to_string();
        rusqlite::Connection::open(&database.path).unwrap().execute("VACUUM INTO ?", [target]).unwrap();
        for _ in 0..20 {
            seen.add(draw(&mut serials, &mut connection, 50));
        }
    }
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", database.path.display()));
    }
    fs::copy(&backup, &database.path).unwrap();
    let mut connection = open(&database.path);
    let refused = loop {
        match serials.next(&mut connection, "card", 50, NEW_YEAR_MS, LIMIT) {
            Ok(drawn) => seen.add(drawn.iter().map(|serial| serial.parse::<u64>().unwrap())),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SerialError::WentBack { .. }), "{refused}");
    assert!(refused.to_string().contains("gantry serial raise"), "{refused}");
    assert!(serials.top_up(&mut connection, now_ms(), LIMIT).is_err());

    let visitor = || Some(NodeCache::of_visitor(&control, "test"));
    let raised = raise(&mut connection, &settings, visitor(), None, None).unwrap();
    assert_eq!((raised[0].known_by, raised[0].epoch), ("node", 1), "{raised:?}");
    for _ in 0..20 {
        seen.add(draw(&mut serials, &mut connection, 31));
    }
    // Again, with a number that somebody found in the services' tables.
    let raised = raise(&mut connection, &settings, visitor(), Some("card"), Some(70_000)).unwrap();
    assert_eq!((raised[0].known_by, raised[0].next_after, raised[0].epoch), ("above", 70_001, 2));
    let drawn = draw(&mut serials, &mut connection, 1);
    assert_eq!(drawn, [70_001], "what was leased in the epoch before is not given out any more");
    seen.add(drawn);
    let figures = status(&mut connection, &settings, visitor(), now_ms()).unwrap();
    let reasons: Vec<_> = figures.types[0].gaps.iter().map(|gap| gap.reason.as_str()).collect();
    assert!(reasons.contains(&"stepped over by serial raise"), "{reasons:?}");
    let stepped_over = figures.types[0].gaps.iter().find(|gap| gap.place == "raise").unwrap();
    assert!(stepped_over.at_ms.is_some(), "{stepped_over:?}");
    assert!(reasons.contains(&"thrown away: a new epoch"), "{reasons:?}");
    let beyond = raise(&mut connection, &settings, visitor(), None, Some(1_000_000_000)).unwrap_err();
    assert!(matches!(beyond, SerialError::Exhausted { .. }), "{beyond}");
    let unknown = raise(&mut connection, &settings, visitor(), Some("toll"), None).unwrap_err();
    assert!(matches!(unknown, SerialError::UnknownKind { .. }), "{unknown}");
}

/// Nodes that run through a raise learn of it from the database.
#[test]
fn raise_on_one_node_ends_the_ranges_of_the_other() {
    let (database, one, two) = (Database::new(), node(), node());
    let settings = settings(100, 9, "", "");
    let mut connection = database.connection();
    let mut there = worker_of(&two, "two", 2, &settings);
    draw(&mut there, &mut connection, 10);
    there.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    let node = NodeCache::of_visitor(&one, "one");
    raise(&mut connection, &settings, Some(node), None, Some(5_000)).unwrap();
    support::wait_for("the other node to learn of it", || {
        there.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        let drawn = there.next(&mut connection, "card", 1, NEW_YEAR_MS, LIMIT).unwrap();
        drawn[0].parse::<u64>().unwrap() > 5_000
    });
}

/// Cells know an epoch by its last four bits. What a worker that draws nothing keeps of an old one is thrown away as soon as the
/// node learns of the next, so it is not there when those bits come round.
#[test]
fn ranges_of_an_epoch_that_is_over_do_not_come_back_sixteen_epochs_later() {
    let (database, one, two) = (Database::new(), node(), node());
    let settings = settings(100, 9, "", "");
    let mut connection = database.connection();
    let (mut idle, mut busy) = (worker_of(&two, "two", 2, &settings), worker_of(&two, "two", 3, &settings));
    // A living process's: what a dead one left would be drawn by the other.
    let row = &two.processes()[2];
    row.begin_life(1);
    row.take_life(1, std::process::id()).unwrap();
    for serials in [&mut idle, &mut busy] {
        draw(serials, &mut connection, 1);
        serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    }
    let held = || two.serial_cells(0)[2].cells.iter().map(gantry_serials::cell::left).sum::<i64>();
    assert!(held() > 0);
    raise(&mut connection, &settings, Some(NodeCache::of_visitor(&one, "one")), None, Some(5_000)).unwrap();
    support::wait_for("the other node to learn of it", || {
        busy.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        two.serial_kinds()[0].epoch.load(Ordering::Relaxed) == 1
    });
    assert_eq!(held(), 0, "nobody took them, and they are gone");
}

#[test]
fn database_made_anew_under_the_same_memory_begins_again() {
    let (database, other, control) = (Database::new(), Database::new(), node());
    let settings = settings(100, 9, "", "");
    let mut first = worker(&control, 2, &settings);
    draw(&mut first, &mut database.connection(), 10);
    first.top_up(&mut database.connection(), now_ms(), LIMIT).unwrap();
    // Another database is another number space: nothing of the first one is drawn.
    let mut second = worker(&control, 3, &settings);
    assert_eq!(draw(&mut second, &mut other.connection(), 1), [1]);
}

#[test]
fn tables_of_the_first_version_are_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = open(&folder.path().join("data.db"));
    let old = "CREATE TABLE gantry_serial (kind VARCHAR(32) NOT NULL PRIMARY KEY, \
     next_value BIGINT NOT NULL, leased_ms BIGINT NOT NULL)";
    let step = gantry_datasource::Migration { version: 1, sql: old };
    gantry_datasource::migrate(&mut connection, "platform/serial", &[step]).unwrap();
    connection.execute("INSERT INTO gantry_serial VALUES ('card', 501, 0)", &[], LIMIT).unwrap();
    assert_eq!(prepare_table(&mut connection).unwrap(), [2, 3, 4, 5, 6]);
    assert!(prepare_table(&mut connection).unwrap().is_empty());
    let control = node();
    let settings = settings(100, 9, "", "");
    let mut serials = worker(&control, 2, &settings);
    assert_eq!(draw(&mut serials, &mut connection, 1), [501]);
    let figures = status(&mut connection, &settings, None, now_ms()).unwrap();
    let reason = "leased before figures were kept; issued or lost";
    assert!(figures.types[0].gaps.iter().any(|gap| gap.numbers == 500 && gap.reason == reason));
}

#[test]
fn days_that_are_left_follow_from_the_days_before() {
    let (database, control) = (Database::new(), node());
    let settings = settings(100, 4, "", "");
    let mut connection = database.connection();
    let mut serials = worker(&control, 2, &settings);
    let day_ms = 24 * 60 * 60 * 1000;
    let visitor = || Some(NodeCache::of_visitor(&control, "test"));
    for day in 0..5 {
        let now_ms = NEW_YEAR_MS + day * day_ms;
        serials.next(&mut connection, "card", 100, now_ms, LIMIT).unwrap();
        control.serial_node().report_due_ns.store(0, Ordering::Relaxed);
        serials.top_up(&mut connection, now_ms, LIMIT).unwrap();
        let figures = status(&mut connection, &settings, visitor(), now_ms).unwrap();
        assert_eq!(figures.types[0].days_left.is_some(), day > 0, "a day's rate is known after it");
    }
    let figures = status(&mut connection, &settings, visitor(), NEW_YEAR_MS + 5 * day_ms).unwrap();
    let card = &figures.types[0];
    let (per_day, days_left) = (card.per_day.unwrap(), card.days_left.unwrap());
    assert!((80.0..200.0).contains(&per_day), "{card:#?}");
    assert!((days_left - card.left as f64 / per_day).abs() < 0.01);
}

#[test]
fn server_that_is_not_configured_is_not_switched_to() {
    let control = node();
    let cache = NodeCache::of_visitor(&control, "test");
    let settings = settings(100, 4, "", "");
    assert!(switch(&cache, &settings, ServerName::Primary).is_err());
    assert_eq!(cache.chosen(), ServerName::Primary);
}

#[test]
fn last_numbers_are_refused_when_they_are_gone_with_a_node_too() {
    let (database, control) = (Database::new(), node());
    let mut connection = database.connection();
    let settings = settings(40, 2, "", "");
    let (mut first, mut second) = (worker(&control, 2, &settings), worker(&control, 3, &settings));
    let mut seen = Seen::default();
    let refused = loop {
        for serials in [&mut first, &mut second] {
            let _ = serials.top_up(&mut connection, now_ms(), LIMIT);
        }
        match first.next(&mut connection, "card", 1, NEW_YEAR_MS, LIMIT) {
            Ok(drawn) => seen.add(drawn.iter().map(|serial| serial.parse::<u64>().unwrap())),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SerialError::Exhausted { left: 0, .. }), "{refused}");
    assert_eq!(seen.count, 99, "every number was given out once");
}

/// Every start of a node begins new figures; the books stay closed when those of earlier starts are added up.
#[test]
fn figures_of_earlier_starts_are_added_up() {
    let database = Database::new();
    let settings = settings(100, 9, "", "");
    let mut connection = database.connection();
    let day_ms = 24 * 60 * 60 * 1000;
    for start in 0..5_i64 {
        let now_ms = NEW_YEAR_MS + start * day_ms;
        let control = node();
        // The making of segments has a random name; on the heap it has none.
        let name = if start % 2 == 0 { "test/a" } else { "test/b" };
        let mut serials = worker_of(&control, name, 2, &settings);
        serials.next(&mut connection, "card", 130, now_ms, LIMIT).unwrap();
        serials.leave(&mut connection, now_ms).unwrap();
        let visitor = NodeCache::of_visitor(&control, name);
        let figures = status(&mut connection, &settings, Some(visitor), now_ms).unwrap();
        let card = &figures.types[0];
        assert_eq!(card.issued, 130 * (start + 1));
        assert_eq!(card.leased, card.issued + card.in_nodes + card.lost, "{card:#?}");
    }
    let rows = connection.query("SELECT DISTINCT node FROM gantry_serial_count", &[], 100, LIMIT).unwrap();
    assert!(rows.rows() <= 2, "{rows:?}");
}
