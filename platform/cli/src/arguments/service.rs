//! `gantry service …` on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use gantry_message::ServiceNumber;
use gantry_registry::Rule;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// All services with their counters.
    #[command(after_help = "Examples:\n  gantry service list\n  gantry service list --json")]
    List,
    /// One service with all that is known of it.
    #[command(after_help = "Example:\n  gantry service show 20000004")]
    Show {
        /// The service's number.
        number: ServiceNumber,
    },
    /// Make the folder of a new service library, which builds, tests and deploys as it is.
    ///
    /// Needs no node. The library has a read and a write service to begin with.
    #[command(
        after_help = "Examples:\n  gantry service new tally && cd tally && cargo test\n  gantry service new tally --lang cpp \
            --number 9500001"
    )]
    New(NewArguments),
    /// What a library says of itself: its services with numbers, kinds and examples. It is loaded in a process of its own.
    #[command(after_help = "Example:\n  gantry service describe target/release/libtally.so")]
    Describe {
        /// The file, or a bare library name.
        library: PathBuf,
    },
    /// Put a library into force in all workers.
    ///
    /// It is tried out in a process of its own first; the file is copied, so it may change or go afterwards. When it is in
    /// force, the examples of its harmless reads are called (idempotent ones that say what they reply); the command ends with
    /// 1 if one of them fails, and the build stays in force.
    ///
    /// With `--canary` the build gets a share of the requests only, by their ids, beside the build in force. It is set aside
    /// when workers die in it, or when its errors or latency are worse (`service.canary_*` in the configuration).
    #[command(
        after_help = "Examples:\n  gantry service deploy ./libgantry_card.so\n  gantry service deploy gantry_card   (beside \
            the binary, then in /usr/lib/gantry)\n  gantry service deploy ./libgantry_card.so --canary 5% --promote-after 30m"
    )]
    Deploy {
        /// The file, or a bare library name.
        library: PathBuf,
        /// Try it on this share of the requests only.
        #[arg(long, value_name = "PERCENT", value_parser = share)]
        canary: Option<u32>,
        /// Put the canary into force after this time if it did well, such as 30m [default: when `promote` says so]
        #[arg(long, value_name = "TIME", value_parser = some_time, requires = "canary")]
        promote_after: Option<Duration>,
        /// How long to wait for workers that run a request, such as 5s; those that still run one are named then [default: 60s,
        /// which is the most]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<Duration>,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Compare canaries with the builds in force beside them: calls, errors, latency, deaths of workers.
    #[command(after_help = "Examples:\n  gantry service canary\n  gantry service canary --json")]
    Canary,
    /// Put the canary of a library into force for all requests.
    #[command(after_help = "Example:\n  gantry service promote card")]
    Promote {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Set the canary of a library aside; the build in force serves all requests again.
    #[command(after_help = "Example:\n  gantry service abort card --why 'complaints from G4'")]
    Abort {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Put an earlier build of a library into force again, in all workers.
    ///
    /// The build that serves now is passed over by later roll-backs, until it is deployed again. Tables stay as they are:
    /// steps of a schema are never taken back.
    #[command(
        after_help = "Examples:\n  gantry service rollback card\n  gantry service rollback card --to 1.4.0 --why 'wrong fees'"
    )]
    Rollback {
        /// The library's name.
        name: String,
        /// A version, or the first digits (from 4) of a build [default: the newest that served before and was not rolled
        /// back]
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Take a library out of force: its services are unknown (102), and their rules are forgotten.
    #[command(after_help = "Example:\n  gantry service unload card --why 'replaced by purse'")]
    Unload {
        /// The library's name.
        name: String,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Let a service be called; lifts its quarantine.
    #[command(after_help = "Example:\n  gantry service start 20000004")]
    Start {
        /// The service's number.
        number: ServiceNumber,
    },
    /// Answer 103 for a service.
    #[command(after_help = "Example:\n  gantry service stop 20000004 --why 'the bank is away'")]
    Stop {
        /// The service's number.
        number: ServiceNumber,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// Deploy a library anew from where its name finds it.
    #[command(
        after_help = "Example:\n  cp new/libgantry_card.so /usr/lib/gantry/ && gantry service reload card"
    )]
    Reload {
        /// The library's name, with or without `gantry_`.
        name: String,
    },
    /// Set or clear rules of a service.
    ///
    /// Keys: concurrency, rate (whole requests a second), burst, threshold (0 to 1 of the read queue), refuse (true,
    /// false), timeout (300ms, 15s), policy (kill, answer). The value `none` clears a rule.
    #[command(
        after_help = "Examples:\n  gantry service rule 10000003 rate=500 burst=50\n  gantry service rule 10000003 rate=none"
    )]
    Rule {
        /// The service's number.
        number: ServiceNumber,
        /// The rules.
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = rule)]
        rules: Vec<(String, String)>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// The library's name: a letter, then letters, digits and _, at most 40.
    pub(crate) name: String,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// The last seven digits of its numbers: 1 and these for reads, 2 and these for writes [default: by the name]
    #[arg(long, value_name = "DIGITS", value_parser = clap::value_parser!(u32).range(..=9_999_999))]
    pub(crate) number: Option<u32>,
    /// The folder to make [default: the name]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) path: Option<PathBuf>,
    /// Where Gantry's sources are, with `abi/` [default: above this program or this folder, then /usr/share/gantry]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// A crate.
    Rust,
    /// C++ with CMake.
    Cpp,
}

/// `5%`, `0.5%`: in millionths.
fn share(text: &str) -> Result<u32, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let ppm = percent.map(|percent| percent * 10_000.0);
    let is_legal = |ppm: &f64| (1.0..=1e6).contains(&ppm.round()) && (ppm - ppm.round()).abs() < 1e-6;
    // The range was checked, so the cast cuts nothing.
    ppm.filter(is_legal).map(|ppm| ppm.round() as u32).ok_or_else(|| {
        "write a percentage from 0.0001% to 100%, such as 5%, with at most four digits after the point"
            .to_owned()
    })
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(1) { Err("write a time from 1s".to_owned()) } else { Ok(time) }
}

fn duration(text: &str) -> Result<Duration, String> {
    gantry_settings::parse_duration(text).ok_or_else(|| "write a time such as 90s, 30m or 2h".to_owned())
}

/// Checked here as where it is stored, so that a wrong one is wrong usage and asks no node.
fn rule(text: &str) -> Result<(String, String), String> {
    Rule::default().assign(text).map_err(|error| error.to_string())?;
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_to_a_millionth() {
        for (text, ppm) in [("5%", 50_000), ("0.0001%", 1), ("100%", 1_000_000), ("33.3333%", 333_333)] {
            assert_eq!(share(text), Ok(ppm), "{text}");
        }
        for text in [
            "0%",
            "0.00005%",
            "0.00001%",
            "100.00004%",
            "101%",
            "-1%",
            "5",
            "x%",
            "NaN%",
            "inf%",
            "33.33333%",
        ] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn canary_is_tried_for_a_while() {
        assert!(some_time("0s").is_err() && some_time("999ms").is_err() && some_time("").is_err());
        assert_eq!(some_time("1s"), Ok(Duration::from_secs(1)));
    }
}
