//! The interface `gantry.call/1`: one service calls another in the same worker.

use crate::bytes::{GantryBytes, GantryText};
use crate::host::GantryCall;

/// What `call` answers: done, and `reply` is the reply.
pub const GANTRY_CALL_DONE: u32 = 0;
/// What `call` answers: a business error; `last_error` tells it.
pub const GANTRY_CALL_BUSINESS: u32 = 1;
/// What `call` answers: the service failed.
pub const GANTRY_CALL_FAILED: u32 = 2;
/// What `call` answers: this worker has no such service, or it is stopped, quarantined or just being replaced.
pub const GANTRY_CALL_UNKNOWN: u32 = 3;
/// What `call` answers: not allowed: a read that calls a write, a service that is in the middle of a call,
/// or too many calls inside each other.
pub const GANTRY_CALL_REFUSED: u32 = 4;

/// Most calls inside each other, the caller's own included.
pub const GANTRY_CALL_DEPTH_MAX: u32 = 8;

/// The table of `gantry.call/1`. Since ABI 1.2.
///
/// Thread: that of the call. Ownership: the platform's. Lifetime: until the process ends. No function
/// pointer in it is null.
#[repr(C)]
#[derive(Debug)]
pub struct GantryCalls {
    /// Size of this struct as the platform was compiled, in bytes.
    pub struct_bytes: u32,
    /// 0.
    pub reserved: u32,
    /// Calls the service `number` with `body`, and stores where its reply is in `reply` unless that is
    /// null; empty when there is none. The reply is the platform's and lives until the next `call` of the
    /// same call has returned, or the call's end. The body is the caller's, is only read, and may lie in the
    /// reply of the last `call`.
    ///
    /// The service runs at once, on this thread, in the same transaction, for the same caller and request
    /// id, and with the time that the request has left: blocks at most for that. What it does takes effect
    /// with the request or not at all; if a service of kind write or other does not end with
    /// `GANTRY_CALL_DONE`, the request cannot succeed any more. After an error of SQL in a service of kind
    /// read, PostgreSQL lets nothing more be done in that transaction. A write may be done in one data source:
    /// the first SQL source that the request's own service names, or, if it names none, the first that a
    /// service called inside writes to (`main` if one of kind read asks that first).
    ///
    /// Rules, queues, counters, the time-out and what follows it are those of the request. A crash counts
    /// against the service that ran; a time-out against the one called inside if it took at least half of
    /// the time, otherwise against the request's own. No exception and no `longjmp` may leave a service.
    ///
    /// Returns `GANTRY_CALL_DONE` or another of `GANTRY_CALL_…`. From `create` and `destroy` nothing can be
    /// called: `GANTRY_CALL_UNKNOWN`.
    pub call: unsafe extern "C" fn(
        call: *mut GantryCall,
        number: u32,
        body: GantryBytes,
        reply: *mut GantryBytes,
    ) -> u32,
    /// Why the last `call` did not end with `GANTRY_CALL_DONE`, for people. After `GANTRY_CALL_BUSINESS` the
    /// error's code and field (may be empty) are stored in `code` and `field`, unless those are null. The
    /// texts live until the next `call`.
    pub last_error: unsafe extern "C" fn(
        call: *mut GantryCall,
        code: *mut GantryText,
        field: *mut GantryText,
    ) -> GantryText,
}

// SAFETY: the table is constant; its functions check the thread of the call they are given.
unsafe impl Sync for GantryCalls {}
