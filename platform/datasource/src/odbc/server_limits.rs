//! Time limits that the server keeps, beside the watchdog's exact ones.
//!
//! They hold also when our process is dead or stopped, and a lock time-out tells a wait from a slow statement. To set
//! them costs a round trip, so they are set anew only when they no longer fit: never shorter than the caller's limit,
//! at most eight times longer; the watchdog ends a statement exactly.

use crate::dialect::Dialect;
use std::time::Duration;

/// A limit of the server is kept while it is at most this many times what was asked for.
const FITS_TIMES: u32 = 8;

/// Below it the wait for a lock is shorter than the limit, whatever it costs: whoever gives so little time wants to
/// know that another holds the lock.
const EXACT_BELOW: Duration = Duration::from_secs(1);

/// Below it MariaDB, which counts the wait for a lock in seconds, does not wait by itself.
const MARIADB_WAITS_FROM: Duration = Duration::from_millis(1_250);

/// The longest limit that any server takes.
const LIMIT_MAX: Duration = Duration::from_secs(1_000_000);

/// What the server was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    statement: Duration,
    lock: Duration,
}

/// What the transaction was told, which ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    AsSession,
    Told(Limits),
    /// Told, and perhaps undone by a savepoint.
    Unknown,
}

/// What the server knows of our limits.
#[derive(Debug)]
pub(super) struct ServerLimits {
    dialect: Dialect,
    lock_wait: Duration,
    session: Option<Limits>,
    local: Local,
}

impl ServerLimits {
    pub(super) fn new(dialect: Dialect, lock_wait: Duration) -> Self {
        Self { dialect, lock_wait, session: None, local: Local::AsSession }
    }

    /// The longest wait for a lock that was configured.
    pub(super) fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// What to tell the server before a statement with this limit; `None` if what it knows fits.
    pub(super) fn needed(&self, limit: Duration) -> Option<Limits> {
        let limit = limit.min(LIMIT_MAX);
        let wanted = self.wanted(limit);
        let known = match self.local {
            Local::AsSession => self.session,
            Local::Told(limits) => Some(limits),
            Local::Unknown => None,
        };
        let fits = known.is_some_and(|known| {
            let statement_fits = self.dialect == Dialect::Db2
                || (limit <= known.statement && known.statement <= limit * FITS_TIMES);
            let lock_max = if limit < EXACT_BELOW { limit } else { limit * FITS_TIMES };
            let lock_fits = known.lock == wanted.lock
                || (!wanted.lock.is_zero()
                    && !known.lock.is_zero()
                    && known.lock <= lock_max
                    && known.lock * FITS_TIMES >= wanted.lock);
            statement_fits && lock_fits
        });
        (!fits).then_some(wanted)
    }

    fn wanted(&self, limit: Duration) -> Limits {
        // Well below the limit, so that a wait in vain is told as one before the watchdog ends the statement.
        let share = if limit < EXACT_BELOW { limit / 2 } else { limit * 4 / 5 };
        let lock = self.lock_wait.min(share).max(Duration::from_millis(1));
        let lock = match self.dialect {
            Dialect::MariaDb if limit < MARIADB_WAITS_FROM => Duration::ZERO,
            Dialect::MariaDb | Dialect::Db2 => Duration::from_secs(lock.as_secs().max(1)),
            _ => lock,
        };
        Limits { statement: limit * 5 / 4 + Duration::from_millis(10), lock }
    }

    /// The statement that tells the server, for this transaction alone if one is open and the server can.
    pub(super) fn text(&self, limits: Limits, in_transaction: bool) -> String {
        let statement_ms = limits.statement.as_millis();
        let lock_ms = limits.lock.as_millis().max(1);
        let lock_s = limits.lock.as_secs();
        match self.dialect {
            Dialect::Postgres => format!(
                "SELECT set_config('statement_timeout', '{statement_ms}', {in_transaction}), \
                 set_config('lock_timeout', '{lock_ms}', {in_transaction})"
            ),
            Dialect::MariaDb => format!(
                "SET SESSION max_statement_time = {}.{:03}, innodb_lock_wait_timeout = {lock_s}, \
                 lock_wait_timeout = {lock_s}",
                statement_ms / 1_000,
                statement_ms % 1_000
            ),
            _ => format!("SET CURRENT LOCK TIMEOUT WAIT {lock_s}"),
        }
    }

    /// The server was told.
    pub(super) fn told(&mut self, limits: Limits, in_transaction: bool) {
        if in_transaction && self.dialect == Dialect::Postgres {
            self.local = Local::Told(limits);
        } else {
            self.session = Some(limits);
        }
    }

