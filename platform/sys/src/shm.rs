//! Shared memory segments: System V and POSIX behind one type.
//!
//! A segment is made once, by key; afterwards everything goes by its id, because a look-up by key after
//! somebody removed the segment would find nothing, or a stranger. It outlives every process until [`remove`]
//! is called. What lies inside is the business of `gantry-segment`; here it is so many bytes.

mod error;
mod posix;
mod sysv;

use core::ptr::NonNull;
use std::fmt;
use std::str::FromStr;

use crate::bytes::SharedBytes;

pub use error::{ShmCause, ShmError};

/// The name under which a segment is made and found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKey {
    /// A System V key; any number but 0, which the kernel keeps for nameless segments.
    SysV(i32),
    /// The name of a POSIX object, with or without its leading `/`; no other `/`, 1 to 254 bytes.
    Posix(String),
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SysV(key) => write!(f, "key 0x{key:08x}"),
            Self::Posix(name) => write!(f, "key {name}"),
        }
    }
}

/// What names a segment that exists, as handed from the supervisor to its children.
///
/// Written as `sysv:123` or `posix:/name`, and read from the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SegmentId {
    /// The number that `shmget` returned.
    SysV(i32),
    /// The name of a POSIX object, with its leading `/`.
    Posix(String),
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SysV(id) => write!(f, "sysv:{id}"),
            Self::Posix(name) => write!(f, "posix:{name}"),
        }
    }
}

/// A text that is not a [`SegmentId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a segment id; write sysv:NUMBER or posix:/NAME")]
pub struct SegmentIdError {
    /// The text as it was given.
    pub text: String,
}

impl FromStr for SegmentId {
    type Err = SegmentIdError;

    fn from_str(text: &str) -> Result<Self, SegmentIdError> {
        let refused = || SegmentIdError { text: text.to_owned() };
        match text.split_once(':') {
            Some(("sysv", number)) => number.parse().ok().filter(|id| *id >= 0).map(Self::SysV),
            Some(("posix", name)) if name.starts_with('/') => posix::object_name(name).map(Self::Posix),
            _ => None,
        }
        .ok_or_else(refused)
    }
}

/// What the kernel knows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStat {
    /// Size in bytes, as asked for when it was made.
    pub bytes: usize,
    /// Attachments at this moment, in all processes; `None` for POSIX objects, whose users nobody counts. A
    /// hint only: commands that merely look attach too.
    pub attached: Option<u64>,
    /// The process that made it; `None` for POSIX objects. Pids come back: compare start times too.
    pub creator_pid: Option<i32>,
    /// The process that attached or detached last, if any; `None` for POSIX objects.
    pub last_pid: Option<i32>,
    /// Permission bits, `0o600` for segments made here.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u32,
    /// Whether it goes when the last process detaches, because somebody removed it. Never so for POSIX
    /// objects, which lose their name at once and so cannot be asked.
    pub marked_for_removal: bool,
    /// Real memory that it takes, in bytes; `None` where the kernel does not tell.
    pub resident_bytes: Option<u64>,
}

/// Makes a new segment of `bytes` bytes, readable and writable by this user only (mode 0600), filled with
/// zeros.
///
/// With `reserve`, the memory is set aside now, so that it cannot run out later: System V counts it against
/// the machine's commit limit, POSIX really allocates it. Without, pages come into being when they are first
/// touched, which is what a large, thinly filled array wants; a page that does not exist then kills the
/// process that touches it.
///
/// # Errors
/// [`ShmCause::Exists`] if the key is taken, [`ShmCause::NoSpace`] at a limit of the kernel or the machine,
/// [`ShmCause::Invalid`] for a size of 0, an impossible key or a size beyond `shmmax`.
pub fn create(key: &SegmentKey, bytes: usize, reserve: bool) -> Result<SegmentId, ShmError> {
    match key {
        SegmentKey::SysV(number) => sysv::create(*number, bytes, reserve).map(SegmentId::SysV),
        SegmentKey::Posix(name) => posix::create(name, bytes, reserve).map(SegmentId::Posix),
    }
}

