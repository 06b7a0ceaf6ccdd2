//! Serial numbers over a real database: unique through rollbacks, savepoints, crashes and races.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gantry_datasource::{
    Access, Connection, ErrorKind, Mode, SqliteConnection, SqliteOptions, Synchronous, TransactionState,
};
use gantry_serials::{SerialError, SerialType, Serials, prepare_table};
use gantry_settings::SerialFormat;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(60);
const NEW_YEAR_MS: i64 = 1_767_225_600_000;

struct Database {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Database {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.db");
        prepare_table(&mut open(&path)).unwrap();
        Self { path, _folder: folder }
    }

    fn connection(&self) -> SqliteConnection {
        open(&self.path)
    }
}

fn open(path: &Path) -> SqliteConnection {
    // A crash of the machine is not what is tested here.
    let options =
        SqliteOptions::new(path).synchronous(Synchronous::Normal).busy_timeout(Duration::from_secs(60));
    SqliteConnection::open(&Arc::from("main"), &options, Access::ReadWrite).unwrap()
}

fn serials(range: u64, digits: u32) -> Serials {
    let format = SerialFormat::parse(&format!("{{seq:{digits}}}")).unwrap();
    let of = |name: &str| SerialType { name: name.into(), range, format: format.clone() };
    Serials::new(&[of("card"), of("recharge")]).unwrap()
}

fn draw(serials: &mut Serials, connection: &mut dyn Connection, count: u32) -> Vec<u64> {
    let drawn = serials.next(connection, "card", count, NEW_YEAR_MS, LIMIT).unwrap();
    assert_eq!(drawn.len(), count as usize);
    drawn.iter().map(|serial| serial.parse().unwrap()).collect()
}

#[test]
fn next_draws_in_order_across_ranges_and_types_apart() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(10, 6);
    assert_eq!(draw(&mut serials, &mut connection, 3), [1, 2, 3]);
    assert_eq!(serials.left("card").unwrap(), 7);
    assert_eq!(draw(&mut serials, &mut connection, 8), (4..=11).collect::<Vec<_>>());
    assert_eq!(draw(&mut serials, &mut connection, 100), (12..=111).collect::<Vec<_>>());
    assert!(!connection.in_transaction());
    let other = serials.next(&mut connection, "recharge", 1, NEW_YEAR_MS, LIMIT).unwrap();
    assert_eq!(other, ["000001"]);
}

#[test]
fn two_processes_draw_from_ranges_apart_and_a_lost_cache_is_a_gap() {
    let database = Database::new();
    let (mut one, mut two) = (database.connection(), database.connection());
    let (mut first, mut second) = (serials(10, 6), serials(10, 6));
    assert_eq!(draw(&mut first, &mut one, 1), [1]);
    assert_eq!(draw(&mut second, &mut two, 1), [11]);
    drop(first);
    let mut reborn = serials(10, 6);
    assert_eq!(draw(&mut reborn, &mut one, 1), [21]);
    assert_eq!(draw(&mut second, &mut two, 9), (12..=20).collect::<Vec<_>>());
}

#[test]
fn range_leased_in_a_transaction_goes_with_its_rollback_and_stays_with_its_commit() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(10, 6);
    draw(&mut serials, &mut connection, 8);

    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(draw(&mut serials, &mut connection, 5), [9, 10, 11, 12, 13]);
    connection.rollback().unwrap();
    serials.transaction_rolled_back();
    assert_eq!(serials.left("card").unwrap(), 0, "9 and 10 are a gap, the rest was never leased");

    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(draw(&mut serials, &mut connection, 1), [11]);
    connection.commit().unwrap();
    serials.transaction_committed();
    assert_eq!(serials.left("card").unwrap(), 9);
    serials.transaction_rolled_back();
    assert_eq!(serials.left("card").unwrap(), 9, "a later rollback does not touch it");
}

