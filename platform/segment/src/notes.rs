//! What each process notes of what it is doing, for those who look into its death.
//!
//! A note is a diary, not a part of the algorithm: nobody acts on it, and whoever reads it after the process died
//! prints it. It is written by its process alone, in the middle of its work or of its death, so everything here that
//! writes is a bounded number of stores: no allocation, no lock, no system call.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::{Shared, SharedText};

/// Addresses of a stack that are kept, innermost first.
pub const STACK_FRAMES_MAX: usize = 48;
/// Files of code that a noted stack can refer to.
pub const STACK_MODULES_MAX: usize = 8;
/// Bytes of a statement's text that are kept.
pub const STATEMENT_BYTES_MAX: usize = 1024;
/// Bytes of the path of a file of code that are kept.
pub const MODULE_PATH_BYTES_MAX: usize = 208;
/// Bytes of a build id that are kept.
pub const MODULE_BUILD_BYTES_MAX: usize = 32;

const STATEMENT_WORDS: usize = STATEMENT_BYTES_MAX / 8;
const BUILD_WORDS: usize = MODULE_BUILD_BYTES_MAX / 8;
/// A frame's word: which module (its place + 1, 0 = none) above, the offset in it or the bare address below.
const FRAME_MODULE_SHIFT: u32 = 56;

/// One process's note, in the same place as its row of the process table.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ProcessNote {
    /// The request that `library` and `version` are about, as `ProcessRow::running_slot` has it.
    request: AtomicU64,
    /// When the statement that runs began, monotonic clock, ns; 0 = none runs. Written after the text.
    statement_since_ns: AtomicU64,
    /// Length of the whole text in bytes, of which `statement` may hold the beginning only.
    statement_bytes: AtomicU32,
    /// A [`StackEnd`] as a number; 0 = no stack was noted.
    stack_end: AtomicU32,
    /// The request that the stack was noted in, as `ProcessRow::running_slot` has it.
    stack_request: AtomicU64,
    /// The signal whose hook noted it; 0 = the exit hook did.
    stack_signal: AtomicU32,
    frames_count: AtomicU32,
    modules_count: AtomicU32,
    reserved_counts: AtomicU32,
    reserved_line: [AtomicU64; 1],

    /// The data source that the statement runs on.
    source: SharedText<4>,
    /// The library whose service runs.
    library: SharedText<8>,
    /// Its version.
    version: SharedText<4>,
    statement: [AtomicU64; STATEMENT_WORDS],
    frames: [AtomicU64; STACK_FRAMES_MAX],
    modules: [ModuleRow; STACK_MODULES_MAX],
    reserved: [AtomicU64; 53],
}

/// A file of code that a stack refers to.
#[derive(Debug)]
#[repr(C)]
struct ModuleRow {
    path: SharedText<{ MODULE_PATH_BYTES_MAX / 8 }>,
    build_bytes: AtomicU32,
    reserved: AtomicU32,
    build: [AtomicU64; BUILD_WORDS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<ProcessNote>() == 4096 && size_of::<ModuleRow>() == 256);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for ProcessNote {}

/// How the noting of a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum StackEnd {
    /// The process died while it was noting: what stands there is the inner part.
    Unfinished = 1,
    /// The outermost frame that can be found is there.
    Whole = 2,
    /// There were more frames than are kept.
    Cut = 3,
    /// The walk met memory that is no stack.
    Faulted = 4,
}

impl StackEnd {
    fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Unfinished),
            2 => Some(Self::Whole),
            3 => Some(Self::Cut),
            4 => Some(Self::Faulted),
            _ => None,
        }
    }
}

/// A statement that was running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementNote {
    /// The data source.
    pub source: String,
    /// The text, cut to [`STATEMENT_BYTES_MAX`]; parameters are never noted.
    pub text: String,
    /// Length of the whole text in bytes.
    pub bytes: u32,
    /// When it began; monotonic clock, ns.
    pub since_ns: u64,
}

/// One address of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameNote {
    /// The place of its file in [`StackNote::modules`]; `None` when it lies in none that was known.
    pub module: Option<u8>,
    /// Offset from where the file is loaded, that is the address in the file's own terms; the bare address without one.
    pub offset: u64,
}

