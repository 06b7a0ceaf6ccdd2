//! What a test's node is like: a configuration file that is small on purpose.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use crate::Database;

/// What names the server for the passages where a test leaves that open; `with-server mongo` sets it.
const DOCUMENTS: &str = "GANTRY_TEST_DOCUMENTS";

/// The kind of shared memory a node uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// System V segments.
    SysV,
    /// POSIX shared memory.
    Posix,
}

impl Backend {
    /// What `GANTRY_TEST_BACKEND` names; System V when it is not set.
    ///
    /// # Panics
    /// When it names neither.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var("GANTRY_TEST_BACKEND").as_deref() {
            Ok("posix") => Self::Posix,
            Ok("sysv") | Err(_) => Self::SysV,
            Ok(other) => panic!("GANTRY_TEST_BACKEND is `sysv` or `posix`, not {other:?}"),
        }
    }

    /// The word for it in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SysV => "sysv",
            Self::Posix => "posix",
        }
    }
}

/// The configuration of a node. Name, addresses and folders are the harness's; every other key can be set.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    keys: BTreeMap<String, String>,
    database: Database,
    /// The database's name on its server; the node's own where none is given.
    database_name: Option<String>,
    /// The server that keeps the passages as documents, `mongodb://ADDRESS:PORT`.
    documents: Option<String>,
}

impl NodeOptions {
    /// One worker for each queue, the diag library only, and shared memory of a few megabytes, so that many
    /// nodes run side by side on two cores.
    #[must_use]
    pub fn small() -> Self {
        let options = Self {
            keys: BTreeMap::new(),
            database: Database::chosen(),
            database_name: None,
            documents: std::env::var(DOCUMENTS).ok(),
        };
        options
            .text("ipc.backend", Backend::chosen().name())
            .set("ipc.slots", 256)
            .set("ipc.read_queue", 128)
            .set("ipc.write_queue", 128)
            .set("ipc.blocks", blocks(256, 32, 8))
            .set("workers.read", 1)
            .set("workers.write", 1)
            .set("comm.connections_max", 1000)
            .text("node.drain_grace", "50ms")
            .set("service.libraries", r#"["gantry_diag"]"#)
            .text("log.level", "debug")
    }

    /// The sizes of the shipped configuration: for tests that keep a thousand requests in flight.
    #[must_use]
    pub fn full_size() -> Self {
        let small =
            Self::small().set("ipc.slots", 4096).set("ipc.read_queue", 2048).set("ipc.write_queue", 2048);
        small.blocks(4096, 256, 16)
    }

    /// A small node with all the libraries that ship.
    #[must_use]
    pub fn business() -> Self {
        let libraries = r#"["gantry_diag", "gantry_account", "gantry_card", "gantry_passage", "gantry_serial", "gantry_bank", "gantry_clearing"]"#;
        Self::small().set("service.libraries", libraries)
    }

    /// The same with `key = value`, where `key` is written with its section (`comm.body_timeout`) and
    /// `value` as TOML.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Whether a test has set this key.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The same with `key = value` unless a test has set that key.
    #[must_use]
    pub(crate) fn set_default(mut self, key: &str, value: &str) -> Self {
        self.keys.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        self
    }

    /// The same with `key = "value"`.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.set(key, format_args!("{value:?}"))
    }

    /// The same with its data in a database of its own of this kind.
    #[must_use]
    pub fn on(mut self, database: Database) -> Self {
        self.database = database;
        self
    }

    /// The same with its data in a database that is there already and may be shared with other nodes.
    #[must_use]
    pub fn on_existing(mut self, database: Database, name: &str) -> Self {
        self.database = database;
        self.database_name = Some(name.to_owned());
        self
    }

    /// The same with its passages as documents on the server at this `mongodb://ADDRESS:PORT`; the configuration is all
    /// that differs.
    #[must_use]
    pub fn with_documents(mut self, server: &str) -> Self {
        self.documents = Some(server.to_owned());
        self
    }

    /// The URI of the node's own database of documents, if it has one.
    pub(crate) fn documents_uri(&self, name: &str) -> Option<String> {
        self.documents.as_ref().map(|server| format!("{server}/{name}?directConnection=true"))
    }

    /// The kind of its database.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// The name of the database that is there already.
    #[must_use]
    pub fn existing_database(&self) -> Option<&str> {
        self.database_name.as_deref()
    }

    /// The same with this many blocks of 4 KiB, 64 KiB and 1 MiB.
    #[must_use]
    pub fn blocks(self, small: u32, medium: u32, large: u32) -> Self {
        self.set("ipc.blocks", blocks(small, medium, large))
    }

    /// Whether the node uses System V segments.
    #[must_use]
    pub fn is_sysv(&self) -> bool {
        self.keys.get("ipc.backend").is_none_or(|backend| backend == "\"sysv\"")
    }

    /// The configuration file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in &self.keys {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let lines = sections.entry(section).or_default();
            writeln!(lines, "{name} = {value}").expect("a String takes every write");
        }
        let write = |(section, lines): (&&str, &String)| format!("[{section}]\n{lines}\n");
        sections.iter().map(write).collect()
    }
}

fn blocks(small: u32, medium: u32, large: u32) -> String {
    let class = |(size, count): (&str, u32)| format!("{{ size = {size:?}, count = {count} }}");
    let classes: Vec<String> = [("4KiB", small), ("64KiB", medium), ("1MiB", large)].map(class).into();
    format!("[{}]", classes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::NodeOptions;

    #[test]
    fn keys_of_one_section_stand_under_one_header() {
        let toml = NodeOptions::small().text("comm.body_timeout", "1s").to_toml();
        assert_eq!(toml.matches("[comm]").count(), 1);
        assert!(toml.contains("body_timeout = \"1s\"\nconnections_max = 1000\n"), "{toml}");
    }

    #[test]
    fn setting_a_key_again_replaces_it() {
        let toml = NodeOptions::small().set("ipc.slots", 64).to_toml();
        assert!(toml.contains("slots = 64\n") && !toml.contains("slots = 256"), "{toml}");
    }
}
