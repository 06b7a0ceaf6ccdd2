//! What can be known of a library's file before it is loaded: loading runs its constructors, and a
//! file that is cut off kills the process.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::LittleEndian;
use object::elf::{ET_DYN, FileHeader64, PT_LOAD, STB_GNU_UNIQUE};
use object::read::Object;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, Sym};

use crate::error::LoadError;
use crate::limits::LIBRARY_FILE_BYTES_MAX;

/// The one symbol that a library exports.
pub(crate) const ENTRY: &str = "gantry_service_entry";

type Elf<'a> = ElfFile<'a, FileHeader64<LittleEndian>>;

/// Looks at the file and gives its build id in hexadecimal, empty if the linker wrote none.
pub(crate) fn check_file(path: &Path) -> Result<String, LoadError> {
    let file = read_whole(path)?;
    let refuse = |found: String| LoadError::NotALibrary { path: path.to_owned(), found };
    if !file.starts_with(b"\x7fELF") {
        return Err(refuse(describe_start(&file)));
    }
    check_whole(&file).map_err(refuse)?;
    let elf = Elf::parse(&*file).map_err(|cause| refuse(format!("its ELF structure is broken ({cause})")))?;
    let header = elf.elf_header();
    let machine = header.e_machine(LittleEndian);
    if machine.0 != MACHINE {
        let expected = std::env::consts::ARCH;
        return Err(refuse(format!("it was built for ELF machine {}, this one is {expected}", machine.0)));
    }
    if header.e_type(LittleEndian) != ET_DYN {
        return Err(refuse("it is an ELF file but not a shared object".to_owned()));
    }
    check_symbols(&elf, path)?;
    let build_id = elf.build_id().ok().flatten().unwrap_or_default();
    Ok(build_id.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// ELF number of the machine that this was compiled for.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = object::elf::EM_X86_64.0;
/// ELF number of the machine that this was compiled for.
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = object::elf::EM_AARCH64.0;

fn read_whole(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |cause| LoadError::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let refuse = |found: String| Err(LoadError::NotALibrary { path: path.to_owned(), found });
    if !metadata.is_file() {
        return refuse("it is not a plain file".to_owned());
    }
    if metadata.len() > LIBRARY_FILE_BYTES_MAX {
        return refuse(format!("it has {} bytes, {LIBRARY_FILE_BYTES_MAX} at most", metadata.len()));
    }
    let mut bytes = Vec::new();
    file.take(LIBRARY_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What a file that is no ELF file seems to be, for the operator.
fn describe_start(file: &[u8]) -> String {
    let start = &file[..file.len().min(256)];
    if file.is_empty() {
        return "the file is empty".to_owned();
    }
    if file.starts_with(b"!<arch>") {
        return "it is a static archive (.a), not a shared object".to_owned();
    }
    // A cut at 256 bytes may split a character, which is not the file's fault.
    let is_text = match std::str::from_utf8(start) {
        Ok(text) => !text.contains('\0'),
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    if is_text { "it is a text file".to_owned() } else { "it has no ELF header".to_owned() }
}

/// Refuses a file that ends before what its headers speak of: the first access to a mapped part that is
/// missing would be a SIGBUS. The section headers come last in what linkers write, so any cut is found.
fn check_whole(file: &[u8]) -> Result<(), String> {
    let broken = |cause| format!("its ELF header is broken ({cause}); copy it again");
    let header = FileHeader64::<LittleEndian>::parse(file).map_err(broken)?;
    let mut needed = header.e_shoff(LittleEndian).saturating_add(
        u64::from(header.e_shentsize(LittleEndian)) * u64::from(header.e_shnum(LittleEndian)),
    );
    // Program headers that cannot be read lie beyond the end too.
    if let Ok(segments) = header.program_headers(LittleEndian, file) {
        for segment in segments.iter().filter(|segment| segment.p_type(LittleEndian) == PT_LOAD) {
            let end = segment.p_offset(LittleEndian).saturating_add(segment.p_filesz(LittleEndian));
            needed = needed.max(end);
        }
    }
    let present = file.len() as u64;
    if needed > present {
        return Err(format!("it is cut off: {present} bytes are there, {needed} are needed; copy it again"));
    }
    Ok(())
}

/// Refuses a library without the entry, or with symbols that the dynamic linker unifies.
fn check_symbols(elf: &Elf<'_>, path: &Path) -> Result<(), LoadError> {
    let symbols = elf.elf_dynamic_symbol_table();
    let mut has_entry = false;
    for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(LittleEndian)) {
        let name = symbols.symbol_name(LittleEndian, symbol).unwrap_or_default();
        if symbol.st_bind() == STB_GNU_UNIQUE {
            let symbol = String::from_utf8_lossy(name).into_owned();
            return Err(LoadError::UniqueSymbol { path: path.to_owned(), symbol });
        }
        has_entry |= name == ENTRY.as_bytes();
    }
    if has_entry { Ok(()) } else { Err(LoadError::NoEntry { path: path.to_owned() }) }
}
