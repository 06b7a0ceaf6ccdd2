//! How busy the machine is.

/// Where the kernel counts the time of all CPUs.
const STAT: &str = "/proc/stat";

/// The share of CPU time that was not idle since the last look.
#[derive(Debug, Default)]
pub(crate) struct CpuLoad {
    last: Option<Times>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    busy_ticks: u64,
    all_ticks: u64,
}

impl CpuLoad {
    /// Looks, and gives the load since the last look in millionths; `None` at the first look, or where `/proc/stat`
    /// cannot be read.
    pub(crate) fn look(&mut self) -> Option<u32> {
        let now = times_in(&std::fs::read_to_string(STAT).ok()?)?;
        let last = self.last.replace(now)?;
        Some(share_ppm(last, now))
    }
}

fn share_ppm(last: Times, now: Times) -> u32 {
    let all = now.all_ticks.saturating_sub(last.all_ticks);
    let busy = now.busy_ticks.saturating_sub(last.busy_ticks).min(all);
    if all == 0 {
        return 0;
    }
    u32::try_from(u128::from(busy) * 1_000_000 / u128::from(all)).unwrap_or(1_000_000)
}

/// The line `cpu` has user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice; the guests' times are
/// already within user and nice. Time stolen by other machines is time that this one did not have: busy.
fn times_in(stat: &str) -> Option<Times> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let idle = ticks.get(3)?.checked_add(ticks.get(4).copied().unwrap_or(0))?;
    let all_ticks = ticks.iter().sum::<u64>();
    Some(Times { busy_ticks: all_ticks.saturating_sub(idle), all_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_share_that_was_not_idle_between_two_looks() {
        let first = times_in("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(first, Times { busy_ticks: 200, all_ticks: 1000 });
        let second = times_in("cpu  150 0 125 775 150 0 0 0 90 0\n").unwrap();
        assert_eq!(share_ppm(first, second), 375_000);
        assert_eq!(share_ppm(second, second), 0);
        assert_eq!(share_ppm(second, first), 0, "counters that go back are no load");
    }

    #[test]
    fn a_text_without_the_line_is_no_load() {
        assert_eq!(times_in("cpu0 1 2 3 4\n"), None);
        assert_eq!(times_in("cpu  1 2\n"), None);
    }

    #[test]
    fn the_machine_has_a_load_at_the_second_look() {
        let mut load = CpuLoad::default();
        assert_eq!(load.look(), None);
        assert!(load.look().is_some_and(|ppm| ppm <= 1_000_000));
    }
}
