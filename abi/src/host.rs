//! What the platform lends a service: a small core table, and interfaces asked for by versioned id.

use std::ffi::c_void;

use crate::bytes::{GantryBytes, GantryText};
use crate::status::GantryCode;

/// One call that is running. Opaque.
///
/// Thread: only the one on which the platform called the library. Ownership: the platform's.
/// Lifetime: until the library's function returns. A handle used later or on another thread is
/// recognised and refused.
/// cbindgen:no-export
#[repr(C)]
#[derive(Debug)]
pub struct GantryCall {
    opaque: [u8; 0],
}

/// The platform's core table.
///
/// Thread: any may read the table; the functions that take a `call` only on that call's thread.
/// Ownership: the platform's. Lifetime: until the process ends. No function pointer in it is null.
/// A function beyond `struct_bytes` does not exist in this platform.
#[repr(C)]
#[derive(Debug)]
pub struct GantryHost {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// Major version of the platform's contract.
    pub abi_major: u16,
    /// Minor version of the platform's contract.
    pub abi_minor: u16,
    /// Name and version of the platform, for people. Lives until the process ends.
    pub platform: GantryText,

    /// Finds an interface by its versioned id, such as `gantry.sql/1`. Returns a table that lives
    /// until the process ends, or null if this platform does not have it. Thread: any.
    pub get_interface: unsafe extern "C" fn(host: *const GantryHost, id: GantryText) -> *const c_void,

    /// The request's body. Lives, unchanged, until the call ends.
    pub request: unsafe extern "C" fn(call: *mut GantryCall) -> GantryBytes,
    /// Name of the authenticated caller, or `anonymous`. Lives until the call ends.
    pub caller: unsafe extern "C" fn(call: *mut GantryCall) -> GantryText,
    /// The request's id, 24 bytes. Lives until the call ends.
    pub request_id: unsafe extern "C" fn(call: *mut GantryCall) -> GantryText,
    /// Number of the service that is called.
    pub number: unsafe extern "C" fn(call: *mut GantryCall) -> u32,
    /// Nanoseconds until the request's deadline; 0 when it has passed.
    pub time_left_ns: unsafe extern "C" fn(call: *mut GantryCall) -> u64,
    /// Not 0 when nobody waits for the reply any more, or the platform wants the call to end: return
    /// at once, with any code.
    pub is_cancelled: unsafe extern "C" fn(call: *mut GantryCall) -> u32,

    /// Makes room for a reply of at least `bytes` bytes and returns where it begins, in memory that
    /// the platform sends from. Calling again with more grows it and keeps what was written, but may
    /// move it: earlier pointers are void then. The room's size is stored in `capacity` unless that
    /// is null. Null is returned when the reply would be larger than the platform allows or memory is
    /// short; what was written before stays. The bytes may hold anything before they are written.
    /// Lives until the call ends.
    pub reply_reserve:
        unsafe extern "C" fn(call: *mut GantryCall, bytes: usize, capacity: *mut usize) -> *mut u8,
    /// Sets the reply's length to `bytes`, at most the room reserved. May be called again.
    pub reply_commit: unsafe extern "C" fn(call: *mut GantryCall, bytes: usize) -> GantryCode,

    /// Says which business error the call ends with: status 304 with the body
    /// `{"error":code,"message":message}`, and `"field":field` in it if `field` is not empty (always
    /// for `bad_request`). `code`: 1 to 64 bytes of `a-z 0-9 _`. The texts are copied. Returns
    /// `GANTRY_BUSINESS`, to be returned from `call`.
    pub business_error: unsafe extern "C" fn(
        call: *mut GantryCall,
        code: GantryText,
        field: GantryText,
        message: GantryText,
    ) -> GantryCode,
    /// Says why the call fails; the text goes to the platform's log, not to the caller, and is copied.
    /// Returns `GANTRY_FAILED`, to be returned from `create` or `call`.
    pub fail: unsafe extern "C" fn(call: *mut GantryCall, message: GantryText) -> GantryCode,
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantryHost {}

/// Id of the interface to SQL data sources: `GantrySql`.
pub const GANTRY_INTERFACE_SQL: &str = "gantry.sql/1";
/// Id of the interface to serial numbers: `GantrySerial`.
pub const GANTRY_INTERFACE_SERIAL: &str = "gantry.serial/1";
/// Id of the interface to the platform's log: `GantryLog`.
pub const GANTRY_INTERFACE_LOG: &str = "gantry.log/1";
/// Id of the interface to document data sources: `GantryDocument`. Since ABI 1.1.
pub const GANTRY_INTERFACE_DOCUMENT: &str = "gantry.document/1";
/// Id of the interface to other services: `GantryCalls`. Since ABI 1.2.
pub const GANTRY_INTERFACE_CALL: &str = "gantry.call/1";
/// Reserved for the interface to caches; no platform of ABI 1.0 has it.
pub const GANTRY_INTERFACE_CACHE: &str = "gantry.cache/1";
