//! What a node does not know and must be told: by the database, that a list was given up; by Redis, that the database
//! went back.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::fs;

use gantry_datasource::SqliteConnection;
use gantry_segment::Control;
use gantry_serials::{NodeCache, SerialError, SharedSerials, raise};
use gantry_settings::SerialSettings;
use gantry_sys::atomic::Ordering;
use support::redis_server::RedisServer;
use support::{Database, LIMIT, NEW_YEAR_MS, Seen, draw, node, now_ms, open, settings, wait_for, worker_of};

/// A Redis, a database, and what was drawn.
struct Rig {
    database: Database,
    redis: RedisServer,
    settings: SerialSettings,
    seen: Seen,
}

impl Rig {
    fn new() -> Self {
        let redis = RedisServer::start_with(&["--enable-debug-command", "yes"]);
        let settings = settings(1600, 16, &redis.url(), "");
        Self { database: Database::new(), redis, settings, seen: Seen::default() }
    }

    /// Draws as a worker does, until so many numbers came from lists.
    fn draw_listed(&mut self, serials: &mut SharedSerials<'_>, control: &Control, numbers: u64) {
        let mut connection = self.database.connection();
        let enough = taken(control) + numbers;
        wait_for("numbers from a list", || {
            self.seen.add(draw(serials, &mut connection, 50));
            taken(control) >= enough
        });
    }

    /// Draws until that is refused.
    fn draw_until_refused(
        &mut self,
        serials: &mut SharedSerials<'_>,
        connection: &mut SqliteConnection,
    ) -> SerialError {
        for _ in 0..1_000 {
            match serials.next(connection, "card", 50, NEW_YEAR_MS, LIMIT) {
                Ok(drawn) => self.seen.add(drawn.iter().map(|serial| serial.parse::<u64>().unwrap())),
                Err(error) => return error,
            }
        }
        panic!("a database that went back leases without end");
    }

    fn back_up(&self) {
        let target = self.backup().display().to_string();
        rusqlite::Connection::open(&self.database.path).unwrap().execute("VACUUM INTO ?", [target]).unwrap();
    }

    fn restore(&self) -> SqliteConnection {
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{end}", self.database.path.display()));
        }
        fs::copy(self.backup(), &self.database.path).unwrap();
        open(&self.database.path)
    }

    fn backup(&self) -> std::path::PathBuf {
        self.database.path.with_extension("backup")
    }
}

fn taken(control: &Control) -> u64 {
    let lists = control.serial_kinds().iter().flat_map(|kind| &kind.lists);
    lists.map(|list| list.taken.load(Ordering::Relaxed)).sum()
}

/// The data of a Redis went back under it, one node noticed and gave the list up. A node that is started then finds that
/// list under the name that a new node would use.
#[test]
fn node_that_starts_later_does_not_draw_from_a_list_that_was_given_up() {
    let mut rig = Rig::new();
    let (one, two) = (node(), node());
    let mut first = worker_of(&one, "one", 2, &rig.settings.clone());
    rig.draw_listed(&mut first, &one, 100);
    rig.redis.ask(&["SAVE"]);
    rig.draw_listed(&mut first, &one, 1000);
    rig.redis.ask(&["DEBUG", "RELOAD", "NOSAVE"]);
    rig.draw_listed(&mut first, &one, 1000);
    let keys = rig.redis.ask(&["KEYS", "gantry:serial:*:e*"]);
    assert!(keys.contains(":e0:") && keys.contains(":e1:"), "the old list is there still: {keys}");
    let mut second = worker_of(&two, "two", 2, &rig.settings.clone());
    rig.draw_listed(&mut second, &two, 1000);
}

/// All nodes were stopped and the database was restored. The new nodes' memory knows nothing; Redis does.
#[test]
fn node_that_starts_on_a_restored_database_is_told_by_redis() {
    let mut rig = Rig::new();
    let one = node();
    let mut first = worker_of(&one, "one", 2, &rig.settings.clone());
    rig.draw_listed(&mut first, &one, 100);
    rig.back_up();
    rig.draw_listed(&mut first, &one, 5000);
    drop(first);
    let mut connection = rig.restore();
    let two = node();
    let mut second = worker_of(&two, "one", 2, &rig.settings.clone());
    let refused = rig.draw_until_refused(&mut second, &mut connection);
    assert!(matches!(refused, SerialError::WentBack { .. }), "{refused}");
    let visitor = NodeCache::of_visitor(&two, "one");
    let raised = raise(&mut connection, &rig.settings, Some(visitor), None, None).unwrap();
    assert!(raised[0].next_after > raised[0].next_before, "{raised:?}");
    rig.draw_listed(&mut second, &two, 3000);
}

/// A node that leased less than others would lease again what those had; they told Redis how far they are.
#[test]
fn node_that_knows_less_than_another_is_told_by_redis() {
    let mut rig = Rig::new();
    let (one, two) = (node(), node());
    let mut first = worker_of(&one, "one", 2, &rig.settings.clone());
    let mut second = worker_of(&two, "two", 2, &rig.settings.clone());
    rig.draw_listed(&mut first, &one, 100);
    rig.draw_listed(&mut second, &two, 100);
    rig.back_up();
    // The second one draws far ahead while Redis is away, so that nothing of it is pushed.
    rig.redis.stop();
    let mut connection = rig.database.connection();
    let words = &two.serial_node().servers[0];
    wait_for("draws without Redis", || {
        rig.seen.add(draw(&mut second, &mut connection, 400));
        words.failures.load(Ordering::Relaxed) >= 2 && rig.seen.count > 20_000
    });
    rig.redis.go_on();
    // Drawn from memory, not leased.
    wait_for("Redis to be told", || {
        second.top_up(&mut connection, now_ms(), LIMIT).unwrap();
        let keys = rig.redis.ask(&["KEYS", "*:top"]);
        let top = rig.redis.ask(&["ZSCORE", &keys, "top"]);
        top.parse::<f64>().unwrap() >= two.serial_kinds()[0].top.load(Ordering::Relaxed) as f64
    });
    drop(connection);
    let mut connection = rig.restore();
    one.serial_kinds()[0].check_due_ns.store(0, Ordering::Relaxed);
    let refused = match first.top_up(&mut connection, now_ms(), LIMIT) {
        Ok(()) => rig.draw_until_refused(&mut first, &mut connection),
        Err(error) => error,
    };
    assert!(matches!(refused, SerialError::WentBack { .. }), "{refused}");
}
