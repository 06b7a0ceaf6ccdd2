//! The System V backend: `shmget`, `shmat`, `shmctl`.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use nix::errno::Errno;

use super::error::ShmError;
use super::{Attachment, Mapping, SegmentId, SegmentKey, SegmentStat};

/// Owner may read and write, nobody else anything.
const MODE: i32 = 0o600;
/// Bit of the mode that marks a segment which goes with its last attachment (`SHM_DEST`; libc has no name for
/// it on Linux).
const MARKED_FOR_REMOVAL: u32 = 0o1000;
/// Where the kernel lists all segments, the resident size among the columns.
const SEGMENTS_LIST: &str = "/proc/sysvipc/shm";

/// Key 0 would not fail but make a nameless segment.
fn checked(key: i32, call: &'static str) -> Result<i32, ShmError> {
    if key == libc::IPC_PRIVATE {
        Err(ShmError::new(call, SegmentKey::SysV(key), Errno::EINVAL))
    } else {
        Ok(key)
    }
}

pub(super) fn create(key: i32, bytes: usize, reserve: bool) -> Result<i32, ShmError> {
    let key = checked(key, "shmget(IPC_CREAT)")?;
    let on_demand = if reserve { 0 } else { libc::SHM_NORESERVE };
    // SAFETY: the call takes numbers only.
    let id = unsafe { libc::shmget(key, bytes, libc::IPC_CREAT | libc::IPC_EXCL | on_demand | MODE) };
    if id < 0 { Err(ShmError::last("shmget(IPC_CREAT)", SegmentKey::SysV(key))) } else { Ok(id) }
}

pub(super) fn find(key: i32) -> Result<Option<i32>, ShmError> {
    let key = checked(key, "shmget")?;
    // SAFETY: the call takes numbers only; without IPC_CREAT it makes nothing.
    let id = unsafe { libc::shmget(key, 0, MODE) };
    if id >= 0 {
        return Ok(Some(id));
    }
    match Errno::last() {
        Errno::ENOENT => Ok(None),
        errno => Err(ShmError::new("shmget", SegmentKey::SysV(key), errno)),
    }
}

/// An address that `shmat` returned and that nobody has detached yet.
#[derive(Debug)]
pub(super) struct Attached(NonNull<libc::c_void>);

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: the address came from `shmat` and is detached once, here; spans into it borrow the
        // attachment, so none is left. The call can only fail for an address that is not attached.
        unsafe { libc::shmdt(self.0.as_ptr()) };
    }
}

pub(super) fn attach(id: i32) -> Result<Attachment, ShmError> {
    let target = SegmentId::SysV(id).to_string();
    // SAFETY: a null address lets the kernel choose a free range, so no existing mapping is touched.
    let address = unsafe { libc::shmat(id, core::ptr::null(), 0) };
    let attached = match NonNull::new(address) {
        // The failure value is -1, as a pointer.
        Some(start) if start.as_ptr().addr() != usize::MAX => Attached(start),
        _ => return Err(ShmError::last_by_id("shmat", &target)),
    };
    // Asked after attaching: from here on the id cannot be given to another segment.
    let bytes = stat_kernel(id)?.shm_segsz;
    let base = attached.0.cast::<u8>();
    Attachment { base, bytes, _mapping: Mapping::SysV(attached) }.keep_from_forks(&target)
}

pub(super) fn remove(id: i32) -> Result<(), ShmError> {
    // SAFETY: IPC_RMID ignores the buffer.
    let returned = unsafe { libc::shmctl(id, libc::IPC_RMID, core::ptr::null_mut()) };
    if returned == 0 { Ok(()) } else { Err(ShmError::last_by_id("shmctl(IPC_RMID)", SegmentId::SysV(id))) }
}

pub(super) fn stat(id: i32) -> Result<SegmentStat, ShmError> {
    let kernel = stat_kernel(id)?;
    let mode = u32::from(kernel.shm_perm.mode);
    Ok(SegmentStat {
        bytes: kernel.shm_segsz,
        attached: Some(kernel.shm_nattch),
        creator_pid: Some(kernel.shm_cpid),
        last_pid: (kernel.shm_lpid != 0).then_some(kernel.shm_lpid),
        mode: mode & 0o777,
        uid: kernel.shm_perm.uid,
        marked_for_removal: mode & MARKED_FOR_REMOVAL != 0,
        resident_bytes: resident_bytes(id),
    })
}

fn stat_kernel(id: i32) -> Result<libc::shmid_ds, ShmError> {
    let mut kernel = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the buffer has the size and alignment of what IPC_STAT writes.
    let returned = unsafe { libc::shmctl(id, libc::IPC_STAT, kernel.as_mut_ptr()) };
    if returned != 0 {
        return Err(ShmError::last_by_id("shmctl(IPC_STAT)", SegmentId::SysV(id)));
    }
    // SAFETY: all fields are integers, of which any bits are valid; they were zeroed and then written by the
    // kernel.
    Ok(unsafe { kernel.assume_init() })
}

/// The resident size from the kernel's list; `None` where that list is hidden (some containers) or the
/// segment left it.
fn resident_bytes(id: i32) -> Option<u64> {
    let list = std::fs::read_to_string(SEGMENTS_LIST).ok()?;
    resident_bytes_in(&list, id)
}

/// The list's columns have names in its first line; `rss` is in bytes.
fn resident_bytes_in(list: &str, id: i32) -> Option<u64> {
    let mut lines = list.lines();
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let column = |wanted: &str| names.iter().position(|name| *name == wanted);
    let (id_column, rss_column) = (column("shmid")?, column("rss")?);
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.get(id_column).and_then(|text| text.parse().ok()) == Some(id))
        .and_then(|fields| fields.get(rss_column)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_size_is_read_by_the_columns_name_not_its_place() {
        let list = "  key shmid size rss swap\n 1 32 4096 8192 0\n 2 7 1 4096 0\n";
        assert_eq!(resident_bytes_in(list, 7), Some(4096));
        assert_eq!(resident_bytes_in(list, 32), Some(8192));
        assert_eq!(resident_bytes_in(list, 33), None);
        assert_eq!(resident_bytes_in("", 1), None);
        assert_eq!(resident_bytes_in("key shmid\n1 1\n", 1), None);
    }
}
