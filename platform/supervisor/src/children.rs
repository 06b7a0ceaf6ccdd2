//! The table of child kinds, and each child with where it stands.

use std::collections::BTreeSet;

use gantry_message::Queue;
use gantry_segment::Role;
use gantry_settings::WorkersSettings;
use gantry_sys::process::{PidFd, signal_group, start_ticks};
use gantry_sys::signal::Signal;

use crate::back_off::BackOff;
use crate::node_segments::FIXED_ROWS;

/// Row of the communication process.
pub(crate) const COMM_ROW: u8 = 1;

/// One kind of child: how it is started and what it is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChildKind {
    pub(crate) role: Role,
    /// The queue that it takes requests from; a spare worker takes from none yet.
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

/// Workers with everything loaded that take nothing until one of the others dies or leaves.
pub(crate) static SPARE_WORKER: ChildKind = ChildKind {
    role: Role::Spare,
    queue: None,
    word: "spare",
    name: "worker (spare)",
    sub_command: "child-worker",
};

impl ChildKind {
    /// The kind of worker with this role; `None` for what is no worker.
    pub(crate) fn of_worker(role: Role) -> Option<&'static Self> {
        [&READ_WORKER, &WRITE_WORKER, &SPARE_WORKER].into_iter().find(|kind| kind.role == role)
    }

    /// Whether it runs services, or will.
    pub(crate) fn is_worker(&self) -> bool {
        self.role != Role::Comm
    }

    /// Whether it waits to become a worker of a queue.
    pub(crate) fn is_spare(&self) -> bool {
        self.role == Role::Spare
    }
}

/// One place for a child: a row of the process table and who is in it. A place changes its kind when a spare takes the
/// seat of another worker: the two places swap kinds then.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: &'static ChildKind,
    /// Row of the process table.
    pub(crate) row: u8,
    pub(crate) life: Life,
    pub(crate) back_off: BackOff,
    /// Whether anybody was ever started here; what follows is a restart.
    pub(crate) was_started: bool,
    /// Nobody is to follow the process that is here now.
    pub(crate) is_surplus: bool,
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
    /// When the kernel says that it started, in clock ticks; with the pid it names one process.
    pub(crate) start_ticks: u64,
    /// The life of the row that it is.
    pub(crate) epoch: u32,
    pub(crate) started_ns: u64,
    /// When it was first seen ready.
    pub(crate) ready_ns: Option<u64>,
    /// Why and how it is being ended.
    pub(crate) ending: Option<Ending>,
    /// It was asked to leave when it has nothing left to do.
    pub(crate) is_leaving: bool,
    /// It runs an earlier program and is to be replaced.
    pub(crate) is_old: bool,
}

impl Running {
    /// A process that has just been started, or found, and is not known to be ready.
    pub(crate) fn new(pid: i32, pidfd: PidFd, epoch: u32, now_ns: u64) -> Self {
        Self {
            pid,
            pidfd,
            start_ticks: start_ticks(pid).unwrap_or(0),
            epoch,
            started_ns: now_ns,
            ready_ns: None,
            ending: None,
            is_leaving: false,
            is_old: false,
        }
    }

    /// Signals its whole group, as long as it lives: only then its pid is certain to be the number of its own group. That
    /// it has just ended is no fault.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.pidfd.is_dead() {
            return;
        }
        if let Err(error) = signal_group(self.pid, signal) {
            tracing::debug!(pid = self.pid, %error, "a group cannot be signalled; it has probably ended");
        }
    }

    /// Ends what is left of its group after its own end. An orphan is reaped by somebody else, after which its pid may be
    /// given to a stranger: then the group has no member left, and the stranger's is not touched.
    pub(crate) fn end_group(&self) {
        let is_strangers = start_ticks(self.pid).is_some_and(|ticks| ticks != self.start_ticks);
        if !is_strangers {
            // A group without members left is what is wanted.
            let _gone = signal_group(self.pid, Signal::SIGKILL);
        }
    }
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
    /// The time limit of the request that ran longer, which tells it from the child's next one; 0 for other reasons.
    pub(crate) overran_ns: u64,
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

impl Place {
    /// A place that nobody was in yet.
    pub(crate) fn vacant(kind: &'static ChildKind, row: u8) -> Self {
        Self {
            kind,
            row,
            life: Life::Vacant { not_before_ns: 0 },
            back_off: BackOff::default(),
            was_started: false,
            is_surplus: false,
        }
    }
}

/// How many workers of each kind a node wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seats {
    pub(crate) read: u32,
    pub(crate) write: u32,
    pub(crate) spare: u32,
}

impl Seats {
    pub(crate) fn of(workers: &WorkersSettings) -> Self {
        Self { read: workers.read, write: workers.write, spare: workers.spare }
    }

    /// As many of them as a process table of so many rows has room for: spares go first, and each queue keeps one.
    pub(crate) fn within(mut self, rows: u32) -> Self {
        let room = rows.saturating_sub(FIXED_ROWS).max(2);
        self.read = self.read.min(room - 1);
        self.write = self.write.min(room - self.read);
        self.spare = self.spare.min(room - self.read - self.write);
        self
    }

