//! The cell under every interleaving: takers, and the one who fills it.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p gantry-serials --release --test loom`. What a *death* leaves is not
//! modelled here, since there is no step of a cell that a death leaves half done: `uniqueness.rs` kills real processes.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a model ends at the first surprise")]

use std::ops::Range;

use gantry_segment::SerialCell;
use gantry_serials::cell::{Take, fill, left, sweep, take};
use loom::sync::Arc;
use loom::thread;

fn numbers(taken: Take) -> Vec<i64> {
    match taken {
        Take::Taken(range) => range.collect(),
        Take::Empty | Take::Dropped(_) => Vec::new(),
    }
}

/// No number twice, and none that nobody leased.
fn check(mut drawn: Vec<i64>, leased: &[Range<i64>]) {
    drawn.sort_unstable();
    assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
    assert!(drawn.iter().all(|number| leased.iter().any(|range| range.contains(number))), "{drawn:?}");
}

#[test]
fn two_takers_and_a_filler_that_fills_again_and_again_share_no_number() {
    loom::model(|| {
        let cell = Arc::new(SerialCell::default());
        assert!(fill(&cell, 0, &(10..12)));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let cell = Arc::clone(&cell);
                thread::spawn(move || numbers(take(&cell, 0, 2)))
            })
            .collect();
        // The owner takes from its own cell too, and fills it as soon as nothing is left.
        let mut drawn = numbers(take(&cell, 0, 1));
        if fill(&cell, 0, &(20..22)) {
            drawn.extend(numbers(take(&cell, 0, 1)));
            fill(&cell, 0, &(30..31));
        }
        for taker in takers {
            drawn.extend(taker.join().unwrap());
        }
        check(drawn, &[10..12, 20..22, 30..31]);
    });
}

/// A taker that read `end` and the word, and is then overtaken by a whole other filling of the same size.
#[test]
fn taker_that_was_overtaken_by_a_filling_takes_of_the_new_one_or_nothing() {
    loom::model(|| {
        let cell = Arc::new(SerialCell::default());
        assert!(fill(&cell, 0, &(10..11)));
        let slow = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || numbers(take(&cell, 0, 1)))
        };
        let mut drawn = numbers(take(&cell, 0, 1));
        for range in [20..21, 30..31] {
            if fill(&cell, 0, &range) {
                drawn.extend(numbers(take(&cell, 0, 1)));
            }
        }
        drawn.extend(slow.join().unwrap());
        check(drawn, &[10..11, 20..21, 30..31]);
    });
}

#[test]
fn sweep_of_an_old_epoch_meets_takers_and_the_filler() {
    loom::model(|| {
        let cell = Arc::new(SerialCell::default());
        assert!(fill(&cell, 0, &(10..12)));
        let sweeper = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || sweep(&cell, 1))
        };
        let taker = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || numbers(take(&cell, 1, 1)))
        };
        let filled = fill(&cell, 1, &(20..22));
        let swept = sweeper.join().unwrap();
        let drawn = taker.join().unwrap();
        assert!(drawn.iter().all(|number| (20..22).contains(number)), "nothing of the old epoch: {drawn:?}");
        let left = left(&cell);
        assert!(left <= 2 && swept <= 2 && (filled || left == 0), "{filled} {swept} {left}");
        check(drawn, &[20..22]);
    });
}
