//! Memory that several processes have, and the allocator of a process that is put back in time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;

use gantry_sys::atomic::{AtomicU64, Ordering};

/// A System V segment, as the platform uses them, that nobody but us and our children can find.
#[derive(Debug)]
pub(crate) struct SharedMap {
    base: NonNull<u8>,
    bytes: usize,
}

impl SharedMap {
    /// Zeroed memory. The segment is marked for removal at once, so it goes with the last process that has it.
    pub(crate) fn new(bytes: usize) -> Self {
        // SAFETY: makes a fresh segment; no memory of ours is involved.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600) };
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel chooses a free place; nothing is replaced.
        let base = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        let failed = std::io::Error::last_os_error();
        // SAFETY: marks our own segment for removal; those who have it attached keep it.
        unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
        assert!(base.addr() != usize::MAX, "shmat: {failed}");
        Self { base: NonNull::new(base.cast()).expect("a segment is not at 0"), bytes }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The addresses that are shared.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let start = self.base.addr().get() as u64;
        start..start + self.bytes as u64
    }

    /// Copies `bytes` from `offset` on. Only while the processes that write here are stopped.
    pub(crate) fn save(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        assert!(offset + bytes <= self.bytes);
        into.clear();
        into.reserve(bytes);
        // SAFETY: inside the mapping by the assertion.
        let from = unsafe { self.base.add(offset) };
        // SAFETY: `into` has room for `bytes`, the source is mapped, and both are apart.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), bytes) };
        // SAFETY: the bytes were just written.
        unsafe { into.set_len(bytes) };
    }

    /// Puts saved bytes back.
    pub(crate) fn restore(&self, offset: usize, saved: &[u8]) {
        assert!(offset + saved.len() <= self.bytes);
        // SAFETY: inside the mapping by the assertion.
        let to = unsafe { self.base.add(offset) };
        // SAFETY: the target is mapped and apart from `saved`.
        unsafe { std::ptr::copy_nonoverlapping(saved.as_ptr(), to.as_ptr(), saved.len()) };
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: our own attachment, detached once; no reference outlives the map's owner.
        unsafe { libc::shmdt(self.base.as_ptr().cast()) };
    }
}

/// In a puppet: where its arena lies. 0 everywhere else.
static ARENA: AtomicU64 = AtomicU64::new(0);
/// Bytes of an arena, of which the first eight count what is used.
pub(crate) const ARENA_BYTES: usize = 64 * 1024;

/// The system's allocator, but in a puppet a piece of its own stack mapping: what it allocated is then put back with
/// the stack, and a child of a process with threads needs no lock of a heap that another thread may have held.
struct PuppetHeap;

#[global_allocator]
static HEAP: PuppetHeap = PuppetHeap;

// SAFETY: outside of a puppet it is the system's allocator; inside, each allocation is a fresh aligned piece of the
// arena, which lives as long as the puppet, and nothing is ever given back.
unsafe impl GlobalAlloc for PuppetHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let arena = ARENA.load(Ordering::Relaxed) as usize;
        if arena == 0 {
            // SAFETY: the caller's promise is the system allocator's condition.
            return unsafe { System.alloc(layout) };
        }
        let used = std::ptr::with_exposed_provenance_mut::<usize>(arena);
        // SAFETY: the arena begins with its count, and only this thread of this process uses it.
        let start = unsafe { *used };
        let place = (arena + start).next_multiple_of(layout.align());
        let end = place + layout.size() - arena;
        if end > ARENA_BYTES {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { *used = end };
        std::ptr::with_exposed_provenance_mut(place)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if ARENA.load(Ordering::Relaxed) == 0 {
            // SAFETY: outside of a puppet everything came from the system's allocator.
            unsafe { System.dealloc(pointer, layout) };
        }
    }
}

/// From now on this process allocates in the arena at this address.
pub(crate) fn allocate_in(arena: *mut u8) {
    ARENA.store(arena.expose_provenance() as u64, Ordering::Relaxed);
}