#[test]
fn range_leased_after_a_savepoint_goes_with_its_rollback_and_older_ones_stay() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(4, 6);
    connection.begin(Mode::Write, LIMIT).unwrap();
    assert_eq!(draw(&mut serials, &mut connection, 2), [1, 2]);
    connection.savepoint("request").unwrap();
    let mark = serials.mark();
    assert_eq!(draw(&mut serials, &mut connection, 4), [3, 4, 5, 6]);
    connection.rollback_to("request").unwrap();
    serials.rolled_back_to(mark);
    assert_eq!(draw(&mut serials, &mut connection, 1), [5], "the range of 5 to 8 is leased anew");
    connection.release("request").unwrap();
    connection.commit().unwrap();
    serials.transaction_committed();
    let mut other = database.connection();
    assert_eq!(draw(&mut self::serials(4, 6), &mut other, 1), [9]);
    assert_eq!(draw(&mut serials, &mut connection, 3), [6, 7, 8]);
}

/// The safety net: an owner that forgot to tell loses a range, and no number comes twice.
#[test]
fn transaction_of_which_nothing_was_told_costs_a_gap() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(10, 6);
    connection.begin(Mode::Write, LIMIT).unwrap();
    draw(&mut serials, &mut connection, 1);
    connection.rollback().unwrap();
    assert_eq!(draw(&mut self::serials(10, 6), &mut database.connection(), 1), [1]);
    assert_eq!(draw(&mut serials, &mut connection, 1), [11]);
}

#[test]
fn last_numbers_are_given_out_and_then_refused_for_ever() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(40, 2);
    assert_eq!(draw(&mut serials, &mut connection, 85).last(), Some(&85));
    assert_eq!(serials.left("card").unwrap(), 0);
    let refused = |serials: &mut Serials, connection: &mut dyn Connection, count, needed, left| {
        let error = serials.next(connection, "card", count, NEW_YEAR_MS, LIMIT).unwrap_err();
        assert_eq!(error, SerialError::Exhausted { kind: "card".into(), number_max: 99, needed, left });
        assert!(!connection.in_transaction());
    };
    refused(&mut serials, &mut connection, 15, 15, 14);
    assert_eq!(draw(&mut serials, &mut connection, 4), [86, 87, 88, 89]);
    refused(&mut serials, &mut connection, 11, 1, 0);
    assert_eq!(draw(&mut serials, &mut connection, 10), (90..=99).collect::<Vec<_>>());
    for _ in 0..3 {
        refused(&mut serials, &mut connection, 1, 1, 0);
    }
    refused(&mut self::serials(1, 2), &mut database.connection(), 1, 1, 0);
    assert_eq!(draw(&mut self::serials(1, 3), &mut connection, 1), [100], "more digits go on where it stood");
}

#[test]
fn wrong_questions_and_types_are_refused_with_what_is_right() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(10, 6);
    let unknown = serials.next(&mut connection, "tag", 1, NEW_YEAR_MS, LIMIT).unwrap_err();
    assert!(unknown.to_string().contains("card, recharge"), "{unknown}");
    for count in [0, 10_001, u32::MAX] {
        let error = serials.next(&mut connection, "card", count, NEW_YEAR_MS, LIMIT).unwrap_err();
        assert_eq!(error, SerialError::CountOutOfRange { count });
    }
    let new = |name: &str, range| {
        let format = SerialFormat::parse("T{seq:9}").unwrap();
        Serials::new(&[
            SerialType { name: "card".into(), range: 1, format: format.clone() },
            SerialType { name: name.into(), range, format },
        ])
    };
    assert!(matches!(new("card", 1), Err(SerialError::BadName { .. })));
    assert!(matches!(new("Tag", 1), Err(SerialError::BadName { .. })));
    assert!(matches!(new("", 1), Err(SerialError::BadName { .. })));
    assert!(matches!(new("tag", 0), Err(SerialError::BadRange { range: 0, .. })));
    assert!(matches!(new("tag", 10_000_001), Err(SerialError::BadRange { .. })));
    assert_eq!(new("tag", 10_000_000).unwrap().kinds().collect::<Vec<_>>(), ["card", "tag"]);
}

