//! The first page of each segment: whose it is, and how it is laid out.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::dimensions::{BlockClass, CLASSES_MAX, Dimensions};
use crate::{SegmentError, Shared, SharedText};

/// Version of the layout; grows with every change of a row, a place or a meaning.
pub const LAYOUT_VERSION: u32 = 4;
/// Bytes of the page that a header has to itself.
pub(crate) const HEADER_PAGE: usize = 4096;
/// `GANTRY01`, as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"GANTRY01");

/// Which of the three segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    Control = 1,
    Blocks = 2,
    Directory = 3,
}

impl SegmentKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Blocks => "blocks",
            Self::Directory => "directory",
        }
    }
}

/// The header. Written once by the supervisor that makes the segment, the magic last; read by everybody who
/// attaches. A creator that died in between leaves a segment without magic, which is refused as foreign.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Header {
    magic: AtomicU64,
    layout_version: AtomicU32,
    kind: AtomicU32,
    creation: AtomicU64,
    created_ms: AtomicU64,
    name: SharedText<8>,
    figures: [AtomicU32; 16],
    classes: [AtomicU64; CLASSES_MAX],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() <= HEADER_PAGE);

// SAFETY: `repr(C)`, atomics only.
unsafe impl Shared for Header {}

/// What a new segment's header is to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) kind: SegmentKind,
    pub(crate) creation: u64,
    pub(crate) name: &'a str,
    pub(crate) created_ms: u64,
}

impl Header {
    pub(crate) fn write(&self, identity: Identity<'_>, dimensions: &Dimensions) {
        self.layout_version.store(LAYOUT_VERSION, Ordering::Relaxed);
        self.kind.store(identity.kind as u32, Ordering::Relaxed);
        self.creation.store(identity.creation, Ordering::Relaxed);
        self.created_ms.store(identity.created_ms, Ordering::Relaxed);
        self.name.set(identity.name.as_bytes());
        for (place, (_, figure)) in self.figures.iter().zip(dimensions.figures()) {
            place.store(figure, Ordering::Relaxed);
        }
        for (place, class) in self.classes.iter().zip(&dimensions.classes) {
            let word = u64::from(class.block_bytes) << 32 | u64::from(class.blocks_count);
            place.store(word, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `check`; whoever sees the magic sees the rest.
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Refuses a segment that is not a Gantry segment of this layout and kind.
    pub(crate) fn check(&self, kind: SegmentKind, id: &str) -> Result<(), SegmentError> {
        // Acquire: pairs with the Release in `write`.
        let magic = self.magic.load(Ordering::Acquire);
        let what = kind.name();
        if magic != MAGIC {
            return Err(SegmentError::Foreign { what, id: id.to_owned(), magic });
        }
        let found = self.layout_version.load(Ordering::Relaxed);
        if found != LAYOUT_VERSION {
            return Err(SegmentError::Version { what, id: id.to_owned(), found, known: LAYOUT_VERSION });
        }
        if self.kind.load(Ordering::Relaxed) != kind as u32 {
            return Err(SegmentError::Mixed { what, id: id.to_owned() });
        }
        Ok(())
    }

    /// Whether the segment carries Gantry's magic; the rest of the header may still be of another version.
    pub fn is_gantry(&self) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
    }

    /// The name of the node that the segment belongs to.
    pub fn node_name(&self) -> String {
        self.name.text()
    }

    /// A number that each making of a node's segments has to itself.
    pub fn creation(&self) -> u64 {
        self.creation.load(Ordering::Relaxed)
    }

    /// Which segment of the node it is, as a word.
    pub fn kind_name(&self) -> &'static str {
        match self.kind.load(Ordering::Relaxed) {
            1 => "control",
            2 => "blocks",
            3 => "directory",
            _ => "unknown",
        }
    }

    /// The sizes that the segment was made for. They are checked before they are believed.
    ///
    /// # Errors
    /// [`SegmentError::Dimension`] when the header holds a size that cannot be.
    pub fn dimensions(&self) -> Result<Dimensions, SegmentError> {
        let figure = |index: usize| self.figures[index].load(Ordering::Relaxed);
        let classes =
            self.classes.iter().map(|place| place.load(Ordering::Relaxed)).filter(|word| *word != 0);
        let dimensions = Dimensions {
            slots: figure(0),
            processes: figure(1),
            io_threads: figure(2),
            connections: figure(3),
            receive_buffers: figure(4),
            receive_buffer_bytes: figure(5),
            out_records: figure(6),
            services: figure(7),
            libraries: figure(8),
            window_entries: figure(9),
            classes: classes
                .map(|word| BlockClass { block_bytes: (word >> 32) as u32, blocks_count: word as u32 })
                .collect(),
        };
        dimensions.check()?;
        Ok(dimensions)
    }

    /// Refuses a segment made for other sizes than `wanted`.
    pub(crate) fn compare(
        &self,
        wanted: &Dimensions,
        what: &'static str,
        id: &str,
    ) -> Result<(), SegmentError> {
        let found = self.dimensions()?;
        let other = |field, found: u64, wanted: u64| SegmentError::OtherSizes {
            what,
            id: id.to_owned(),
            field,
            found,
            wanted,
        };
        for ((field, here), (_, there)) in found.figures().into_iter().zip(wanted.figures()) {
            if here != there {
                return Err(other(field, u64::from(here), u64::from(there)));
            }
        }
        if found.classes != wanted.classes {
            let total = |dimensions: &Dimensions| {
                dimensions.classes.iter().map(|c| u64::from(c.block_bytes) * u64::from(c.blocks_count)).sum()
            };
            return Err(other("bytes of all blocks", total(&found), total(wanted)));
        }
        Ok(())
    }
}
