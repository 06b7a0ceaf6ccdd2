//! Where a test's node keeps its data.

use std::net::{Ipv4Addr, SocketAddrV4};

use gantry_test_servers::{Kind, Server};

/// What names the kind of database for the tests that leave the choice open: `sqlite`, `postgres` or `mariadb`.
const CHOICE: &str = "GANTRY_TEST_DATABASE";

/// Where the server is, `address:port`.
const PLACE: &str = "GANTRY_TEST_DATABASE_AT";

/// A kind of database, and for servers where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file beside the node.
    Sqlite,
    /// A database of the node's own on a server.
    OnServer(Kind, Ipv4Addr, u16),
}

impl Database {
    /// What `GANTRY_TEST_DATABASE` names; SQLite when it is not set. Servers are started by `with-server`.
    ///
    /// # Panics
    /// When it names none, or a server and not where it is.
    #[must_use]
    pub fn chosen() -> Self {
        let Ok(name) = std::env::var(CHOICE) else { return Self::Sqlite };
        if name == "sqlite" {
            return Self::Sqlite;
        }
        let kind = Kind::named(&name);
        let kind = kind.unwrap_or_else(|| panic!("{CHOICE} is sqlite, postgres or mariadb, not {name:?}"));
        let place = std::env::var(PLACE).ok().and_then(|place| place.parse::<SocketAddrV4>().ok());
        let place =
            place.unwrap_or_else(|| panic!("{PLACE} is missing: `with-server {name} COMMAND…` sets it"));
        Self::OnServer(kind, *place.ip(), place.port())
    }

    /// A database of a server of the test's own.
    #[must_use]
    pub fn on(server: &Server) -> Self {
        Self::OnServer(server.kind(), server.host(), server.port())
    }

    /// Makes an empty database, unless files are made as they are needed.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create(self, name: &str) {
        if let Self::OnServer(kind, host, port) = self {
            let made = kind.sql(host, port, kind.first_database(), &format!("CREATE DATABASE {name}"));
            made.unwrap_or_else(|words| panic!("{kind:?} makes no database {name}: {words}"));
        }
    }

    /// Removes a database of a server; files go with their folder.
    pub fn remove(self, name: &str) {
        if let Self::OnServer(kind, host, port) = self {
            let force = if kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
            let text = format!("DROP DATABASE IF EXISTS {name}{force}");
            // The server's folder goes soon, and with it what was not removed.
            let _removed = kind.sql(host, port, kind.first_database(), &text);
        }
    }

    /// The keys of `[data.main]` for a database of this name, as TOML.
    #[must_use]
    pub fn keys(self, name: &str) -> Vec<(&'static str, String)> {
        match self {
            Self::Sqlite => {
                vec![("data.main.driver", "\"sqlite\"".into()), ("data.main.path", "\"data.db\"".into())]
            }
            Self::OnServer(kind, host, port) => vec![
                ("data.main.driver", "\"odbc\"".into()),
                ("data.main.connection", format!("{:?}", kind.connection(host, port, name))),
            ],
        }
    }
}
