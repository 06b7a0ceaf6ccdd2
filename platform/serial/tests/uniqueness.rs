//! The proof: processes on two nodes draw while everything below them is killed, restarted, put back and failed over,
//! and no number comes twice: all that was drawn goes into a table with a unique index.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gantry_serials::{SerialStatus, ServerName, raise, status, switch};
use support::drawers::{Drawer, Node, Orders, read_records, run_if_told, tell_to_stop};
use support::redis_server::{Cluster, RedisServer, Sentinels};
use support::{Database, now_ms, settings, wait_for};

/// Numbers that are drawn at least; ten times as many with `GANTRY_SOAK=1`.
const DRAWN_MIN: u64 = 1_000_000;
const RANGE: u64 = 20_000;
/// The test that copies of this program are told to run.
const DRAWER: &str = "copy_of_this_program_draws_when_it_is_told_to";

/// Rounds of faults at least; eight times as many with `GANTRY_SOAK=1`.
const ROUNDS_MIN: u32 = 1;

fn is_soak() -> bool {
    std::env::var("GANTRY_SOAK").is_ok_and(|soak| soak == "1")
}

fn drawn_min() -> u64 {
    if is_soak() { DRAWN_MIN * 10 } else { DRAWN_MIN }
}

fn rounds_min() -> u32 {
    if is_soak() { ROUNDS_MIN * 8 } else { ROUNDS_MIN }
}

