//! What the C library's allocator does with memory that was freed.

/// Memory that this process frees stays with it, up to `bytes` at the end of its heap, until [`give_back`]. Otherwise
/// whoever fills and frees tens of megabytes again and again gets each page anew from the kernel, zeroed. Meant to be
/// called once, early. `false`: the C library does not do it, and everything works as before.
#[must_use = "the C library may refuse"]
pub fn keep_freed(bytes: usize) -> bool {
    #[cfg(target_env = "gnu")]
    {
        /// The largest block that the C library takes from its heap, where freed memory can be kept; it refuses more.
        const LARGEST_IN_HEAP: libc::c_int = 32 * 1024 * 1024;
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: sets a number of the allocator, under its own lock.
        let is_kept = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, bytes) } == 1;
        // SAFETY: as above.
        let is_in_heap = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_IN_HEAP) } == 1;
        is_kept && is_in_heap
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _unused = bytes;
        false
    }
}

/// Gives whatever is free back to the kernel. Takes up to some milliseconds when that is much.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what the allocator holds free, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    /// Alone in its process as nextest runs it; beside other tests the numbers are much smaller than what is asked for.
    #[test]
    fn freed_memory_is_kept_until_it_is_given_back() {
        const MIB: u64 = 1024 * 1024;
        let own = || process::memory(std::process::id() as i32).unwrap().rss_anon;
        assert!(keep_freed(128 << 20), "the C library keeps it");
        let blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 1 << 20]).collect();
        let filled = own();
        drop(blocks);
        assert!(own() + 16 * MIB > filled, "kept");
        give_back();
        assert!(own() + 32 * MIB < filled, "given back");
    }
}
