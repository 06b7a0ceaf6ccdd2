//! The files of code in this process, kept so that a hook in the middle of a crash can look an address up without
//! asking the dynamic linker, whose lock the crashed code may hold.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use gantry_segment::MODULE_PATH_BYTES_MAX;
use gantry_sys::signal::{LoadedModule, loaded_modules};

/// Modules that are known at most: the program, a dozen of the system, and more versions of libraries than
/// `workers.versions_max` lets a worker hold. What lies in a later one is noted by its bare address.
const MODULES_MAX: usize = 256;

/// Filled from the front, never changed: no library is ever unloaded.
static MODULES: [OnceLock<Module>; MODULES_MAX] = [const { OnceLock::new() }; MODULES_MAX];

/// One file of code.
#[derive(Debug)]
pub(crate) struct Module {
    loaded: LoadedModule,
    /// Its path, or its name alone where the path is longer than what is noted.
    path: Vec<u8>,
}

impl Module {
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    pub(crate) fn build(&self) -> &[u8] {
        &self.loaded.build
    }

    /// The address in the file's own terms.
    pub(crate) fn offset(&self, address: usize) -> usize {
        address.wrapping_sub(self.loaded.bias)
    }
}

/// Learns what has been loaded since the last look. Takes the dynamic linker's lock; not for a hook.
pub(crate) fn look() {
    for loaded in loaded_modules() {
        let is_known = known().any(|module| module.loaded.start == loaded.start);
        let Some(free) = MODULES.iter().find(|place| place.get().is_none()) else { return };
        if is_known {
            continue;
        }
        let whole = loaded.path.as_os_str();
        let name = loaded.path.file_name().unwrap_or(OsStr::new(""));
        let path = if whole.len() <= MODULE_PATH_BYTES_MAX { whole } else { name };
        let path = path.as_bytes().to_vec();
        // Only this thread fills places; if another ever did, its module stands there just as well.
        let _other = free.set(Module { loaded, path });
    }
}

/// The module that an address lies in. Async-signal-safe.
pub(crate) fn of(address: usize) -> Option<&'static Module> {
    known().find(|module| (module.loaded.start..module.loaded.end).contains(&address))
}

fn known() -> impl Iterator<Item = &'static Module> {
    MODULES.iter().map_while(OnceLock::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_its_file_and_nowhere_is_in_none() {
        look();
        let count = known().count();
        look();
        assert_eq!(known().count(), count, "nothing was loaded in between");
        let own = an_address_is_found_in_its_file_and_nowhere_is_in_none as *const () as usize;
        let module = of(own).unwrap();
        assert_eq!(module.path(), std::env::current_exe().unwrap().as_os_str().as_bytes());
        assert!(module.offset(own) < own);
        assert!(of(16).is_none());
    }
}
