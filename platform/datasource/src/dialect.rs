//! Portable SQL text and the words in which databases differ.

/// A family of SQL.
///
/// Services write one text for all of them. Where databases have different words for the same thing, the text
/// holds an escape in braces, which the connection rewrites once and keeps with the prepared statement:
///
/// | escape | SQLite | DB2, Derby | PostgreSQL | MariaDB |
/// |---|---|---|---|---|
/// | `{limit ?}` `{limit 50}` | `LIMIT ?` | `FETCH FIRST ? ROWS ONLY` | `LIMIT ?` | `LIMIT ?` |
/// | `{for update}` | nothing: a write transaction is alone | `FOR UPDATE WITH RS` | `FOR UPDATE` | `FOR UPDATE` |
/// | `{blob 65536}` (a column's type, in bytes) | `BLOB` | `BLOB(65536)` | `BYTEA` | `LONGBLOB` |
/// | `{identity key}` (type of a primary key that counts by itself) | `INTEGER PRIMARY KEY AUTOINCREMENT` | `BIGINT … AS IDENTITY PRIMARY KEY` | the same | `BIGINT … AUTO_INCREMENT PRIMARY KEY` |
/// | `{timestamp type}` (a column's type, microseconds) | `VARCHAR(26)` | `TIMESTAMP` | `TIMESTAMP(6)` | `DATETIME(6)` |
/// | `{timestamp now}` (UTC) | `strftime(…)` | `CURRENT TIMESTAMP - CURRENT TIMEZONE` (Derby: `CURRENT_TIMESTAMP`, local) | `clock_timestamp() AT TIME ZONE 'UTC'` | `UTC_TIMESTAMP(6)` |
///
/// `{limit}` comes after `ORDER BY`, `{for update}` last. Anything else in braces is an error. On MariaDB a
/// `CREATE TABLE` is given the options that make its text compare byte by byte, as it does elsewhere.
///
/// There is no escape for an upsert: [`insert_unless_present`](crate::insert_unless_present) and then an update
/// says the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// IBM DB2.
    Db2,
    /// Apache Derby, whose SQL is of DB2's family.
    Derby,
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

impl Dialect {
    /// Whether a failed statement leaves nothing but `rollback_to` and `rollback` for its transaction.
    #[must_use]
    pub fn error_spoils_transaction(self) -> bool {
        self == Self::Postgres
    }

    /// Whether a `CREATE`, `ALTER` or `DROP` commits what the transaction did before it. There, definitions are
    /// refused inside a transaction.
    #[must_use]
    pub fn definition_commits(self) -> bool {
        self == Self::MariaDb
    }

