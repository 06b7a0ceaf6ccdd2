//! The comparison of canaries in words.

use serde_json::Value;

use super::{figure, share, short, text};
use crate::table::Table;

/// A line for each service in each of the two builds.
pub(super) fn table(canaries: &Value) -> String {
    let canaries: Vec<&Value> = canaries.as_array().into_iter().flatten().collect();
    if canaries.is_empty() {
        return "no build is being tried; `gantry service deploy LIBRARY --canary 5%` begins that".to_owned();
    }
    canaries.into_iter().map(one).collect::<Vec<_>>().join("\n\n")
}

fn one(canary: &Value) -> String {
    let share = share(canary).unwrap_or_else(|| "-".to_owned());
    let seconds = canary["compared_ms"].as_u64().unwrap_or(0) / 1_000;
    let promote = canary["promote_after_ms"].as_u64().map_or_else(
        || "until `gantry service promote` or `abort`".to_owned(),
        |after_ms| format!("comes into force after {} s if it does well", after_ms / 1_000),
    );
    let mut table =
        Table::new(&["number", "build", ">calls", ">errors", ">business", ">time-outs", ">p50", ">p95"]);
    for service in canary["services"].as_array().into_iter().flatten() {
        for (side, build) in [("in_force", &canary["in_force"]["build"]), ("canary", &canary["build"])] {
            let figures = &service[side];
            let micros = |key: &str| {
                figures[key].as_u64().map_or_else(|| "-".to_owned(), |micros| format!("{micros} us"))
            };
            table.row([
                format!("{:0>8}", service["number"]),
                format!("{} {}", short(build), if side == "canary" { "canary" } else { "in force" }),
                figure(&figures["calls"]),
                figure(&figures["errors"]),
                figure(&figures["business_errors"]),
                figure(&figures["timeouts"]),
                micros("latency_p50_us"),
                micros("latency_p95_us"),
            ]);
        }
    }
    format!(
        "{} {} on {share} of the requests beside {}, compared for {seconds} s, {} workers died in it; {promote}\n{table}",
        text(&canary["library"]),
        text(&canary["version"]),
        text(&canary["in_force"]["version"]),
        figure(&canary["deaths"]),
    )
}