#[test]
fn database_that_refuses_gives_no_number_and_keeps_the_cache() {
    let database = Database::new();
    let mut connection = database.connection();
    let mut serials = serials(10, 6);
    draw(&mut serials, &mut connection, 8);
    let mut holder = database.connection();
    holder.begin(Mode::Write, LIMIT).unwrap();
    let busy = serials.next(&mut connection, "card", 3, NEW_YEAR_MS, Duration::from_millis(10)).unwrap_err();
    let SerialError::Source { cause, .. } = busy else { panic!("{busy}") };
    assert_eq!(cause.kind, ErrorKind::Retryable);
    assert_eq!(draw(&mut serials, &mut connection, 2), [9, 10], "what was cached is still there");
    holder.rollback().unwrap();

    let mut reader =
        SqliteConnection::open(&Arc::from("main"), &SqliteOptions::new(&database.path), Access::ReadOnly)
            .unwrap();
    let refused = serials.next(&mut reader, "card", 1, NEW_YEAR_MS, LIMIT).unwrap_err();
    let SerialError::Source { cause, .. } = refused else { panic!("{refused}") };
    assert_eq!(cause.kind, ErrorKind::ReadOnly);

    let set = "UPDATE gantry_serial SET next_value = ? WHERE kind = 'card'";
    connection.execute(set, &[i64::MIN.into()], LIMIT).unwrap();
    let damaged = serials.next(&mut connection, "card", 1, NEW_YEAR_MS, LIMIT).unwrap_err();
    assert_eq!(damaged, SerialError::Damaged { kind: "card".into() });
}

/// A small generator, so that a run can be repeated from its printed seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Goal: no number twice, whatever happens around it. Method: four threads with connections of their own draw
/// 100,000 numbers; at random, draws are rolled back whole or to a savepoint, made without a transaction, cut off
/// by a failing statement, and caches are dropped as a crash would. What was committed must be unique.
#[test]
fn four_drawers_with_rollbacks_and_crashes_never_repeat() {
    const DRAWN: usize = 100_000;
    let seed = std::env::var("GANTRY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("GANTRY_SEED={seed}");
    let database = Database::new();
    let drawn: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut connection = database.connection();
                scope.spawn(move || {
                    let mut drawer = Drawer {
                        random: Random(seed.wrapping_add(thread)),
                        serials: serials(50, 12),
                        committed: Vec::new(),
                    };
                    while drawer.committed.len() < DRAWN / 4 {
                        drawer.step(&mut connection);
                    }
                    drawer.committed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut seen = HashSet::new();
    for number in drawn.iter().flatten() {
        assert!(seen.insert(*number), "{number} came twice; GANTRY_SEED={seed}");
    }
    assert!(seen.len() >= DRAWN);
}

struct Drawer {
    random: Random,
    serials: Serials,
    committed: Vec<u64>,
}

impl Drawer {
    fn step(&mut self, connection: &mut dyn Connection) {
        match self.random.below(20) {
            0 => self.serials = serials(50, 12),
            1..4 => {
                let count = self.count();
                let numbers = draw(&mut self.serials, connection, count);
                self.committed.extend(numbers);
            }
            _ => self.transaction(connection),
        }
    }

    fn transaction(&mut self, connection: &mut dyn Connection) {
        connection.begin(Mode::Write, LIMIT).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..=self.random.below(4) {
            connection.savepoint("request").unwrap();
            let mark = self.serials.mark();
            let count = self.count();
            let part = draw(&mut self.serials, connection, count);
            if self.random.below(4) == 0 {
                connection.rollback_to("request").unwrap();
                self.serials.rolled_back_to(mark);
            } else {
                numbers.extend(part);
            }
            connection.release("request").unwrap();
        }
        match self.random.below(8) {
            0 | 1 => {
                connection.rollback().unwrap();
                self.serials.transaction_rolled_back();
            }
            2 => self.fail(connection),
            _ => {
                connection.commit().unwrap();
                self.serials.transaction_committed();
                self.committed.extend(numbers);
            }
        }
    }

    /// A write that its time limit cuts off takes the whole transaction with it.
    fn fail(&mut self, connection: &mut dyn Connection) {
        let endless = "INSERT INTO gantry_serial (kind, next_value, leased_ms) WITH RECURSIVE n (a) AS \
                       (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT CAST(a AS VARCHAR(20)), 1, 1 FROM n";
        connection.execute(endless, &[], Duration::from_millis(1)).unwrap_err();
        assert_ne!(connection.transaction(), TransactionState::None);
        connection.rollback().unwrap();
        self.serials.transaction_rolled_back();
    }

    fn count(&mut self) -> u32 {
        u32::try_from(1 + self.random.below(30)).unwrap()
    }
}
