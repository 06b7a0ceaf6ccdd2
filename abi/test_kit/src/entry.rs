//! The library that is linked into the test.

use gantry_service_host::{Library, LoadError, Loader};

use gantry_abi::GantryLibrary;

// SAFETY: `export_library!` defines the symbol with exactly this type. Without that macro in the test's program the
// linker misses it, and says so by this name.
unsafe extern "C-unwind" {
    fn gantry_service_entry() -> *const GantryLibrary;
}

/// Reads and checks what the library says of itself, as the platform does after loading it.
pub(crate) fn library() -> Result<Library, LoadError> {
    // SAFETY: the function is what a service library exports.
    unsafe { Loader::read_linked(gantry_service_entry) }
}
