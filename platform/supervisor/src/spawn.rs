//! Starting a child: its row, its descriptors, its arguments.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gantry_message::Queue;
use gantry_ring::Owner;
use gantry_segment::{ProcessRow, ProcessState};
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use gantry_sys::epoll::Interest;
use gantry_sys::process::{Output, PidFd, Spawn, reap};
use gantry_sys::signal::Signal;

use crate::children::{Life, Place, Running};
use crate::limits::{STDERR_FILE_BYTES_MAX, STDERR_QUOTE_BYTES_MAX};
use crate::run::Supervisor;
use crate::time::after;
use crate::token::Token;

impl Supervisor {
    /// Fills a place. When that fails the place stays vacant and is tried again after the back-off.
    pub(crate) fn spawn(&mut self, index: usize) {
        let now_ns = clock::monotonic_ns();
        match self.start_child(index, now_ns) {
            Ok(running) => {
                let place = &mut self.places[index];
                tracing::debug!(child = place.kind.name, row = place.row, pid = running.pid, "child started");
                place.life = Life::Running(running);
                place.was_started = true;
            }
            Err(error) => {
                let max = self.settings.supervisor.restart_backoff_max;
                let place = &mut self.places[index];
                let wait = place.back_off.after_death(false, max);
                place.life = Life::Vacant { not_before_ns: after(now_ns, wait) };
                self.segments.control().processes()[usize::from(place.row)].set_state(ProcessState::Free);
                tracing::error!(child = place.kind.name, row = place.row, %error, ?wait, "child cannot be started");
                self.fail_start(index, &error.to_string());
            }
        }
    }

    fn start_child(&self, index: usize, now_ns: u64) -> io::Result<Running> {
        let place = &self.places[index];
        let row = &self.segments.control().processes()[usize::from(place.row)];
        let epoch = begin_life(row, place, now_ns);
        let stderr = open_stderr(&stderr_file(&self.settings.log.dir, place))?;
        let mut spawn = Spawn::new(&self.executable);
        spawn.arg("-c").arg(&self.settings.file).arg(place.kind.sub_command);
        spawn.args(["--handoff", &self.segments.handoff().to_string()]);
        spawn.args(["--row", &place.row.to_string(), "--epoch", &epoch.to_string()]);
        if place.kind.is_worker() {
            // A spare takes from either queue, once it is told which.
            spawn.args(["--queue", place.kind.queue.map_or("any", Queue::name)]);
        } else if let Some(listeners) = &self.listeners {
            // While the node only stops there are none: what is connected is served, and nobody else.
            let first = first_listener_number(self.doorbells.len());
            spawn.args(["--listeners", &listeners.argument(first)]);
            for (socket, number) in listeners.descriptors().zip(first..) {
                spawn.inherit_as(socket, number);
            }
        }
        let doorbells = || self.doorbells.iter().zip(FIRST_DOORBELL_NUMBER..);
        let numbers: Vec<String> = doorbells().map(|(_, number)| number.to_string()).collect();
        spawn.args(["--doorbells", &numbers.join(",")]);
        for (doorbell, number) in doorbells() {
            spawn.inherit_as(doorbell, number);
        }
        spawn.own_group().stdout(Output::Null).stderr(Output::File(stderr.as_fd()));
        let child = spawn.spawn().map_err(io::Error::other)?;
        let running = Running::new(child.pid, PidFd::from(child.pidfd), epoch, now_ns);
        // Before the life is taken: a row that names a pid then says which process of that number it is.
        row.start_ticks.store(running.start_ticks, Relaxed);
        // The child takes its life too; taken here as well, so that the row names it even if it never runs.
        if let Err(life) = row.take_life(epoch, child.pid.unsigned_abs()) {
            tracing::error!(row = place.row, epoch, ?life, "somebody else took the life of a child");
        }
        let watched = self.poller.add(&running.pidfd, Token::Child(place.row).bits(), Interest::READABLE);
        match watched {
            Ok(()) => Ok(running),
            Err(error) => {
                // Nobody would notice its end. It is dead before its row is used again.
                running.signal(Signal::SIGKILL);
                let _dead = running.pidfd.wait(None);
                let _status = reap(running.pid);
                let _is_closed = row.end_life(row.life());
                Err(error)
            }
        }
    }
}

/// Number of the first doorbell in every child. The numbers are the same in every life and every child, so that a
/// supervisor that starts while children live can take the descriptors from them by number.
pub(crate) const FIRST_DOORBELL_NUMBER: RawFd = 3;

/// Number of the first listener in the communication process: they follow the doorbells.
pub(crate) fn first_listener_number(doorbells_count: usize) -> RawFd {
    FIRST_DOORBELL_NUMBER + RawFd::try_from(doorbells_count).unwrap_or(RawFd::MAX / 2)
}

