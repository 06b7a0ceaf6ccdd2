//! One real Redis: what is shared through it, and what its restarts, silence, replicas and accidents leave.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use gantry_segment::Control;
use gantry_serials::limits::REDIS_LIMIT;
use gantry_serials::{NodeCache, SerialStatus, ServerName, SharedSerials, TypeStatus, status, switch};
use gantry_settings::SerialSettings;
use gantry_sys::atomic::Ordering;
use support::redis_server::RedisServer;
use support::{
    Database, LIMIT, NEW_YEAR_MS, Seen, draw, node, now_ms, settings, wait_for, worker, worker_of,
};

/// One node with one worker on one Redis.
struct Rig {
    database: Database,
    redis: RedisServer,
    settings: SerialSettings,
    control: &'static Control,
}

impl Rig {
    fn new() -> Self {
        let redis = RedisServer::start();
        let settings = settings(1600, 16, &redis.url(), "");
        Self { database: Database::new(), redis, settings, control: Box::leak(Box::new(node())) }
    }

    fn worker(&self, row: u8) -> SharedSerials<'static> {
        worker(self.control, row, &self.settings)
    }

    fn status(&self) -> SerialStatus {
        let node = NodeCache::of_visitor(self.control, "test");
        status(&mut self.database.connection(), &self.settings, Some(node), now_ms()).unwrap()
    }

    /// Numbers popped from all lists.
    fn taken(&self) -> u64 {
        taken(self.control)
    }
}

fn taken(control: &Control) -> u64 {
    let lists = control.serial_kinds().iter().flat_map(|kind| &kind.lists);
    lists.map(|list| list.taken.load(Ordering::Relaxed)).sum()
}

/// Draws until numbers come from a list again.
fn draw_until_listed(
    rig: &Rig,
    serials: &mut SharedSerials<'_>,
    connection: &mut gantry_datasource::SqliteConnection,
    seen: &mut Seen,
) {
    let before = rig.taken();
    wait_for("numbers from a list", || {
        seen.add(draw(serials, connection, 20));
        rig.taken() > before
    });
}

fn card(status: &SerialStatus) -> &TypeStatus {
    &status.types[0]
}

/// Every number is somewhere, and what is nowhere is explained.
fn check_books(status: &SerialStatus, issued: u64) {
    let card = card(status);
    assert_eq!(card.issued, i64::try_from(issued).unwrap(), "{card:#?}");
    assert_eq!(
        card.leased,
        card.issued + card.in_lists + card.in_nodes + card.out_of_reach + card.lost,
        "{card:#?}"
    );
    assert!(card.gaps.iter().all(|gap| gap.place != "before"), "{card:#?}");
}

