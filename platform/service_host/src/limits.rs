//! Bounds on what a library may say and ask; the reasons stand with each.

/// Largest library file, in bytes: one with full debug information is below 100 MiB.
pub const LIBRARY_FILE_BYTES_MAX: u64 = 512 << 20;
/// Longest name of a library or service, in bytes: it is a column of the service table and part of a file's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest version, in bytes: part of a file's name.
pub const VERSION_BYTES_MAX: usize = 64;
/// Longest build id, in bytes: a SHA-512 in hexadecimal.
pub const BUILD_BYTES_MAX: usize = 128;
/// Longest description of a service, in bytes: one line on a screen.
pub const DESCRIPTION_BYTES_MAX: usize = 512;
/// Longest example request or reply, in bytes.
pub const EXAMPLE_BYTES_MAX: usize = 64 << 10;
/// Longest SQL of one migration, in bytes.
pub const MIGRATION_BYTES_MAX: usize = 1 << 20;
/// Longest time-out that a service may name, in milliseconds: one day.
pub const TIMEOUT_MS_MAX: u32 = 86_400_000;
/// Largest descriptor struct, in bytes: far above any that this contract will grow to.
pub const STRUCT_BYTES_MAX: u32 = 4096;

/// Longest SQL text of one statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Most bound parameters of one statement: the least that a supported database allows.
pub const PARAMS_MAX: usize = 1000;
/// Most rows that one query may ask for.
pub const ROWS_MAX: u32 = 100_000;
/// Most bytes of one command on documents: two documents of the largest size that MongoDB takes.
pub const DOCUMENT_COMMAND_BYTES_MAX: usize = 32 << 20;
/// Most results that one call holds open at a time.
pub const OPEN_RESULTS_MAX: usize = 64;
/// Longest code of a business error, in bytes.
pub const CODE_BYTES_MAX: usize = 64;
/// Longest field of a business error, in bytes.
pub const FIELD_BYTES_MAX: usize = 128;
/// Longest message of an error, in bytes; the rest is cut off.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest log record, in bytes; the rest is cut off.
pub const LOG_BYTES_MAX: usize = 16 << 10;
