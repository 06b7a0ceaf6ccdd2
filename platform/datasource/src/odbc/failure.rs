//! From the driver's errors to ours.

use crate::dialect::Dialect;
use crate::error::{ConstraintKind, ErrorKind, SourceError, Sqlstate};
use crate::result_set::TooLarge;
use odbc_api::Error;
use std::any::Any;
use std::sync::Arc;

/// What went wrong inside one call.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver's or the database's words.
    Native(Error),
    /// Found by us.
    Own(ErrorKind, String),
}

impl Failure {
    pub(super) fn own(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Own(kind, message.into())
    }

    /// A panic in the driver's wrapper: what the driver did is unknown, so the connection is as good as lost.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self::own(ErrorKind::ConnectionLost, format!("the driver broke the rules of ODBC: {words}"))
    }

    /// The error for the caller.
    pub(super) fn into_source_error(
        self,
        dialect: Dialect,
        source_name: &Arc<str>,
        operation: &'static str,
    ) -> SourceError {
        match self {
            Self::Own(kind, message) => SourceError::own(kind, source_name, operation, message),
            Self::Native(error) => {
                let told = Told::of(&error);
                let kind = told.kind(dialect);
                let sqlstate = told.normalised(dialect, kind);
                SourceError {
                    kind,
                    source_name: Arc::clone(source_name),
                    operation,
                    code: told.code,
                    sqlstate,
                    message: told.message,
                }
            }
        }
    }

    /// Whether the statement was prepared for a table, or in a session, that has changed since.
    pub(super) fn is_stale(&self, dialect: Dialect) -> bool {
        let Self::Native(error) = self else { return false };
        let told = Told::of(error);
        match dialect {
            Dialect::Postgres => {
                (&told.state == b"0A000" && told.message.contains("cached plan")) || &told.state == b"26000"
            }
            // 2057: the answer has other columns than when the statement was prepared.
            Dialect::MariaDb => told.code == 1615 || told.code == 2057,
            _ => false,
        }
    }

    /// Whether an error says nothing of its own about what happened, as a driver's answer to a cancel does.
    pub(super) fn is_vague(error: &Error, dialect: Dialect) -> bool {
        matches!(Told::of(error).kind(dialect), ErrorKind::Other | ErrorKind::BadStatement)
    }

    /// Whether a lock was not had, and the statement alone was undone for it.
    pub(super) fn is_lock_wait(&self, dialect: Dialect) -> bool {
        let Self::Native(error) = self else { return false };
        dialect == Dialect::MariaDb && Told::of(error).code == 1205
    }

    /// Whether the database rolled the whole transaction back.
    pub(super) fn rolls_back(&self, dialect: Dialect) -> bool {
        let Self::Native(error) = self else { return false };
        let told = Told::of(error);
        match dialect {
            Dialect::MariaDb => [1213, 1020, 1206, 1180, 1402].contains(&told.code),
            Dialect::Db2 => told.state.starts_with(b"40"),
            _ => false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Native(error)
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::own(ErrorKind::TooLarge { bytes_max: error.bytes_max }, error.to_string())
    }
}

/// What a driver says of an error.
struct Told {
    state: [u8; 5],
    code: i32,
    message: String,
}

impl Told {
    fn of(error: &Error) -> Self {
        match error {
            Error::Diagnostics { record, .. }
            | Error::UnsupportedOdbcApiVersion(record)
            | Error::UnableToRepresentNull(record)
            | Error::OracleOdbcDriverDoesNotSupport64Bit(record)
            | Error::InvalidRowArraySize { record, .. } => Self {
                state: record.state.0,
                code: record.native_error,
                message: String::from_utf8_lossy(&record.message).trim().to_owned(),
            },
            other => Self { state: *b"HY000", code: 0, message: other.to_string() },
        }
    }

    fn kind(&self, dialect: Dialect) -> ErrorKind {
        let by_code = match dialect {
            Dialect::MariaDb => mariadb(self.code),
            Dialect::Db2 => db2(self.code),
            _ => None,
        };
        by_code.unwrap_or_else(|| by_state(&self.state))
    }

