//! Which data a server has: the two names that change whenever it may have other data than before.

use std::fmt;

use super::Trouble;

/// The run id is new in each life of a Redis process; the replication id is new whenever a server becomes a master.
/// Data that a process has under one pair was never replaced by a copy: to take over another's data it must begin a new
/// life or become that server's replica, and to serve as a master again after that it takes a new replication id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) run_id: String,
    pub(crate) replication_id: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.run_id, self.replication_id)
    }
}

impl Identity {
    /// Reads the answers to `INFO server` and `INFO replication`. Only a master has an identity.
    pub(crate) fn read(server: &str, replication: &str) -> Result<Self, Trouble> {
        let role = field(replication, "role").unwrap_or("");
        if role != "master" {
            return Err(Trouble::NotMaster { role: role.chars().take(20).collect() });
        }
        let id = |text: Option<&str>| {
            text.filter(|id| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .map(str::to_owned)
                .ok_or(Trouble::Answer { what: "INFO has no run_id or no master_replid" })
        };
        Ok(Self {
            run_id: id(field(server, "run_id"))?,
            replication_id: id(field(replication, "master_replid"))?,
        })
    }

    /// Why a list of `self` cannot be used on a server that is `other`.
    pub(crate) fn difference(&self, other: &Self) -> Ended {
        if self.run_id == other.run_id { Ended::ReplicationId } else { Ended::RunId }
    }
}

/// The value of a line of `INFO`.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

/// Why a list was given up. The numbers are those of `SerialList::ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another server process answered: a restart, or a fail-over.
    RunId,
    /// The server was a replica in between, or let its backlog go.
    ReplicationId,
    /// `gantry serial raise` began a new epoch.
    Raised,
    /// Its count of pops was lower than before.
    WentBack,
    /// A worker that was started found another list in use than earlier ones had.
    Unseen,
}

impl Ended {
    pub(crate) const ALL: [Self; 5] =
        [Self::RunId, Self::ReplicationId, Self::Raised, Self::WentBack, Self::Unseen];

    pub(crate) fn code(self) -> u32 {
        match self {
            Self::RunId => 1,
            Self::ReplicationId => 2,
            Self::Raised => 3,
            Self::WentBack => 4,
            Self::Unseen => 5,
        }
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ended| ended.code() == code)
    }

    /// At most 40 bytes, the width of the column.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::RunId => "restart or fail-over: another run id",
            Self::ReplicationId => "another replication id",
            Self::Raised => "a new epoch: raise, or data went back",
            Self::WentBack => "its data went back",
            Self::Unseen => "another list, met as a worker started",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "24873f1594407faf62be3a4fe002e9dad4214d3c";
    const REPL: &str = "a8a2f008d3525208539536e75045f665149c4294";

    fn info(role: &str, run: &str, repl: &str) -> Result<Identity, Trouble> {
        let server = format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run}\r\ntcp_port:1\r\n");
        let replication =
            format!("# Replication\r\nrole:{role}\r\nmaster_replid:{repl}\r\nmaster_replid2:0\r\n");
        Identity::read(&server, &replication)
    }

    #[test]
    fn identity_of_a_master_is_read_and_compared() {
        let first = info("master", RUN, REPL).unwrap();
        assert_eq!(first.to_string(), format!("{RUN}:{REPL}"));
        assert_eq!(first.difference(&info("master", REPL, REPL).unwrap()), Ended::RunId);
        assert_eq!(first.difference(&info("master", RUN, RUN).unwrap()), Ended::ReplicationId);
    }

    #[test]
    fn replica_and_damaged_answers_have_none() {
        assert!(matches!(info("slave", RUN, REPL), Err(Trouble::NotMaster { .. })));
        assert!(matches!(info("master", "", REPL), Err(Trouble::Answer { .. })));
        assert!(matches!(info("master", RUN, "x"), Err(Trouble::Answer { .. })));
        assert!(matches!(Identity::read("", ""), Err(Trouble::NotMaster { .. })));
    }

    #[test]
    fn reasons_fit_their_column_and_codes_come_back() {
        for ended in Ended::ALL {
            assert!(ended.reason().len() <= 40);
            assert_eq!(Ended::from_code(ended.code()), Some(ended));
        }
        assert_eq!(Ended::from_code(0), None);
    }
}