#[test]
fn two_nodes_share_a_list_and_draw_apart() {
    let rig = Rig::new();
    let other = node();
    let mut connection = rig.database.connection();
    let (mut first, mut second) = (rig.worker(2), worker_of(&other, "other", 2, &rig.settings));
    let mut seen = Seen::default();
    for _ in 0..200 {
        seen.add(draw(&mut first, &mut connection, 13));
        seen.add(draw(&mut second, &mut connection, 29));
    }
    assert!(rig.taken() > 2000 && taken(&other) > 2000, "{} {}", rig.taken(), taken(&other));
    first.leave(&mut connection, now_ms()).unwrap();
    second.leave(&mut connection, now_ms()).unwrap();
    let status = rig.status();
    check_books(&status, seen.count);
    assert_eq!(card(&status).lost, 0, "{status:#?}");
    assert_eq!((status.servers[0].serving, status.servers[0].chosen), (true, true));
    assert_eq!(status.servers[0].eviction.as_deref(), Some("noeviction"));
    assert!(serde_json::to_string(&status).unwrap().contains(r#""type":"card""#));
}

#[test]
fn redis_that_restarts_empty_costs_the_list_and_nothing_else() {
    let mut rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    let in_lists = card(&rig.status()).in_lists;
    assert!(in_lists > 0);
    rig.redis.kill();
    rig.redis.restart();
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    serials.leave(&mut connection, now_ms()).unwrap();
    let status = rig.status();
    check_books(&status, seen.count);
    let gap =
        card(&status).gaps.iter().find(|gap| gap.reason == "restart or fail-over: another run id").unwrap();
    assert!(gap.numbers > 0 && gap.numbers <= in_lists, "{gap:?}");
}

/// A node's memory has places for the figures of a few lists; more restarts than that in a moment lose none of them.
#[test]
fn redis_that_restarts_again_and_again_leaves_the_books_closed() {
    let mut rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut seen = Seen::default();
    for _ in 0..12 {
        // Another worker each time, which has not met the lists before.
        let mut serials = rig.worker(2);
        for _ in 0..2 {
            draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
            rig.redis.kill();
            rig.redis.restart();
        }
        serials.leave(&mut connection, now_ms()).unwrap();
    }
    let mut serials = rig.worker(2);
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    serials.leave(&mut connection, now_ms()).unwrap();
    check_books(&rig.status(), seen.count);
}

/// The trap itself: the old file brings popped numbers back. Nobody reads the list they come back in.
#[test]
fn redis_that_restarts_with_its_old_file_gives_no_number_twice() {
    let mut rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    rig.redis.ask(&["SAVE"]);
    let before = rig.taken();
    wait_for("the numbers that were saved to be popped", || {
        seen.add(draw(&mut serials, &mut connection, 50));
        rig.taken() > before + 3200
    });
    rig.redis.kill();
    assert!(fs::metadata(rig.redis.dump()).unwrap().len() > 0);
    rig.redis.restart();
    let keys = rig.redis.ask(&["KEYS", "gantry:serial:*"]);
    assert!(keys.contains(":e0:"), "the old list is back: {keys}");
    for _ in 0..5 {
        draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    }
    serials.leave(&mut connection, now_ms()).unwrap();
    check_books(&rig.status(), seen.count);
}

/// A server keeps its run id while it is a replica; it comes back as a master with other data and another
/// replication id.
#[test]
fn server_that_was_a_replica_in_between_gives_no_number_twice() {
    let rig = Rig::new();
    let other = RedisServer::start();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    // The other one gets a copy, which then lags.
    let (own, theirs) = (rig.redis.port.to_string(), other.port.to_string());
    other.ask(&["REPLICAOF", "127.0.0.1", &own]);
    wait_for("a copy", || other.ask(&["INFO", "replication"]).contains("master_link_status:up"));
    other.ask(&["REPLICAOF", "NO", "ONE"]);
    let before = rig.taken();
    wait_for("numbers popped that the copy still has", || {
        seen.add(draw(&mut serials, &mut connection, 50));
        rig.taken() > before + 1600
    });
    rig.redis.ask(&["REPLICAOF", "127.0.0.1", &theirs]);
    wait_for("the old data", || rig.redis.ask(&["INFO", "replication"]).contains("master_link_status:up"));
    // While it is a replica the database serves.
    seen.add(draw(&mut serials, &mut connection, 500));
    rig.redis.ask(&["REPLICAOF", "NO", "ONE"]);
    for _ in 0..5 {
        draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    }
    serials.leave(&mut connection, now_ms()).unwrap();
    let status = rig.status();
    check_books(&status, seen.count);
    assert!(card(&status).gaps.iter().any(|gap| gap.reason == "another replication id"), "{status:#?}");
}

/// Same process, same names, older data: a snapshot of the machine, or this command.
#[test]
fn data_that_goes_back_under_a_running_server_is_noticed_and_the_list_given_up() {
    let rig = {
        let redis = RedisServer::start_with(&["--enable-debug-command", "yes"]);
        let settings = settings(1600, 16, &redis.url(), "");
        Rig { database: Database::new(), redis, settings, control: Box::leak(Box::new(node())) }
    };
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    rig.redis.ask(&["SAVE"]);
    let before = rig.taken();
    wait_for("numbers popped that the file still has", || {
        seen.add(draw(&mut serials, &mut connection, 50));
        rig.taken() > before + 1000
    });
    rig.redis.ask(&["DEBUG", "RELOAD", "NOSAVE"]);
    for _ in 0..5 {
        draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    }
    serials.leave(&mut connection, now_ms()).unwrap();
    let status = rig.status();
    check_books(&status, seen.count);
    assert_eq!(card(&status).epoch, 1, "all nodes were told");
    assert!(card(&status).gaps.iter().any(|gap| gap.reason == "its data went back"), "{status:#?}");
}

#[test]
fn evicted_or_deleted_list_is_a_gap() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    rig.redis.ask(&["FLUSHALL"]);
    for _ in 0..5 {
        draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    }
    serials.leave(&mut connection, now_ms()).unwrap();
    check_books(&rig.status(), seen.count);
}

#[test]
fn silent_redis_holds_up_one_draw_and_the_database_serves() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    rig.redis.stop();
    let words = &rig.control.serial_node().servers[0];
    let asked = Instant::now();
    wait_for("three failures", || {
        seen.add(draw(&mut serials, &mut connection, 300));
        words.failures.load(Ordering::Relaxed) >= 3
    });
    // Attempts become rarer: at least 50 + 100 ms lie between the first and the third.
    assert!(asked.elapsed() >= Duration::from_millis(150));
    let status = rig.status();
    assert!(!status.servers[0].serving && status.servers[0].error.is_some(), "{status:#?}");
    assert!(card(&status).out_of_reach > 0, "{status:#?}");
    rig.redis.go_on();
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    assert_eq!(words.failures.load(Ordering::Relaxed), 0);
    serials.leave(&mut connection, now_ms()).unwrap();
    check_books(&rig.status(), seen.count);
}

