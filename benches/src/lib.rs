//! Benchmarks, each with its peer in the same run; this library keeps the figures.
//!
//! The machines are shared and noisy, so a figure is the median of several rounds with the lowest and the highest
//! beside it, and a claim is the ratio to the peer that ran in turn with it.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

/// The rounds of one contender.
#[derive(Debug, Clone)]
pub struct Rounds {
    name: String,
    nanoseconds_each: Vec<f64>,
}

impl Rounds {
    /// No rounds yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), nanoseconds_each: Vec::new() }
    }

    /// Runs `work`, which does its thing `times` times, and notes how long each took.
    pub fn run(&mut self, times: u32, work: impl FnOnce(u32)) {
        let started = Instant::now();
        work(times);
        self.note(started.elapsed(), times);
    }

    /// Notes a round that was timed elsewhere.
    pub fn note(&mut self, took: Duration, times: u32) {
        self.nanoseconds_each.push(took.as_secs_f64() * 1e9 / f64::from(times));
    }

    /// The median of all rounds, in nanoseconds for each time; 0 when there was none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.nanoseconds_each.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    /// How many times faster than `peer` each round was than the peer's of the same turn: the median, the lowest and the
    /// highest; zeros when there was none.
    pub fn times_faster_than(&self, peer: &Self) -> [f64; 3] {
        let pairs = self.nanoseconds_each.iter().zip(&peer.nanoseconds_each);
        let mut ratios: Vec<f64> = pairs.map(|(own, theirs)| theirs / own).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |index: usize| ratios.get(index).copied().unwrap_or(0.0);
        [at(ratios.len() / 2), at(0), at(ratios.len().saturating_sub(1))]
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.nanoseconds_each.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.nanoseconds_each.iter().copied().fold(0.0, f64::max);
        let (name, median, count) = (&self.name, self.median(), self.nanoseconds_each.len());
        write!(out, "{name:<44} {median:>10.0} ns  ({low:.0} to {high:.0} in {count} rounds)")
    }
}

/// Times of single events, where the slow ones count as much as the middle.
#[derive(Debug, Clone)]
pub struct Spread {
    name: String,
    sorted: Vec<Duration>,
}

impl Spread {
    /// The times of one contender.
    pub fn new(name: &str, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { name: name.to_owned(), sorted: times }
    }

    /// The time that `share` (0 to 1) of all events stay within; zero when there was none.
    pub fn within(&self, share: f64) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, high, most] = [0.5, 0.99, 1.0].map(|share| self.within(share).as_secs_f64() * 1e3);
        write!(out, "{:<44} p50 {median:>8.3}  p99 {high:>8.3}  max {most:>8.3}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_what_most_events_stay_within() {
        let spread = Spread::new("x", (1..=101).rev().map(Duration::from_millis).collect());
        assert_eq!(spread.within(0.5), Duration::from_millis(51));
        assert_eq!(spread.within(0.99), Duration::from_millis(100));
        assert_eq!(spread.within(1.0), Duration::from_millis(101));
        assert_eq!(Spread::new("none", Vec::new()).within(0.5), Duration::ZERO);
    }

    #[test]
    fn rounds_are_compared_with_the_peers_of_the_same_turn() {
        let (mut own, mut peer) = (Rounds::new("own"), Rounds::new("peer"));
        for (own_ns, peer_ns) in [(100, 200), (100, 400), (200, 1800)] {
            own.note(Duration::from_nanos(own_ns), 10);
            peer.note(Duration::from_nanos(peer_ns), 10);
        }
        assert_eq!(own.times_faster_than(&peer), [4.0, 2.0, 9.0]);
        assert_eq!(Rounds::new("none").times_faster_than(&peer), [0.0; 3]);
    }

    #[test]
    fn the_median_is_the_middle_round() {
        let mut rounds = Rounds::new("x");
        for nanoseconds in [500, 100, 300] {
            rounds.note(Duration::from_nanos(nanoseconds), 10);
        }
        assert_eq!(rounds.median(), 30.0);
        assert!(rounds.to_string().contains("(10 to 50 in 3 rounds)"));
    }
}
