//! Which service versions kill their workers too often.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gantry_message::ServiceNumber;

use crate::limits::DEATHS_REMEMBERED_MAX;

/// When a version is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuarantineRule {
    /// So many deaths …
    pub(crate) deaths_count: u32,
    /// … within this time.
    pub(crate) window: Duration,
}

/// The recent deaths of workers by the service version that they ran. Only deaths that are the service's doing are
/// noted here: those that the dying worker itself explained, and time-out kills.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    deaths: BTreeMap<(ServiceNumber, String), VecDeque<u64>>,
}

impl Quarantine {
    /// Notes a death at `now_ns` and says whether the version has now died too often.
    pub(crate) fn note(
        &mut self,
        number: ServiceNumber,
        build: &str,
        now_ns: u64,
        rule: QuarantineRule,
    ) -> bool {
        let window_ns = u64::try_from(rule.window.as_nanos()).unwrap_or(u64::MAX);
        let oldest_ns = now_ns.saturating_sub(window_ns);
        // What is out of the window is dropped for all versions, so that the map cannot grow for ever.
        self.deaths.retain(|_, times| {
            while times.front().is_some_and(|time| *time < oldest_ns) {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = self.deaths.entry((number, build.to_owned())).or_default();
        times.push_back(now_ns);
        if times.len() > DEATHS_REMEMBERED_MAX {
            times.pop_front();
        }
        times.len() >= rule.deaths_count as usize
    }

    /// Forgets the deaths of all versions of a service: it was started again by hand, or is quarantined already.
    pub(crate) fn forget(&mut self, number: ServiceNumber) {
        self.deaths.retain(|(known, _), _| *known != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const RULE: QuarantineRule = QuarantineRule { deaths_count: 3, window: Duration::from_secs(60) };

    fn number(value: u32) -> ServiceNumber {
        ServiceNumber::new(value).unwrap()
    }

    #[test]
    fn the_last_of_enough_deaths_within_the_window_quarantines() {
        let mut quarantine = Quarantine::default();
        assert!(!quarantine.note(number(19_000_003), "1.0.0", 100 * SECOND_NS, RULE));
        assert!(!quarantine.note(number(19_000_003), "1.0.0", 130 * SECOND_NS, RULE));
        assert!(quarantine.note(number(19_000_003), "1.0.0", 160 * SECOND_NS, RULE));
    }

    #[test]
    fn deaths_spread_wider_than_the_window_never_quarantine() {
        let mut quarantine = Quarantine::default();
        for death in 0..50 {
            assert!(!quarantine.note(number(19_000_003), "1.0.0", (100 + death * 31) * SECOND_NS, RULE));
        }
        assert_eq!(quarantine.deaths.len(), 1);
        quarantine.note(number(19_000_001), "1.0.0", 100_000 * SECOND_NS, RULE);
        assert_eq!(quarantine.deaths.len(), 1, "the old deaths are forgotten with their version");
    }

    #[test]
    fn numbers_and_versions_are_counted_apart() {
        let mut quarantine = Quarantine::default();
        for (service, version) in [(1, "1"), (1, "2"), (2, "1"), (1, "1"), (1, "2"), (2, "1")] {
            assert!(!quarantine.note(number(service), version, SECOND_NS, RULE));
        }
    }

    #[test]
    fn a_service_started_again_by_hand_begins_anew() {
        let mut quarantine = Quarantine::default();
        quarantine.note(number(7), "1", SECOND_NS, RULE);
        quarantine.note(number(7), "1", SECOND_NS, RULE);
        quarantine.forget(number(7));
        assert!(!quarantine.note(number(7), "1", SECOND_NS, RULE));
    }

    #[test]
    fn one_death_is_enough_where_the_rule_says_so() {
        let rule = QuarantineRule { deaths_count: 1, window: Duration::from_secs(1) };
        assert!(Quarantine::default().note(number(7), "1", 0, rule));
    }
}
