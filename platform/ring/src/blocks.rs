//! Blocks: where bodies lie.
//!
//! A block's tag is one word: generation 30 bits, kind 2, slot 16. It is claimed by a compare-and-swap. A tag whose
//! generation is not its slot's is free, so freeing a slot frees its blocks at once, and a process that dies with
//! blocks in its hands leaves nothing to repair.

use gantry_segment::{CLASSES_MAX, Control};
use gantry_sys::atomic::{AtomicU64, Ordering};

#[cfg(feature = "mutants")]
use crate::mutants::{self, Mutant};
use crate::slots::{Cursor, Slots};
use crate::word::{SlotRef, State};

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// The body of a request.
    Request = 1,
    /// The body of a reply.
    Reply = 2,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Its class.
    pub class: u8,
    /// Its index in the class.
    pub index: u32,
}

impl BlockRef {
    /// As the word that a slot's row keeps: class << 24 | index, plus one; never 0.
    pub fn to_bits(self) -> u32 {
        (u32::from(self.class) << 24 | self.index) + 1
    }

    /// From [`to_bits`](Self::to_bits); `None` for 0.
    pub fn from_bits(bits: u32) -> Option<Self> {
        let bits = bits.checked_sub(1)?;
        Some(Self { class: (bits >> 24) as u8, index: bits & 0xff_ffff })
    }
}

/// The tags of one class.
#[derive(Debug, Clone, Copy, Default)]
struct Class<'a> {
    block_bytes: u32,
    tags: &'a [AtomicU64],
}

/// All blocks of a node.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    classes: [Class<'a>; CLASSES_MAX],
    classes_count: usize,
    slots: Slots<'a>,
}

impl<'a> Blocks<'a> {
    /// The blocks whose tags are given by class with the size of each class's blocks, sizes ascending; classes
    /// beyond [`CLASSES_MAX`] are left out.
    pub fn new(tags: impl IntoIterator<Item = (u32, &'a [AtomicU64])>, slots: Slots<'a>) -> Self {
        let mut classes = [Class::default(); CLASSES_MAX];
        let mut classes_count = 0;
        for (class, (block_bytes, tags)) in classes.iter_mut().zip(tags) {
            *class = Class { block_bytes, tags };
            classes_count += 1;
        }
        Self { classes, classes_count, slots }
    }

    /// The blocks of a node.
    pub fn of(control: &'a Control) -> Self {
        let classes = control.dimensions().classes.iter().enumerate();
        let tags = classes.map(|(class, size)| (size.block_bytes, control.block_tags(class)));
        Self::new(tags, Slots::new(control.slots()))
    }

    /// How many classes there are.
    pub fn classes_count(&self) -> usize {
        self.classes_count
    }

    /// Bytes of a block of this class; 0 when there is no such class.
    pub fn block_bytes(&self, class: u8) -> u32 {
        self.classes().get(usize::from(class)).map_or(0, |class| class.block_bytes)
    }

    /// The smallest class whose blocks hold `bytes`; `None` when none does.
    pub fn class_for(&self, bytes: u32) -> Option<u8> {
        self.classes().iter().position(|class| class.block_bytes >= bytes).map(|class| class as u8)
    }

    /// Claims a free block of exactly this class, looking from the cursor on; `None` when all are taken.
    /// Does not block.
    pub fn claim(&self, class: u8, slot: SlotRef, kind: BlockKind, cursor: &mut Cursor) -> Option<BlockRef> {
        let tags = self.classes().get(usize::from(class))?.tags;
        let ours = tag(slot, kind);
        for step in 0..tags.len() {
            let index = (cursor.0 + step) % tags.len();
            // Acquire: pairs with the Release half of the exchange below by an earlier claimer.
            let found = tags[index].load(Ordering::Acquire);
            if !self.is_free(found) {
                continue;
            }
            #[cfg(feature = "mutants")]
            if mutants::is(Mutant::BlockClaimByStore) {
                tags[index].store(ours, Ordering::Release);
                return Some(BlockRef { class, index: index as u32 });
            }
            // AcqRel: Release, so that whoever sees the tag sees the slot it was claimed for; Acquire, so that our
            // writes come after the free slot's last reads.
            if tags[index].compare_exchange(found, ours, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                cursor.0 = index + 1;
                return Some(BlockRef { class, index: index as u32 });
            }
        }
        None
    }

    /// Gives a block back before its slot is freed, as a reply does that moves into a larger one. Nothing happens
    /// when it is not `slot`'s.
    pub fn release(&self, block: BlockRef, slot: SlotRef, kind: BlockKind) {
        let Some(place) = self.place(block) else { return };
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::RelaxedTag) {
            let _ = place.compare_exchange(tag(slot, kind), 0, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
        // Release: pairs with the Acquire of the next claimer; our last reads and writes of the block come before.
        let _ = place.compare_exchange(tag(slot, kind), 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Whether the block is `slot`'s: looked at before its bytes are believed.
    pub fn is_held(&self, block: BlockRef, slot: SlotRef, kind: BlockKind) -> bool {
        self.place(block).is_some_and(|place| place.load(Ordering::Acquire) == tag(slot, kind))
    }

    /// How many blocks of a class are taken now. Walks the class.
    pub fn taken_count(&self, class: u8) -> usize {
        let tags = self.classes().get(usize::from(class)).map_or(&[][..], |class| class.tags);
        tags.iter().filter(|tag| !self.is_free(tag.load(Ordering::Acquire))).count()
    }

    fn classes(&self) -> &[Class<'a>] {
        &self.classes[..self.classes_count]
    }

    fn place(&self, block: BlockRef) -> Option<&'a AtomicU64> {
        self.classes().get(usize::from(block.class))?.tags.get(block.index as usize)
    }

    fn is_free(&self, tag: u64) -> bool {
        if tag == 0 {
            return true;
        }
        #[cfg(feature = "mutants")]
        if mutants::is(Mutant::BlockNeverStale) {
            return false;
        }
        let word = self.slots.word(tag as u16);
        word.generation().base() != (tag >> 32) as u32 || word.is(State::Free)
    }
}

fn tag(slot: SlotRef, kind: BlockKind) -> u64 {
    u64::from(slot.generation.base()) << 32 | (kind as u64) << 16 | u64::from(slot.index)
}
