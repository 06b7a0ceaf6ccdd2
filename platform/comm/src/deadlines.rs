//! Timers: a hashed wheel of one-millisecond ticks.
//!
//! A timer has a small fixed id (a slot, a connection) and at most one place in the wheel. Cancelling is lazy: a
//! timer whose reason is gone stays where it is, and whoever it wakes looks at what is really due. So a request that
//! is answered in microseconds and a slot that is used again a thousand times a second cost the wheel nothing: the
//! entry of the first use is still there, earlier than any later deadline, and is set anew when it comes up.

use crate::limits::{NS_PER_MS, WHEEL_BUCKETS, WHEEL_HORIZON_MS};

/// Nobody, at the ends of a bucket's list.
const NONE: u32 = u32::MAX;

/// One timer.
#[derive(Debug, Clone, Copy)]
struct Timer {
    /// When it comes up, in ticks; 0 = it is in no bucket.
    tick: u64,
    previous: u32,
    next: u32,
}

/// The timers in a bucket: those whose tick has its remainder.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    first: u32,
    /// No timer in here comes up before this tick.
    earliest: u64,
}

/// The wheel of one I/O thread.
#[derive(Debug)]
pub(crate) struct Wheel {
    timers: Vec<Timer>,
    buckets: Vec<Bucket>,
    /// The tick up to which all timers came up.
    now: u64,
}

impl Wheel {
    /// A wheel that starts at `now_ns`, for timers 0 to `count` - 1.
    pub(crate) fn new(count: usize, now_ns: u64) -> Self {
        Self {
            timers: vec![Timer { tick: 0, previous: NONE, next: NONE }; count],
            buckets: vec![Bucket { first: NONE, earliest: u64::MAX }; WHEEL_BUCKETS],
            now: now_ns / NS_PER_MS,
        }
    }

    /// Makes sure that timer `id` comes up at `at_ns` or before. A time that has passed is the next tick.
    pub(crate) fn arm(&mut self, id: usize, at_ns: u64) {
        let tick = at_ns.div_ceil(NS_PER_MS).max(self.now + 1);
        let Some(timer) = self.timers.get(id) else { return };
        if timer.tick != 0 {
            if timer.tick <= tick {
                return;
            }
            self.unlink(id);
        }
        self.link(id, tick);
    }

    /// Gives to `due` every timer whose tick has come at `now_ns`, and takes it out.
    pub(crate) fn advance(&mut self, now_ns: u64, due: &mut Vec<u32>) {
        let target = now_ns / NS_PER_MS;
        if target <= self.now {
            return;
        }
        // After a long stop each bucket need be looked at only once.
        let first = (self.now + 1).max((target + 1).saturating_sub(WHEEL_BUCKETS as u64));
        self.now = target;
        for tick in first..=target {
            let index = bucket_of(tick);
            if self.buckets[index].earliest <= target {
                self.empty(index, target, due);
            }
        }
    }

    /// When the next timer comes up, in nanoseconds, if that is within the horizon of a sleep.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        (self.now + 1..=self.now + WHEEL_HORIZON_MS)
            .find(|tick| self.buckets[bucket_of(*tick)].earliest <= *tick)
            .map(|tick| tick * NS_PER_MS)
    }

    fn empty(&mut self, index: usize, target: u64, due: &mut Vec<u32>) {
        let mut id = self.buckets[index].first;
        let mut earliest = u64::MAX;
        while id != NONE {
            let Timer { tick, next, .. } = self.timers[id as usize];
            if tick <= target {
                self.unlink(id as usize);
                due.push(id);
            } else {
                earliest = earliest.min(tick);
            }
            id = next;
        }
        self.buckets[index].earliest = earliest;
    }

    fn link(&mut self, id: usize, tick: u64) {
        let bucket = &mut self.buckets[bucket_of(tick)];
        let next = std::mem::replace(&mut bucket.first, id as u32);
        bucket.earliest = bucket.earliest.min(tick);
        self.timers[id] = Timer { tick, previous: NONE, next };
        if next != NONE {
            self.timers[next as usize].previous = id as u32;
        }
    }

    fn unlink(&mut self, id: usize) {
        let Timer { tick, previous, next } = self.timers[id];
        match previous {
            NONE => self.buckets[bucket_of(tick)].first = next,
            previous => self.timers[previous as usize].next = next,
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        self.timers[id].tick = 0;
    }
}

