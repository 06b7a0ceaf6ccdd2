//! Resource limits of the process.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The process may not even have as many descriptors as it cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at least {least} descriptors are needed, at most {hard} are allowed: raise LimitNOFILE (systemd) or `ulimit -Hn`"
)]
pub struct NofileError {
    /// How many are needed.
    pub least: u64,
    /// The hard limit: how many this user may have.
    pub hard: u64,
}

/// Sees to it that this process may have `wanted` descriptors open, or as many below that as are allowed, and returns
/// how many it may now have.
///
/// Never lowers a limit. Above the hard limit it works with CAP_SYS_RESOURCE only, up to `fs.nr_open`.
///
/// # Errors
/// [`NofileError`] if not even `least` are allowed; the limit is then as it was.
pub fn raise_nofile(wanted: u64, least: u64) -> Result<u64, NofileError> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).expect("asking for a limit fails for a bad address only");
    if soft >= wanted {
        return Ok(soft);
    }
    let set: Result<(), Errno> = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted));
    if set.is_ok() {
        return Ok(wanted);
    }
    // The kernel's reasons (no right, above `fs.nr_open`) all come to the same: so many are not allowed.
    if hard < least || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return Err(NofileError { least, hard });
    }
    Ok(hard)
}

/// How many descriptors this process may have open now.
pub fn nofile() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft)
}

/// Sees to it that the table of descriptors has room for the numbers below `count`.
///
/// The kernel doubles the table when a number does not fit, and while threads or processes share it each doubling waits until
/// no processor can be looking at the old one: some 15 ms each time, on the way to ten thousand descriptors ten times. So
/// whoever will have many makes room before anybody shares the table with it. `any` is one that it has already.
///
/// # Errors
/// `EINVAL`: `count` is above the limit of open files ([`raise_nofile`]); `EMFILE`, `ENOMEM`.
pub fn make_descriptor_room(any: impl AsFd, count: u32) -> io::Result<()> {
    let last = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
    let highest = fcntl(any, FcntlArg::F_DUPFD_CLOEXEC(last))?;
    // SAFETY: the descriptor was just made, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(highest) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    /// The limit belongs to the whole process, so tests that share one take turns.
    static TURN: Mutex<()> = Mutex::new(());

    #[test]
    fn limit_that_is_high_enough_is_left_alone() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_nofile(1, 1), Ok(soft));
        assert_eq!(raise_nofile(soft, soft), Ok(soft));
    }

    #[test]
    fn soft_limit_is_raised_up_to_the_hard_one() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(200), hard).unwrap();
        let wanted = hard.min(300);
        assert_eq!(raise_nofile(wanted, 1), Ok(wanted.max(soft.min(200))));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().1, hard);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }

    #[test]
    fn more_than_the_kernel_ever_allows_is_cut_to_the_hard_limit_or_refused_with_both_figures() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let refusal = raise_nofile(1 << 40, 1 << 40).unwrap_err();
        assert_eq!(refusal, NofileError { least: 1 << 40, hard });
        assert!(refusal.to_string().contains(&hard.to_string()), "{refusal}");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (soft, hard));
        assert_eq!(raise_nofile(1 << 40, 1), Ok(hard));
        assert_eq!(nofile(), hard);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }

    #[test]
    fn room_for_descriptors_is_what_the_kernel_says() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let room = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            size.trim().parse::<u32>().unwrap()
        };
        let count = room() + 1;
        raise_nofile(u64::from(count), u64::from(count)).unwrap();
        make_descriptor_room(io::stdin(), count).unwrap();
        assert!(room() >= count, "{} for {count}", room());
        let refused = make_descriptor_room(io::stdin(), u32::MAX).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EINVAL));
    }
}
