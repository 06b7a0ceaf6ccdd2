//! The locked pid file: at most one supervisor for each instance.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::process::{has_stopped_running, take_inherited};

/// How often a file that vanishes between opening and locking is opened again; more often than that somebody
/// plays with us.
const REOPEN_MAX: u32 = 16;
/// How long a lock may outlive the process that had it.
const OUTLIVED_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to have it then.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Longest content that is read as a pid, in bytes.
const PID_TEXT_BYTES_MAX: u64 = 16;

/// Why the pid file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A living process has it.
    #[error(
        "{} is locked by {}: the instance is running already; stop it first or choose another [node] name",
        path.display(), named(*held_by)
    )]
    Held {
        /// The pid file.
        path: PathBuf,
        /// The holder's pid, if it has written it already.
        held_by: Option<i32>,
    },
    /// The file could not be opened, locked or written.
    #[error(
        "{call} {}: {cause}; check that its folder exists and that this user may write there",
        path.display()
    )]
    File {
        /// The pid file.
        path: PathBuf,
        /// What failed.
        call: &'static str,
        /// The kernel's reason.
        cause: io::Error,
    },
}

impl LockError {
    /// The pid of the process that has the lock, if that is the problem and the pid is known.
    #[must_use]
    pub fn held_by(&self) -> Option<i32> {
        match self {
            Self::Held { held_by, .. } => *held_by,
            Self::File { .. } => None,
        }
    }
}

fn named(pid: Option<i32>) -> String {
    pid.map_or_else(|| "a process that is just starting".to_owned(), |pid| format!("process {pid}"))
}

/// Who has a pid file, as [`PidFile::holder`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// No living process, whatever the file says.
    Nobody,
    /// The process with this pid.
    Process(i32),
    /// A process that has locked the file and not yet written its pid.
    Starting,
}

/// A pid file that this process has locked. The lock goes when this is dropped or the process dies, however
/// it dies; the file stays, empty.
///
/// The lock is one of the open file (`F_OFD_SETLK`): it conflicts with every other open of the file, also in
/// the same process, and a program that this process starts does not hold it.
#[derive(Debug)]
pub struct PidFile {
    file: File,
}

impl PidFile {
    /// Locks the file at `path`, makes it if need be (mode 0600), and writes this process's pid. Blocks for a second at
    /// most, and only while the process that had the lock is dead: its last thread, or a program that it was just
    /// starting, may have the lock for a moment longer.
    ///
    /// # Errors
    /// [`LockError::Held`] if a living process has it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let begun = Instant::now();
        loop {
            match Self::try_acquire(path) {
                Err(LockError::Held { held_by: Some(pid), .. })
                    if has_stopped_running(pid) && begun.elapsed() < OUTLIVED_MAX =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                }
                outcome => return outcome,
            }
        }
    }

    fn try_acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |call| move |cause: io::Error| LockError::File { path: path.to_owned(), call, cause };
        for _ in 0..REOPEN_MAX {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(path).map_err(failed("open"))?;
            if let Some(held) = Self::lock(file, path)? {
                return Ok(held);
            }
        }
        Err(failed("lock")(io::Error::other("the file keeps being replaced")))
    }

    /// Locks an open file and writes the pid, unless it is not the one at `path` any more: somebody may have
    /// removed it after it was opened, and a lock on a nameless file keeps nobody out.
    fn lock(mut file: File, path: &Path) -> Result<Option<Self>, LockError> {
        let failed = |call| move |cause: io::Error| LockError::File { path: path.to_owned(), call, cause };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let held_by = written_pid(&file).map_err(failed("read"))?;
                return Err(LockError::Held { path: path.to_owned(), held_by });
            }
            Err(errno) => return Err(failed("lock")(errno.into())),
        }
        if !is_at(&file, path).map_err(failed("stat"))? {
            return Ok(None);
        }
        let text = format!("{}\n", std::process::id());
        file.set_len(0).map_err(failed("truncate"))?;
        file.rewind().map_err(failed("seek"))?;
        file.write_all(text.as_bytes()).map_err(failed("write"))?;
        Ok(Some(Self { file }))
    }

    /// Lets the lock outlive an exec of this process, and gives the number of the descriptor that carries it; the new
    /// program calls [`take_over`](Self::take_over) with it. There is no moment at which nobody has the lock.
    ///
    /// Programs that are started (rather than executed in place) meanwhile inherit it too.
    ///
    /// # Errors
    /// None that is known.
    pub fn pass_over_exec(&self) -> io::Result<RawFd> {
        fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(self.file.as_raw_fd())
    }

    /// The exec did not come about: programs that are started no longer inherit the lock.
    ///
    /// # Errors
    /// None that is known.
    pub fn keep_from_exec(&self) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(())
    }

    /// Takes over the lock that this process had before it executed this program, from the descriptor `number`.
    ///
    /// # Errors
    /// [`LockError`] if the descriptor was not handed on, or is not the locked file at `path`.
    pub fn take_over(path: &Path, number: RawFd) -> Result<Self, LockError> {
        let failed = |call| move |cause: io::Error| LockError::File { path: path.to_owned(), call, cause };
        let descriptor = take_inherited(number).map_err(failed("take over"))?;
        // Locking again what the same open file has locked already changes nothing.
        Self::lock(File::from(descriptor), path)?
            .ok_or_else(|| failed("take over")(io::Error::other("it is another file now")))
    }

    /// Tells who has the file at `path`, without disturbing anybody who is just trying to lock it. Blocks as
    /// [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// [`LockError::File`] if it exists and cannot be read.
    pub fn holder(path: &Path) -> Result<Holder, LockError> {
        let begun = Instant::now();
        loop {
            match Self::holder_now(path) {
                Ok(Holder::Process(pid)) if has_stopped_running(pid) && begun.elapsed() < OUTLIVED_MAX => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                found => return found,
            }
        }
    }

    fn holder_now(path: &Path) -> Result<Holder, LockError> {
        let failed = |call| move |cause: io::Error| LockError::File { path: path.to_owned(), call, cause };
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(cause) => return Err(failed("open")(cause)),
        };
        let mut asked = whole_file(libc::F_WRLCK);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).map_err(|errno| failed("lock")(errno.into()))?;
        if i32::from(asked.l_type) == libc::F_UNLCK {
            return Ok(Holder::Nobody);
        }
        Ok(written_pid(&file).map_err(failed("read"))?.map_or(Holder::Starting, Holder::Process))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Neither can matter: a pid left in an unlocked file is not believed by anyone, and the lock also
        // goes with the file's last holder. It is undone by name because a child forked without exec would go
        // on holding it.
        let _emptied = self.file.set_len(0);
        let _unlocked = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
    }
}

