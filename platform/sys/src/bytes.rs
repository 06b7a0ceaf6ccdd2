//! Memory that other processes write while we read it.
//!
//! A `&[u8]` promises the compiler that nobody changes the bytes, and a `&mut [u8]` that nobody else even
//! looks. Neither holds for shared memory, so a [`SharedBytes`] is only ever copied from and to; what was
//! copied out is private and may be checked once and then believed.

use core::marker::PhantomData;
use core::ops::{Bound, RangeBounds};
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

/// Bytes that [`SharedBytes::chunks`] copies out at a time: one page, small enough for any stack.
const CHUNK_BYTES: usize = 4096;

/// A span of memory that other processes may read and write at any time.
///
/// It is `Copy` and carries no right to be alone: two spans may overlap, and two threads may copy into the
/// same span, after which its content is any mixture of the two. That is the callers' protocol to prevent,
/// not this type's; what this type guarantees is that no access leaves the span and that nothing outside it
/// is disturbed.
#[derive(Clone, Copy, Debug)]
pub struct SharedBytes<'a> {
    /// First byte. Readable and writable for `len` bytes as long as `'a` lives.
    start: NonNull<u8>,
    /// Length in bytes, at most `isize::MAX`.
    len: usize,
    /// The memory stays mapped for `'a`; `*const` would make the span seem owned.
    mapped: PhantomData<&'a ()>,
}

// SAFETY: the span is an address and a length; every access copies bytes, and the memory is shared with whole
// other processes anyway, so another thread adds nothing that the copies do not already bear.
unsafe impl Send for SharedBytes<'_> {}

// SAFETY: as for `Send`: there is no state in the span itself that changes.
unsafe impl Sync for SharedBytes<'_> {}

