//! The interface `gantry.log/1`: records in the platform's log.

use crate::bytes::GantryText;
use crate::host::GantryCall;

/// The table of `gantry.log/1`.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
/// pointer in it is null. Nothing in it blocks.
#[repr(C)]
#[derive(Debug)]
pub struct GantryLog {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// Not 0 if a record of this level (`GANTRY_LOG_…`) would be written; saves making its text.
    pub is_enabled: unsafe extern "C" fn(call: *mut GantryCall, level: u32) -> u32,
    /// Writes a record with the service, the caller and the request id. The text is copied; the part
    /// beyond 16384 bytes is cut off.
    pub write: unsafe extern "C" fn(call: *mut GantryCall, level: u32, text: GantryText),
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantryLog {}
