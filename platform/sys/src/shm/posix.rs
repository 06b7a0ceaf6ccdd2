//! The POSIX backend: objects under `/dev/shm`, made and mapped through the `shared_memory` crate.
//!
//! That crate thinks of an object as owned by the process that made it and removes it when that process lets
//! go; here an object outlives every process, so ownership is given up at once and removal is [`remove`]'s
//! alone.

use core::ptr::NonNull;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{Mode, fchmod};
use shared_memory::{Shmem, ShmemConf, ShmemError};

use super::error::ShmError;
use super::{Attachment, Mapping, SegmentId, SegmentKey, SegmentStat};

/// Longest name of an object in bytes, its leading `/` not counted: what a file name in `/dev/shm` may have,
/// less one.
const NAME_BYTES_MAX: usize = 254;
/// Unit of a file's block count, whatever the file system's own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The object's name with its leading `/`, or `None` if it cannot be one.
pub(super) fn object_name(name: &str) -> Option<String> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let good = (1..=NAME_BYTES_MAX).contains(&bare.len())
        && !bare.contains(['/', '\0'])
        && bare != "."
        && bare != "..";
    good.then(|| format!("/{bare}"))
}

fn checked(name: &str, call: &'static str) -> Result<String, ShmError> {
    object_name(name).ok_or_else(|| ShmError::new(call, SegmentKey::Posix(name.to_owned()), Errno::EINVAL))
}

pub(super) fn create(name: &str, bytes: usize, reserve: bool) -> Result<String, ShmError> {
    let call = "shm_open(O_CREAT)";
    let name = checked(name, call)?;
    let key = SegmentKey::Posix(name.clone());
    let mut made = ShmemConf::new()
        .os_id(&name)
        .size(bytes)
        .create()
        .map_err(|cause| ShmError::new(call, &key, errno_of(&cause)))?;
    // From here a failure must remove the object by itself, as dropping `made` no longer does.
    made.set_owner(false);
    drop(made);
    finish(&name, bytes, reserve).inspect_err(|_| {
        // The first failure is the one to report; an object that stays behind is found by the next start.
        let _gone = shm_unlink(name.as_str());
    })?;
    Ok(name)
}

/// Sets the mode in spite of the umask, and the memory aside if asked.
fn finish(name: &str, bytes: usize, reserve: bool) -> Result<(), ShmError> {
    let key = SegmentKey::Posix(name.to_owned());
    let object = open(name).map_err(|errno| ShmError::new("shm_open", &key, errno))?;
    let private = Mode::S_IRUSR | Mode::S_IWUSR;
    fchmod(&object, private).map_err(|errno| ShmError::new("fchmod", &key, errno))?;
    if reserve {
        let length =
            i64::try_from(bytes).map_err(|_| ShmError::new("posix_fallocate", &key, Errno::EFBIG))?;
        // Setting much memory aside takes a while, which a signal cuts short; the second try goes on from
        // there.
        while let Err(errno) = posix_fallocate(&object, 0, length) {
            if errno != Errno::EINTR {
                return Err(ShmError::new("posix_fallocate", &key, errno));
            }
        }
    }
    Ok(())
}

fn open(name: &str) -> Result<File, Errno> {
    shm_open(name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
}

pub(super) fn find(name: &str) -> Result<Option<String>, ShmError> {
    let name = checked(name, "shm_open")?;
    match open(&name) {
        Ok(_) => Ok(Some(name)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(ShmError::new("shm_open", SegmentKey::Posix(name), errno)),
    }
}

/// The crate's mapping, which unmaps and closes itself.
pub(super) struct Mapped(#[expect(dead_code, reason = "held for its drop")] Shmem);

impl std::fmt::Debug for Mapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mapped")
    }
}

pub(super) fn attach(name: &str) -> Result<Attachment, ShmError> {
    let call = "shm_open";
    let name = checked(name, call)?;
    let id = SegmentId::Posix(name.clone()).to_string();
    let mut mapped =
        ShmemConf::new().os_id(&name).open().map_err(|cause| ShmError::new(call, &id, errno_of(&cause)))?;
    mapped.set_owner(false);
    let bytes = mapped.len();
    let base = NonNull::new(mapped.as_ptr()).ok_or_else(|| ShmError::new("mmap", &id, Errno::ENOMEM))?;
    Attachment { base, bytes, _mapping: Mapping::Posix(Mapped(mapped)) }.keep_from_forks(&id)
}

pub(super) fn remove(name: &str) -> Result<(), ShmError> {
    let name = checked(name, "shm_unlink")?;
    shm_unlink(name.as_str()).map_err(|errno| ShmError::new("shm_unlink", SegmentId::Posix(name), errno))
}

pub(super) fn stat(name: &str) -> Result<SegmentStat, ShmError> {
    let name = checked(name, "shm_open")?;
    let fail = |call, errno| ShmError::new(call, SegmentId::Posix(name.clone()), errno);
    let object = open(&name).map_err(|errno| fail("shm_open", errno))?;
    let metadata: Metadata = object
        .metadata()
        .map_err(|cause| fail("fstat", Errno::from_raw(cause.raw_os_error().unwrap_or_default())))?;
    let bytes = usize::try_from(metadata.len()).map_err(|_| fail("fstat", Errno::EFBIG))?;
    Ok(SegmentStat {
        bytes,
        attached: None,
        creator_pid: None,
        last_pid: None,
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        marked_for_removal: false,
        resident_bytes: Some(metadata.blocks() * STAT_BLOCK_BYTES),
    })
}

/// The kernel's error number inside the crate's error.
fn errno_of(cause: &ShmemError) -> Errno {
    match cause {
        ShmemError::MappingIdExists => Errno::EEXIST,
        ShmemError::MapSizeZero => Errno::EINVAL,
        ShmemError::MapCreateFailed(errno)
        | ShmemError::MapOpenFailed(errno)
        | ShmemError::UnknownOsError(errno) => {
            i32::try_from(*errno).map_or(Errno::UnknownErrno, Errno::from_raw)
        }
        // The rest is about link files, which are not used here.
        _ => Errno::UnknownErrno,
    }
}
