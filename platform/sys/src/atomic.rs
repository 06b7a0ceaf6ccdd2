//! The atomics that every other crate uses, so that one switch replaces them all for model checking.
//!
//! In a normal build these are the types of `core`, which have the size and layout of the plain integers and
//! may lie in shared memory. With `--cfg loom` they are loom's: they then live on the heap of one process,
//! cannot be made in a `static`, and are larger than the integers, so layout assertions belong under
//! `cfg(not(loom))`.
//!
//! They are aliases, not re-exports: clippy sees through a re-export and would refuse the banned name at
//! every use.

#[cfg(not(loom))]
use core::sync::atomic as origin;
#[cfg(loom)]
use loom::sync::atomic as origin;

pub use origin::{AtomicBool, Ordering, fence};

/// Makes the alias of one type that is banned everywhere else.
macro_rules! alias {
    ($name:ident, $what:literal) => {
        #[doc = concat!("An atomic ", $what, ": `core`'s, or loom's under `cfg(loom)`.")]
        #[cfg_attr(
            not(loom),
            expect(
                clippy::disallowed_types,
                reason = "the one place where core's atomics enter the platform"
            )
        )]
        pub type $name = origin::$name;
    };
}

alias!(AtomicU8, "`u8`");
alias!(AtomicU16, "`u16`");
alias!(AtomicU32, "`u32`");
alias!(AtomicU64, "`u64`");

/// Tells the processor (or loom's scheduler) that the caller spins until another thread or process moves on.
///
/// Never blocks; in a model it yields, without which loom would explore the spinning thread for ever.
#[inline]
pub fn spin_loop() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