    /// What is added to an `INSERT` so that a row whose key exists is left out, where nothing else spares the
    /// transaction: the count of rows then tells.
    pub(crate) fn insert_or_nothing(self) -> Option<&'static str> {
        (self == Self::Postgres).then_some("ON CONFLICT DO NOTHING")
    }

    /// What is added to the end of a `CREATE TABLE`.
    pub(crate) fn table_options(self) -> &'static str {
        match self {
            // The default collations take `a` for `A` and `a ` for `a`: two request ids would be one.
            Self::MariaDb => " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            _ => "",
        }
    }

    /// Writes the words for the escape whose content is `escape`; `None` if there is no such escape.
    ///
    /// Returns whether the escape held a parameter, which stays at the same place among the others.
    pub(crate) fn write_escape(self, escape: &str, out: &mut String) -> Option<bool> {
        let mut words = escape.split_ascii_whitespace();
        let (name, argument) = (words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        if name.eq_ignore_ascii_case("limit") {
            self.write_limit(argument, out)
        } else if name.eq_ignore_ascii_case("for") && argument.eq_ignore_ascii_case("update") {
            out.push_str(match self {
                Self::Sqlite => "",
                Self::Db2 | Self::Derby => "FOR UPDATE WITH RS",
                Self::Postgres | Self::MariaDb => "FOR UPDATE",
            });
            Some(false)
        } else if name.eq_ignore_ascii_case("blob") {
            self.write_blob(argument, out)
        } else {
            let words = self.words(name, argument)?;
            out.push_str(words);
            Some(false)
        }
    }

    fn write_limit(self, argument: &str, out: &mut String) -> Option<bool> {
        if argument != "?" && !is_count(argument) {
            return None;
        }
        let (before, after) = match self {
            // PostgreSQL's driver puts a cast behind each parameter, which only `LIMIT` takes there.
            Self::Sqlite | Self::MariaDb | Self::Postgres => ("LIMIT ", ""),
            Self::Db2 | Self::Derby => ("FETCH FIRST ", " ROWS ONLY"),
        };
        out.push_str(before);
        out.push_str(argument);
        out.push_str(after);
        Some(argument == "?")
    }

    /// The escapes that are fixed words.
    fn words(self, name: &str, argument: &str) -> Option<&'static str> {
        let is = |first: &str, second: &str| {
            name.eq_ignore_ascii_case(first) && argument.eq_ignore_ascii_case(second)
        };
        Some(if is("identity", "key") {
            match self {
                Self::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
                Self::Db2 | Self::Derby | Self::Postgres => {
                    "BIGINT NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
                }
                Self::MariaDb => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
            }
        } else if is("timestamp", "type") {
            match self {
                Self::Sqlite => "VARCHAR(26)",
                Self::Db2 | Self::Derby => "TIMESTAMP",
                Self::Postgres => "TIMESTAMP(6)",
                Self::MariaDb => "DATETIME(6)",
            }
        } else if is("timestamp", "now") {
            match self {
                Self::Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
                Self::Db2 => "(CURRENT TIMESTAMP - CURRENT TIMEZONE)",
                Self::Derby => "CURRENT_TIMESTAMP",
                Self::Postgres => "(clock_timestamp() AT TIME ZONE 'UTC')",
                Self::MariaDb => "UTC_TIMESTAMP(6)",
            }
        } else {
            return None;
        })
    }

    fn write_blob(self, argument: &str, out: &mut String) -> Option<bool> {
        if !is_count(argument) {
            return None;
        }
        match self {
            Self::Sqlite => out.push_str("BLOB"),
            Self::Db2 | Self::Derby => {
                out.push_str("BLOB(");
                out.push_str(argument);
                out.push(')');
            }
            Self::Postgres => out.push_str("BYTEA"),
            Self::MariaDb => out.push_str("LONGBLOB"),
        }
        Some(false)
    }
}

/// A whole number from 1 with at most nine digits, so that it fits every database's integer.
fn is_count(argument: &str) -> bool {
    argument.len() <= 9
        && !argument.starts_with('0')
        && !argument.is_empty()
        && argument.bytes().all(|byte| byte.is_ascii_digit())
}

/// Why a portable text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// An escape that does not exist.
    #[error(
        "unknown escape at byte {offset}: there are {{limit ?}}, {{limit N}}, {{for update}}, {{blob N}}, \
         {{identity key}}, {{timestamp type}} and {{timestamp now}}"
    )]
    UnknownEscape {
        /// 0-based place of the brace.
        offset: usize,
    },
    /// A zero, which ends a text for a driver in C: the rest of the statement would not be seen.
    #[error("zero at byte {offset}: a statement is text without one; bind such a value as a parameter")]
    Zero {
        /// 0-based place of the zero.
        offset: usize,
    },
    /// A quote, comment or brace that is opened and not closed, or closed and not opened.
    #[error("quote, comment or brace at byte {offset} has no other half")]
    Unbalanced {
        /// 0-based place of the half that is there.
        offset: usize,
    },
    /// A parameter with a number or a name.
    #[error("numbered parameter at byte {offset}: a portable parameter is a bare `?`")]
    NumberedParameter {
        /// 0-based place of the parameter.
        offset: usize,
    },
    /// Quotation that other databases do not know.
    #[error("backquote at byte {offset}: a portable name is bare or in double quotes")]
    Backquote {
        /// 0-based place of the quote.
        offset: usize,
    },
    /// A second statement.
    #[error("a second statement begins after byte {offset}: send one statement at a time")]
    SecondStatement {
        /// 0-based place of the semicolon.
        offset: usize,
    },
    /// No statement at all.
    #[error("the text holds no statement")]
    Empty,
    /// A statement that is not one of those a service may send.
    #[error(
        "a statement begins with SELECT, WITH, VALUES, INSERT, UPDATE, DELETE, MERGE, CREATE, ALTER or DROP; \
         transactions belong to the platform"
    )]
    VerbNotAllowed,
    /// Longer than any statement should be.
    #[error("the text has {bytes} bytes; at most {bytes_max} are taken")]
    TooLong {
        /// Its length, in bytes.
        bytes: usize,
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// More parameters than every database takes.
    #[error("the statement has {parameters} parameters; at most {parameters_max} are taken")]
    TooManyParameters {
        /// How many there are.
        parameters: usize,
        /// The bound.
        parameters_max: usize,
    },
}
