//! What stands in a list: a few numbers of one lease, in a row.

use std::fmt;
use std::ops::Range;

use crate::limits::CHUNK_NUMBERS_MAX;

/// Consecutive numbers with the lease that they are of. As text: `e<epoch>l<first of the lease>n<first>+<count>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) epoch: u64,
    /// The first number of the lease: no two leases have the same.
    pub(crate) lease: i64,
    pub(crate) numbers: Range<i64>,
}

impl fmt::Display for Chunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, lease, numbers } = self;
        write!(out, "e{epoch}l{lease}n{}+{}", numbers.start, numbers.end - numbers.start)
    }
}

impl Chunk {
    /// Cuts a leased range into chunks of `size` numbers, the last one shorter.
    pub(crate) fn cut(epoch: u64, range: &Range<i64>, size: i64) -> Vec<Self> {
        let (mut chunks, mut first) = (Vec::new(), range.start);
        while first < range.end {
            let end = range.end.min(first.saturating_add(size.max(1)));
            chunks.push(Self { epoch, lease: range.start, numbers: first..end });
            first = end;
        }
        chunks
    }

    /// Reads what was popped. `None`: nobody of ours wrote it.
    pub(crate) fn read(text: &str, number_max: i64) -> Option<Self> {
        let (epoch, rest) = text.strip_prefix('e')?.split_once('l')?;
        let (lease, rest) = rest.split_once('n')?;
        let (first, count) = rest.split_once('+')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
        let signed = |text: &str| number(text).and_then(|number| i64::try_from(number).ok());
        let (lease, first, count) = (signed(lease)?, signed(first)?, signed(count)?);
        let is_possible = lease >= 1
            && first >= lease
            && (1..=CHUNK_NUMBERS_MAX).contains(&count)
            && first <= number_max
            && count <= number_max - first + 1;
        is_possible.then(|| Self {
            epoch: number(epoch).unwrap_or(u64::MAX),
            lease,
            numbers: first..first + count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_cut_without_a_gap_and_read_back() {
        let chunks = Chunk::cut(3, &(1001..1251), 100);
        let texts: Vec<String> = chunks.iter().map(Chunk::to_string).collect();
        assert_eq!(texts, ["e3l1001n1001+100", "e3l1001n1101+100", "e3l1001n1201+50"]);
        for (text, chunk) in texts.iter().zip(&chunks) {
            assert_eq!(Chunk::read(text, 9_999).as_ref(), Some(chunk));
        }
        assert_eq!(Chunk::cut(0, &(1..4), 0).len(), 3);
    }

    #[test]
    fn what_nobody_of_ours_wrote_is_refused() {
        for text in [
            "",
            "17",
            "e1l1n1",
            "e1l1n0+1",
            "e1l2n1+1",
            "e1l1n1+0",
            "e1l1n-5+9",
            "e1l1n1++5",
            "e1l0n1+5",
            "e1l1n99+2",
            "e1l1n1+1048577",
            "e1l1n9223372036854775807+2",
            "e1l1n1+5 ",
            "e1l1n１+5",
        ] {
            assert_eq!(Chunk::read(text, 99), None, "{text}");
        }
        assert!(Chunk::read("e1l1n99+1", 99).is_some());
    }
}