/// A file of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleNote {
    /// Its path, or only its name where the path was too long.
    pub path: String,
    /// Its build id; empty if it has none.
    pub build: Vec<u8>,
}

/// A stack that was noted, innermost frame first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackNote {
    /// The request that ran, as `ProcessRow::running_slot` has it.
    pub request: u64,
    /// The signal whose hook noted it; 0 = the exit hook did.
    pub signal: u32,
    /// How the noting ended.
    pub end: StackEnd,
    /// The frames.
    pub frames: Vec<FrameNote>,
    /// The files that they lie in.
    pub modules: Vec<ModuleNote>,
}

impl Default for ProcessNote {
    fn default() -> Self {
        let zeros = || AtomicU64::new(0);
        Self {
            request: zeros(),
            statement_since_ns: zeros(),
            statement_bytes: AtomicU32::new(0),
            stack_end: AtomicU32::new(0),
            stack_request: zeros(),
            stack_signal: AtomicU32::new(0),
            frames_count: AtomicU32::new(0),
            modules_count: AtomicU32::new(0),
            reserved_counts: AtomicU32::new(0),
            reserved_line: [zeros()],
            source: SharedText::default(),
            library: SharedText::default(),
            version: SharedText::default(),
            statement: std::array::from_fn(|_| zeros()),
            frames: std::array::from_fn(|_| zeros()),
            modules: std::array::from_fn(|_| ModuleRow::default()),
            reserved: std::array::from_fn(|_| zeros()),
        }
    }
}

