use super::*;
use gantry_segment::ServiceStatistics;
use gantry_settings::Settings;
use gantry_sys::atomic::Ordering::Relaxed;
use std::path::Path;

const MS: u64 = 1_000_000;

fn rule() -> ServiceSettings {
    Settings::from_text("", Path::new("/tmp/gantry.toml")).unwrap().service
}

/// `calls` answers, `errors` of them bad, each after `latency_ns`.
fn figures(calls: u64, errors: u64, latency_ns: u64) -> Figures {
    let row = ServiceStatistics::default();
    row.calls.store(calls, Relaxed);
    row.errors.store(errors, Relaxed);
    (0..calls).for_each(|_| row.record_latency(latency_ns));
    let mut figures = Figures::default();
    figures.add(&row);
    figures
}

fn trial(deaths_count: u32, promote_after: Option<Duration>) -> Trial {
    Trial {
        library: "card".into(),
        version: "2".into(),
        build: "b2".into(),
        share_ppm: 50_000,
        promote_after,
        began_ns: 0,
        deaths_count,
        before: BTreeMap::new(),
        is_ending: false,
        failures_count: 0,
        promote_again_ns: 0,
    }
}

fn verdict(trial: &Trial, in_force: Figures, canary: Figures) -> Verdict {
    let number = ServiceNumber::new(20_000_004).unwrap();
    trial.verdict(&BTreeMap::from([(number, Pair { in_force, canary })]), true, &rule(), 60_000 * MS)
}

