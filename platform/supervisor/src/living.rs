//! Which processes of a node are alive: those of its table, and the keepers of its connections.

use std::time::Duration;

use gantry_segment::{Control, ProcessRow, Role};
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;
use gantry_sys::process::{PidFd, signal_group, start_ticks};
use gantry_sys::signal::Signal;

use crate::SupervisorError;

/// A process of a node that is alive, held so that a signal can never reach a stranger.
#[derive(Debug)]
pub struct LivingProcess {
    /// Its row in the process table; in the table of keepers for a keeper.
    pub row: u8,
    /// The life of the row that it is; 0 for a keeper.
    pub epoch: u32,
    /// What it is for; [`Role::None`] for a keeper.
    pub role: Role,
    /// Whether it is a keeper: it holds the sockets of the communication process, and nothing else.
    pub is_keeper: bool,
    /// Its pid, which is also the number of its process group, except for the supervisor.
    pub pid: i32,
    /// Holds this very life of the pid.
    pub pidfd: PidFd,
}

impl LivingProcess {
    /// As messages name it: `worker 4711`.
    #[must_use]
    pub fn name(&self) -> String {
        let role = match self.role {
            Role::None if self.is_keeper => "keeper",
            Role::None => "process",
            Role::Supervisor => "supervisor",
            Role::Comm => "comm",
            Role::ReadWorker | Role::WriteWorker => "worker",
            Role::Spare => "spare worker",
        };
        format!("{role} {}", self.pid)
    }
}

/// The living processes of a node's table, and its keepers. A pid that was given to another process since, or whose
/// process is a zombie that nobody reaps, is not among them.
#[must_use]
pub fn living_processes(control: &Control) -> Vec<LivingProcess> {
    let creation = control.header().creation();
    let rows = (0..=u8::MAX).zip(control.processes());
    let mut living: Vec<_> = rows.filter_map(|(index, row)| living_in(index, row, creation)).collect();
    living.extend(living_keepers(control));
    living
}

/// Kills processes, each with its group, and waits until they are gone. Blocks for at most `limit`.
///
/// # Errors
/// [`SupervisorError::CannotEnd`] names one that is not gone by then.
pub fn end_processes(living: &[LivingProcess], limit: Duration) -> Result<(), SupervisorError> {
    for process in living {
        if !process.pidfd.is_dead() {
            // Alive at this moment, so its pid is the number of its own group. That either has just ended is no fault.
            let _gone = signal_group(process.pid, Signal::SIGKILL);
            let _gone = process.pidfd.signal(Signal::SIGKILL);
        }
    }
    let begun_ns = clock::monotonic_ns();
    for process in living {
        let passed = Duration::from_nanos(clock::monotonic_ns().saturating_sub(begun_ns));
        if !process.pidfd.wait(Some(limit.saturating_sub(passed))) {
            return Err(SupervisorError::CannotEnd { process: process.name() });
        }
    }
    Ok(())
}

/// The children and keepers that were started for segments whose hand-off begins like this, by their command lines: for
/// segments whose process table cannot be read.
#[must_use]
pub fn children_of(handoff: &str) -> Vec<LivingProcess> {
    let is_child = |pid: i32| {
        let words = command_line(pid);
        let is_of_a_node = words.iter().any(|word| word == "child-comm" || word == "child-worker");
        is_of_a_node && value_of(&words, "--handoff").is_some_and(|value| value.starts_with(handoff))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let held = pids.filter(|pid| is_child(*pid)).filter_map(|pid| {
        let pidfd = PidFd::open(pid).ok()?;
        let found = LivingProcess { row: 0, epoch: 0, role: Role::None, is_keeper: false, pid, pidfd };
        // Looked at again now that it is held.
        is_child(pid).then_some(found)
    });
    held.collect()
}

fn command_line(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn value_of<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == option)?;
    words.get(at + 1).map(String::as_str)
}

/// The keepers that are alive.
pub(crate) fn living_keepers(control: &Control) -> Vec<LivingProcess> {
    let keeper = |(row, keeper): (u8, &gantry_segment::KeeperRow)| {
        let (pid, ticks) = keeper.keeper()?;
        let pid = i32::try_from(pid).ok()?;
        let pidfd = PidFd::open(pid).ok()?;
        let is_it = start_ticks(pid) == Some(ticks) && !pidfd.is_dead();
        is_it.then_some(LivingProcess { row, epoch: 0, role: Role::None, is_keeper: true, pid, pidfd })
    };
    (0..=u8::MAX).zip(control.keepers()).filter_map(keeper).collect()
}

fn living_in(index: u8, row: &ProcessRow, creation: u64) -> Option<LivingProcess> {
    let life = row.life();
    let pid = life.pid.filter(|pid| *pid != std::process::id())?;
    let pid = i32::try_from(pid).ok()?;
    // Held first and compared afterwards: what is the right one while it is held stays the right one.
    let pidfd = PidFd::open(pid).ok()?;
    let is_it = match row.start_ticks.load(Ordering::Relaxed) {
        // It took its life by itself, and whoever writes its start down died before that. It runs its own code, so its
        // command line is there.
        0 => {
            let is_told = is_told_to_be(pid, index, life.epoch, creation);
            if is_told {
                row.start_ticks.store(start_ticks(pid).unwrap_or(0), Ordering::Relaxed);
            }
            is_told
        }
        ticks => start_ticks(pid) == Some(ticks),
    };
    let role = row.role();
    (is_it && !pidfd.is_dead()).then_some(LivingProcess {
        row: index,
        epoch: life.epoch,
        role,
        is_keeper: false,
        pid,
        pidfd,
    })
}

