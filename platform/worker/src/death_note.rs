//! What a dying worker writes into its row: the signal that kills it, or that a service called `exit`.
//!
//! Only deaths that the worker itself notes count for quarantine, so a `kill -9` from outside never sets a service
//! aside. The hooks run in the middle of a crash: they only load and store atomics.

use std::sync::OnceLock;

use gantry_segment::ProcessRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::signal;

use crate::WorkerError;

static ROW: OnceLock<&'static ProcessRow> = OnceLock::new();

/// Bit of `ProcessRow::death_note`: the process ended by `exit` while a service was running.
const EXITED_INSIDE_A_SERVICE: u32 = 0x100;

/// Installs the hooks for this process, which keeps its row as long as it lives.
pub(crate) fn install(row: &'static ProcessRow) -> Result<(), WorkerError> {
    row.death_note.store(0, Ordering::Relaxed);
    if ROW.set(row).is_err() {
        return Ok(());
    }
    signal::on_fatal(note_signal).map_err(|cause| WorkerError::Hook { hook: "fatal-signal", cause })?;
    signal::on_exit(note_exit).map_err(|cause| WorkerError::Hook { hook: "exit", cause })
}

fn note_signal(signal: i32) {
    if let Some(row) = ROW.get() {
        row.death_note.store(signal as u32 & 0xff, Ordering::SeqCst);
    }
}

extern "C" fn note_exit() {
    let Some(row) = ROW.get() else { return };
    if row.running_slot.load(Ordering::SeqCst) != 0 {
        row.death_note.fetch_or(EXITED_INSIDE_A_SERVICE, Ordering::SeqCst);
    }
}
