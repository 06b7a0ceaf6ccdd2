//! Who this process runs as, and who may look into it.

use std::io;

/// The effective user id, which decides what the process may do. 0 is root.
#[must_use]
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Allows (or forbids) other processes of the same user to trace this one and to take its descriptors
/// (`pidfd_getfd`), and cores to be written.
///
/// The kernel forbids it whenever a process changes its user; the communication process allows it again, so
/// that its successor can take over the connections.
///
/// # Errors
/// None that is known.
pub fn set_dumpable(allowed: bool) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(allowed)?)
}

/// Allows every process of the same user to trace this one where Yama would allow only its parents; see
/// [`set_dumpable`]. Where Yama is not built into the kernel, nothing is needed and nothing happens.
///
/// # Errors
/// None that is known.
pub fn allow_tracers() -> io::Result<()> {
    // SAFETY: numbers only.
    let returned = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let error = io::Error::last_os_error();
    if returned == 0 || error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{ExitState, Output, PidFd, Spawn, own_executable, reap};
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    #[test]
    fn effective_user_owns_the_files_that_the_process_makes() {
        assert_eq!(tempfile::tempfile().unwrap().metadata().unwrap().uid(), effective_uid());
    }

    #[test]
    fn dumpable_is_what_was_set_last() {
        const COPY: &str = "GANTRY_SYS_TEST_DUMPABLE";
        if std::env::var_os(COPY).is_some() {
            for allowed in [false, true] {
                set_dumpable(allowed).unwrap();
                assert_eq!(nix::sys::prctl::get_dumpable().unwrap(), allowed);
            }
            return;
        }
        // In a copy of this program: while it is off, other tests in this process could not read /proc/self.
        let mut spawn = Spawn::new(own_executable().unwrap());
        let spawn = spawn.args(["user::tests::dumpable_is_what_was_set_last", "--exact"]).env(COPY, "1");
        let child = spawn.stdout(Output::Null).spawn().unwrap();
        assert!(PidFd::from(child.pidfd).wait(Some(Duration::from_secs(60))));
        assert_eq!(reap(child.pid), ExitState::Exited { code: 0 });
    }
}