/// Looks a segment up by its key; `None` if there is none. Never makes one.
///
/// # Errors
/// [`ShmCause::Denied`] if there is one that this user may not use.
pub fn find(key: &SegmentKey) -> Result<Option<SegmentId>, ShmError> {
    match key {
        SegmentKey::SysV(number) => Ok(sysv::find(*number)?.map(SegmentId::SysV)),
        SegmentKey::Posix(name) => Ok(posix::find(name)?.map(SegmentId::Posix)),
    }
}

/// Maps a segment into this process, for reading and writing, until the returned value is dropped.
///
/// Processes that this one forks do not get the memory (`MADV_DONTFORK`): a forked child that outlives its
/// parent would otherwise go on writing after the parent's death was recovered.
///
/// # Errors
/// [`ShmCause::Missing`] or [`ShmCause::Removed`] if it is gone, [`ShmCause::Denied`] if it is another
/// user's.
pub fn attach(id: &SegmentId) -> Result<Attachment, ShmError> {
    match id {
        SegmentId::SysV(number) => sysv::attach(*number),
        SegmentId::Posix(name) => posix::attach(name),
    }
}

/// Removes a segment: nobody finds it any more, and its memory is freed when the last process detaches.
///
/// # Errors
/// [`ShmCause::Missing`] or [`ShmCause::Removed`] if somebody else was quicker.
pub fn remove(id: &SegmentId) -> Result<(), ShmError> {
    match id {
        SegmentId::SysV(number) => sysv::remove(*number),
        SegmentId::Posix(name) => posix::remove(name),
    }
}

/// Asks the kernel what it knows of a segment.
///
/// # Errors
/// [`ShmCause::Missing`] or [`ShmCause::Removed`] if it is gone, [`ShmCause::Denied`] if it is another
/// user's.
pub fn stat(id: &SegmentId) -> Result<SegmentStat, ShmError> {
    match id {
        SegmentId::SysV(number) => sysv::stat(*number),
        SegmentId::Posix(name) => posix::stat(name),
    }
}

/// What keeps the memory mapped, and unmaps it when dropped.
#[derive(Debug)]
enum Mapping {
    /// `shmdt` at the end.
    SysV(#[expect(dead_code, reason = "held for its drop")] sysv::Attached),
    /// `munmap` at the end, by the `shared_memory` crate.
    Posix(#[expect(dead_code, reason = "held for its drop")] posix::Mapped),
}

/// A segment that is mapped into this process. Detached when dropped; the segment itself stays.
#[derive(Debug)]
pub struct Attachment {
    /// The first byte; page-aligned.
    base: NonNull<u8>,
    /// The segment's size in bytes.
    bytes: usize,
    /// Its only task is to end the mapping.
    _mapping: Mapping,
}

// SAFETY: the mapping belongs to the process, not to a thread: it may be used from and ended by any of them.
unsafe impl Send for Attachment {}

// SAFETY: `&self` gives out an address, a length and spans, none of which changes or touches the memory by
// itself.
unsafe impl Sync for Attachment {}

impl Attachment {
    /// The address of the first byte, aligned to a page (4096 bytes). Valid until the attachment is dropped.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The whole segment as a span.
    #[must_use]
    pub fn shared(&self) -> SharedBytes<'_> {
        // SAFETY: `bytes` bytes at `base` stay mapped, readable and writable, as long as `self` lives, which
        // the span borrows; what makes references into a segment out of `base` may only make references to
        // atomics.
        unsafe { SharedBytes::new(self.base, self.bytes) }
    }

    /// Tells the kernel that forked processes shall not have this memory.
    fn keep_from_forks(self, target: &str) -> Result<Self, ShmError> {
        // SAFETY: the range is exactly one mapping of this process, which `self` keeps; the advice changes no
        // byte of it.
        let returned = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, libc::MADV_DONTFORK) };
        if returned == 0 { Ok(self) } else { Err(ShmError::last("madvise(MADV_DONTFORK)", target)) }
    }
}

#[cfg(test)]
mod tests;
