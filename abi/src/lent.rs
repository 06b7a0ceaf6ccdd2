//! The tables that the platform lends, checked once when an instance is created.

use std::ffi::c_void;

use crate::bytes::GantryText;
use crate::call_table::GantryCalls;
use crate::descriptor::GANTRY_ABI_MAJOR;
use crate::host::{
    GANTRY_INTERFACE_CALL, GANTRY_INTERFACE_LOG, GANTRY_INTERFACE_SERIAL, GANTRY_INTERFACE_SQL, GantryCall,
    GantryHost,
};
use crate::log_table::GantryLog;
use crate::serial_table::GantrySerial;
use crate::sql_table::GantrySql;
use crate::status::Level;
#[cfg(feature = "document")]
use crate::{document_table::GantryDocument, host::GANTRY_INTERFACE_DOCUMENT};

/// The platform's tables. They live until the process ends, so they are kept as plain references.
#[derive(Clone, Copy)]
pub(crate) struct Lent {
    pub(crate) host: &'static GantryHost,
    pub(crate) sql: Option<&'static GantrySql>,
    pub(crate) serial: Option<&'static GantrySerial>,
    pub(crate) log: Option<&'static GantryLog>,
    pub(crate) calls: Option<&'static GantryCalls>,
    #[cfg(feature = "document")]
    pub(crate) document: Option<&'static GantryDocument>,
}

/// What every interface table begins with.
#[repr(C)]
struct TableHead {
    struct_bytes: u32,
}

impl Lent {
    /// Takes what `host` offers; `None` if it is no table of this major version.
    ///
    /// # Safety
    /// `host` is null or the platform's core table.
    pub(crate) unsafe fn from_host(host: *const GantryHost) -> Option<Self> {
        // SAFETY: null or the platform's table, which lives until the process ends.
        let host = unsafe { host.as_ref() }?;
        if host.abi_major != GANTRY_ABI_MAJOR || (host.struct_bytes as usize) < size_of::<GantryHost>() {
            return None;
        }
        // SAFETY: the platform's table under this id is a `GantrySql`.
        let sql = unsafe { table(host, GANTRY_INTERFACE_SQL) };
        // SAFETY: the platform's table under this id is a `GantrySerial`.
        let serial = unsafe { table(host, GANTRY_INTERFACE_SERIAL) };
        // SAFETY: the platform's table under this id is a `GantryLog`.
        let log = unsafe { table(host, GANTRY_INTERFACE_LOG) };
        // SAFETY: the platform's table under this id is a `GantryCalls`.
        let calls = unsafe { table(host, GANTRY_INTERFACE_CALL) };
        #[cfg(feature = "document")]
        // SAFETY: the platform's table under this id is a `GantryDocument`.
        let document = unsafe { table(host, GANTRY_INTERFACE_DOCUMENT) };
        Some(Self {
            host,
            sql,
            serial,
            log,
            calls,
            #[cfg(feature = "document")]
            document,
        })
    }

    /// Whether a record of this level would be written.
    pub(crate) fn is_log_enabled(&self, call: *mut GantryCall, level: Level) -> bool {
        // SAFETY: `call` is the handle that this function's caller was given; the platform checks it.
        self.log.is_some_and(|log| unsafe { (log.is_enabled)(call, level.number()) } != 0)
    }

    /// Writes a log record; nothing happens if the platform lends no log.
    pub(crate) fn write_log(&self, call: *mut GantryCall, level: Level, text: &str) {
        if let Some(log) = self.log {
            // SAFETY: `call` is the handle that this function's caller was given; the platform checks it
            // and copies the text.
            unsafe { (log.write)(call, level.number(), GantryText::from_str(text)) };
        }
    }
}

/// The interface table with this id; `None` if the platform has none, or one that is too small.
///
/// # Safety
/// `T` is the type of the table with this id.
unsafe fn table<T>(host: &GantryHost, id: &str) -> Option<&'static T> {
    // SAFETY: `host` is the platform's table, and the id is only read before the function returns.
    let found: *const c_void = unsafe { (host.get_interface)(host, GantryText::from_str(id)) };
    // SAFETY: null, or a table that lives until the process ends and begins with its size.
    let head = unsafe { found.cast::<TableHead>().as_ref() }?;
    if (head.struct_bytes as usize) < size_of::<T>() {
        return None;
    }
    // SAFETY: not null, at least as large as `T`, and of the type that the caller promises.
    unsafe { found.cast::<T>().as_ref() }
}