fn seed() -> u64 {
    let given = std::env::var("GANTRY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed =
        given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("GANTRY_SEED={seed}");
    seed
}

/// Two nodes with two workers each, on one database.
struct Field {
    nodes: [Node; 2],
    drawers: Vec<Drawer>,
    folder: tempfile::TempDir,
    /// Milliseconds that a drawer leaves to the servers after some draws.
    pause_ms: u64,
    started: Instant,
    rounds: u32,
    /// What was done to the servers and drawers, and how often.
    events: BTreeMap<&'static str, u32>,
}

impl Field {
    fn start(name: &str, pause_ms: u64, database: &Database, redis: [&str; 2], seed: u64) -> Self {
        let nodes = [Node::new(&format!("{name}a")), Node::new(&format!("{name}b"))];
        let mut field = Self {
            nodes,
            drawers: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            pause_ms,
            started: Instant::now(),
            rounds: 0,
            events: BTreeMap::new(),
        };
        for place in 0..4 {
            field.start_drawer(place, database, redis, seed);
        }
        field
    }

    fn start_drawer(&mut self, place: usize, database: &Database, redis: [&str; 2], seed: u64) {
        let orders = Orders {
            node: &self.nodes[place / 2],
            row: u8::try_from(2 + place % 2).unwrap(),
            database: &database.path,
            redis,
            range: RANGE,
            pause_ms: self.pause_ms,
            seed: seed.wrapping_mul(31).wrapping_add(self.drawers.len() as u64),
            folder: self.folder.path(),
        };
        self.drawers.push(Drawer::start(DRAWER, &orders));
    }

    fn issued(&self) -> u64 {
        self.nodes.iter().map(Node::issued).sum()
    }

    /// Whether there is to be another round of faults.
    fn goes_on(&mut self) -> bool {
        self.rounds += 1;
        self.issued() < drawn_min() || self.rounds <= rounds_min()
    }

    fn event(&mut self, what: &'static str) {
        *self.events.entry(what).or_default() += 1;
    }

    /// Waits until both nodes have popped from lists again.
    fn wait_for_lists(&mut self, numbers: u64) {
        let before = self.nodes.each_ref().map(Node::taken);
        wait_for("both nodes to pop from lists", || {
            assert!(
                self.drawers.iter_mut().rev().take(4).all(Drawer::is_running),
                "a drawer ended by itself"
            );
            self.nodes.iter().zip(&before).all(|(node, before)| {
                let more = |(tag, taken): (u64, u64)| taken.saturating_sub(*before.get(&tag).unwrap_or(&0));
                node.taken().into_iter().map(more).sum::<u64>() >= numbers
            })
        });
    }

    /// Stops the drawers, looks whether any number was drawn twice, and closes the books. `unseen` numbers may have been
    /// drawn and not written down.
    fn close(&mut self, what: &str, database: &Database, redis: [&str; 2], unseen: i64) {
        tell_to_stop(self.folder.path());
        for drawer in self.drawers.iter_mut().rev().take(4) {
            drawer.join();
        }
        let took = self.started.elapsed();
        let runs = self.drawers.iter().flat_map(|drawer| read_records(&drawer.records));
        let drawn = Drawn::count(&self.folder.path().join("drawn.db"), runs);
        println!("{what}: {} drawn in {took:.1?}, {} repeats; {:?}", drawn.count, drawn.repeats, self.events);
        let settings = settings(RANGE, 16, redis[0], redis[1]);
        let node = &self.nodes[1];
        let cache = node.visitor();
        // The other node wrote its figures down when its workers left.
        let status = status(&mut database.connection(), &settings, Some(cache), now_ms()).unwrap();
        check_books(what, &status, drawn.count, unseen);
        assert_eq!(drawn.repeats, 0, "numbers were drawn twice");
    }
}

/// All that was drawn, in a table with a unique index.
struct Drawn {
    count: i64,
    repeats: i64,
}

impl Drawn {
    fn count(path: &Path, runs: impl Iterator<Item = Range<u64>>) -> Self {
        let mut table = rusqlite::Connection::open(path).unwrap();
        table
            .execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; CREATE TABLE drawn (number INTEGER NOT NULL)")
            .unwrap();
        let all = table.transaction().unwrap();
        let mut insert = all.prepare("INSERT INTO drawn VALUES (?)").unwrap();
        for number in runs.flatten() {
            insert.execute([i64::try_from(number).unwrap()]).unwrap();
        }
        drop(insert);
        all.commit().unwrap();
        let one = |sql: &str| table.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let count = one("SELECT COUNT(*) FROM drawn");
        let made = table.execute_batch("CREATE UNIQUE INDEX drawn_once ON drawn (number)");
        let repeats = match made {
            Ok(()) => 0,
            Err(error) => {
                println!("{error}");
                count - one("SELECT COUNT(DISTINCT number) FROM drawn")
            }
        };
        Self { count, repeats }
    }
}

/// What was drawn is what was counted, and what is missing is explained.
fn check_books(what: &str, status: &SerialStatus, drawn: i64, unseen: i64) {
    let card = &status.types[0];
    println!("{what}: {} issued of {} leased, {} lost", card.issued, card.leased, card.lost);
    for gap in &card.gaps {
        println!("  {} numbers in {}: {}", gap.numbers, gap.place, gap.reason);
    }
    assert!((0..=unseen).contains(&(card.issued - drawn)), "{} counted, {drawn} drawn", card.issued);
    let found = card.issued + card.in_lists + card.in_nodes + card.out_of_reach + card.lost;
    assert_eq!(card.leased, found, "{card:#?}");
    assert!(card.gaps.iter().all(|gap| gap.place != "before" && gap.place != "process"), "{card:#?}");
}

/// Without orders it has nothing to do but to say so: the copies are started by the other tests.
#[test]
fn copy_of_this_program_draws_when_it_is_told_to() {
    run_if_told();
    assert!(std::env::var("GANTRY_TEST_DRAWER").is_err());
}

#[test]
fn redis_killed_restarted_empty_and_restarted_with_its_old_file_repeats_nothing() {
    let (seed, database) = (seed(), Database::new());
    let mut redis = RedisServer::start();
    let standby = RedisServer::start();
    let (url, standby_url) = (redis.url(), standby.url());
    let urls = [url.as_str(), standby_url.as_str()];
    let settings = settings(RANGE, 16, urls[0], urls[1]);
    let mut field = Field::start("one", 2, &database, urls, seed);
    field.wait_for_lists(RANGE);
    while field.goes_on() {
        redis.ask(&["SAVE"]);
        field.wait_for_lists(2 * RANGE);
        // Back with the file of before: popped numbers are in it.
        redis.kill();
        redis.restart();
        field.event("killed and restarted with its old file");
        field.wait_for_lists(RANGE);
        // Away for a while.
        redis.kill();
        let before = field.issued();
        wait_for("draws without Redis", || field.issued() > before + RANGE);
        std::fs::remove_file(redis.dump()).unwrap();
        redis.restart();
        field.event("killed and restarted empty");
        field.wait_for_lists(RANGE);
        // Silent for a while.
        redis.stop();
        let before = field.issued();
        wait_for("draws with a silent Redis", || field.issued() > before + RANGE);
        redis.go_on();
        field.event("silent for a while");
        field.wait_for_lists(RANGE);
        // One node draws through the other server for a while, then both.
        for (node, to) in [
            (0, ServerName::Standby),
            (1, ServerName::Standby),
            (0, ServerName::Primary),
            (1, ServerName::Primary),
        ] {
            switch(&field.nodes[node].visitor(), &settings, to).unwrap();
            field.event("a node switched to the other server");
            field.wait_for_lists(RANGE);
        }
        let visitor = field.nodes[0].visitor();
        raise(&mut database.connection(), &settings, Some(visitor), None, None).unwrap();
        field.event("ranges raised");
        field.wait_for_lists(RANGE);
    }
    field.close("single", &database, urls, 0);
}

#[test]
fn sentinel_fail_overs_with_a_lagging_replica_repeat_nothing() {
    let (seed, database) = (seed(), Database::new());
    let mut sentinels = Sentinels::start();
    let url = sentinels.url();
    let urls = [url.as_str(), ""];
    let mut field = Field::start("sen", 20, &database, urls, seed);
    field.wait_for_lists(RANGE);
    while field.goes_on() {
        let (old, new) = (sentinels.master(), 1 - sentinels.master());
        sentinels.servers[new].stop();
        field.wait_for_lists(RANGE);
        sentinels.servers[old].kill();
        sentinels.servers[new].go_on();
        sentinels.wait_for_master(new);
        field.event("master killed, replica that lagged took over");
        field.wait_for_lists(2 * RANGE);
        sentinels.servers[old].restart();
        sentinels.wait_until_whole();
        // And the other way round with both alive: the silent master wakes up and is one no more.
        sentinels.servers[new].stop();
        sentinels.wait_for_master(old);
        sentinels.servers[new].go_on();
        field.event("silent master replaced, and back as a replica");
        field.wait_for_lists(RANGE);
        sentinels.wait_until_whole();
    }
    field.close("sentinel", &database, urls, 0);
}

#[test]
fn cluster_that_loses_masters_repeats_nothing() {
    let (seed, database) = (seed(), Database::new());
    let mut cluster = Cluster::start();
    let url = cluster.url();
    let urls = [url.as_str(), ""];
    let mut field = Field::start("clu", 20, &database, urls, seed);
    field.wait_for_lists(RANGE);
    while field.goes_on() {
        let holder = cluster.holder().unwrap();
        cluster.members[holder].kill();
        field.event("master with the list killed");
        field.wait_for_lists(RANGE);
        cluster.members[holder].restart();
        cluster.wait_until_whole();
        field.wait_for_lists(RANGE);
    }
    field.close("cluster", &database, urls, 0);
}

/// Goal: a worker that dies anywhere between a lease, a pop, the publishing and the draw costs a gap and no repeat.
/// Method: drawers are killed at moments that a generator chooses, and replaced in the same row, with Redis there and
/// not.
#[test]
fn drawers_killed_at_any_moment_repeat_nothing() {
    let (seed, database) = (seed(), Database::new());
    let redis = RedisServer::start();
    let url = redis.url();
    let urls = [url.as_str(), ""];
    let mut field = Field::start("kil", 2, &database, urls, seed);
    field.wait_for_lists(RANGE);
    let (mut places, mut random) = ([0, 1, 2, 3], seed);
    let kills = if is_soak() { 400 } else { 60 };
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let until = field.issued() + (random >> 33) % 20_000;
        wait_for("more draws", || field.issued() >= until);
        let place = kill % 4;
        field.drawers[places[place]].kill();
        field.event("drawer killed");
        places[place] = field.drawers.len();
        field.start_drawer(place, &database, urls, seed.wrapping_add(kill as u64));
        match kill % 16 {
            5 => redis.stop(),
            9 => redis.go_on(),
            _ => {}
        }
    }
    redis.go_on();
    field.wait_for_lists(RANGE);
    // What a killed drawer had drawn and not written down: one draw each.
    field.close("kills", &database, urls, 200 * i64::try_from(kills).unwrap());
}