impl Default for ModuleRow {
    fn default() -> Self {
        Self {
            path: SharedText::default(),
            build_bytes: AtomicU32::new(0),
            reserved: AtomicU32::new(0),
            build: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl ProcessNote {
    /// Forgets everything; done by a process that takes the row.
    pub fn clear(&self) {
        self.statement_since_ns.store(0, Ordering::Relaxed);
        self.stack_end.store(0, Ordering::Relaxed);
        self.request.store(0, Ordering::Relaxed);
    }

    /// Notes which library serves the request that begins.
    pub fn begin_request(&self, request: u64, library: &str, version: &str) {
        self.request.store(0, Ordering::Relaxed);
        // Release, here and below: a reader that sees the mark sees what it stands for, and one that sees what comes
        // next no longer sees the mark.
        fence(Ordering::Release);
        self.library.set(library.as_bytes());
        self.version.set(version.as_bytes());
        self.request.store(request, Ordering::Release);
    }

    /// Name and version of the library that serves `request`, if that was noted.
    pub fn library(&self, request: u64) -> Option<(String, String)> {
        // Acquire: pairs with the Release in `begin_request`.
        let is_noted = request != 0 && self.request.load(Ordering::Acquire) == request;
        is_noted.then(|| (self.library.text(), self.version.text()))
    }

    /// Notes the statement that is about to run. Its parameters are never noted: they are the callers' data.
    pub fn begin_statement(&self, source: &str, text: &str, now_ns: u64) {
        self.statement_since_ns.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        store_bytes(&self.statement, text.as_bytes());
        self.statement_bytes.store(u32::try_from(text.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.source.set(source.as_bytes());
        self.statement_since_ns.store(now_ns, Ordering::Release);
    }

    /// Notes that the statement has ended.
    pub fn end_statement(&self) {
        self.statement_since_ns.store(0, Ordering::Release);
    }

    /// The statement that runs.
    pub fn statement(&self) -> Option<StatementNote> {
        // Acquire: pairs with the Release in `begin_statement`.
        let since_ns = self.statement_since_ns.load(Ordering::Acquire);
        if since_ns == 0 {
            return None;
        }
        let bytes = self.statement_bytes.load(Ordering::Relaxed);
        let mut kept = load_bytes(&self.statement, bytes as usize);
        // A character that did not fit is left out, so that it is not shown as damage.
        if let Err(error) = std::str::from_utf8(&kept)
            && error.error_len().is_none()
        {
            kept.truncate(error.valid_up_to());
        }
        let text = String::from_utf8_lossy(&kept).into_owned();
        Some(StatementNote { source: self.source.text(), text, bytes, since_ns })
    }

    /// Begins to note a stack. `signal` is that whose hook notes it, 0 for the exit hook.
    pub fn begin_stack(&self, request: u64, signal: u32) {
        self.stack_end.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        self.frames_count.store(0, Ordering::Relaxed);
        self.modules_count.store(0, Ordering::Relaxed);
        self.stack_request.store(request, Ordering::Relaxed);
        self.stack_signal.store(signal, Ordering::Relaxed);
        self.end_stack(StackEnd::Unfinished);
    }

    /// Notes a file that frames lie in, and gives its place for [`push_frame`](Self::push_frame). `None` when there is
    /// no room for another one.
    pub fn push_module(&self, path: &[u8], build: &[u8]) -> Option<u8> {
        let place = self.modules_count.load(Ordering::Relaxed);
        let row = self.modules.get(place as usize)?;
        row.path.set(path);
        let build = &build[..build.len().min(MODULE_BUILD_BYTES_MAX)];
        store_bytes(&row.build, build);
        row.build_bytes.store(build.len() as u32, Ordering::Relaxed);
        self.modules_count.store(place + 1, Ordering::Release);
        u8::try_from(place).ok()
    }

    /// Notes the next outer frame. Gives whether there was room for it.
    pub fn push_frame(&self, frame: FrameNote) -> bool {
        let place = self.frames_count.load(Ordering::Relaxed);
        let Some(word) = self.frames.get(place as usize) else { return false };
        let module = frame.module.map_or(0, |module| u64::from(module) + 1);
        let offset = frame.offset & ((1 << FRAME_MODULE_SHIFT) - 1);
        word.store(module << FRAME_MODULE_SHIFT | offset, Ordering::Relaxed);
        self.frames_count.store(place + 1, Ordering::Release);
        true
    }

    /// Says how the noting of the stack ended.
    pub fn end_stack(&self, end: StackEnd) {
        self.stack_end.store(end as u32, Ordering::Release);
    }

    /// The stack that was noted last.
    pub fn stack(&self) -> Option<StackNote> {
        // Acquire: pairs with the Release in `end_stack`.
        let end = StackEnd::from_code(self.stack_end.load(Ordering::Acquire))?;
        let count = (self.frames_count.load(Ordering::Acquire) as usize).min(STACK_FRAMES_MAX);
        let modules_count = (self.modules_count.load(Ordering::Acquire) as usize).min(STACK_MODULES_MAX);
        let frame = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            let module = (word >> FRAME_MODULE_SHIFT) as u8;
            let module = module.checked_sub(1).filter(|place| usize::from(*place) < modules_count);
            FrameNote { module, offset: word & ((1 << FRAME_MODULE_SHIFT) - 1) }
        };
        let module = |row: &ModuleRow| {
            let bytes = row.build_bytes.load(Ordering::Relaxed) as usize;
            ModuleNote { path: row.path.text(), build: load_bytes(&row.build, bytes) }
        };
        Some(StackNote {
            request: self.stack_request.load(Ordering::Relaxed),
            signal: self.stack_signal.load(Ordering::Relaxed),
            end,
            frames: self.frames[..count].iter().map(frame).collect(),
            modules: self.modules[..modules_count].iter().map(module).collect(),
        })
    }
}

/// Stores as many of the bytes as there is room for; words behind them keep what they held.
fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut whole = [0_u8; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
    }
}

/// The first `bytes` bytes, or all that there are.
fn load_bytes(words: &[AtomicU64], bytes: usize) -> Vec<u8> {
    let mut all: Vec<u8> = words
        .iter()
        .take(bytes.div_ceil(8))
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    all.truncate(bytes);
    all
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_noted_while_it_runs_and_a_long_one_is_cut_at_a_character() {
        let note = ProcessNote::default();
        assert_eq!(note.statement(), None);
        note.begin_statement("main", "SELECT 1", 7);
        let found = note.statement().unwrap();
        assert_eq!((found.source.as_str(), found.text.as_str(), found.bytes), ("main", "SELECT 1", 8));
        assert_eq!(found.since_ns, 7);
        note.end_statement();
        assert_eq!(note.statement(), None);
        // 1 + 3 × 341 = 1024 bytes fit exactly; with one byte more in front the last character does not.
        for (front, kept) in [("S", 1024), ("SE", 1022)] {
            let text = format!("{front}{}", "余".repeat(400));
            note.begin_statement("main", &text, 8);
            let found = note.statement().unwrap();
            assert_eq!((found.bytes as usize, found.text.len()), (text.len(), kept));
            assert!(text.starts_with(&found.text), "{}", found.text);
        }
        // A shorter one leaves nothing of the longer one.
        note.begin_statement("passages", "SELECT 22", 9);
        assert_eq!(note.statement().unwrap().text, "SELECT 22");
    }

    #[test]
    fn the_library_is_that_of_the_request_it_was_noted_for() {
        let note = ProcessNote::default();
        note.begin_request(41, "diag", "1.2.0");
        assert_eq!(note.library(41), Some(("diag".into(), "1.2.0".into())));
        assert_eq!(note.library(42), None);
        assert_eq!(ProcessNote::default().library(0), None);
    }

    #[test]
    fn a_stack_comes_back_as_far_as_it_was_noted() {
        let note = ProcessNote::default();
        assert_eq!(note.stack(), None);
        note.begin_stack(5, 11);
        assert_eq!(note.stack().unwrap().end, StackEnd::Unfinished);
        let module = note.push_module(b"/lib/libx.so", &[0xab; 20]);
        assert_eq!(module, Some(0));
        assert!(note.push_frame(FrameNote { module, offset: 0x1234 }));
        assert!(note.push_frame(FrameNote { module: None, offset: 0x7fff_1234_5678 }));
        note.end_stack(StackEnd::Whole);
        let stack = note.stack().unwrap();
        assert_eq!((stack.request, stack.signal, stack.end), (5, 11, StackEnd::Whole));
        assert_eq!(stack.frames[0], FrameNote { module: Some(0), offset: 0x1234 });
        assert_eq!(stack.frames[1], FrameNote { module: None, offset: 0x7fff_1234_5678 });
        assert_eq!(stack.modules, [ModuleNote { path: "/lib/libx.so".into(), build: vec![0xab; 20] }]);
        note.begin_stack(6, 15);
        assert!(note.stack().unwrap().frames.is_empty());
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let note = ProcessNote::default();
        note.begin_stack(5, 11);
        let frame = FrameNote { module: None, offset: 1 };
        assert_eq!((0..100).filter(|_| note.push_frame(frame)).count(), STACK_FRAMES_MAX);
        assert_eq!((0..100).filter(|_| note.push_module(b"x", b"").is_some()).count(), STACK_MODULES_MAX);
        assert_eq!(note.stack().unwrap().modules.len(), STACK_MODULES_MAX);
    }

    /// Another process wrote it, so nothing in it is believed.
    #[test]
    fn counts_and_places_out_of_range_are_cut() {
        let note = ProcessNote::default();
        note.begin_stack(5, 11);
        note.frames_count.store(u32::MAX, Ordering::Relaxed);
        note.modules_count.store(u32::MAX, Ordering::Relaxed);
        note.modules[0].build_bytes.store(u32::MAX, Ordering::Relaxed);
        note.frames[0].store(u64::MAX, Ordering::Relaxed);
        let stack = note.stack().unwrap();
        assert_eq!((stack.frames.len(), stack.modules.len()), (STACK_FRAMES_MAX, STACK_MODULES_MAX));
        assert_eq!(stack.frames[0].module, None);
        assert_eq!(stack.modules[0].build.len(), MODULE_BUILD_BYTES_MAX);
        note.begin_statement("main", "x", 1);
        note.statement_bytes.store(u32::MAX, Ordering::Relaxed);
        assert!(note.statement().unwrap().text.len() <= STATEMENT_BYTES_MAX);
    }
}
