//! Connections in the order in which something began for them, for the choice of the oldest.

/// Nobody, at the ends of the list.
const NONE: u32 = u32::MAX;

/// Links of one member.
#[derive(Debug, Clone, Copy)]
struct Links {
    previous: u32,
    next: u32,
    is_in: bool,
}

/// A list over small indices, oldest first; joining, leaving and looking at the oldest take constant time, and
/// nothing is allocated for an index that was in before.
#[derive(Debug)]
pub(crate) struct AgeList {
    links: Vec<Links>,
    oldest: u32,
    newest: u32,
}

impl Default for AgeList {
    fn default() -> Self {
        Self { links: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl AgeList {
    /// Puts `index` at the young end, wherever it was.
    pub(crate) fn renew(&mut self, index: u32) {
        self.leave(index);
        let place = index as usize;
        if self.links.len() <= place {
            self.links.resize(place + 1, Links { previous: NONE, next: NONE, is_in: false });
        }
        self.links[place] = Links { previous: self.newest, next: NONE, is_in: true };
        match self.newest {
            NONE => self.oldest = index,
            newest => self.links[newest as usize].next = index,
        }
        self.newest = index;
    }

    /// Takes `index` out, if it is in.
    pub(crate) fn leave(&mut self, index: u32) {
        let Some(links) = self.links.get_mut(index as usize).filter(|links| links.is_in) else { return };
        links.is_in = false;
        let Links { previous, next, .. } = *links;
        match previous {
            NONE => self.oldest = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.links[next as usize].previous = previous,
        }
    }

    /// Whether `index` is in.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.links.get(index as usize).is_some_and(|links| links.is_in)
    }

    /// The member that has been in for the longest time.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_one_that_was_renewed_longest_ago() {
        let mut list = AgeList::default();
        assert_eq!(list.oldest(), None);
        for index in [4, 7, 2] {
            list.renew(index);
        }
        assert_eq!(list.oldest(), Some(4));
        list.renew(4);
        assert_eq!(list.oldest(), Some(7));
        list.leave(2);
        list.leave(2);
        list.leave(99);
        list.leave(7);
        assert_eq!(list.oldest(), Some(4));
        list.leave(4);
        assert_eq!(list.oldest(), None);
    }

    #[test]
    fn the_list_agrees_with_a_plain_vector_over_many_steps() {
        let (mut list, mut model, mut random) = (AgeList::default(), Vec::new(), 12_345_u64);
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (index, is_renewal) = ((random >> 40) as u32 % 12, random >> 60 < 9);
            model.retain(|member| *member != index);
            if is_renewal {
                model.push(index);
                list.renew(index);
            } else {
                list.leave(index);
            }
            assert_eq!(list.oldest(), model.first().copied());
        }
    }
}
