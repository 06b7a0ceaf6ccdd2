//! Which processes of the table are alive.

use gantry_segment::{Control, ProcessState, Role};
use gantry_sys::atomic::Ordering;
use gantry_sys::process::{PidFd, start_ticks};

/// A process of a node that is alive, held so that a signal can never reach a stranger.
#[derive(Debug)]
pub struct LivingProcess {
    /// Its row in the process table.
    pub row: u8,
    /// What it is for.
    pub role: Role,
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
            Role::None => "process",
            Role::Supervisor => "supervisor",
            Role::Comm => "comm",
            Role::ReadWorker | Role::WriteWorker => "worker",
            Role::Spare => "spare worker",
        };
        format!("{role} {}", self.pid)
    }
}

/// The living processes of a node's table. A pid that was given to another process since, or whose process is a
/// zombie that nobody reaps, is not among them.
#[must_use]
pub fn living_processes(control: &Control) -> Vec<LivingProcess> {
    let own = std::process::id();
    let mut living = Vec::new();
    for (index, row) in control.processes().iter().enumerate() {
        let (pid, ticks) = (row.pid().unwrap_or(0), row.start_ticks.load(Ordering::Relaxed));
        if row.state() == ProcessState::Free || pid == 0 || pid == own {
            continue;
        }
        let (Ok(pid), Ok(row_index)) = (i32::try_from(pid), u8::try_from(index)) else { continue };
        // Held first and compared afterwards: what has the right start time while it is held is the right one.
        let Ok(pidfd) = PidFd::open(pid) else { continue };
        if ticks == 0 || start_ticks(pid) != Some(ticks) || pidfd.is_dead() {
            continue;
        }
        living.push(LivingProcess { row: row_index, role: row.role(), pid, pidfd });
    }
    living
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_segment::Dimensions;
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
}
