//! The command line: every command with its arguments, its help and an example.

mod data;
mod service;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gantry_comm::ListenerKind;
use gantry_message::{Queue, RequestId, ServiceNumber};
use gantry_segment::Handoff;

use crate::bench::Rate;
use crate::key::KeyCommand;
use crate::serial::SerialCommand;
pub(crate) use data::{DataCommand, MigrateArguments, SeedArguments};
pub(crate) use service::{Language, NewArguments, ServiceCommand};

/// Gantry: a data-layer platform. Business servers ask services by number; the services are libraries that are
/// deployed and replaced while the platform runs.
#[derive(Debug, Parser)]
#[command(
    name = "gantry",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  gantry -c config/embedded.toml start\n  gantry call 19000001 'hello'\n  gantry status\n  gantry stop\n\n\
        Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not running."
)]
pub(crate) struct Arguments {
    /// The configuration file [default: config/embedded.toml, then /etc/gantry/gantry.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node in the foreground, until SIGTERM or SIGINT.
    ///
    /// Writes the line `ready` to standard error, and tells systemd, when the node serves. SIGTERM drains and stops,
    /// SIGHUP reads the configuration again.
    #[command(after_help = "Example:\n  gantry -c config/embedded.toml run")]
    Run,
    /// Start the node as a daemon; returns when it serves.
    #[command(after_help = "Example:\n  gantry -c /etc/gantry/gantry.toml start")]
    Start,
    /// Drain and stop the node; returns when every process has ended.
    #[command(after_help = "Examples:\n  gantry stop\n  gantry stop --now")]
    Stop(StopArguments),
    /// Stop the node, if it runs, and start it as a daemon.
    #[command(after_help = "Example:\n  gantry restart")]
    Restart,
    /// Go on as another program without stopping: every process is replaced, no request fails.
    ///
    /// The program is asked what it is first; one that lays the shared memory out differently is refused, since only a
    /// restart can change that. Returns when every process is replaced.
    #[command(
        after_help = "Examples:\n  gantry upgrade   (to the program that runs this command)\n  gantry upgrade --binary \
            /usr/lib/gantry/2.1/gantry"
    )]
    Upgrade(UpgradeArguments),
    /// Show how the node is.
    #[command(after_help = "Examples:\n  gantry status\n  gantry status --json")]
    Status,
    /// List, show, deploy, stop, start and rule services while the node runs.
    #[command(
        subcommand,
        after_help = "Examples:\n  gantry service list\n  gantry service deploy target/release/libgantry_card.so\n  \
            gantry service stop 20000004\n  gantry service rule 10000003 rate=500 concurrency=20"
    )]
    Service(ServiceCommand),
    /// Deploy libraries to the running node whenever their files change, until interrupted. For those who write services.
    ///
    /// A file is deployed when it stands still, at the beginning too. What is refused is told, and the node serves on as
    /// before.
    #[command(
        after_help = "Example:\n  gantry dev target/debug/libtally.so   (beside `cargo watch -x build`, or any build)"
    )]
    Dev(DevArguments),
    /// Make a key and sign libraries with it, for nodes that take signed ones only (`service.signers`).
    #[command(
        subcommand,
        after_help = "Examples:\n  gantry key new release.key\n  gantry key sign release.key target/release/libgantry_card.so"
    )]
    Key(KeyCommand),
    /// Bring tables up to date, or fill a database for trying things out.
    #[command(
        subcommand,
        after_help = "Examples:\n  gantry data migrate --dry-run\n  gantry data seed --accounts 1000"
    )]
    Data(DataCommand),
    /// Where serial numbers are, which Redis serves them, and what to do after a restore.
    #[command(
        subcommand,
        after_help = "Examples:\n  gantry serial status\n  gantry serial switch standby\n  gantry serial raise"
    )]
    Serial(SerialCommand),
    /// Send one request over the wire and print the reply's body.
    ///
    /// Ends with 0 on status 000, else with 1 and `status NNN meaning` on standard error.
    #[command(
        after_help = "Examples:\n  gantry call 19000001 'hello'\n  gantry call 10000002 '{\"account\":\"A1\"}' --budget 300\n  \
            gantry call 20000009 - < bank.txt\n  gantry call 19000001 hello --addr 10.0.0.7:7800"
    )]
    Call(CallArguments),
    /// Measure throughput and latency of a service under a load of a fixed rate.
    ///
    /// The load is open: requests are due at fixed times whether or not earlier ones were answered, and latency counts
    /// from the time a request was due, so a node that stalls cannot hide it. With `--rate max` each connection keeps
    /// `--depth` requests in flight instead, and latency counts from sending.
    #[command(
        after_help = "Examples:\n  gantry bench --rate 20000 --connections 4\n  gantry bench --rate max --depth 64 --seconds 10\n  \
            gantry bench --service 10000002 --body '{\"account\":\"A1\"}' --rate 5000 --json"
    )]
    Bench(BenchArguments),
    /// What was written down of workers that died inside a service, and of processes that had to be killed.
    ///
    /// Works without a running node.
    #[command(
        subcommand,
        after_help = "Examples:\n  gantry report list\n  gantry report show last\n  gantry report show last --json"
    )]
    Report(ReportCommand),
    /// Change the log level of all processes while they run.
    #[command(subcommand, after_help = "Example:\n  gantry log level debug")]
    Log(LogCommand),
    /// Take nothing new after `node.drain_grace`; returns when nothing is in flight.
    #[command(after_help = "Example:\n  gantry drain && gantry status")]
    Drain,
    /// Take requests again after a drain.
    #[command(after_help = "Example:\n  gantry undrain")]
    Undrain,
    /// Look at the node's shared memory, or remove what a dead node left.
    #[command(subcommand, after_help = "Examples:\n  gantry ipc list\n  gantry ipc clean")]
    Ipc(IpcCommand),
    /// Check the configuration, or have the running node read it again.
    #[command(subcommand, after_help = "Examples:\n  gantry -c my.toml config check\n  gantry config reload")]
    Config(ConfigCommand),
    /// Look for what would keep the node from running well on this machine.
    ///
    /// One line for each thing looked at: ok, warn or fail, and what to do. Ends with 1 when something failed.
    #[command(after_help = "Example:\n  gantry doctor")]
    Doctor,
    /// The communication process; started by the supervisor.
    #[command(hide = true)]
    ChildComm(ChildCommArguments),
    /// A worker; started by the supervisor.
    #[command(hide = true)]
    ChildWorker(ChildWorkerArguments),
    /// Work on the registry; started by the supervisor.
    #[command(hide = true)]
    HelperRegistry(RegistryArguments),
    /// The supervisor, executed in place of an earlier program.
    #[command(hide = true)]
    Supervise {
        /// Descriptor of the locked pid file.
        #[arg(long)]
        lock: i32,
    },
    /// What this program is, for an upgrade; started by the supervisor.
    #[command(hide = true)]
    HelperLayout,
    /// Try a library out; started by the helper above.
    #[command(hide = true)]
    HelperProbe {
        /// The library.
        path: PathBuf,
        /// Make no instance.
        #[arg(long)]
        describe: bool,
        /// Who waits for it; without that process it ends.
        #[arg(long)]
        parent: i32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// The files; they need not be there yet.
    #[arg(required = true, value_name = "LIBRARY")]
    pub(crate) libraries: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// End everything at once, also what a dead supervisor left behind, and remove the segments with whatever is in
    /// them.
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeArguments {
    /// The program to go on as [default: the one that runs this command]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CallArguments {
    /// The service's number.
    pub(crate) number: ServiceNumber,
    /// The body; `-` reads it from standard input.
    pub(crate) body: Option<String>,
    /// The request id, 24 printable characters [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<RequestId>,
    /// How long to wait, in milliseconds; 0 = the service's own time-out.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=99_999_999))]
    pub(crate) budget: u32,
    /// The node's address [default: the first of listen.tcp, then of listen.unix]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) addr: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// The service's number.
    #[arg(long, default_value = "19000001")]
    pub(crate) service: ServiceNumber,
    /// Requests a second over all connections, or `max`.
    #[arg(long, default_value = "1000")]
    pub(crate) rate: Rate,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// How long to load before measuring, in seconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) warmup: u32,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) connections: u32,
    /// Most requests in flight on each connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) depth: u32,
    /// Bytes of each body, when `--body` gives none.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=(64 << 20)))]
    pub(crate) size: u32,
    /// The body of each request.
    #[arg(long)]
    pub(crate) body: Option<String>,
    /// The caller's budget in milliseconds; 0 = the service's own time-out.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=99_999_999))]
    pub(crate) budget: u32,
    /// The node's address [default: the first of listen.tcp]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) addr: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// All reports, the newest first.
    #[command(after_help = "Example:\n  gantry report list")]
    List,
    /// One report: who died of what, at which request and statement, and where in the code.
    #[command(
        after_help = "Examples:\n  gantry report show last\n  gantry report show 1795384841430-19000003-20979"
    )]
    Show {
        /// Its name, as `gantry report list` has it; `last` is the newest.
        #[arg(default_value = "last")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Change the level until the next change, SIGHUP or start.
    #[command(after_help = "Example:\n  gantry log level debug")]
    Level {
        /// The least severe level that is recorded.
        level: LevelArgument,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LevelArgument {
    /// Everything.
    Debug,
    /// What an operator should look at, and errors.
    Warn,
    /// Only what failed.
    Error,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpcCommand {
    /// The segments of this configuration.
    #[command(after_help = "Example:\n  gantry ipc list")]
    List,
    /// Remove the segments of this configuration, if nobody lives on them.
    #[command(after_help = "Example:\n  gantry ipc clean")]
    Clean,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the file and print what it means, or every fault in it.
    #[command(after_help = "Example:\n  gantry -c my.toml config check")]
    Check,
    /// Have the running node read the file again, as SIGHUP does; prints what took effect and what waits for a restart.
    #[command(after_help = "Example:\n  gantry config reload")]
    Reload,
}

#[derive(Debug, Args)]
pub(crate) struct ChildArguments {
    #[arg(long)]
    pub(crate) handoff: Handoff,
    #[arg(long)]
    pub(crate) row: u8,
    #[arg(long)]
    pub(crate) epoch: u32,
    /// Descriptors of the I/O threads' wake-ups.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) doorbells: Vec<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct ChildCommArguments {
    #[command(flatten)]
    pub(crate) child: ChildArguments,
    /// Listening descriptors, each with its kind; none where nobody is to connect any more.
    #[arg(long, value_delimiter = ',', value_parser = listener)]
    pub(crate) listeners: Vec<(ListenerKind, i32)>,
}

#[derive(Debug, Args)]
pub(crate) struct ChildWorkerArguments {
    #[command(flatten)]
    pub(crate) child: ChildArguments,
    #[arg(long, value_parser = queue)]
    pub(crate) queue: QueueArgument,
}

/// What a worker takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueArgument {
    /// One of the two.
    One(Queue),
    /// Nothing yet: a spare, which the supervisor later sets to one of them.
    Any,
}

/// What the supervisor has done to the registry; each prints one JSON value.
/// Who asks, why, and what for.
#[derive(Debug, Args)]
pub(crate) struct RegistryArguments {
    #[arg(long, default_value = "platform")]
    pub(crate) by: String,
    #[arg(long, default_value = "")]
    pub(crate) why: String,
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Deploy what the configuration names, bring the tables up to date.
    Prepare,
    /// What is in force.
    Snapshot,
    /// Deploy a library, or try it on a share of the requests.
    Deploy {
        library: PathBuf,
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        canary_ppm: Option<u32>,
        #[arg(long, requires = "canary_ppm", value_parser = clap::value_parser!(u64).range(1..))]
        promote_after_ms: Option<u64>,
        /// The build that serves already stays as it is, and is not refused.
        #[arg(long)]
        unless_in_force: bool,
    },
    /// Put the canary of a library into force.
    Promote { name: String, build: Option<String> },
    /// Set the canary of a library aside.
    Abort { name: String, build: Option<String> },
    /// Deploy a library from where its name finds it.
    Reload { name: String },
    /// Go back to an earlier build of a library.
    Rollback {
        /// Only from this build.
        #[arg(long)]
        from: Option<String>,
        /// Builds that are to go back to again.
        #[arg(long)]
        restore: Vec<String>,
        name: String,
        to: Option<String>,
    },
    /// Take a library out of force.
    Unload {
        /// Only this build.
        #[arg(long)]
        from: Option<String>,
        name: String,
    },
    /// Let a service be called.
    Start { number: ServiceNumber },
    /// Answer 103 for a service.
    Stop { number: ServiceNumber },
    /// Change rules of a service.
    Rule { number: ServiceNumber, rules: Vec<String> },
    /// Put a build of a service out of service, and an earlier one into its place.
    Quarantine { number: ServiceNumber, build: String },
    /// What is known of a service.
    Show { number: ServiceNumber },
    /// Remove old rows of the request table.
    Prune,
}

fn listener(text: &str) -> Result<(ListenerKind, i32), String> {
    let (kind, number) = text.split_once(':').ok_or("write KIND:DESCRIPTOR")?;
    let kind = kind.parse::<ListenerKind>().map_err(|error| error.to_string())?;
    let number = number.parse().map_err(|_| format!("{number} is no descriptor"))?;
    Ok((kind, number))
}

fn queue(text: &str) -> Result<QueueArgument, String> {
    if text == "any" {
        return Ok(QueueArgument::Any);
    }
    [Queue::Read, Queue::Write]
        .into_iter()
        .find(|queue| queue.name() == text)
        .map(QueueArgument::One)
        .ok_or_else(|| "the queue is read, write or any".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["gantry"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_offered_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            {
                let path = format!("{path} {}", sub.get_name());
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example") && help.contains("gantry"), "{path} has no example");
                check(sub, &path);
            }
        }
        check(&Arguments::command(), "gantry");
    }

    #[test]
    fn global_options_may_stand_before_and_behind_the_command() {
        for arguments in
            [&["-c", "a.toml", "status", "--json"][..], &["--json", "status", "--config", "a.toml"]]
        {
            let parsed = parse(arguments).unwrap();
            assert_eq!((parsed.config.as_deref(), parsed.json), (Some("a.toml".as_ref()), true));
        }
    }

    #[test]
    fn a_call_takes_what_the_contract_says() {
        let id = "till-07.2024-05-01.00042";
        let parsed =
            parse(&["call", "20000004", "{}", "--id", id, "--budget", "300", "--addr", "h:1"]).unwrap();
        let Command::Call(call) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!((call.number.get(), call.budget), (20_000_004, 300));
        assert_eq!(call.id.map(|id| id.to_string()).as_deref(), Some(id));
        for wrong in [
            &["call"][..],
            &["call", "abc"],
            &["call", "1", "--id", "short"],
            &["call", "1", "--budget", "-1"],
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn rules_with_unknown_keys_or_values_are_wrong_usage() {
        assert!(parse(&["service", "rule", "19000001", "rate=5", "refuse=true"]).is_ok());
        for wrong in
            ["color=red", "rate", "=", "rate=", "rate=fast", "rate=0.5", "timeout=15", "refuse=maybe"]
        {
            let error = parse(&["service", "rule", "19000001", wrong]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{wrong}");
            let key = wrong.split('=').next().unwrap_or_default();
            assert!(
                error.to_string().contains("concurrency, rate")
                    || error.to_string().contains(&format!("{key} is")),
                "{error}"
            );
        }
    }

    #[test]
    fn children_are_told_everything_by_arguments() {
        let handoff = "sysv:1,sysv:2,sysv:3,00000000000000ff";
        let parsed = parse(&[
            "-c",
            "/x/g.toml",
            "child-comm",
            "--handoff",
            handoff,
            "--row",
            "1",
            "--epoch",
            "7",
            "--listeners",
            "tcp:5,unix:6",
            "--doorbells",
            "7,8",
        ]);
        let Command::ChildComm(comm) = parsed.unwrap().command else { panic!("another command") };
        assert_eq!(comm.listeners, [(ListenerKind::Tcp, 5), (ListenerKind::Unix, 6)]);
        assert_eq!((comm.child.doorbells, comm.child.handoff.to_string()), (vec![7, 8], handoff.to_owned()));
        let queues = [("write", QueueArgument::One(Queue::Write)), ("any", QueueArgument::Any)];
        for (word, queue) in queues {
            let row = ["child-worker", "--handoff", handoff, "--row", "2", "--epoch", "1"];
            let parsed = parse(&[&row[..], &["--queue", word, "--doorbells", "7"]].concat());
            let Command::ChildWorker(worker) = parsed.unwrap().command else { panic!("another command") };
            assert_eq!(worker.queue, queue);
        }
    }

    #[test]
    fn helpers_take_arguments_behind_two_dashes() {
        let parsed = parse(&["helper-registry", "rule", "--", "19000001", "rate=5", "burst=none"]).unwrap();
        let Command::HelperRegistry(RegistryArguments {
            command: RegistryCommand::Rule { number, rules },
            ..
        }) = parsed.command
        else {
            panic!("another command")
        };
        assert_eq!((number.get(), rules), (19_000_001, vec!["rate=5".to_owned(), "burst=none".to_owned()]));
    }
}
