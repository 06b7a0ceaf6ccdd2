//! The one thread on which the driver runs.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::SigSet;
use tokio::runtime::{Builder, Runtime};

/// The runtime of this process, started when it is first asked for. A process that has one must not fork and go on.
pub(super) fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    // `get_or_init` cannot fail, and starting can: whoever starts holds the lock.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .thread_name("mongodb")
        .on_thread_start(|| {
            // Signals are for the worker's own thread, whose stack they may be meant to show.
            SigSet::all().thread_block().expect("blocking is a valid way to change a thread's mask");
        })
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| made))
}