/// Nobody who draws waits for a Redis that is known to be away, however long ago that was found; the look whether it is back
/// is begun between requests and taken in at the next occasion.
#[test]
fn draws_never_ask_a_redis_that_is_away() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    rig.redis.stop();
    let words = &rig.control.serial_node().servers[0];
    let failures = || words.failures_total.load(Ordering::Relaxed);
    let mut next = || {
        let drawn = serials.next(&mut connection, "card", 1000, NEW_YEAR_MS, LIMIT).unwrap();
        seen.add(drawn.iter().map(|serial| serial.parse::<u64>().unwrap()));
    };
    // What a draw is documented to wait at most, and time for all else; ten answers that each were waited for in vain would
    // be far above it.
    let held_up_max = REDIS_LIMIT * 4;
    wait_for("the failure", || {
        let asked = Instant::now();
        next();
        assert!(asked.elapsed() < held_up_max, "a draw took {:?}", asked.elapsed());
        failures() > 0
    });
    wait_for("the time for another look", || {
        words.away_until_ns.load(Ordering::Relaxed) <= gantry_sys::clock::monotonic_ns()
    });
    for _ in 0..20 {
        next();
    }
    assert_eq!(failures(), 1, "a draw waited for it");
    serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
    assert_eq!(failures(), 1, "the look goes on aside");
    wait_for("its end", || {
        serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        failures() >= 2
    });
    rig.redis.go_on();
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    serials.leave(&mut connection, now_ms()).unwrap();
    check_books(&rig.status(), seen.count);
}

/// A type that nobody draws from for days keeps its list; the count of pops would otherwise go before it, and look as if
/// the data had gone back.
#[test]
fn count_of_pops_stays_as_long_as_its_list() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    let turn = rig.redis.ask(&["KEYS", "gantry:serial:*:turn"]);
    assert_eq!(rig.redis.ask(&["EXPIRE", &turn, "1000"]), "1");
    wait_for("a look without a pop", || {
        serials.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        rig.redis.ask(&["TTL", &turn]).parse::<u64>().unwrap() > 80_000
    });
}

#[test]
fn redis_that_never_was_there_is_no_error() {
    let database = Database::new();
    let control = node();
    // Nobody listens on port 1.
    let settings = settings(100, 16, "redis://127.0.0.1:1", "");
    let mut serials = worker(&control, 2, &settings);
    let mut seen = Seen::default();
    for _ in 0..100 {
        seen.add(draw(&mut serials, &mut database.connection(), 7));
    }
    assert!(control.serial_node().servers[0].failures.load(Ordering::Relaxed) > 0);
}

#[test]
fn switching_between_primary_and_standby_is_safe_at_any_moment() {
    let (primary, standby) = (RedisServer::start(), RedisServer::start());
    let database = Database::new();
    let control = node();
    let settings = settings(160, 16, &primary.url(), &standby.url());
    let mut connection = database.connection();
    let (mut first, mut second) = (worker(&control, 2, &settings), worker(&control, 3, &settings));
    let cache = NodeCache::of_visitor(&control, "test");
    let mut seen = Seen::default();
    for turn in 0..200 {
        let to = ServerName::ALL[turn % 2];
        switch(&cache, &settings, to).unwrap();
        assert_eq!(cache.chosen(), to);
        seen.add(draw(&mut first, &mut connection, 11));
        seen.add(draw(&mut second, &mut connection, 7));
    }
    for server in [&primary, &standby] {
        assert!(server.ask(&["KEYS", "*"]).contains("gantry:serial:"));
    }
    first.leave(&mut connection, now_ms()).unwrap();
    second.leave(&mut connection, now_ms()).unwrap();
    let status = status(&mut connection, &settings, Some(cache.clone()), now_ms()).unwrap();
    check_books(&status, seen.count);
    assert_eq!(card(&status).lost, 0, "{status:#?}");
    let without = support::settings(160, 16, &primary.url(), "");
    let refused = switch(&cache, &without, ServerName::Standby).unwrap_err();
    assert!(refused.to_string().contains("standby is not configured"), "{refused}");
}

