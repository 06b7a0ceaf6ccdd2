//! The connection string: read, judged, completed.

use crate::dialect::Dialect;
use std::fmt;

/// MariaDB: an `UPDATE` counts the rows it found, not those it changed, as every other database does.
const MARIADB_FOUND_ROWS: u32 = 2;
/// MariaDB: reconnecting behind our back would lose a transaction in silence.
const MARIADB_AUTO_RECONNECT: u32 = 4_194_304;
/// MariaDB: several statements in one text are a door for injections.
const MARIADB_MULTI_STATEMENTS: u32 = 67_108_864;

/// The pairs of a connection string. It holds the password, so it never shows its values.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ConnectionString {
    pairs: Vec<(String, String)>,
}

impl ConnectionString {
    /// Reads `key=value;key={value};…`; in braces, `}}` stands for `}`. Says what is wrong without showing it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let place = pairs.len() + 1;
            let (key, after) = rest.split_once('=').ok_or(format!(
                "part {place} of the connection string has no `=`; write Driver={{…}};Server=…;…"
            ))?;
            let (value, after) = match after.strip_prefix('{') {
                Some(braced) => {
                    read_braced(braced).ok_or(format!("the brace in part {place} is never closed"))?
                }
                None => {
                    let (value, after) = after.split_once(';').unwrap_or((after, ""));
                    (value.trim().to_owned(), after)
                }
            };
            if key.trim().is_empty() {
                return Err(format!("part {place} of the connection string has no keyword"));
            }
            pairs.push((key.trim().to_owned(), value));
            rest = after.trim_start();
        }
        if pairs.is_empty() {
            return Err("the connection string is empty; write Driver={…};Server=…;…".to_owned());
        }
        Ok(Self { pairs })
    }

    /// The value of the first pair with this keyword.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
        pair.map(|(_, value)| value.as_str())
    }

    /// The driver that is named, itself or by a data source of the driver manager.
    pub(super) fn driver(&self) -> Result<String, String> {
        if let Some(driver) = self.get("Driver") {
            return Ok(driver.to_owned());
        }
        let Some(name) = self.get("DSN") else {
            return Err("the connection string names no driver; begin it with Driver={…};".to_owned());
        };
        let environment = odbc_api::environment().map_err(|error| error.to_string())?;
        let known = environment.data_sources().map_err(|error| error.to_string())?;
        let found = known.into_iter().find(|known| known.server_name.eq_ignore_ascii_case(name));
        found.map(|known| known.driver).ok_or(format!(
            "the driver manager knows no data source {name}; add it to odbc.ini or name the driver with Driver={{…}};"
        ))
    }

    /// The SQL that the driver's database speaks.
    pub(super) fn dialect(&self) -> Result<Dialect, String> {
        let driver = self.driver()?;
        let lower = driver.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["postgres", "psqlodbc"]) {
            Ok(Dialect::Postgres)
        } else if has(&["maria", "maodbc", "mysql", "myodbc"]) {
            Ok(Dialect::MariaDb)
        } else if has(&["db2"]) {
            Ok(Dialect::Db2)
        } else if has(&["sqlite"]) {
            Err("SQLite through ODBC cannot tell its errors apart; write driver = \"sqlite\" and path"
                .to_owned())
        } else {
            Err(format!(
                "nothing is known of the driver {driver}; its name or file must hold db2, psqlodbc, postgres, maria \
                 or mysql"
            ))
        }
    }

    /// Sets what the data source relies on, and what is sensible where nothing was said.
    pub(super) fn completed(mut self, dialect: Dialect) -> Self {
        match dialect {
            Dialect::Postgres => {
                // 0: a failed statement leaves the transaction as the server has it. The others roll back in silence
                // (1), after which the next statement would commit by itself, or set a savepoint each time (2).
                self.set("Protocol", "7.4-0");
                self.set("UseDeclareFetch", "0");
                self.set("LFConversion", "0");
                self.set("ByteaAsLongVarBinary", "1");
                self.set("BoolsAsChar", "0");
                self.set_default("UseServerSidePrepare", "1");
                self.set_default("MaxVarcharSize", "8000");
                // For libpq: a server that vanished without a word is noticed within half a minute, instead of hours; the
                // other side is told the same when the session begins.
                self.set_default(
                    "pqopt",
                    "keepalives_idle=15 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=30000",
                );
            }
            Dialect::MariaDb => {
                let given = self.get("OPTION").and_then(|option| option.parse::<u32>().ok()).unwrap_or(0);
                let option =
                    (given | MARIADB_FOUND_ROWS) & !MARIADB_AUTO_RECONNECT & !MARIADB_MULTI_STATEMENTS;
                self.set("OPTION", &option.to_string());
                self.set("charset", "utf8mb4");
            }
            Dialect::Db2 => {
                // Large objects come as long text and bytes, not as types of IBM's own.
                self.set("LongDataCompat", "1");
                // The driver looks at a statement's time limit once in so many seconds; 5 when nothing is said.
                self.set_default("QueryTimeoutInterval", "1");
                self.set_default("ConnectTimeout", "10");
            }
            Dialect::Sqlite | Dialect::Derby => {}
        }
        self
    }

    /// The string for the driver manager.
    pub(super) fn text(&self) -> String {
        self.pairs
            .iter()
            .map(|(key, value)| {
                let plain = !value.starts_with('{') && !value.contains([';', '}']) && value.trim() == value;
                // A driver's name is written in braces by custom, and some driver managers want them; psqlODBC wants them
                // around what it hands on to libpq.
                let is_braced = ["Driver", "pqopt"].iter().any(|braced| key.eq_ignore_ascii_case(braced));
                if plain && !is_braced {
                    format!("{key}={value};")
                } else {
                    format!("{key}={{{}}};", value.replace('}', "}}"))
                }
            })
            .collect()
    }

    fn set(&mut self, key: &str, value: &str) {
        self.pairs.retain(|(known, _)| !known.eq_ignore_ascii_case(key));
        self.pairs.push((key.to_owned(), value.to_owned()));
    }

    fn set_default(&mut self, key: &str, value: &str) {
        if self.get(key).is_none() {
            self.set(key, value);
        }
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ConnectionString { .. }")
    }
}

