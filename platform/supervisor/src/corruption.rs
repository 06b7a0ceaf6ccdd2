//! Words that nobody of ours can have written.

use std::collections::BTreeSet;

use gantry_ring::Slots;
use gantry_segment::Control;

/// Slots whose word is corrupt, each told once.
#[derive(Debug, Default)]
pub(crate) struct Corruption {
    told: BTreeSet<u16>,
}

impl Corruption {
    /// Looks at the word of every slot, and tells of those that were whole before. Gives how many are corrupt now.
    pub(crate) fn look(&mut self, control: &Control) -> usize {
        let corrupt: BTreeSet<u16> = Slots::new(control.slots())
            .words()
            .filter(|(_, word)| word.state().is_none())
            .map(|(index, _)| index)
            .collect();
        for index in corrupt.difference(&self.told) {
            let word = Slots::new(control.slots()).word(*index);
            tracing::error!(
                slot = index,
                ?word,
                "the word of a slot is corrupt: something wrote into the shared memory that should not have; the slot stays \
                 out of use until the node is stopped and started"
            );
        }
        self.told = corrupt;
        self.told.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_dimensions;
    use gantry_sys::atomic::Ordering::Relaxed;

    #[test]
    fn a_word_that_cannot_be_is_counted_until_it_is_whole_again() {
        let control = Control::heap(small_dimensions()).unwrap();
        let mut corruption = Corruption::default();
        assert_eq!(corruption.look(&control), 0);
        control.slots()[3].word.store(u64::MAX, Relaxed);
        assert_eq!((corruption.look(&control), corruption.look(&control)), (1, 1));
        control.slots()[3].word.store(0, Relaxed);
        assert_eq!(corruption.look(&control), 0);
    }
}