fn bucket_of(tick: u64) -> usize {
    tick as usize % WHEEL_BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE_DUE: [u32; 0] = [];
    const START_NS: u64 = 77_000 * NS_PER_MS + 345;

    fn due(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now_ns, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_timer_comes_up_at_its_millisecond_and_never_before_its_time() {
        let mut wheel = Wheel::new(4, START_NS);
        let at_ns = START_NS + 300 * NS_PER_MS;
        wheel.arm(2, at_ns);
        assert_eq!(due(&mut wheel, at_ns - 1), NONE_DUE);
        let next_ns = wheel.next_ns().unwrap();
        assert!(next_ns >= at_ns && next_ns < at_ns + NS_PER_MS);
        assert_eq!(due(&mut wheel, next_ns), [2]);
        assert_eq!(due(&mut wheel, next_ns + NS_PER_MS), NONE_DUE);
        assert_eq!(wheel.next_ns(), None);
    }

    #[test]
    fn arming_again_moves_a_timer_to_the_front_but_never_back() {
        let mut wheel = Wheel::new(2, START_NS);
        wheel.arm(1, START_NS + 100 * NS_PER_MS);
        wheel.arm(1, START_NS + 200 * NS_PER_MS);
        wheel.arm(0, START_NS + 100 * NS_PER_MS);
        wheel.arm(0, START_NS + 50 * NS_PER_MS);
        assert_eq!(due(&mut wheel, START_NS + 60 * NS_PER_MS), [0]);
        assert_eq!(due(&mut wheel, START_NS + 110 * NS_PER_MS), [1]);
        assert_eq!(due(&mut wheel, START_NS + 300 * NS_PER_MS), NONE_DUE);
    }

    #[test]
    fn a_timer_beyond_one_round_waits_for_its_own_round() {
        let mut wheel = Wheel::new(3, START_NS);
        let round_ns = WHEEL_BUCKETS as u64 * NS_PER_MS;
        wheel.arm(0, START_NS + 5 * NS_PER_MS);
        wheel.arm(1, START_NS + 5 * NS_PER_MS + round_ns);
        wheel.arm(2, START_NS + 5 * NS_PER_MS + 3 * round_ns);
        assert_eq!(due(&mut wheel, START_NS + 10 * NS_PER_MS), [0]);
        assert_eq!(wheel.next_ns(), None, "nothing is due within the horizon");
        assert_eq!(due(&mut wheel, START_NS + round_ns), NONE_DUE);
        assert_eq!(due(&mut wheel, START_NS + 10 * NS_PER_MS + round_ns), [1]);
        assert_eq!(due(&mut wheel, START_NS + 10 * round_ns), [2], "after a long stop");
    }

    #[test]
    fn a_time_that_has_passed_comes_up_with_the_next_tick() {
        let mut wheel = Wheel::new(1, START_NS);
        wheel.arm(0, 1);
        assert_eq!(due(&mut wheel, START_NS), NONE_DUE);
        assert_eq!(due(&mut wheel, START_NS + NS_PER_MS), [0]);
        wheel.arm(9, START_NS);
        assert_eq!(
            due(&mut wheel, START_NS + 5 * NS_PER_MS),
            NONE_DUE,
            "an id that was not planned for is ignored"
        );
    }

    #[test]
    fn the_wheel_agrees_with_a_sorted_list_over_many_steps() {
        let (mut wheel, mut now_ns, mut random) = (Wheel::new(50, START_NS), START_NS, 99_u64);
        let mut model: [Option<u64>; 50] = [None; 50];
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(7);
            let (id, wait_ms) = ((random >> 33) as usize % 50, (random >> 40) % 9_000);
            let at_ns = now_ns + wait_ms * NS_PER_MS;
            wheel.arm(id, at_ns);
            let tick = at_ns.div_ceil(NS_PER_MS).max(now_ns / NS_PER_MS + 1);
            model[id] = Some(model[id].map_or(tick, |old| old.min(tick)));
            if random >> 60 < 8 {
                now_ns += (random >> 20) % 40_000_000;
                let target = now_ns / NS_PER_MS;
                let mut expected = Vec::new();
                for (id, tick) in model.iter_mut().enumerate() {
                    if tick.is_some_and(|tick| tick <= target) {
                        *tick = None;
                        expected.push(id as u32);
                    }
                }
                assert_eq!(due(&mut wheel, now_ns), expected);
            }
        }
    }
}
