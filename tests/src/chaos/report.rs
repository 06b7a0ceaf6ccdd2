//! What a run prints at its end.

use std::fmt::Write as _;
use std::time::Duration;

use super::hall::{Hall, Probe};
use super::killer::Tally;
use super::plan::Role;

/// The counts of a run as text.
pub(super) fn text(hall: &Hall, tally: &Tally) -> String {
    let mut text = format!("chaos {}\n", hall.plan);
    let mut line = |words: String| {
        // A String takes every write.
        let _written = writeln!(text, "{words}");
    };
    for role in Role::ALL {
        let of = |counts: &std::collections::BTreeMap<Role, u64>| counts.get(&role).copied().unwrap_or(0);
        let (kills, least) = (of(&tally.kills), hall.plan.kills_min(role));
        line(format!(
            "  {role:<10} killed {kills:>6} times (at least {least}), stopped {:>5} times",
            of(&tally.stops)
        ));
    }
    line(format!("  {} of the kills were of whole process groups", tally.groups));
    for (what, count) in hall.counts() {
        line(format!("  {count:>9} {what}"));
    }
    let mut last = "";
    let mut statuses = String::new();
    for ((kind, status), count) in hall.statuses() {
        if kind != last {
            let _written = write!(statuses, "{}  {kind:<8}", if last.is_empty() { "" } else { "\n" });
            last = kind;
        }
        let _written = write!(statuses, " {status:03}: {count}");
    }
    line(statuses);
    for ((role, probe), times) in hall.healed() {
        let (p50, p99) = (quantile(&times, 50), quantile(&times, 99));
        let max = times.last().copied().unwrap_or_default();
        let probe = if probe == Probe::Read { "reads" } else { "writes" };
        line(format!(
            "  {role:<10} killed: the next request of {probe:<6} was answered after p50 {p50:.1?} p99 {p99:.1?} max {max:.1?} \
             ({} times)",
            times.len()
        ));
    }
    text
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
