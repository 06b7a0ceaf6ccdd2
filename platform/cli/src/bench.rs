//! `gantry bench`: an open load of a fixed rate, or as much as the node takes.

mod connection;
mod frames;
mod report;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::bail;
use gantry_settings::Settings;

use crate::arguments::BenchArguments;
use crate::call::connect_tcp;
use crate::failure::Failure;

use connection::{Plan, Tally, run_closed, run_open};
use frames::Frames;

/// How long replies are waited for after the last request was due.
const LAST_REPLIES_LIMIT: Duration = Duration::from_secs(10);

/// How many requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// So many a second over all connections, due at fixed times.
    PerSecond(f64),
    /// As many as come back, with a fixed number in flight.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text.parse::<f64>().ok().filter(|rate| (0.1..=10_000_000.0).contains(rate));
        rate.map(Self::PerSecond).ok_or_else(|| "write 0.1 to 10000000 requests a second, or max".to_owned())
    }
}

/// Loads, measures and prints.
pub(crate) fn run(
    settings: Option<&Settings>,
    arguments: &BenchArguments,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let address = match (&arguments.addr, settings.and_then(|settings| settings.listen.tcp.first())) {
        (Some(address), _) => address.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => {
            return Err(Failure::usage("no TCP address is configured; name one with --addr").into());
        }
    };
    let body = match &arguments.body {
        Some(body) => body.clone().into_bytes(),
        None => vec![b'x'; arguments.size as usize],
    };
    let streams =
        (0..arguments.connections).map(|_| connect_tcp(&address)).collect::<anyhow::Result<Vec<_>>>()?;
    let start = Instant::now();
    let warmup = Duration::from_secs(arguments.warmup.into());
    let measured = Duration::from_secs(arguments.seconds.into());
    let tag = frames::run_tag();
    let plans: Vec<Plan> = (0..arguments.connections)
        .map(|connection| Plan {
            frames: Frames::new(arguments.service, arguments.budget, &body, tag, connection),
            depth: arguments.depth,
            start,
            measure_from: start + warmup,
            end: start + warmup + measured,
            last_replies_limit: LAST_REPLIES_LIMIT,
        })
        .collect();
    let tallies: Vec<anyhow::Result<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .zip(plans)
            .enumerate()
            .map(|(index, (stream, plan))| match arguments.rate {
                Rate::Max => scope.spawn(move || run_closed(stream, plan)),
                Rate::PerSecond(rate) => {
                    let connections = f64::from(arguments.connections);
                    let interval = Duration::from_secs_f64(connections / rate);
                    // Connections take turns, so that all together are due at even distances.
                    let offset = interval.mul_f64(index as f64 / connections);
                    scope.spawn(move || run_open(stream, plan, interval, offset))
                }
            })
            .collect();
        threads.into_iter().map(join).collect()
    });
    let mut sum = Tally::new()?;
    for tally in tallies {
        sum.add(&tally?)?;
    }
    report::print(arguments, &address, &sum, json)?;
    Ok(if sum.answered_count() == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn join(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<Tally>>) -> anyhow::Result<Tally> {
    match thread.join() {
        Ok(tally) => tally,
        Err(_) => bail!("a thread of the load failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2500".parse(), Ok(Rate::PerSecond(2500.0)));
        for wrong in ["", "0", "-1", "NaN", "inf", "fast", "1e9"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
