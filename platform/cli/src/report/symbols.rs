//! What stands at an offset in a file of code: its function, and the line where the file has line tables.

use std::fs;
use std::ops::Range;
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use addr2line::{Context, demangle_auto};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Bytes of the largest file that is looked into; a binary with all its line tables has a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why an offset of a module gets no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// The file is not there, or is none that can be read.
    NoFile,
    /// The file is another build than what ran.
    OtherBuild,
    /// What ran had no build id, so nothing tells whether this file is the same.
    NoBuild,
}

impl Unnamed {
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::NoFile => "its file is not there any more; offsets only",
            Self::OtherBuild => "its file is another build by now; offsets only",
            Self::NoBuild => "it had no build id to compare its file with; offsets only",
        }
    }
}

/// One function at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) function: String,
    /// File and line, where they are known.
    pub(crate) at: Option<String>,
}

/// The bytes of a file of code.
pub(crate) struct CodeFile(Vec<u8>);

impl CodeFile {
    /// Reads the file if it is the build that ran. `is_by_content`: its very name tells its content.
    pub(crate) fn open(path: &Path, build: &str, is_by_content: bool) -> Result<Self, Unnamed> {
        let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= FILE_BYTES_MAX);
        let bytes = if is_small { fs::read(path).ok() } else { None };
        let bytes = bytes.ok_or(Unnamed::NoFile)?;
        let elf = ElfFile64::<object::LittleEndian>::parse(&*bytes).map_err(|_| Unnamed::NoFile)?;
        let found = elf.build_id().ok().flatten().unwrap_or_default();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        if found != build {
            return Err(Unnamed::OtherBuild);
        }
        if found.is_empty() && !is_by_content {
            return Err(Unnamed::NoBuild);
        }
        Ok(Self(bytes))
    }

    /// Its functions and lines; made once for many look-ups.
    pub(crate) fn symbols(&self) -> Option<Symbols<'_>> {
        let elf = ElfFile64::<object::LittleEndian>::parse(&*self.0).ok()?;
        let functions = elf.symbols().chain(elf.dynamic_symbols());
        let functions =
            functions.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
        let mut functions: Vec<Function<'_>> = functions
            .filter_map(|symbol| {
                Some(Function { start: symbol.address(), bytes: symbol.size(), name: symbol.name().ok()? })
            })
            .collect();
        functions.sort_by_key(|function| function.start);
        let section = |id: addr2line::gimli::SectionId| {
            // A compressed section is as good as none.
            let data =
                elf.section_by_name(id.name()).and_then(|section| section.data().ok()).unwrap_or_default();
            Ok::<_, addr2line::gimli::Error>(EndianSlice::new(data, LittleEndian))
        };
        let lines = Dwarf::load(section).and_then(Context::from_dwarf).ok();
        let code = elf.sections().filter(|section| section.kind() == SectionKind::Text);
        let code =
            code.map(|section| section.address()..section.address().saturating_add(section.size())).collect();
        Some(Symbols { code, functions, lines })
    }
}

struct Function<'a> {
    start: u64,
    bytes: u64,
    name: &'a str,
}

/// The functions and lines of a file.
pub(crate) struct Symbols<'a> {
    /// Where there is code at all: line tables still have functions that the linker left out, at offset 0.
    code: Vec<Range<u64>>,
    functions: Vec<Function<'a>>,
    lines: Option<Context<EndianSlice<'a, LittleEndian>>>,
}

impl Symbols<'_> {
    /// What stands at an offset: the innermost function that was inlined there first, the one that has a place of its
    /// own last. Empty when nothing is known.
    pub(crate) fn at(&self, offset: u64) -> Vec<Place> {
        if !self.code.iter().any(|code| code.contains(&offset)) {
            return Vec::new();
        }
        let mut places = self.inlined_at(offset).unwrap_or_default();
        let Some(function) = self.function_at(offset) else { return places };
        match places.last_mut() {
            // The symbol has the whole name; line tables may have the bare one only.
            Some(outermost) => outermost.function = function,
            None => places.push(Place { function, at: None }),
        }
        places
    }

    fn function_at(&self, offset: u64) -> Option<String> {
        let behind = self.functions.partition_point(|function| function.start <= offset);
        // Several names may begin at one place, and one without a length says nothing of what lies behind it.
        let mut before = self.functions[..behind].iter().rev().take(8);
        let found = before.find(|function| offset - function.start < function.bytes)?;
        Some(demangle_auto(found.name.into(), None).into_owned())
    }

    fn inlined_at(&self, offset: u64) -> Option<Vec<Place>> {
        let mut frames = self.lines.as_ref()?.find_frames(offset).skip_all_loads().ok()?;
        let mut places = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|name| Some(name.demangle().ok()?.into_owned()));
            let at = frame.location.and_then(|location| {
                let line = location.line.map_or_else(String::new, |line| format!(":{line}"));
                Some(format!("{}{line}", location.file?))
            });
            places.push(Place { function: name.unwrap_or_else(|| "?".to_owned()), at });
        }
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_sys::signal::loaded_modules;

    /// A function to be found.
    #[inline(never)]
    fn found_by_its_name() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn a_function_of_this_program_is_found_by_its_offset_with_its_line() {
        assert_eq!(found_by_its_name(), 7);
        let own = loaded_modules().remove(0);
        let build: String = own.build.iter().map(|byte| format!("{byte:02x}")).collect();
        let Ok(file) = CodeFile::open(&own.path, &build, false) else { panic!("it is this very program") };
        let offset = found_by_its_name as *const () as usize - own.bias;
        let places = file.symbols().unwrap().at(offset as u64 + 1);
        let last = places.last().unwrap();
        assert!(last.function.ends_with("symbols::tests::found_by_its_name"), "{places:?}");
        assert!(last.at.as_ref().unwrap().contains("symbols.rs:"), "{places:?}");
        assert!(file.symbols().unwrap().at(0).is_empty());
    }

    #[test]
    fn a_file_that_is_gone_or_another_build_names_nothing() {
        let own = std::env::current_exe().unwrap();
        let open = |path: &Path, build| CodeFile::open(path, build, false).err();
        assert_eq!(open(&own, "00ff"), Some(Unnamed::OtherBuild));
        assert_eq!(open(Path::new("/no/such/file"), ""), Some(Unnamed::NoFile));
        assert_eq!(open(Path::new("/etc/passwd"), ""), Some(Unnamed::NoFile));
    }
}
