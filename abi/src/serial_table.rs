//! The interface `gantry.serial/1`: numbers that are unique for ever.

use crate::bytes::GantryText;
use crate::host::GantryCall;

/// What `next` answers: done.
pub const GANTRY_SERIAL_OK: u32 = 0;
/// What `next` answers: the platform has no serial of this type.
pub const GANTRY_SERIAL_UNKNOWN_TYPE: u32 = 1;
/// What `next` answers: `count` is 0 or above 10000.
pub const GANTRY_SERIAL_BAD_COUNT: u32 = 2;
/// What `next` answers: the source of serials cannot be reached now.
pub const GANTRY_SERIAL_UNAVAILABLE: u32 = 3;
/// What `next` answers: the type's number space is used up.
pub const GANTRY_SERIAL_EXHAUSTED: u32 = 4;

/// Most serials in one `next`.
pub const GANTRY_SERIALS_MAX: u32 = 10_000;

/// The table of `gantry.serial/1`.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
/// pointer in it is null. Blocks at most for the request's time left.
#[repr(C)]
#[derive(Debug)]
pub struct GantrySerial {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// Draws `count` serials of the type named `kind` and stores them in the array `serials`, which
    /// is the library's and has room for `count`. The texts are the platform's and live until the
    /// next `next` of the same call or its end. Serials drawn in a call that fails may be lost; none
    /// is ever given twice. Returns `GANTRY_SERIAL_OK` or another of `GANTRY_SERIAL_…`.
    pub next: unsafe extern "C" fn(
        call: *mut GantryCall,
        kind: GantryText,
        count: u32,
        serials: *mut GantryText,
    ) -> u32,
    /// Why the last `next` of this call failed, for people; lives until the next `next`.
    pub last_message: unsafe extern "C" fn(call: *mut GantryCall) -> GantryText,
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantrySerial {}
