//! Thin safe wrappers over the operating system: the only crate of Gantry that calls `libc` or `nix`.
//!
//! Everything above speaks of segments, doorbells and children; this crate knows the system calls behind
//! them, their errors and their traps. It keeps no policy: it never retries for longer than an interrupted
//! call needs, never logs, and decides nothing about whose death matters.
//!
//! | module | is about |
//! |---|---|
//! | [`allocator`] | whether freed memory stays with the process |
//! | [`atomic`] | the atomics of the whole platform, loom's in a model-checking build |
//! | [`bytes`] | memory that other processes write while we read it |
//! | [`clock`] | the two clocks in use |
//! | [`epoll`], [`timer`], [`eventfd`] | what a single-threaded loop waits for |
//! | [`futex`] | sleeping on a word that lies in shared memory |
//! | [`limits`], [`user`] | resource limits and who we are |
//! | [`lock`] | the locked pid file |
//! | [`process`] | spawn, watch, reap and measure processes |
//! | [`shm`] | System V and POSIX shared memory segments |
//! | [`signal`] | signals as descriptors and flags, and the last words of a crashing process |
//! | [`socket`] | listeners, socket identity, scatter and gather over shared memory |
//!
//! Linux only. Nothing here blocks unless its documentation says so.
//!
//! ```
//! use gantry_sys::shm::{self, SegmentKey};
//!
//! let key = SegmentKey::SysV(0x7000_0000 | std::process::id() as i32);
//! let id = shm::create(&key, 4096, true)?;
//! let attachment = shm::attach(&id)?;
//! attachment.shared().copy_from(b"hello");
//! assert_eq!(shm::find(&key)?, Some(id.clone()));
//! shm::remove(&id)?;
//! # Ok::<(), gantry_sys::shm::ShmError>(())
//! ```

pub mod allocator;
pub mod atomic;
pub mod bytes;
pub mod clock;
pub mod epoll;
pub mod eventfd;
pub mod futex;
pub mod limits;
pub mod lock;
pub mod process;
pub mod shm;
pub mod signal;
pub mod socket;
pub mod timer;
pub mod user;
