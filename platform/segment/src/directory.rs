//! The service directory: an array indexed by the 8-digit number itself.

use gantry_sys::atomic::{AtomicU32, AtomicU64, Ordering};

/// Numbers that the directory has an entry for: 00000000 to 99999999.
pub(crate) const NUMBERS: usize = 100_000_000;
/// Entries in one page of 4 KiB.
const ENTRIES_PER_PAGE: usize = 4096 / 4;
/// Words of the bitmap of written pages.
pub(crate) const PAGE_WORDS: usize = NUMBERS.div_ceil(ENTRIES_PER_PAGE).div_ceil(64);

/// What the directory says of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// 1 read, 2 write, 3 other.
    pub kind: u8,
    /// Row of the service table.
    pub service_index: u32,
}

/// The directory. Reading a page of a segment that nobody wrote would allocate it, so a bit for each page,
/// kept in the control segment, is looked at first: callers that try random numbers cost no memory.
#[derive(Debug, Clone, Copy)]
pub struct Directory<'a> {
    pub(crate) entries: &'a [AtomicU32],
    pub(crate) pages: &'a [AtomicU64],
}

impl Directory<'_> {
    /// What is known of `number`; `None` = no such service, also for numbers out of range.
    pub fn look_up(&self, number: u32) -> Option<DirectoryEntry> {
        let index = number as usize;
        let page = index / ENTRIES_PER_PAGE;
        // Acquire: pairs with the Release in `publish`; the entry behind the bit is written.
        let bits = self.pages.get(page / 64)?.load(Ordering::Acquire);
        if bits >> (page % 64) & 1 == 0 {
            return None;
        }
        // Acquire: pairs with the Release in `publish`; the service row behind the entry is written.
        let entry = self.entries.get(index)?.load(Ordering::Acquire);
        let kind = (entry & 3) as u8;
        (kind != 0).then(|| DirectoryEntry { kind, service_index: (entry >> 2).wrapping_sub(1) })
    }

    /// Publishes an entry, or removes it with `None`. Only the supervisor writes. A death between the two stores
    /// leaves the number unknown, as before.
    pub fn publish(&self, number: u32, entry: Option<DirectoryEntry>) {
        let index = number as usize;
        let page = index / ENTRIES_PER_PAGE;
        let (Some(place), Some(word)) = (self.entries.get(index), self.pages.get(page / 64)) else { return };
        if entry.is_none() && self.look_up(number).is_none() {
            return;
        }
        let value = entry.map_or(0, |entry| (entry.service_index + 1) << 2 | u32::from(entry.kind & 3));
        // Release: pairs with the Acquire in `look_up`; the service row was written before.
        place.store(value, Ordering::Release);
        // Release: pairs with the Acquire in `look_up`; the entry was written before.
        word.fetch_or(1 << (page % 64), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Region;

    #[test]
    fn a_published_number_is_found_and_no_other() {
        let entries = Region::heap(NUMBERS * 4);
        let pages = Region::heap(PAGE_WORDS * 8);
        let directory = Directory {
            entries: entries.many(0, NUMBERS).unwrap(),
            pages: pages.many(0, PAGE_WORDS).unwrap(),
        };
        let entry = DirectoryEntry { kind: 2, service_index: 0 };
        assert_eq!(directory.look_up(20_000_004), None);
        directory.publish(20_000_004, Some(entry));
        directory.publish(99_999_999, Some(DirectoryEntry { kind: 3, service_index: 7 }));
        assert_eq!(directory.look_up(20_000_004), Some(entry));
        assert_eq!(directory.look_up(99_999_999).unwrap().service_index, 7);
        assert_eq!(directory.look_up(20_000_005), None);
        assert_eq!(directory.look_up(100_000_000), None);
        directory.publish(20_000_004, None);
        assert_eq!(directory.look_up(20_000_004), None);
    }
}
