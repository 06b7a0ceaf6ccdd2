//! The two clocks in use: one that never jumps, for deadlines and heartbeats, and the wall clock, for people.

use nix::time::{ClockId, clock_gettime};

/// Reads `CLOCK_MONOTONIC`, in nanoseconds since some moment before this machine's start.
///
/// It never goes back and is the same clock in every process of the machine, so its values may be compared
/// across processes; they mean nothing after a reboot. 64 bits last for 584 years.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux kernel has CLOCK_MONOTONIC");
    unsigned(now.tv_sec()) * 1_000_000_000 + unsigned(now.tv_nsec())
}

/// Reads the wall clock, in milliseconds since 1970-01-01 UTC.
///
/// It jumps when somebody sets the time: use it for records, never for deadlines. A clock set before 1970
/// reads as 0.
#[must_use]
pub fn realtime_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux kernel has CLOCK_REALTIME");
    unsigned(now.tv_sec()) * 1_000 + unsigned(now.tv_nsec()) / 1_000_000
}

/// The kernel's fields are signed; only a wall clock before 1970 is negative, which counts as 0.
fn unsigned(field: i64) -> u64 {
    u64::try_from(field).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_read_twice_does_not_go_back() {
        let first = monotonic_ns();
        let second = monotonic_ns();
        assert!(first > 0 && second >= first, "{first} then {second}");
    }

    #[test]
    fn monotonic_clock_is_the_kernels_uptime_in_nanoseconds() {
        let before = monotonic_ns();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let after = monotonic_ns();
        // /proc/uptime counts suspended time too, so it is never behind; it has a resolution of 10 ms.
        let uptime_s: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(uptime_s * 1e9 + 1e7 >= before as f64, "uptime {uptime_s} s, clock {before} to {after} ns");
        assert!(before > 1_000_000, "a machine that runs tests has been up for more than 1 ms");
    }

    #[test]
    fn realtime_clock_agrees_with_the_standard_library() {
        let now = || u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let before = now();
        let read = realtime_ms();
        let after = now();
        assert!((before..=after).contains(&read), "{before} <= {read} <= {after}");
    }
}
