//! A span of shared memory and the typed places in it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use gantry_sys::bytes::SharedBytes;
use gantry_sys::shm::Attachment;

use crate::SegmentError;

/// A type that may lie in shared memory while other processes change it.
///
/// # Safety
/// The type is `repr(C)`, every bit pattern and all zeros are valid, all that may change is an atomic (or an
/// array of atomics), and it holds no pointer, reference, `bool`, enum or `usize`.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic of fixed width; every bit pattern is a number.
unsafe impl Shared for gantry_sys::atomic::AtomicU64 {}
// SAFETY: an atomic of fixed width; every bit pattern is a number.
unsafe impl Shared for gantry_sys::atomic::AtomicU32 {}

/// A span of memory: an attached segment, or zeroed heap for tests.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    bytes: usize,
    /// Keeps the memory behind `base` alive.
    _keep: Keep,
}

#[derive(Debug)]
enum Keep {
    #[expect(dead_code, reason = "held for its drop, which detaches")]
    Attached(Attachment),
    #[expect(dead_code, reason = "held for its drop, which frees")]
    Heap(Heap),
}

#[derive(Debug)]
struct Heap {
    base: NonNull<u8>,
    layout: Layout,
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

// SAFETY: a region hands out only references to `Shared` types (atomics) and `SharedBytes`, which are made for
// concurrent change; the memory itself is not bound to a thread.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

impl Region {
    /// The region of an attached segment. It stays attached as long as the region lives.
    pub fn attached(attachment: Attachment) -> Self {
        Self { base: attachment.base(), bytes: attachment.bytes(), _keep: Keep::Attached(attachment) }
    }

    /// A zeroed region on the heap, page aligned, for tests and models.
    ///
    /// # Panics
    /// When `bytes` is zero or not representable; aborts when memory is exhausted.
    pub fn heap(bytes: usize) -> Self {
        assert!(bytes > 0, "a region has at least one byte");
        let layout =
            Layout::from_size_align(bytes, 4096).expect("a test region is smaller than the address space");
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Self { base, bytes, _keep: Keep::Heap(Heap { base, layout }) }
    }

    /// Length in bytes.
    pub fn bytes_count(&self) -> usize {
        self.bytes
    }

    /// The place of one `T` at `offset` bytes.
    ///
    /// # Errors
    /// [`SegmentError::OutOfRegion`] when it does not lie inside the region, or is not aligned.
    pub fn one<T: Shared>(&self, offset: usize) -> Result<&T, SegmentError> {
        self.check::<T>(offset, 1)?;
        // SAFETY: `check` says that `offset` lies inside the region.
        let place = unsafe { self.base.add(offset) };
        // SAFETY: in bounds and aligned by `check`; `T: Shared` is valid for any bytes, and `self` keeps it mapped.
        Ok(unsafe { place.cast::<T>().as_ref() })
    }

    /// The places of `count` adjoining `T` from `offset` bytes on.
    ///
    /// # Errors
    /// [`SegmentError::OutOfRegion`] when they do not lie inside the region, or are not aligned.
    pub fn many<T: Shared>(&self, offset: usize, count: usize) -> Result<&[T], SegmentError> {
        self.check::<T>(offset, count)?;
        // SAFETY: `check` says that `offset` lies inside the region.
        let place = unsafe { self.base.add(offset) };
        // SAFETY: `count` places lie inside the region and are aligned by `check`; `T: Shared` is valid for any
        // bytes, changes only through atomics, and `self` keeps it mapped.
        Ok(unsafe { std::slice::from_raw_parts(place.cast::<T>().as_ptr(), count) })
    }

    /// The raw bytes from `offset` on.
    ///
    /// # Errors
    /// [`SegmentError::OutOfRegion`] when they do not lie inside the region.
    pub fn bytes(&self, offset: usize, bytes: usize) -> Result<SharedBytes<'_>, SegmentError> {
        self.check::<u8>(offset, bytes)?;
        // SAFETY: `check` says that `offset` lies inside the region.
        let place = unsafe { self.base.add(offset) };
        // SAFETY: in bounds by `check`; the lifetime is that of `self`, which keeps the memory mapped.
        Ok(unsafe { SharedBytes::new(place, bytes) })
    }

    fn check<T>(&self, offset: usize, count: usize) -> Result<(), SegmentError> {
        let bytes = size_of::<T>().saturating_mul(count);
        let end = offset.saturating_add(bytes);
        if end > self.bytes || !(self.base.as_ptr() as usize + offset).is_multiple_of(align_of::<T>()) {
            return Err(SegmentError::OutOfRegion { offset, bytes, region_bytes: self.bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_sys::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_place_across_the_end_is_refused() {
        let region = Region::heap(64);
        assert!(region.one::<AtomicU64>(56).is_ok());
        assert!(region.one::<AtomicU64>(57).is_err());
        assert!(region.one::<AtomicU64>(64).is_err());
        assert!(region.many::<AtomicU64>(0, 9).is_err());
        assert!(region.many::<AtomicU64>(usize::MAX - 3, 2).is_err());
        assert!(region.bytes(60, 5).is_err());
    }

    #[test]
    fn two_views_of_a_place_see_the_same_value() {
        let region = Region::heap(64);
        let first = region.one::<AtomicU64>(8).unwrap();
        first.store(7, Ordering::Relaxed);
        assert_eq!(region.many::<AtomicU64>(0, 8).unwrap()[1].load(Ordering::Relaxed), 7);
    }
}