/// Whether the process was started to live this life, by its command line.
fn is_told_to_be(pid: i32, row: u8, epoch: u32, creation: u64) -> bool {
    let words = command_line(pid);
    value_of(&words, "--row") == Some(row.to_string().as_str())
        && value_of(&words, "--epoch") == Some(epoch.to_string().as_str())
        && value_of(&words, "--handoff")
            .is_some_and(|handoff| handoff.ends_with(&format!(",{creation:016x}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_segment::{Dimensions, ProcessState};
    use gantry_sys::process::Spawn;

    use crate::testing::small_dimensions;

    fn write(control: &Control, index: usize, pid: i32, ticks: u64) {
        let row = &control.processes()[index];
        row.begin_life(1);
        row.take_life(1, u32::try_from(pid).unwrap()).unwrap();
        row.start_ticks.store(ticks, Ordering::Relaxed);
        row.role.store(Role::ReadWorker as u32, Ordering::Relaxed);
        row.set_state(ProcessState::Idle);
    }

    #[test]
    fn only_the_very_life_that_the_row_names_is_alive() {
        let dimensions: Dimensions = small_dimensions();
        let control = Control::heap(dimensions).unwrap();
        let child = Spawn::new("/bin/sleep").arg("60").spawn().unwrap();
        let pidfd = PidFd::from(child.pidfd);
        let ticks = start_ticks(child.pid).unwrap();
        write(&control, 2, child.pid, ticks);
        write(&control, 3, child.pid, ticks + 1);
        write(&control, 4, child.pid, 0);
        let living = living_processes(&control);
        assert_eq!(living.iter().map(|process| process.row).collect::<Vec<_>>(), [2]);
        assert_eq!(living[0].name(), format!("worker {}", child.pid));
        pidfd.signal(gantry_sys::signal::Signal::SIGKILL).unwrap();
        assert!(pidfd.wait(Some(std::time::Duration::from_secs(60))));
        // A zombie: nobody has reaped it yet.
        assert!(living_processes(&control).is_empty());
        assert!(gantry_sys::process::reap(child.pid).has_ended());
    }

    /// A child that took its life just before the supervisor died, which was to note when it started.
    #[test]
    fn a_life_without_a_start_time_is_known_by_the_command_line() {
        let control = Control::heap(small_dimensions()).unwrap();
        let creation =
            format!("sysv:{},sysv:2,sysv:3,{:016x}", std::process::id(), control.header().creation());
        let start = |epoch: &str| {
            let mut spawn = Spawn::new("/bin/sh");
            spawn.args(["-c", "sleep 60; true", "child-worker", "--handoff", &creation, "--row", "2"]);
            spawn.args(["--epoch", epoch]).own_group().spawn().unwrap()
        };
        for (epoch, expected) in [("1", 1), ("7", 0)] {
            let child = start(epoch);
            // The kernel lets the parent go on before the new program's command line is in place.
            while command_line(child.pid).len() < 2 {
                std::thread::yield_now();
            }
            write(&control, 2, child.pid, 0);
            assert_eq!(living_processes(&control).len(), expected, "epoch {epoch}");
            assert_eq!(children_of(&creation)[0].pid, child.pid);
            let ticks = control.processes()[2].start_ticks.load(Ordering::Relaxed);
            assert_eq!(ticks != 0, expected == 1, "the start is written down for the next look");
            gantry_sys::process::signal_group(child.pid, gantry_sys::signal::Signal::SIGKILL).unwrap();
            assert!(PidFd::from(child.pidfd).wait(Some(std::time::Duration::from_secs(60))));
            assert!(gantry_sys::process::reap(child.pid).has_ended());
        }
    }

    #[test]
    fn keepers_are_among_the_living_by_their_start_time() {
        let control = Control::heap(small_dimensions()).unwrap();
        let child = Spawn::new("/bin/sleep").arg("60").spawn().unwrap();
        let (pid, ticks) = (u32::try_from(child.pid).unwrap(), start_ticks(child.pid).unwrap());
        control.keepers()[3].set(pid, ticks);
        control.keepers()[4].set(pid, ticks + 1);
        let names: Vec<String> = living_processes(&control).iter().map(LivingProcess::name).collect();
        assert_eq!(names, [format!("keeper {pid}")]);
        let pidfd = PidFd::from(child.pidfd);
        pidfd.signal(gantry_sys::signal::Signal::SIGKILL).unwrap();
        assert!(pidfd.wait(Some(std::time::Duration::from_secs(60))));
        assert!(living_keepers(&control).is_empty());
        assert!(gantry_sys::process::reap(child.pid).has_ended());
    }
}