impl<'a> SharedBytes<'a> {
    /// Makes a span of `len` bytes that begins at `start`.
    ///
    /// # Safety
    /// For the whole of `'a`, the `len` bytes at `start` must stay mapped, readable and writable, and no `&`
    /// or `&mut` reference to them may be in use anywhere in this process, references to atomics excepted.
    /// `len` is at most `isize::MAX`.
    #[must_use]
    pub const unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, mapped: PhantomData }
    }

    /// Makes a span of private memory, which is borrowed for as long as the span lives. For tests and for
    /// code that works on shared and private buffers alike.
    #[must_use]
    pub const fn from_private(memory: &'a mut [u8]) -> Self {
        let len = memory.len();
        let start = NonNull::from_mut(memory).cast::<u8>();
        Self { start, len, mapped: PhantomData }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the span has no bytes at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first byte, to hand to a system call or across the service border.
    ///
    /// Reading or writing through it is the caller's unsafe act, with the caller's reason.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The part of the span that `range` names (positions in bytes), or `None` if any of it lies outside or
    /// the range is inverted.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Option<SharedBytes<'a>> {
        let from = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&at) => at.checked_add(1)?,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len,
        };
        if from > to || to > self.len {
            return None;
        }
        // SAFETY: `from` is at most `len`, so the address stays inside the span or one past its end.
        let start = unsafe { self.start.add(from) };
        Some(Self { start, len: to - from, mapped: PhantomData })
    }

    /// Cuts the span in two at `at` bytes, or gives `None` if it is shorter than that.
    #[must_use]
    pub fn split_at(&self, at: usize) -> Option<(SharedBytes<'a>, SharedBytes<'a>)> {
        Some((self.slice(..at)?, self.slice(at..)?))
    }

    /// Copies private bytes to the beginning of the span and returns how many: the shorter of the two
    /// lengths.
    ///
    /// Bytes of the span behind them stay as they are. Nothing is promised about the order in which another
    /// process sees the bytes arrive: publish them with a release store afterwards.
    pub fn copy_from(&self, source: &[u8]) -> usize {
        let count = self.len.min(source.len());
        // SAFETY: both sides are valid for `count` bytes, and a private slice cannot overlap a span, because
        // `new` demands that no reference to the span's bytes is in use. Another process may write the same
        // bytes meanwhile: strictly a data race, which no stable Rust operation of this speed avoids; bytes
        // have no invalid values, and the fence keeps the compiler from moving the copy over what follows.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), self.start.as_ptr(), count) };
        compiler_fence(Ordering::AcqRel);
        count
    }

    /// Copies the beginning of the span out and returns how many bytes: the shorter of the two lengths.
    ///
    /// What arrives in `target` is private: it can be checked and then believed, since it cannot change any
    /// more.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let count = self.len.min(target.len());
        // SAFETY: both sides are valid for `count` bytes and cannot overlap, as in `copy_from`, where the
        // race with other processes is confessed too.
        unsafe { core::ptr::copy_nonoverlapping(self.start.as_ptr(), target.as_mut_ptr(), count) };
        // Without the fence the compiler may read the shared bytes again instead of the copy, since it
        // believes that they are equal; a check of the first reading would then say nothing about the second.
        compiler_fence(Ordering::AcqRel);
        count
    }

    /// Copies the beginning of another span to the beginning of this one and returns how many bytes: the
    /// shorter of the two lengths. The spans may overlap.
    pub fn copy_from_shared(&self, source: SharedBytes<'_>) -> usize {
        let count = self.len.min(source.len);
        // SAFETY: both sides are valid for `count` bytes and `copy` allows overlap; for the race see
        // `copy_from`.
        unsafe { core::ptr::copy(source.start.as_ptr(), self.start.as_ptr(), count) };
        compiler_fence(Ordering::AcqRel);
        count
    }

    /// Shows the whole span to `look`, copied out piece by piece, in order, each piece at most 4096 bytes.
    /// Does not allocate; an empty span shows nothing.
    pub fn chunks(&self, mut look: impl FnMut(&[u8])) {
        let mut buffer = [0_u8; CHUNK_BYTES];
        let mut rest = *self;
        while !rest.is_empty() {
            let count = rest.copy_to(&mut buffer);
            look(&buffer[..count]);
            match rest.slice(count..) {
                Some(remaining) => rest = remaining,
                None => return,
            }
        }
    }

    /// Copies the whole span into a vector of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = vec![0; self.len];
        self.copy_to(&mut copy);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_inside_the_span_names_exactly_those_bytes() {
        let mut memory = *b"0123456789";
        let span = SharedBytes::from_private(&mut memory);
        assert_eq!(span.slice(2..5).unwrap().to_vec(), b"234");
        assert_eq!(span.slice(..).unwrap().to_vec(), b"0123456789");
        assert_eq!(span.slice(..=0).unwrap().to_vec(), b"0");
        assert_eq!(span.slice(10..).unwrap().len(), 0);
        assert_eq!(span.slice(2..8).unwrap().slice(1..3).unwrap().to_vec(), b"34");
    }

    #[test]
    fn slice_outside_or_inverted_is_refused() {
        let mut memory = [0_u8; 4];
        let span = SharedBytes::from_private(&mut memory);
        assert!(span.slice(0..5).is_none());
        assert!(span.slice(5..).is_none());
        assert!(span.slice(..=usize::MAX).is_none());
        let (from, to) = (3, 2);
        assert!(span.slice(from..to).is_none());
        assert!(span.slice((Bound::Excluded(usize::MAX), Bound::Unbounded)).is_none());
        assert!(span.split_at(5).is_none());
    }

    #[test]
    fn split_gives_both_parts_without_gap() {
        let mut memory = *b"abcdef";
        let (front, back) = SharedBytes::from_private(&mut memory).split_at(2).unwrap();
        assert_eq!((front.to_vec(), back.to_vec()), (b"ab".to_vec(), b"cdef".to_vec()));
    }

    #[test]
    fn copy_between_unequal_lengths_moves_the_shorter_and_says_so() {
        let mut memory = *b"........";
        let span = SharedBytes::from_private(&mut memory);
        assert_eq!(span.copy_from(b"abc"), 3);
        let mut long = [b'x'; 10];
        assert_eq!(span.copy_to(&mut long), 8);
        assert_eq!(&long, b"abc.....xx");
        assert_eq!(span.slice(..2).unwrap().copy_from(b"123"), 2);
        assert_eq!(span.to_vec(), b"12c.....");
    }

    #[test]
    fn copy_between_overlapping_spans_keeps_the_sources_bytes() {
        let mut memory = *b"abcdef";
        let span = SharedBytes::from_private(&mut memory);
        assert_eq!(span.slice(2..).unwrap().copy_from_shared(span), 4);
        assert_eq!(span.to_vec(), b"ababcd");
    }

    #[test]
    fn chunks_cover_the_span_in_order_in_pieces_of_a_page() {
        let original: Vec<u8> = (0..10_000_u32).map(|index| (index % 251) as u8).collect();
        let mut memory = original.clone();
        let mut seen = Vec::new();
        let mut lengths = Vec::new();
        SharedBytes::from_private(&mut memory).chunks(|piece| {
            seen.extend_from_slice(piece);
            lengths.push(piece.len());
        });
        assert_eq!(seen, original);
        assert_eq!(lengths, [4096, 4096, 1808]);
        SharedBytes::from_private(&mut []).chunks(|_| panic!("an empty span has no pieces"));
    }
}
