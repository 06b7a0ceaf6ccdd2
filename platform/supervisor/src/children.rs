//! The table of child kinds, and each child with where it stands.

use gantry_message::Queue;
use gantry_segment::Role;
use gantry_settings::WorkersSettings;
use gantry_sys::process::PidFd;

use crate::back_off::BackOff;
use crate::node_segments::FIXED_ROWS;

/// Row of the communication process.
pub(crate) const COMM_ROW: u8 = 1;

/// One kind of child: how it is started and what it is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChildKind {
    pub(crate) role: Role,
    /// The queue that it takes requests from.
    pub(crate) queue: Option<Queue>,
    /// The role as `status` and file names have it.
    pub(crate) word: &'static str,
    /// The kind in messages.
    pub(crate) name: &'static str,
    /// Hidden sub-command of the binary.
    pub(crate) sub_command: &'static str,
}

/// The communication process.
pub(crate) static COMM: ChildKind =
    ChildKind { role: Role::Comm, queue: None, word: "comm", name: "comm", sub_command: "child-comm" };

/// Workers of the read queue.
pub(crate) static READ_WORKER: ChildKind = ChildKind {
    role: Role::ReadWorker,
    queue: Some(Queue::Read),
    word: "worker",
    name: "worker (read)",
    sub_command: "child-worker",
};

/// Workers of the write queue.
pub(crate) static WRITE_WORKER: ChildKind = ChildKind {
    role: Role::WriteWorker,
    queue: Some(Queue::Write),
    word: "worker",
    name: "worker (write)",
    sub_command: "child-worker",
};

/// One place for a child: a row of the process table and who is in it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: &'static ChildKind,
    /// Row of the process table.
    pub(crate) row: u8,
    pub(crate) life: Life,
    pub(crate) back_off: BackOff,
    /// Whether anybody was ever started here; what follows is a restart.
    pub(crate) was_started: bool,
}

/// Who is in a place.
#[derive(Debug)]
pub(crate) enum Life {
    /// Nobody; to be filled at this time, when the node wants it filled.
    Vacant { not_before_ns: u64 },
    /// A process.
    Running(Running),
}

/// A child that runs, as far as its pidfd tells.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) pidfd: PidFd,
    /// The life of the row that it is.
    pub(crate) epoch: u32,
    pub(crate) started_ns: u64,
    /// When it was first seen ready.
    pub(crate) ready_ns: Option<u64>,
    /// Why and how it is being ended.
    pub(crate) ending: Option<Ending>,
}

/// Why the supervisor ends a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its service ran longer than its time-out, and the policy is to kill.
    OverTime,
    /// It gave no sign of life.
    Hung,
    /// It did not get ready in time.
    NotReady,
    /// The node stops.
    Stop,
}

impl Reason {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::OverTime => "its service overran its time-out",
            Self::Hung => "it gave no sign of life",
            Self::NotReady => "it did not get ready in time",
            Self::Stop => "the node stops",
        }
    }
}

/// How far the ending of a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: Reason,
    /// When it is killed if it has not ended by itself.
    pub(crate) kill_at_ns: u64,
    /// Whether it was killed.
    pub(crate) is_killed: bool,
}

impl Place {
    /// The process, if there is one.
    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.life {
            Life::Running(running) => Some(running),
            Life::Vacant { .. } => None,
        }
    }

    /// Whether a process is here that had been ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.running().is_some_and(|running| running.ready_ns.is_some())
    }
}

/// The places of a node: the communication process in row 1, read workers from row 2, write workers behind them.
pub(crate) fn places(workers: &WorkersSettings) -> Vec<Place> {
    let kinds = [(&COMM, 1), (&READ_WORKER, workers.read), (&WRITE_WORKER, workers.write)];
    let kinds = kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |_| kind));
    // Settings hold both kinds of workers together below 256 rows.
    let rows = (FIXED_ROWS as u8 - 1)..=u8::MAX;
    let place = |(kind, row)| Place {
        kind,
        row,
        life: Life::Vacant { not_before_ns: 0 },
        back_off: BackOff::default(),
        was_started: false,
    };
    kinds.zip(rows).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_settings::Settings;
    use std::path::Path;

    #[test]
    fn places_follow_each_other_from_row_one_on() {
        let text = "[workers]\nread = 3\nwrite = 2\n";
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let rows: Vec<(u8, Role)> =
            places(&settings.workers).iter().map(|place| (place.row, place.kind.role)).collect();
        let (read, write) = (Role::ReadWorker, Role::WriteWorker);
        assert_eq!(rows, [(COMM_ROW, Role::Comm), (2, read), (3, read), (4, read), (5, write), (6, write)]);
    }
}