/// The value up to the closing brace, and what follows its semicolon.
fn read_braced(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != '}' {
            value.push(letter);
        } else if letters.next_if(|(_, next)| *next == '}').is_some() {
            value.push('}');
        } else {
            let after = text[at + 1..].trim_start();
            return Some((value, after.strip_prefix(';').unwrap_or(after)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConnectionString {
        ConnectionString::parse(text).unwrap()
    }

    #[test]
    fn pairs_come_out_as_they_went_in() {
        let string = parse(" Driver={PostgreSQL Unicode} ; Server=h;Pwd={a;b}}c}; Uid = u ;");
        assert_eq!(string.get("driver"), Some("PostgreSQL Unicode"));
        assert_eq!(string.get("PWD"), Some("a;b}c"));
        assert_eq!(string.get("uid"), Some("u"));
        assert_eq!(string.text(), "Driver={PostgreSQL Unicode};Server=h;Pwd={a;b}}c};Uid=u;");
        assert_eq!(parse(&string.text()), string);
    }

    #[test]
    fn malformed_strings_are_refused_without_showing_them() {
        for text in ["", "  ", "secret", "Driver={x};secret", "Pwd={secret", "=secret"] {
            let message = ConnectionString::parse(text).unwrap_err();
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(!format!("{:?}", parse("Pwd=secret")).contains("secret"));
    }

    #[test]
    fn dialect_follows_from_the_driver() {
        let cases = [
            ("Driver={PostgreSQL Unicode}", Some(Dialect::Postgres)),
            ("Driver=/usr/lib/odbc/psqlodbcw.so", Some(Dialect::Postgres)),
            ("driver=MariaDB Unicode", Some(Dialect::MariaDb)),
            ("Driver={IBM DB2 ODBC DRIVER}", Some(Dialect::Db2)),
            ("Driver=/opt/ibm/clidriver/lib/libdb2o.so", Some(Dialect::Db2)),
            ("Driver={SQLite3}", None),
            ("Driver={Oracle}", None),
            ("Server=h", None),
        ];
        for (text, dialect) in cases {
            assert_eq!(parse(text).dialect().ok(), dialect, "{text}");
        }
    }

    #[test]
    fn what_the_data_source_relies_on_is_set_whatever_was_said() {
        let string =
            parse("Driver=PostgreSQL;Protocol=7.4-1;MaxVarcharSize=100").completed(Dialect::Postgres);
        assert_eq!((string.get("Protocol"), string.get("MaxVarcharSize")), (Some("7.4-0"), Some("100")));
        assert!(string.get("pqopt").unwrap().contains("tcp_user_timeout"));
        assert!(string.text().contains(";pqopt={keepalives_idle=15 "));
        let string = parse("Driver=PostgreSQL;pqopt={sslmode=require}").completed(Dialect::Postgres);
        assert_eq!(string.get("pqopt"), Some("sslmode=require"));
        let string = parse("Driver=MariaDB;Option=71303168;Charset=latin1").completed(Dialect::MariaDb);
        assert_eq!((string.get("OPTION"), string.get("charset")), (Some("2"), Some("utf8mb4")));
        let string = parse("Driver=DB2;QueryTimeoutInterval=2").completed(Dialect::Db2);
        assert_eq!(
            (string.get("LongDataCompat"), string.get("QueryTimeoutInterval")),
            (Some("1"), Some("2"))
        );
    }
}
