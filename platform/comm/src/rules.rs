//! Rules that an operator attached to a service number: refuse, concurrency cap, rate. What they refuse is 203.

use gantry_segment::ServiceRow;
use gantry_sys::atomic::{AtomicU32, Ordering};

const NS_PER_S: u64 = 1_000_000_000;

/// Why a rule refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Broken {
    /// The operator refuses all requests of this service.
    Refuse,
    /// As many requests as the cap allows are in flight.
    Concurrency {
        /// The cap.
        requests_max: u32,
    },
    /// More requests than the rate and its burst allow.
    Rate {
        /// When the next one will be allowed, in nanoseconds from now.
        wait_ns: u64,
    },
}

/// Counts a request in, if the rules of its service allow one more. Whoever then refuses it for another reason calls
/// [`give_back`]; whoever ends it calls [`leave`].
pub(crate) fn enter(service: &ServiceRow, now_ns: u64) -> Result<(), Broken> {
    if service.rule_refuse.load(Ordering::Relaxed) != 0 {
        return Err(Broken::Refuse);
    }
    let requests_max = service.rule_concurrency.load(Ordering::Relaxed);
    let is_in = service.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        (requests_max == 0 || count < requests_max).then_some(count.saturating_add(1))
    });
    if is_in.is_err() {
        return Err(Broken::Concurrency { requests_max });
    }
    take_token(service, now_ns).inspect_err(|_| leave(service))
}

/// Counts a request out that came to its end.
pub(crate) fn leave(service: &ServiceRow) {
    subtract(&service.in_flight);
}

/// Counts a request out that was never begun: its place in the rate is free again.
pub(crate) fn give_back(service: &ServiceRow) {
    leave(service);
    if let Some((interval_ns, _)) = rate(service) {
        let full_at = &service.rate_full_at_ns;
        let _ = full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| Some(at.saturating_sub(interval_ns)));
    }
}

/// Takes one from a count that several threads change; a count that was lost with an earlier process stays 0.
pub(crate) fn subtract(count: &AtomicU32) {
    let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
}

/// The generic cell rate algorithm: one number, the time at which the bucket is full again, says how much is in it.
fn take_token(service: &ServiceRow, now_ns: u64) -> Result<(), Broken> {
    let Some((interval_ns, burst_ns)) = rate(service) else { return Ok(()) };
    let next = |full_at_ns: u64| full_at_ns.max(now_ns) + interval_ns;
    let taken = service.rate_full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at_ns| {
        let next_ns = next(full_at_ns);
        (next_ns - now_ns <= burst_ns).then_some(next_ns)
    });
    taken.map(|_| ()).map_err(|full_at_ns| Broken::Rate { wait_ns: next(full_at_ns) - now_ns - burst_ns })
}

/// The time between two requests of the rate, and the time that a full burst stands for.
fn rate(service: &ServiceRow) -> Option<(u64, u64)> {
    let rate = u64::from(service.rule_rate.load(Ordering::Relaxed));
    let burst = u64::from(service.rule_burst.load(Ordering::Relaxed)).max(1);
    let interval_ns = NS_PER_S.checked_div(rate)?.max(1);
    Some((interval_ns, interval_ns * burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: u64 = 5 * NS_PER_S;

    #[test]
    fn without_rules_all_are_counted_and_none_is_refused() {
        let service = ServiceRow::default();
        for _ in 0..100 {
            assert_eq!(enter(&service, NOW_NS), Ok(()));
        }
        assert_eq!(service.in_flight.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn the_cap_holds_until_one_leaves() {
        let service = ServiceRow::default();
        service.rule_concurrency.store(2, Ordering::Relaxed);
        assert_eq!((enter(&service, NOW_NS), enter(&service, NOW_NS)), (Ok(()), Ok(())));
        assert_eq!(enter(&service, NOW_NS), Err(Broken::Concurrency { requests_max: 2 }));
        leave(&service);
        assert_eq!(enter(&service, NOW_NS), Ok(()));
    }

    #[test]
    fn the_rate_admits_its_burst_at_once_and_then_one_each_interval() {
        let service = ServiceRow::default();
        service.rule_rate.store(10, Ordering::Relaxed);
        service.rule_burst.store(3, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(enter(&service, NOW_NS), Ok(()));
        }
        assert_eq!(enter(&service, NOW_NS), Err(Broken::Rate { wait_ns: 100_000_000 }));
        assert_eq!(service.in_flight.load(Ordering::Relaxed), 3, "a refused one is not in flight");
        assert_eq!(enter(&service, NOW_NS + 99_999_999), Err(Broken::Rate { wait_ns: 1 }));
        assert_eq!(enter(&service, NOW_NS + 100_000_000), Ok(()));
        assert!(enter(&service, NOW_NS + 100_000_000).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let service = ServiceRow::default();
        service.rule_rate.store(10, Ordering::Relaxed);
        assert_eq!(enter(&service, NOW_NS), Ok(()));
        give_back(&service);
        assert_eq!(enter(&service, NOW_NS), Ok(()));
        assert_eq!(service.in_flight.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn refuse_refuses_and_a_count_never_goes_below_zero() {
        let service = ServiceRow::default();
        service.rule_refuse.store(1, Ordering::Relaxed);
        assert_eq!(enter(&service, NOW_NS), Err(Broken::Refuse));
        leave(&service);
        assert_eq!(service.in_flight.load(Ordering::Relaxed), 0);
    }
}