    /// The state in the words that all databases share here, where the caller asks for it by state.
    fn normalised(&self, dialect: Dialect, kind: ErrorKind) -> Sqlstate {
        if matches!(kind, ErrorKind::Constraint(_)) {
            return kind.sqlstate();
        }
        let state = match (dialect, &self.state, self.code) {
            (Dialect::Postgres, b"42P01", _)
            | (Dialect::MariaDb, _, 1146 | 1051)
            | (Dialect::Db2, _, -204) => Some(Sqlstate::MISSING_TABLE),
            (Dialect::Postgres, b"42P07", _)
            | (Dialect::MariaDb, _, 1050 | 1061)
            | (Dialect::Db2, _, -601) => Some(Sqlstate::EXISTING_TABLE),
            (Dialect::Postgres, b"42703", _) | (Dialect::MariaDb, _, 1054) | (Dialect::Db2, _, -206) => {
                Some(Sqlstate::MISSING_COLUMN)
            }
            (Dialect::Postgres, b"42701", _) | (Dialect::MariaDb, _, 1060) | (Dialect::Db2, _, -612) => {
                Some(Sqlstate::EXISTING_COLUMN)
            }
            (Dialect::Postgres, b"42704", _) | (Dialect::MariaDb, _, 1091) => Some(Sqlstate::MISSING_INDEX),
            _ => None,
        };
        state.unwrap_or(Sqlstate(self.state))
    }
}

/// By SQLSTATE: the standard's, ODBC's, PostgreSQL's and DB2's, which do not contradict each other.
fn by_state(state: &[u8; 5]) -> ErrorKind {
    use ErrorKind as Kind;
    match state {
        b"23505" => Kind::Constraint(ConstraintKind::Unique),
        b"23503" | b"23504" | b"23001" => Kind::Constraint(ConstraintKind::ForeignKey),
        b"23513" | b"23514" => Kind::Constraint(ConstraintKind::Check),
        b"23502" => Kind::Constraint(ConstraintKind::NotNull),
        b"55P03" | b"57033" => Kind::Retryable,
        b"57014" | b"HY008" | b"HYT00" | b"S1T00" => Kind::Timeout,
        // HYT01 is the connection's own time-out: what became of the statement is not known. 25P03 and 25P04 end the session,
        // as 57P04 does, whose database was dropped.
        b"57P01" | b"57P02" | b"57P03" | b"57P04" | b"57P05" | b"25P03" | b"25P04" | b"53300" | b"40003"
        | b"HY117" | b"HYT01" => Kind::ConnectionLost,
        b"25006" => Kind::ReadOnly,
        b"25P02" => Kind::Aborted,
        b"53100" | b"57011" => Kind::Full,
        b"XX001" | b"XX002" => Kind::Corrupt,
        b"HY104" | b"HY090" | b"HY003" | b"HY004" => Kind::BadValue,
        b"HYC00" | b"IM001" | b"42501" => Kind::Unsupported,
        _ => match &state[..2] {
            b"08" => Kind::ConnectionLost,
            b"22" => Kind::BadValue,
            b"23" => Kind::Constraint(ConstraintKind::Other),
            b"40" => Kind::Retryable,
            b"28" | b"3D" | b"IM" => Kind::Unsupported,
            b"07" | b"0A" | b"21" | b"25" | b"26" | b"34" | b"3B" | b"3F" | b"42" | b"54" => {
                Kind::BadStatement
            }
            _ => Kind::Other,
        },
    }
}

