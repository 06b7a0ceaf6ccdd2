//! What a library says of itself: one static descriptor, handed out by its one exported symbol.

use std::ffi::c_void;

use crate::bytes::GantryText;
use crate::host::{GantryCall, GantryHost};
use crate::status::GantryCode;

/// Stands after the versions in a `GantryLibrary`: the letters `GANTRYSO` as a little-endian number. Tells a descriptor from something else that has the same symbol.
pub const GANTRY_MAGIC: u64 = 0x4F53_5952_544E_4147;
/// Major version of this contract. A library of another major version is refused.
pub const GANTRY_ABI_MAJOR: u16 = 1;
/// Minor version of this contract. A library of a higher minor version is refused; a lower one loads.
pub const GANTRY_ABI_MINOR: u16 = 2;

/// The service only reads. Its requests go to the read queue.
pub const GANTRY_KIND_READ: u32 = 1;
/// The service writes. Its requests go to the write queue, and the platform makes each take effect once.
pub const GANTRY_KIND_WRITE: u32 = 2;
/// Neither a plain read nor a plain write; treated as a write.
pub const GANTRY_KIND_OTHER: u32 = 3;

/// The service may be run again for the same request without harm, even where the platform could not
/// prove that the first run had no effect.
pub const GANTRY_FLAG_IDEMPOTENT: u32 = 1;

/// Most services in one library.
pub const GANTRY_SERVICES_MAX: u32 = 1024;
/// Most data sources that one service names.
pub const GANTRY_SOURCES_MAX: u32 = 16;
/// Most members of its configuration that one service names.
pub const GANTRY_SETTINGS_MAX: u32 = 64;
/// Most migrations in one library.
pub const GANTRY_MIGRATIONS_MAX: u32 = 1024;

/// Makes an instance of a service.
///
/// Thread: the worker's service thread, on which the instance is also called and destroyed.
/// `host` and every table got from it live until the process ends. `call` is valid only until
/// `create` returns and lends only logging, the service number and `fail`. `config` is the text of
/// the service's configuration, empty if there is none, and valid only until `create` returns: copy
/// what is kept. On `GANTRY_OK` the library has stored a pointer of its own, which may be null, in
/// `instance`; the library frees it in `destroy`. On any other code nothing is kept and the platform
/// does not load the library; say why with `fail`. Must return within the service's time-out.
pub type GantryCreateFn = Option<
    unsafe extern "C-unwind" fn(
        host: *const GantryHost,
        call: *mut GantryCall,
        config: GantryText,
        instance: *mut *mut c_void,
    ) -> GantryCode,
>;

/// Runs one request.
///
/// Thread: the one that created the instance; never two calls of one instance at a time. `instance`
/// is what `create` stored. `call` is valid only until this function returns, and only on this
/// thread: request, reply and all that the platform lends are reached through it. Returns
/// `GANTRY_OK` after `reply_commit` (no commit: an empty reply), `GANTRY_BUSINESS` after
/// `business_error`, `GANTRY_FAILED` otherwise. No exception may leave it.
pub type GantryCallFn =
    Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: *mut GantryCall) -> GantryCode>;

/// Frees an instance. Thread: the one that created it, after its last call. `call` lends only logging
/// and the service number, until this function returns. Called once for each successful `create`,
/// unless the process dies.
pub type GantryDestroyFn = Option<unsafe extern "C-unwind" fn(instance: *mut c_void, call: *mut GantryCall)>;

/// The one symbol that a library exports, by the name `gantry_service_entry`.
///
/// Thread: any, once after loading. Returns a descriptor that is static: it and all it points to
/// stay unchanged until the process ends. Must not fail and should do nothing else.
pub type GantryEntryFn = unsafe extern "C-unwind" fn() -> *const GantryLibrary;