/// A server that is full, or that our user may not write on, says so before anything is leased for it; and if it says so
/// only then, the range is the node's.
#[test]
fn redis_that_refuses_to_be_filled_burns_no_numbers() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    rig.redis.ask(&["ACL", "SETUSER", "default", "-rpush"]);
    let words = &rig.control.serial_node().servers[0];
    wait_for("a few refusals", || {
        seen.add(draw(&mut serials, &mut connection, 100));
        words.failures_total.load(Ordering::Relaxed) >= 4
    });
    serials.leave(&mut connection, now_ms()).unwrap();
    let status = rig.status();
    check_books(&status, seen.count);
    assert_eq!(card(&status).lost, 0, "{status:#?}");
}

#[test]
fn foreign_entries_of_a_list_are_skipped() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    let mut seen = Seen::default();
    seen.add(draw(&mut serials, &mut connection, 10));
    draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    let keys = rig.redis.ask(&["KEYS", "gantry:serial:*:e0:*"]);
    let list = keys.split(' ').find(|key| !key.ends_with(":turn")).unwrap();
    for entry in ["17", "e0l1n1+100000000000", "e7l1n1+5", "e0l5n1+5"] {
        rig.redis.ask(&["LPUSH", list, entry]);
    }
    for _ in 0..5 {
        draw_until_listed(&rig, &mut serials, &mut connection, &mut seen);
    }
}

/// Two platforms with a database each may use one Redis.
#[test]
fn two_databases_on_one_redis_do_not_meet() {
    let rig = Rig::new();
    let (other, control) = (Database::new(), node());
    let mut connections = (rig.database.connection(), other.connection());
    let (mut first, mut second) = (rig.worker(2), worker(&control, 2, &rig.settings));
    let (mut one, mut two) = (Seen::default(), Seen::default());
    for _ in 0..100 {
        one.add(draw(&mut first, &mut connections.0, 31));
        two.add(draw(&mut second, &mut connections.1, 31));
    }
    assert!(rig.taken() > 0 && taken(&control) > 0);
}

#[test]
fn login_and_database_number_of_the_url_are_used() {
    let redis = RedisServer::start();
    redis.ask(&["ACL", "SETUSER", "toll", "on", ">p@ss", "~*", "&*", "+@all"]);
    redis.ask(&["ACL", "SETUSER", "default", "-@all", "+ping"]);
    let database = Database::new();
    let control = node();
    let url = format!("redis://toll:p%40ss@127.0.0.1:{}/3", redis.port);
    let mut serials = worker(&control, 2, &settings(100, 16, &url, ""));
    let mut connection = database.connection();
    for _ in 0..50 {
        draw(&mut serials, &mut connection, 5);
    }
    assert!(taken(&control) > 0);
    let wrong = format!("redis://toll:wrong@127.0.0.1:{}/3", redis.port);
    let seen = status(&mut connection, &settings(100, 16, &wrong, ""), None, now_ms()).unwrap();
    let error = seen.servers[0].error.clone().unwrap();
    assert!(error.contains(&redis.port.to_string()) && !error.contains("wrong@"), "{error}");
}

#[test]
fn limit_of_a_call_holds_for_redis_too() {
    let rig = Rig::new();
    let mut connection = rig.database.connection();
    let mut serials = rig.worker(2);
    draw(&mut serials, &mut connection, 10);
    assert!(serials.next(&mut connection, "card", 10, 0, LIMIT).is_ok());
    // No time left: what is in memory is given, and nobody is asked.
    let left = serials.next(&mut connection, "card", 1, 0, Duration::ZERO);
    assert!(left.is_ok(), "{left:?}");
}