/// MariaDB's own numbers, which say more than its states. From 2000 on they are the client's; after those that say that the two
/// no longer understand each other (2012, 2014, 2027) the connection is of no use, whatever state comes with them.
fn mariadb(code: i32) -> Option<ErrorKind> {
    use ErrorKind as Kind;
    Some(match code {
        1022 | 1062 | 1169 | 1586 => Kind::Constraint(ConstraintKind::Unique),
        1216 | 1217 | 1451 | 1452 => Kind::Constraint(ConstraintKind::ForeignKey),
        4025 => Kind::Constraint(ConstraintKind::Check),
        1048 | 1364 => Kind::Constraint(ConstraintKind::NotNull),
        1020 | 1205 | 1213 | 1412 => Kind::Retryable,
        1317 | 1969 | 3024 => Kind::Timeout,
        1040
        | 1047
        | 1053
        | 1129
        | 1152
        | 1156..=1161
        | 1203
        | 1226
        | 1927
        | 2002
        | 2003
        | 2005
        | 2006
        | 2012..=2014
        | 2026
        | 2027
        | 2055
        | 4031 => Kind::ConnectionLost,
        1290 | 1792 | 1836 => Kind::ReadOnly,
        1021 | 1041 | 1114 => Kind::Full,
        1034 | 1035 | 1194 | 1195 | 1712 => Kind::Corrupt,
        1044 | 1045 | 1049 | 1130 | 1142 | 1143 | 1227 | 1370 | 1698 => Kind::Unsupported,
        1153 | 1264 | 1265 | 1292 | 1365 | 1366 | 1406 => Kind::BadValue,
        1267 | 1271 | 1295 | 1305 => Kind::BadStatement,
        _ => return None,
    })
}

/// DB2's own numbers, where its states leave a doubt.
fn db2(code: i32) -> Option<ErrorKind> {
    Some(match code {
        -911 | -913 => ErrorKind::Retryable,
        -952 => ErrorKind::Timeout,
        -1224 | -30081 | -30108 => ErrorKind::ConnectionLost,
        -551 | -552 => ErrorKind::Unsupported,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(dialect: Dialect, state: &[u8; 5], code: i32) -> ErrorKind {
        Told { state: *state, code, message: String::new() }.kind(dialect)
    }

    #[test]
    fn what_ended_the_session_is_a_lost_connection_whatever_its_class_says() {
        for state in [b"57P01", b"57P04", b"25P03", b"25P04", b"08006", b"08S01", b"HYT01", b"40003"] {
            let told = kind(Dialect::Postgres, state, 0);
            assert_eq!(told, ErrorKind::ConnectionLost, "{}", String::from_utf8_lossy(state));
        }
        for code in [1927, 2006, 2013, 2014, 2027] {
            assert_eq!(kind(Dialect::MariaDb, b"HY000", code), ErrorKind::ConnectionLost, "{code}");
        }
        assert_eq!(kind(Dialect::Db2, b"HY000", -30081), ErrorKind::ConnectionLost);
    }

    #[test]
    fn what_may_succeed_again_is_told_apart_from_what_took_too_long() {
        let cases: [(Dialect, &[u8; 5], i32, ErrorKind); 8] = [
            (Dialect::Postgres, b"40001", 0, ErrorKind::Retryable),
            (Dialect::Postgres, b"40P01", 0, ErrorKind::Retryable),
            (Dialect::Postgres, b"55P03", 0, ErrorKind::Retryable),
            (Dialect::Postgres, b"57014", 0, ErrorKind::Timeout),
            (Dialect::MariaDb, b"40001", 1213, ErrorKind::Retryable),
            (Dialect::MariaDb, b"HY000", 1205, ErrorKind::Retryable),
            (Dialect::MariaDb, b"70100", 1317, ErrorKind::Timeout),
            (Dialect::Db2, b"40001", -911, ErrorKind::Retryable),
        ];
        for (dialect, state, code, wanted) in cases {
            assert_eq!(kind(dialect, state, code), wanted, "{dialect:?} {code}");
        }
    }

    #[test]
    fn panic_of_the_wrapper_is_a_lost_connection_with_its_words() {
        for panic in [Box::new("no handle") as Box<dyn Any + Send>, Box::new("no handle".to_owned())] {
            let error =
                Failure::panicked(&*panic).into_source_error(Dialect::Postgres, &Arc::from("main"), "query");
            assert_eq!(error.kind, ErrorKind::ConnectionLost);
            assert!(error.message.contains("no handle"), "{error}");
        }
    }
}
