//! The files of code that are loaded into this process, so that an address can be told in a file's own terms.

use core::ffi::{CStr, c_int, c_void};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Type of the note that holds a build id.
const NT_GNU_BUILD_ID: u32 = 3;
/// Far above what a build id's segment takes; a longer one is not looked into.
const NOTES_BYTES_MAX: usize = 64 << 10;

/// One file of code in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModule {
    /// Where it was loaded from.
    pub path: PathBuf,
    /// The first address that it takes.
    pub start: usize,
    /// The first address behind it.
    pub end: usize,
    /// What is added to the file's own addresses to get those of this process.
    pub bias: usize,
    /// Its build id; empty if it has none.
    pub build: Vec<u8>,
}

/// The program itself and every library that is loaded now, the program first.
///
/// Takes the dynamic linker's lock and allocates: not for a signal handler.
pub fn loaded_modules() -> Vec<LoadedModule> {
    let mut found: Vec<LoadedModule> = Vec::new();
    // SAFETY: `collect` has the type that is asked for and gets back the pointer to `found`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut found).cast()) };
    found
}

extern "C" fn collect(info: *mut libc::dl_phdr_info, _bytes: usize, found: *mut c_void) -> c_int {
    // SAFETY: the linker gives a whole description for the time of this call.
    let info = unsafe { &*info };
    // SAFETY: the pointer is what `loaded_modules` gave, and nothing else uses the list meanwhile.
    let found = unsafe { &mut *found.cast::<Vec<LoadedModule>>() };
    let bias = info.dlpi_addr as usize;
    // SAFETY: the linker says that so many headers are there.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let bounds = loaded.map(|header| {
        let start = bias.wrapping_add(header.p_vaddr as usize);
        (start, start.wrapping_add(header.p_memsz as usize))
    });
    let Some((start, end)) = bounds.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))) else { return 0 };
    // SAFETY: the linker gives a text that ends with a zero.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) };
    let path = if found.is_empty() {
        // The program's own name is empty here.
        std::fs::read_link("/proc/self/exe").unwrap_or_default()
    } else {
        PathBuf::from(OsStr::from_bytes(name.to_bytes()))
    };
    let notes = headers.iter().filter(|header| header.p_type == libc::PT_NOTE);
    let build = notes.map(|header| build_of(bias, header)).find(|build| !build.is_empty());
    found.push(LoadedModule { path, start, end, bias, build: build.unwrap_or_default() });
    0
}

/// The build id in a segment of notes, if it is there.
fn build_of(bias: usize, header: &libc::Elf64_Phdr) -> Vec<u8> {
    let bytes = header.p_memsz as usize;
    if bytes > NOTES_BYTES_MAX {
        return Vec::new();
    }
    let start = core::ptr::with_exposed_provenance::<u8>(bias.wrapping_add(header.p_vaddr as usize));
    // SAFETY: the notes lie in a loaded, readable segment, and stay there while the linker is in this call.
    let notes = unsafe { core::slice::from_raw_parts(start, bytes) };
    build_in(notes).to_vec()
}

/// Walks over notes: lengths of name and content, type, then both, each filled up to four bytes.
fn build_in(mut notes: &[u8]) -> &[u8] {
    let word = |notes: &[u8], at: usize| {
        let bytes = notes.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    while let (Some(name), Some(content), Some(kind)) = (word(notes, 0), word(notes, 4), word(notes, 8)) {
        let content_at = 12 + (name as usize).next_multiple_of(4);
        let end = content_at + content as usize;
        let is_build = kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0");
        match notes.get(content_at..end) {
            Some(build) if is_build => return build,
            Some(_) => notes = notes.get(end.next_multiple_of(4)..).unwrap_or_default(),
            None => return &[],
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_and_its_c_library_are_among_the_modules() {
        let modules = loaded_modules();
        assert_eq!(modules[0].path, std::env::current_exe().unwrap());
        let own = this_program_and_its_c_library_are_among_the_modules as *const () as usize;
        assert!((modules[0].start..modules[0].end).contains(&own), "{:?}", modules[0]);
        let c_library =
            modules.iter().find(|module| module.path.to_string_lossy().contains("libc.so")).unwrap();
        assert!((c_library.start..c_library.end).contains(&(libc::getpid as *const () as usize)));
        assert_eq!(c_library.build.len(), 20, "a SHA-1");
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes_and_damage_ends_the_search() {
        let note = |name: &[u8], kind: u32, content: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32, content.len() as u32, kind] {
                bytes.extend(word.to_ne_bytes());
            }
            for part in [name, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let notes =
            [note(b"GNU\0", 1, &[9; 16]), note(b"stapsdt\0", 3, &[7; 5]), note(b"GNU\0", 3, &[1, 2, 3])]
                .concat();
        assert_eq!(build_in(&notes), [1, 2, 3]);
        assert_eq!(build_in(&notes[..notes.len() - 2]), [0_u8; 0]);
        assert_eq!(build_in(&[0xff; 40]), [0_u8; 0]);
        assert_eq!(build_in(&[]), [0_u8; 0]);
    }
}
