//! What was measured, in words and as JSON.

use std::io;

use gantry_message::Status;
use serde_json::{Value, json};

use super::Rate;
use super::connection::Tally;
use crate::arguments::BenchArguments;
use crate::operations::say;

/// The shares of requests that are told, with their names.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Prints.
pub(crate) fn print(arguments: &BenchArguments, address: &str, tally: &Tally, json: bool) -> io::Result<()> {
    say(json, &to_json(arguments, address, tally), || to_words(arguments, address, tally))
}

fn to_json(arguments: &BenchArguments, address: &str, tally: &Tally) -> Value {
    let mut latency: serde_json::Map<String, Value> = QUANTILES
        .iter()
        .map(|(name, share)| ((*name).to_owned(), json!(quantile_us(tally, *share))))
        .collect();
    latency.insert("mean".to_owned(), json!(tally.latency_ns.mean() / 1_000.0));
    latency.insert("max".to_owned(), json!(microseconds(tally.latency_ns.max())));
    let statuses: serde_json::Map<String, Value> =
        tally.statuses.iter().map(|(status, count)| (format!("{status:03}"), json!(count))).collect();
    json!({
        "address": address,
        "service": arguments.service,
        "rate": match arguments.rate { Rate::Max => json!("max"), Rate::PerSecond(rate) => json!(rate) },
        "latency_from": latency_from(arguments.rate),
        "connections": arguments.connections,
        "depth": arguments.depth,
        "body_bytes": arguments.body.as_ref().map_or(arguments.size as usize, String::len),
        "seconds": arguments.seconds,
        "answered": tally.answered_count(),
        "unanswered": tally.unanswered_count,
        "throughput": throughput(arguments, tally),
        "latency_us": latency,
        "statuses": statuses,
    })
}

fn to_words(arguments: &BenchArguments, address: &str, tally: &Tally) -> String {
    let rate = match arguments.rate {
        Rate::Max => format!("as many as come back, {} in flight on each connection", arguments.depth),
        Rate::PerSecond(rate) => {
            format!("{rate} a second, at most {} in flight on each connection", arguments.depth)
        }
    };
    let mut out = format!(
        "service {} at {address}, {} connections, {rate}\n{} replies in {} s: {:.0} a second, {} without reply\nlatency from {}:\n",
        arguments.service,
        arguments.connections,
        tally.answered_count(),
        arguments.seconds,
        throughput(arguments, tally),
        tally.unanswered_count,
        latency_from(arguments.rate),
    );
    for (name, share) in QUANTILES {
        out += &format!("  {name:<7}{:>12.1} us\n", quantile_us(tally, share));
    }
    out += &format!("  {:<7}{:>12.1} us\n", "max", microseconds(tally.latency_ns.max()));
    for (status, count) in &tally.statuses {
        let meaning = Status::from_code(*status).map_or("unknown", Status::meaning);
        out += &format!("status {status:03} {meaning}: {count}\n");
    }
    out
}

fn latency_from(rate: Rate) -> &'static str {
    match rate {
        Rate::Max => "sending",
        Rate::PerSecond(_) => "the time a request was due",
    }
}

fn throughput(arguments: &BenchArguments, tally: &Tally) -> f64 {
    tally.in_time_count as f64 / f64::from(arguments.seconds)
}

fn quantile_us(tally: &Tally, share: f64) -> f64 {
    microseconds(tally.latency_ns.value_at_quantile(share))
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}