/// One service of a library.
///
/// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. Elements of an
/// array are `struct_bytes` apart, so all elements of one array carry the same `struct_bytes`.
#[repr(C)]
#[derive(Debug)]
pub struct GantryService {
    /// Size of this struct as the library was compiled, in bytes.
    pub struct_bytes: u32,
    /// Service number, 10000000 to 99999999.
    pub number: u32,
    /// `GANTRY_KIND_READ`, `GANTRY_KIND_WRITE` or `GANTRY_KIND_OTHER`.
    pub kind: u32,
    /// Time-out in milliseconds, 0 (the platform's default) to 86400000.
    pub timeout_ms: u32,
    /// Sum of `GANTRY_FLAG_…`; unknown flags are ignored.
    pub flags: u32,
    /// Number of names at `sources`, 0 to `GANTRY_SOURCES_MAX`.
    pub sources_count: u32,
    /// Name, 1 to 64 bytes of `a-z 0-9 . _ -`, such as `card.recharge`.
    pub name: GantryText,
    /// One line for people, at most 512 bytes.
    pub description: GantryText,
    /// A request that works, as JSON or text, at most 65536 bytes; may be empty.
    pub example: GantryText,
    /// The reply to `example`; may be empty.
    pub example_reply: GantryText,
    /// Names of the data sources it uses. Empty: it touches none, and the platform opens no transaction.
    pub sources: *const GantryText,
    /// Makes an instance. Not null.
    pub create: GantryCreateFn,
    /// Runs one request. Not null.
    pub call: GantryCallFn,
    /// Frees an instance. Not null.
    pub destroy: GantryDestroyFn,
    /// Names of the members of its configuration (`[service.NAME]`) that it cannot do without, such as
    /// `charset`. The platform refuses the library where one is missing. Since ABI 1.2.
    pub settings: *const GantryText,
    /// Number of names at `settings`, 0 to `GANTRY_SETTINGS_MAX`. Since ABI 1.2.
    pub settings_count: u32,
    /// 0. Since ABI 1.2.
    pub reserved: u32,
}

/// One step of the schema of a library's own tables.
///
/// The platform applies the steps that a data source does not have yet, each once per
/// (`source`, `schema`, `version`), in the order of `version`, when the library is deployed. Several
/// libraries may carry the same step, word for word; the first one deployed applies it.
///
/// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. Elements of an
/// array are `struct_bytes` apart.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct GantryMigration {
    /// Size of this struct as the library was compiled, in bytes.
    pub struct_bytes: u32,
    /// Version of the schema that this step leads to, from 1.
    pub version: u32,
    /// Name of the data source.
    pub source: GantryText,
    /// Name of the set of tables, such as `ledger`; steps of different sets are independent.
    pub schema: GantryText,
    /// Portable SQL statements, separated by a semicolon and a line feed.
    pub sql: GantryText,
}

/// What a library says of itself.
///
/// Thread: any; constant. Ownership: the library's. Lifetime: until the process ends. The fields up
/// to and including `magic` keep their place in every major version, so that a refusal can name
/// both versions.
#[repr(C)]
#[derive(Debug)]
pub struct GantryLibrary {
    /// Size of this struct as the library was compiled, in bytes.
    pub struct_bytes: u32,
    /// `GANTRY_ABI_MAJOR` of the header that the library was compiled with.
    pub abi_major: u16,
    /// `GANTRY_ABI_MINOR` of the header that the library was compiled with.
    pub abi_minor: u16,
    /// `GANTRY_MAGIC`.
    pub magic: u64,
    /// Name, 1 to 64 bytes of `a-z 0-9 . _ -`, such as `card`.
    pub name: GantryText,
    /// Version, 1 to 64 bytes, such as `1.4.0`.
    pub version: GantryText,
    /// What tells two builds of one version apart, at most 128 bytes; may be empty (the platform then
    /// uses the file's own build id or its hash).
    pub build: GantryText,
    /// Number of services, 1 to `GANTRY_SERVICES_MAX`.
    pub services_count: u32,
    /// Number of migrations, 0 to `GANTRY_MIGRATIONS_MAX`.
    pub migrations_count: u32,
    /// The services.
    pub services: *const GantryService,
    /// The migrations; may be null when there are none.
    pub migrations: *const GantryMigration,
}

// SAFETY: a descriptor and all it points to is constant for the life of the process.
unsafe impl Sync for GantryService {}
// SAFETY: a descriptor and all it points to is constant for the life of the process.
unsafe impl Sync for GantryMigration {}
// SAFETY: a descriptor and all it points to is constant for the life of the process.
unsafe impl Sync for GantryLibrary {}

/// To which queue a service's requests go, and whether the platform guards it against being run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Only reads.
    Read = GANTRY_KIND_READ,
    /// Writes; takes effect once.
    Write = GANTRY_KIND_WRITE,
    /// Neither a plain read nor a plain write; treated as a write.
    Other = GANTRY_KIND_OTHER,
}

impl Kind {
    /// The kind with this number, if it is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            GANTRY_KIND_READ => Some(Self::Read),
            GANTRY_KIND_WRITE => Some(Self::Write),
            GANTRY_KIND_OTHER => Some(Self::Other),
            _ => None,
        }
    }
}

/// One step of a schema, for `migrations` of [`export_library!`](crate::export_library): the
/// statements in `sql`, separated by `;\n`, lead `schema` on data source `source` to `version`.
pub const fn migration(
    source: &'static str,
    schema: &'static str,
    version: u32,
    sql: &'static str,
) -> GantryMigration {
    GantryMigration {
        struct_bytes: size_of::<GantryMigration>() as u32,
        version,
        source: GantryText::from_str(source),
        schema: GantryText::from_str(schema),
        sql: GantryText::from_str(sql),
    }
}