    /// A kind of which there are fewer places than seats.
    pub(crate) fn missing_kind(mut self, places: &[Place]) -> Option<&'static ChildKind> {
        for place in places.iter().filter(|place| place.kind.is_worker() && !place.is_surplus) {
            let open = self.count_mut(place.kind);
            *open = open.saturating_sub(1);
        }
        self.kinds().next()
    }

    /// The seats of a kind of worker.
    pub(crate) fn count_mut(&mut self, kind: &ChildKind) -> &mut u32 {
        match kind.role {
            Role::ReadWorker => &mut self.read,
            Role::WriteWorker => &mut self.write,
            _ => &mut self.spare,
        }
    }

    /// The kind of each seat, in the order in which they get rows.
    fn kinds(self) -> impl Iterator<Item = &'static ChildKind> {
        let kinds = [(&READ_WORKER, self.read), (&WRITE_WORKER, self.write), (&SPARE_WORKER, self.spare)];
        kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |_| kind))
    }
}

/// The places of a node: the communication process in row 1, and everybody who lives already where they are; the other
/// seats get the lowest rows that are left. Whoever lives in a seat too many is surplus.
///
/// `rows` is how many rows the process table has; a seat for which there is no row is left out, and made good when a
/// surplus process has left.
pub(crate) fn places(
    seats: Seats,
    living: Vec<(u8, &'static ChildKind, Running)>,
    rows: usize,
) -> Vec<Place> {
    let mut places = vec![Place::vacant(&COMM, COMM_ROW)];
    let mut open = seats;
    for (row, kind, running) in living {
        let mut place = Place::vacant(kind, row);
        // That it was started is known; a restart of it counts as one.
        (place.life, place.was_started) = (Life::Running(running), true);
        if !kind.is_worker() {
            places[0] = place;
            continue;
        }
        let open = open.count_mut(kind);
        place.is_surplus = *open == 0;
        *open = open.saturating_sub(1);
        places.push(place);
    }
    let taken: BTreeSet<u8> = places.iter().map(|place| place.row).collect();
    let rows = (FIXED_ROWS as u8..=u8::MAX).take_while(|row| usize::from(*row) < rows);
    let free = rows.filter(|row| !taken.contains(row));
    places.extend(open.kinds().zip(free).map(|(kind, row)| Place::vacant(kind, row)));
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_settings::Settings;
    use std::path::Path;

    #[test]
    fn places_follow_each_other_from_row_one_on() {
        let text = "[workers]\nread = 3\nwrite = 2\nspare = 1\n";
        let settings = Settings::from_text(text, Path::new("/tmp/gantry.toml")).unwrap();
        let seats = Seats::of(&settings.workers);
        let rows: Vec<(u8, Role)> =
            places(seats, Vec::new(), 14).iter().map(|place| (place.row, place.kind.role)).collect();
        let (read, write) = (Role::ReadWorker, Role::WriteWorker);
        let workers = [(2, read), (3, read), (4, read), (5, write), (6, write), (7, Role::Spare)];
        assert_eq!(rows, [&[(COMM_ROW, Role::Comm)], &workers[..]].concat());
    }

    #[test]
    fn seats_that_do_not_fit_the_table_are_given_up_spares_first() {
        let seats = Seats { read: 4, write: 2, spare: 3 };
        assert_eq!(seats.within(11), seats);
        assert_eq!(seats.within(9), Seats { spare: 1, ..seats });
        assert_eq!(seats.within(7), Seats { read: 4, write: 1, spare: 0 });
        assert_eq!(seats.within(4), Seats { read: 1, write: 1, spare: 0 });
    }

    #[test]
    fn who_lives_keeps_the_row_and_one_too_many_is_surplus() {
        let seats = Seats { read: 1, write: 1, spare: 1 };
        let living =
            vec![(4, &READ_WORKER, running(40)), (1, &COMM, running(41)), (2, &READ_WORKER, running(42))];
        let places = places(seats, living, 6);
        let told: Vec<(u8, Role, bool, bool)> = places
            .iter()
            .map(|place| (place.row, place.kind.role, place.running().is_some(), place.is_surplus))
            .collect();
        assert_eq!(
            told,
            [
                (1, Role::Comm, true, false),
                (4, Role::ReadWorker, true, false),
                (2, Role::ReadWorker, true, true),
                (3, Role::WriteWorker, false, false),
                (5, Role::Spare, false, false),
            ]
        );
        assert_eq!(seats.missing_kind(&places), None);
    }

    #[test]
    fn a_seat_without_a_row_is_missing_until_a_surplus_process_has_left() {
        let seats = Seats { read: 1, write: 2, spare: 0 };
        let living = vec![(2, &READ_WORKER, running(1)), (3, &SPARE_WORKER, running(2))];
        let mut places = places(seats, living, 5);
        let rows: Vec<u8> = places.iter().map(|place| place.row).collect();
        assert_eq!((rows, seats.missing_kind(&places)), (vec![1, 2, 3, 4], Some(&WRITE_WORKER)));
        (places[2].kind, places[2].is_surplus) = (&WRITE_WORKER, false);
        assert_eq!(seats.missing_kind(&places), None);
    }

    fn running(epoch: u32) -> Running {
        let pid = i32::try_from(std::process::id()).unwrap();
        Running::new(pid, PidFd::open(pid).unwrap(), epoch, 0)
    }
}