    /// The transaction is over, and what it was told with it.
    pub(super) fn transaction_ended(&mut self) {
        self.local = Local::AsSession;
    }

    /// The transaction went back to a savepoint, which may undo what it was told.
    pub(super) fn went_back(&mut self) {
        if self.local != Local::AsSession {
            self.local = Local::Unknown;
        }
    }

    /// Whether the server does not wait for locks, so that they are to be asked for again and again.
    pub(super) fn asks_again(&self) -> bool {
        self.dialect == Dialect::MariaDb && self.session.is_some_and(|known| known.lock.is_zero())
    }

    /// The limit that the driver is given for one statement, in whole seconds, where the server has none.
    pub(super) fn driver_limit_sec(&self, limit: Duration) -> Option<usize> {
        let seconds = limit.min(LIMIT_MAX).as_millis().div_ceil(1_000);
        (self.dialect == Dialect::Db2).then(|| usize::try_from(seconds).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(dialect: Dialect, limit: Duration) -> ServerLimits {
        let mut limits = ServerLimits::new(dialect, Duration::from_secs(5));
        let needed = limits.needed(limit).unwrap();
        limits.told(needed, false);
        limits
    }

    #[test]
    fn limits_are_told_once_for_the_statements_of_a_request() {
        for dialect in [Dialect::Postgres, Dialect::MariaDb, Dialect::Db2] {
            let limits = told(dialect, Duration::from_secs(15));
            for left_ms in [15_000, 14_999, 9_000, 2_500] {
                assert_eq!(limits.needed(Duration::from_millis(left_ms)), None, "{dialect:?} {left_ms}");
            }
        }
    }

    #[test]
    fn server_never_ends_a_statement_before_its_limit_nor_long_after() {
        let limits = told(Dialect::Postgres, Duration::from_secs(15));
        for limit_ms in [30_000, 1_000, 40] {
            let needed = limits.needed(Duration::from_millis(limit_ms)).unwrap();
            let statement_ms = u64::try_from(needed.statement.as_millis()).unwrap();
            assert!(statement_ms > limit_ms && statement_ms <= limit_ms * 2, "{statement_ms}");
            assert!(needed.lock < Duration::from_millis(limit_ms));
        }
        let longest = told(Dialect::Postgres, Duration::MAX);
        assert!(longest.text(longest.session.unwrap(), false).contains("'1250000010'"));
    }

    #[test]
    fn short_wait_for_a_lock_is_below_its_limit() {
        let limits = told(Dialect::Postgres, Duration::from_millis(900));
        assert!(limits.needed(Duration::from_millis(800)).is_none());
        assert!(limits.needed(Duration::from_millis(400)).is_some(), "it would wait for 450 ms");
    }

    #[test]
    fn mariadb_asks_again_where_it_cannot_wait_for_less_than_a_second() {
        let mut limits = told(Dialect::MariaDb, Duration::from_millis(500));
        assert!(limits.asks_again());
        assert_eq!(limits.needed(Duration::from_millis(400)), None);
        let needed = limits.needed(Duration::from_secs(5)).unwrap();
        assert_eq!(
            limits.text(needed, true),
            "SET SESSION max_statement_time = 6.260, innodb_lock_wait_timeout = 4, lock_wait_timeout = 4"
        );
        limits.told(needed, true);
        assert!(!limits.asks_again());
    }

    #[test]
    fn what_a_transaction_was_told_ends_with_it_and_is_doubtful_after_a_savepoint() {
        let mut limits = told(Dialect::Postgres, Duration::from_secs(15));
        let short = Duration::from_millis(100);
        let needed = limits.needed(short).unwrap();
        limits.told(needed, true);
        assert_eq!(limits.needed(short), None);
        limits.went_back();
        assert!(limits.needed(short).is_some());
        limits.transaction_ended();
        assert_eq!(limits.needed(Duration::from_secs(15)), None);
    }

    #[test]
    fn driver_of_db2_is_given_whole_seconds_upwards() {
        let limits = told(Dialect::Db2, Duration::from_secs(15));
        assert_eq!(limits.driver_limit_sec(Duration::from_millis(1)), Some(1));
        assert_eq!(limits.driver_limit_sec(Duration::from_millis(2_001)), Some(3));
        assert_eq!(told(Dialect::Postgres, Duration::from_secs(1)).driver_limit_sec(Duration::ZERO), None);
    }
}