fn abort_reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Abort { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_canary_that_does_as_well_goes_on_until_its_time_has_come() {
    let fine = || (figures(1_000, 3, 2 * MS), figures(200, 1, 3 * MS));
    let (old, new) = fine();
    assert_eq!(verdict(&trial(0, None), old, new), Verdict::GoOn);
    let (old, new) = fine();
    assert_eq!(verdict(&trial(0, Some(Duration::from_secs(61))), old, new), Verdict::GoOn);
    let (old, new) = fine();
    assert_eq!(verdict(&trial(0, Some(Duration::from_secs(60))), old, new), Verdict::Promote);
    let few = (figures(1_000, 0, MS), figures(99, 0, MS));
    assert_eq!(
        verdict(&trial(0, Some(Duration::from_secs(60))), few.0, few.1),
        Verdict::GoOn,
        "too few calls"
    );
}

/// It tries the library out anew, so it is not done every second.
#[test]
fn a_promotion_that_failed_waits() {
    let fine = || (figures(1_000, 3, 2 * MS), figures(200, 1, 3 * MS));
    let waiting = Trial { promote_again_ns: 60_001 * MS, ..trial(0, Some(Duration::from_secs(60))) };
    let (old, new) = fine();
    assert_eq!(verdict(&waiting, old, new), Verdict::GoOn);
    let (old, _) = fine();
    abort_reason(verdict(&waiting, old, figures(200, 100, 3 * MS)));
    let over = Trial { promote_again_ns: 60_000 * MS, ..waiting };
    let (old, new) = fine();
    assert_eq!(verdict(&over, old, new), Verdict::Promote);
}

/// Each service alone has too few calls to be judged, all of them together would be enough.
#[test]
fn a_canary_that_was_never_judged_does_not_come_into_force() {
    let [one, other] = [20_000_004, 20_000_009].map(|number| ServiceNumber::new(number).unwrap());
    let trial = trial(0, Some(Duration::from_secs(60)));
    let old = || figures(1_000, 0, MS);
    let verdict = |few: Figures, enough: Figures| {
        let pairs =
            [(one, few), (other, enough)].map(|(number, canary)| (number, Pair { in_force: old(), canary }));
        trial.verdict(&BTreeMap::from(pairs), true, &rule(), 60_000 * MS)
    };
    assert_eq!(verdict(figures(60, 60, MS), figures(60, 60, MS)), Verdict::GoOn);
    assert_eq!(
        verdict(figures(5, 5, MS), figures(500, 0, MS)),
        Verdict::GoOn,
        "one does badly, if only so far"
    );
    assert_eq!(verdict(figures(5, 0, MS), figures(500, 0, MS)), Verdict::Promote);
}

#[test]
fn a_dead_worker_is_enough() {
    let why = abort_reason(verdict(&trial(1, None), Figures::default(), Figures::default()));
    assert!(why.contains("1 workers died"), "{why}");
}

#[test]
fn errors_count_above_those_of_the_build_in_force() {
    let old = || figures(1_000, 50, MS);
    assert_eq!(
        verdict(&trial(0, None), old(), figures(100, 13, MS)),
        Verdict::GoOn,
        "13 of 100 where 5 % are usual may be chance"
    );
    let why = abort_reason(verdict(&trial(0, None), old(), figures(100, 15, MS)));
    assert!(why.contains("service 20000004") && why.contains("15.00 %") && why.contains("5.00 %"), "{why}");
    // With more calls less is chance.
    let old = || figures(100_000, 5_000, MS);
    assert_eq!(verdict(&trial(0, None), old(), figures(100_000, 6_000, MS)), Verdict::GoOn);
    abort_reason(verdict(&trial(0, None), old(), figures(100_000, 6_400, MS)));
    assert_eq!(verdict(&trial(0, None), old(), figures(99, 99, MS)), Verdict::GoOn, "too few to tell");
}

/// A canary that gets nearly everything: there is little to compare with, and it may not hide behind that.
#[test]
fn errors_count_where_the_build_in_force_is_hardly_called() {
    for old in [0, 1, 3, 20] {
        let old = || figures(old, 0, MS);
        abort_reason(verdict(&trial(0, None), old(), figures(100, 50, MS)));
        abort_reason(verdict(&trial(0, None), old(), figures(10_000, 300, MS)));
        assert_eq!(verdict(&trial(0, None), old(), figures(100, 3, MS)), Verdict::GoOn, "by chance");
    }
}

#[test]
fn slowness_counts_by_comparison_and_not_below_some_milliseconds() {
    assert_eq!(verdict(&trial(0, None), figures(500, 0, 100_000), figures(500, 0, 4 * MS)), Verdict::GoOn);
    assert_eq!(verdict(&trial(0, None), figures(500, 0, 10 * MS), figures(500, 0, 25 * MS)), Verdict::GoOn);
    let why = abort_reason(verdict(&trial(0, None), figures(500, 0, 10 * MS), figures(500, 0, 40 * MS)));
    assert!(why.contains("95 %"), "{why}");
    // One of a few may have met something else that the machine did.
    let few = |slow_count: u64| {
        let row = ServiceStatistics::default();
        row.calls.store(5, Relaxed);
        (0..5).for_each(|call| row.record_latency(if call < slow_count { 40 * MS } else { MS }));
        let mut few = Figures::default();
        few.add(&row);
        figures::compare(&figures(500, 0, 10 * MS), &few, &rule())
    };
    assert!(few(1).is_none() && few(2).is_some());
    assert_eq!(
        verdict(&trial(0, None), Figures::default(), figures(500, 0, 40 * MS)),
        Verdict::GoOn,
        "nothing to compare"
    );
}

#[test]
fn what_was_there_before_is_taken_off_and_refusals_are_not_served() {
    let mut now = figures(300, 30, MS);
    now.take_off(&figures(100, 10, MS));
    assert_eq!(now, figures(200, 20, MS));
    now.refusals = 50;
    assert_eq!(now.served(), 150);
    // Nor are replies from the window, and a request that was sent wrongly is no error of the build.
    let row = ServiceStatistics::default();
    for (counter, count) in
        [(&row.calls, 100), (&row.errors, 12), (&row.own_answers, 20), (&row.own_errors, 10)]
    {
        counter.store(count, Relaxed);
    }
    let mut mixed = Figures::default();
    mixed.add(&row);
    assert_eq!((mixed.served(), &mixed.facts()["error_share"]), (80, &0.025.into()));
    assert_eq!(Figures::default().quantile_ns(0.5), None);
}
