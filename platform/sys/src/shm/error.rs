//! Why an operation on a segment failed, with what an operator can do about it.

use std::fmt;

use nix::errno::Errno;

/// The kinds of failure that a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShmCause {
    /// A segment with this key is there already.
    Exists,
    /// There is no such segment.
    Missing,
    /// There was one, and it has been removed.
    Removed,
    /// It belongs to another user.
    Denied,
    /// A limit of the kernel, or of the machine's memory.
    NoSpace,
    /// The size or the key is one that the kernel does not take.
    Invalid,
    /// Anything else; the number of the error tells.
    Other,
}

/// A failed operation on a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} for {target}: {} (errno {errno}); {}", self.text(), self.hint())]
pub struct ShmError {
    /// What kind of failure it is.
    pub cause: ShmCause,
    /// The system call that failed.
    pub call: &'static str,
    /// The key or id it was called for, as it is written elsewhere.
    pub target: String,
    /// The kernel's number of the error.
    pub errno: i32,
}

impl ShmError {
    /// What to do about it, for an operator.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.cause {
            ShmCause::Exists => {
                "another instance uses this key, or one that ended left it: see `gantry ipc list`"
            }
            ShmCause::Missing => "nobody made it, or it was removed: start the supervisor, which makes it",
            ShmCause::Removed => {
                "it was removed under us; \
                 under systemd-logind set RemoveIPC=no or run as a system user, then restart"
            }
            ShmCause::Denied => "it belongs to another user: run as its owner (`ipcs -m`, `ls -l /dev/shm`)",
            ShmCause::NoSpace => {
                "raise kernel.shmall or kernel.shmmni, \
                 enlarge /dev/shm, free memory, or lower [ipc] slots and blocks"
            }
            ShmCause::Invalid => {
                "the size must be from 1 byte to kernel.shmmax and \
                 no more than the existing segment's, the key a valid one"
            }
            ShmCause::Other => "see the error's number in errno(3)",
        }
    }

    /// The kernel's own words.
    fn text(&self) -> &'static str {
        Errno::from_raw(self.errno).desc()
    }

    /// An error of which the number alone tells the cause.
    pub(super) fn new(call: &'static str, target: impl fmt::Display, errno: Errno) -> Self {
        let cause = match errno {
            Errno::EEXIST => ShmCause::Exists,
            Errno::ENOENT => ShmCause::Missing,
            Errno::EIDRM => ShmCause::Removed,
            Errno::EACCES | Errno::EPERM => ShmCause::Denied,
            Errno::ENOSPC | Errno::ENOMEM | Errno::EFBIG | Errno::EMFILE | Errno::ENFILE => ShmCause::NoSpace,
            Errno::EINVAL | Errno::ENAMETOOLONG => ShmCause::Invalid,
            _ => ShmCause::Other,
        };
        Self { cause, call, target: target.to_string(), errno: errno as i32 }
    }

    /// The error of a system call that has just failed in this thread.
    pub(super) fn last(call: &'static str, target: impl fmt::Display) -> Self {
        Self::new(call, target, Errno::last())
    }

    /// As [`Self::last`], for calls that take an id, where the kernel says "invalid" of an id that does not
    /// exist.
    pub(super) fn last_by_id(call: &'static str, target: impl fmt::Display) -> Self {
        let mut error = Self::last(call, target);
        if error.cause == ShmCause::Invalid {
            error.cause = ShmCause::Missing;
        }
        error
    }
}
