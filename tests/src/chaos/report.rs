//! What a run prints: a line each minute, and all of it at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::hall::{Hall, Probe};
use super::killer::Tally;
use super::plan::Role;

/// How long a run and its parts took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) set_up: Duration,
    /// Kills, and what was open then.
    pub(super) play: Duration,
    pub(super) audit: Duration,
}

/// How far a run is, in a line.
pub(super) fn progress(hall: &Hall, passed: Duration) -> String {
    let kills: Vec<String> = hall.kills().iter().map(|(role, count)| format!("{role} {count}")).collect();
    format!(
        "  {:>4} s: killed {}; {} requests, {} writes done",
        passed.as_secs(),
        kills.join(", "),
        hall.counted("requests"),
        hall.counted("writes done"),
    )
}

/// The outcome of a run as text.
pub(super) fn text(hall: &Hall, tally: &Tally, times: Times) -> String {
    let faults = hall.chronicle.faults_count();
    let outcome = if faults == 0 { "passed".to_owned() } else { format!("FAILED, {faults} faults") };
    let mut lines = vec![format!("chaos {outcome}: cargo xtask chaos {}", hall.plan)];
    let all = (times.set_up + times.play + times.audit).as_secs_f64();
    let [set_up, play, audit] = [times.set_up, times.play, times.audit].map(|time| time.as_secs_f64());
    lines.push(format!(
        "  {all:.0} s: set up {set_up:.1} s, kills and settling {play:.1} s, audit {audit:.1} s"
    ));
    lines.extend(kills(hall, tally));
    lines.push("what happened".to_owned());
    lines.extend(hall.counts().iter().map(|(what, count)| format!("  {count:>9} {what}")));
    lines.push("answers by kind of request and status".to_owned());
    lines.extend(statuses(hall));
    lines.push("from a kill to the answer of the next request".to_owned());
    lines.extend(healing(hall));
    lines.push("audit".to_owned());
    if faults == 0 {
        lines.push(
            "  TCP: no reset and no end by the node on any connection; every request had one answer"
                .to_owned(),
        );
    }
    lines.extend(hall.findings().into_iter().map(|words| format!("  {words}")));
    lines.join("\n")
}

fn kills(hall: &Hall, tally: &Tally) -> Vec<String> {
    let of = |counts: &BTreeMap<Role, u64>, role: Role| counts.get(&role).copied().unwrap_or(0);
    let line = |role: Role| {
        let (kills, stops, least) =
            (of(&tally.kills, role), of(&tally.stops, role), hall.plan.kills_min(role));
        format!("  {role:<10} killed {kills:>6} times (at least {least}), stopped {stops:>5} times")
    };
    let mut lines: Vec<String> = Role::ALL.into_iter().map(line).collect();
    lines.push(format!("  {} of the kills were of whole process groups", tally.groups));
    lines
}

fn statuses(hall: &Hall) -> Vec<String> {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for ((kind, status), count) in hall.statuses() {
        let line = lines.entry(kind).or_insert_with(|| format!("  {kind:<8}"));
        // A String takes every write.
        let _written = write!(line, " {status:03}: {count}");
    }
    lines.into_values().collect()
}

fn healing(hall: &Hall) -> Vec<String> {
    let line = |((role, probe), times): ((Role, Probe), Vec<Duration>)| {
        let (p50, p99) = (quantile(&times, 50), quantile(&times, 99));
        let max = times.last().copied().unwrap_or_default();
        let probe = if probe == Probe::Read { "reads" } else { "writes" };
        let count = times.len();
        format!("  {role:<10} {probe:<6} p50 {p50:.1?} p99 {p99:.1?} max {max:.1?} ({count} times)")
    };
    hall.healed().into_iter().map(line).collect()
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