/// Prepares a row for its next life and gives that life's number. The row's last owner is dead and recovered.
fn begin_life(row: &ProcessRow, place: &Place, now_ns: u64) -> u32 {
    // Life 0 is nobody's, so that a row that was never used owns nothing.
    let epoch = Owner::new(place.row, row.epoch().wrapping_add(1)).epoch().max(1);
    row.set_role(place.kind.role);
    row.start_ticks.store(0, Relaxed);
    row.leave.store(0, Relaxed);
    row.heartbeat_ns.store(now_ns, Relaxed);
    row.bell.store(0, Relaxed);
    row.running_slot.store(0, Relaxed);
    row.running_since_ns.store(0, Relaxed);
    row.kill_at_ns.store(0, Relaxed);
    row.running_service.store(0, Relaxed);
    row.running_service_index.store(0, Relaxed);
    row.running_library.store(0, Relaxed);
    row.inner_service.store(0, Relaxed);
    row.inner_library.store(0, Relaxed);
    row.wants_to_leave.store(0, Relaxed);
    row.failed_libraries.store(0, Relaxed);
    row.serves_former.store(0, Relaxed);
    row.death_note.store(0, Relaxed);
    row.versions_held.store(0, Relaxed);
    row.generation_served.store(0, Relaxed);
    row.private_bytes.store(0, Relaxed);
    if place.was_started {
        row.restarts.fetch_add(1, Relaxed);
    } else {
        row.restarts.store(0, Relaxed);
        row.requests_count.store(0, Relaxed);
    }
    row.set_state(ProcessState::Starting);
    row.begin_life(epoch);
    epoch
}

/// Where the standard error of a child goes: panics, and what libraries print.
fn stderr_file(folder: &Path, place: &Place) -> PathBuf {
    // A spare becomes another kind of worker in the same row.
    let word = if place.kind.is_worker() { "worker" } else { place.kind.word };
    folder.join(format!("{word}-{}.stderr", place.row))
}

/// Opened to append, so that what an earlier life said stays; begun anew when it has grown long.
fn open_stderr(path: &Path) -> io::Result<File> {
    let is_long = std::fs::metadata(path).is_ok_and(|found| found.len() > STDERR_FILE_BYTES_MAX);
    if is_long {
        File::create(path)?;
    }
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// The end of what a child said on standard error, for a message in one line.
pub(crate) fn last_words(folder: &Path, place: &Place) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(stderr_file(folder, place))?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(STDERR_QUOTE_BYTES_MAX)))?;
        let mut text = Vec::new();
        file.take(STDERR_QUOTE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "nothing".to_owned(),
        Ok(text) => text,
        Err(error) => format!("what cannot be read ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::children::READ_WORKER;

    fn place() -> Place {
        Place::vacant(&READ_WORKER, 2)
    }

    #[test]
    fn a_new_life_has_a_new_epoch_and_nothing_of_the_last_one() {
        let row = ProcessRow::default();
        let mut place = place();
        assert_eq!(begin_life(&row, &place, 5), 1);
        row.kill_at_ns.store(9, Relaxed);
        row.death_note.store(11, Relaxed);
        row.running_service.store(19_000_003, Relaxed);
        row.leave.store(1, Relaxed);
        place.was_started = true;
        assert_eq!(begin_life(&row, &place, 6), 2);
        let left = [&row.death_note, &row.running_service, &row.leave].map(|field| field.load(Relaxed));
        assert_eq!((left, row.kill_at_ns.load(Relaxed), row.pid()), ([0; 3], 0, None));
        assert_eq!((row.restarts.load(Relaxed), row.state()), (1, ProcessState::Starting));
        row.begin_life(0xf_ffff);
        assert_eq!(begin_life(&row, &place, 7), 1, "the life number wraps past 0, which is nobody's");
    }

    #[test]
    fn the_last_words_of_a_child_are_the_end_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(last_words(folder.path(), &place()).contains("cannot be read"));
        let path = stderr_file(folder.path(), &place());
        drop(open_stderr(&path).unwrap());
        assert_eq!(last_words(folder.path(), &place()), "nothing");
        std::fs::write(&path, format!("{}\nthe end\n", "x".repeat(9000))).unwrap();
        let words = last_words(folder.path(), &place());
        assert!(words.ends_with("the end") && words.len() < 2049, "{}", words.len());
    }

    #[test]
    fn a_file_that_has_grown_long_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker-2.stderr");
        std::fs::write(&path, vec![b'x'; STDERR_FILE_BYTES_MAX as usize + 1]).unwrap();
        assert_eq!(open_stderr(&path).unwrap().metadata().unwrap().len(), 0);
    }
}