/// A request about all bytes of a file, also those still to come.
fn whole_file(kind: libc::c_int) -> libc::flock {
    let kind = libc::c_short::try_from(kind).expect("the kinds of locks are 0, 1 and 2");
    // `l_pid` must be 0 in requests about open files' locks; SEEK_SET is 0.
    libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// The pid in the file, if what is there is a whole one.
fn written_pid(mut file: &File) -> io::Result<Option<i32>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(PID_TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = core::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    Ok(text.and_then(|text| text.parse().ok()).filter(|pid| *pid > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn second_acquire_is_refused_with_the_holders_pid_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Nobody);
        let first = PidFile::acquire(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let refusal = PidFile::acquire(&path).unwrap_err();
        assert_eq!(refusal.held_by(), Some(own_pid()));
        assert!(refusal.to_string().contains(&format!("process {}", own_pid())), "{refusal}");
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Process(own_pid()));
        drop(first);
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Nobody);
        PidFile::acquire(&path).unwrap();
    }

    #[test]
    fn pid_left_by_a_dead_process_is_overwritten_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        std::fs::write(&path, "123456789012\nmore").unwrap();
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Nobody);
        let _held = PidFile::acquire(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", own_pid()));
    }

    /// As of a program that a killed supervisor was just starting.
    #[test]
    fn lock_that_outlives_its_process_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let child = crate::process::Spawn::new("/bin/true").spawn().unwrap();
        assert!(crate::process::PidFd::from(child.pidfd).wait(None));
        assert!(crate::process::reap(child.pid).has_ended());
        std::fs::write(&path, format!("{}\n", child.pid)).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(LOOK_AGAIN * 20);
                fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))).unwrap();
            });
            assert_eq!(PidFile::holder(&path).unwrap(), Holder::Nobody);
            PidFile::acquire(&path).unwrap();
        });
    }

    #[test]
    fn lock_before_the_pid_is_written_has_a_holder_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let file = File::create_new(&path).unwrap();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))).unwrap();
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Starting);
        assert_eq!(PidFile::acquire(&path).unwrap_err().held_by(), None);
        std::fs::write(&path, "12").unwrap();
        assert_eq!(PidFile::holder(&path).unwrap(), Holder::Starting, "half a number is no pid");
    }

    #[test]
    fn lock_is_not_held_by_a_started_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let held = PidFile::acquire(&path).unwrap();
        let child = crate::process::Spawn::new("/bin/sleep").arg("100").spawn().unwrap();
        drop(held);
        let next = PidFile::acquire(&path);
        let sleeper = crate::process::PidFd::from(child.pidfd);
        sleeper.signal(crate::signal::Signal::SIGKILL).unwrap();
        assert!(sleeper.wait(None));
        assert!(crate::process::reap(child.pid).has_ended());
        next.unwrap();
    }

    #[test]
    fn file_removed_while_held_does_not_keep_the_name_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let orphaned = PidFile::acquire(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let named = PidFile::acquire(&path).unwrap();
        assert!(!is_at(&orphaned.file, &path).unwrap() && is_at(&named.file, &path).unwrap());
    }

    #[test]
    fn file_removed_or_replaced_between_opening_and_locking_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let opened = File::create_new(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(PidFile::lock(opened.try_clone().unwrap(), &path).unwrap().is_none());
        let _replaced = PidFile::acquire(&path).unwrap();
        assert!(PidFile::lock(opened, &path).unwrap().is_none());
    }

    /// What happens at an exec, without one: the descriptor stays open and its owner is forgotten.
    #[test]
    fn lock_passed_over_an_exec_is_the_same_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gantry.pid");
        let held = PidFile::acquire(&path).unwrap();
        assert!(PidFile::take_over(&path, held.file.as_raw_fd()).is_err(), "it is not handed on yet");
        let number = held.pass_over_exec().unwrap();
        std::mem::forget(held);
        let taken = PidFile::take_over(&path, number).unwrap();
        assert_eq!(PidFile::acquire(&path).unwrap_err().held_by(), Some(own_pid()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", own_pid()));
        drop(taken);
        PidFile::acquire(&path).unwrap();
    }

    #[test]
    fn folder_that_is_missing_is_named_in_the_error() {
        let refusal = PidFile::acquire(Path::new("/nonexistent/gantry.pid")).unwrap_err();
        assert!(refusal.to_string().contains("/nonexistent/gantry.pid"), "{refusal}");
        assert_eq!(refusal.held_by(), None);
    }
}
