//! Opens a library, checks it, and keeps it for the life of the process.

use std::ffi::c_void;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gantry_abi::bytes::GantryText;
use gantry_abi::descriptor::{GantryEntryFn, GantryLibrary};
use gantry_abi::host::{GantryCall, GantryHost};
use gantry_abi::status::GantryCode;
use gantry_message::ServiceNumber;
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::check;
use crate::description::{Description, ServiceDescription};
use crate::elf::{self, ENTRY};
use crate::environment::Environment;
use crate::error::LoadError;

/// The three functions of a service: those of [`GantryService`](gantry_abi::GantryService), not null.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) create: unsafe extern "C-unwind" fn(
        *const GantryHost,
        *mut GantryCall,
        GantryText,
        *mut *mut c_void,
    ) -> GantryCode,
    pub(crate) call: unsafe extern "C-unwind" fn(*mut c_void, *mut GantryCall) -> GantryCode,
    pub(crate) destroy: unsafe extern "C-unwind" fn(*mut c_void, *mut GantryCall),
}

/// A library that is loaded and checked. It stays in the process for ever, also when this is dropped:
/// unloading code that ran is unsound.
pub struct Library {
    path: PathBuf,
    description: Description,
    /// In the order of `description.services`.
    functions: Vec<Functions>,
}

/// Opens libraries.
pub struct Loader;

impl Loader {
    /// Opens the library at `path`, which runs its constructors, and checks what it says of itself. Blocks
    /// for as long as the constructors run.
    ///
    /// The path must be one where no other file was loaded before in this process: deployed libraries lie
    /// under names that carry a hash of their content.
    ///
    /// # Errors
    /// See [`LoadError`]. Unless it could not be opened at all, a refused library stays in the process too.
    pub fn open(path: &Path) -> Result<Library, LoadError> {
        let path = path.canonicalize().map_err(|cause| LoadError::Read { path: path.to_owned(), cause })?;
        let file_build = elf::check_file(&path)?;
        note_opened(&path)?;
        let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: loading runs foreign code: the operator chose this library, and it is probed in a process
        // of its own before a worker loads it.
        let opened = unsafe { Handle::open(Some(&path), flags) };
        let handle =
            opened.map_err(|cause| LoadError::Open { path: path.clone(), reason: linker_words(&cause) })?;
        // SAFETY: the contract gives the symbol of this name this type.
        let entry = unsafe { handle.get::<GantryEntryFn>(ENTRY) };
        let entry = *entry.map_err(|_| LoadError::NoEntry { path: path.clone() })?;
        // Never closed: the handle's drop would call dlclose.
        let _ = handle.into_raw();
        // SAFETY: by the contract the entry may be called at any time and only returns a pointer.
        let descriptor: *const GantryLibrary = unsafe { entry() };
        // SAFETY: the pointer is what the entry returned.
        let (description, functions) = unsafe { check::read_descriptor(&path, descriptor, &file_build) }?;
        Ok(Library { path, description, functions })
    }

    /// Reads and checks a library that is linked into this program, as its own tests do it.
    ///
    /// # Errors
    /// See [`LoadError`].
    ///
    /// # Safety
    /// `entry` keeps the contract: it returns null or a descriptor that, with all it points to, is constant until the
    /// process ends.
    pub unsafe fn read_linked(entry: GantryEntryFn) -> Result<Library, LoadError> {
        let path = PathBuf::from("(linked)");
        // SAFETY: by the contract the entry may be called at any time and only returns a pointer.
        let descriptor: *const GantryLibrary = unsafe { entry() };
        // SAFETY: the pointer is what the entry returned.
        let (description, functions) = unsafe { check::read_descriptor(&path, descriptor, "") }?;
        Ok(Library { path, description, functions })
    }
}

impl Library {
    /// Refuses a library whose services need what the node does not have.
    pub(crate) fn refuse_missing(&self, environment: &dyn Environment) -> Result<(), LoadError> {
        let missing = self.description.missing(environment);
        if missing.is_empty() {
            return Ok(());
        }
        Err(LoadError::Missing { path: self.path.clone(), missing })
    }

    /// Where it was loaded from: an absolute path without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The service with this number.
    pub fn service(&self, number: ServiceNumber) -> Option<&ServiceDescription> {
        self.description.services.iter().find(|service| service.number == number)
    }

    /// Where in `description().services` the service is, and its functions.
    pub(crate) fn find(&self, number: ServiceNumber) -> Option<(usize, Functions)> {
        let index = self.description.services.iter().position(|service| service.number == number)?;
        Some((index, *self.functions.get(index)?))
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library")
            .field("path", &self.path)
            .field("version", &self.description.version)
            .finish_non_exhaustive()
    }
}

/// What the dynamic linker said: the error's own text is only the name of the function.
fn linker_words(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A file that was opened, so that another file under the same path is noticed.
struct Opened {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    changed_ns: (i64, i64),
}

/// Remembers that `path` is opened. The dynamic linker knows an open library by its path and would give
/// the old one again, in silence, for a new file at the same place.
fn note_opened(path: &Path) -> Result<(), LoadError> {
    static OPENED: Mutex<Vec<Opened>> = Mutex::new(Vec::new());
    let metadata =
        std::fs::metadata(path).map_err(|cause| LoadError::Read { path: path.to_owned(), cause })?;
    let found = Opened {
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        changed_ns: (metadata.mtime(), metadata.mtime_nsec()),
    };
    // A poisoned lock guards a list that is whole after every statement.
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    match opened.iter().find(|earlier| earlier.path == found.path) {
        None => opened.push(found),
        Some(earlier) => {
            let is_same = (earlier.device, earlier.inode, earlier.bytes, earlier.changed_ns)
                == (found.device, found.inode, found.bytes, found.changed_ns);
            if !is_same {
                return Err(LoadError::PathReused { path: path.to_owned() });
            }
        }
    }
    Ok(())
}
