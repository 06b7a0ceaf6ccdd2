//! The `gantry` command.
//!
//! One binary is everything: the commands of the operator, the supervisor, its children and its helpers. This crate
//! only wires the others together; each command has a file of its own.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod call;
mod child;
mod client;
mod configuration;
mod data;
mod dev;
mod doctor;
mod failure;
mod helper;
mod ipc;
mod key;
mod libraries;
mod lock;
mod operations;
mod output;
mod report;
mod run;
mod serial;
mod service;
mod service_new;
mod sources;
mod start;
mod status;
mod stop;
mod table;
mod telemetry;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;
use gantry_settings::Settings;
use gantry_sys::lock::Holder;

use crate::arguments::{Arguments, Command, ConfigCommand, ServiceCommand};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run_command(arguments) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

fn run_command(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { config, json, command } = arguments;
    match (configuration::load(config.as_deref()), command) {
        (_, Command::Service(ServiceCommand::New(new))) => service_new::run(new, json),
        (Ok(settings), command) => run_configured(settings, command, json),
        // Who says where to connect needs no configuration; one that is named must be sound all the same.
        (Err(_), Command::Call(call)) if config.is_none() && call.addr.is_some() => call::run(None, call),
        (Err(_), Command::Bench(bench)) if config.is_none() && bench.addr.is_some() => {
            bench::run(None, &bench, json)
        }
        (Err(_), Command::Key(key)) => key::run(&key, json),
        // Whoever writes a service may have no node yet.
        (Err(_), command @ Command::Service(ServiceCommand::Describe { .. })) if config.is_none() => {
            run_configured(configuration::defaults()?, command, json)
        }
        (Err(error), command) if asks_a_node(&command) => {
            let Some(settings) = configuration::load_of_a_node(config.as_deref()) else {
                return Err(error.into());
            };
            if client::holder(&settings)? == Holder::Nobody && client::living(&settings).is_empty() {
                return Err(error.into());
            }
            output::complain(format_args!(
                "{error}\ngantry: only what leads to the running node is read from this file"
            ));
            run_configured(settings, command, json)
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Whether a command only asks or ends a node that runs, for which a fault in the configuration is no reason not to.
fn asks_a_node(command: &Command) -> bool {
    matches!(
        command,
        Command::Status
            | Command::Stop(_)
            | Command::Drain
            | Command::Undrain
            | Command::Log(_)
            | Command::Service(_)
    )
}

fn run_configured(settings: Settings, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run => run::run(settings),
        Command::Start => start::run(settings),
        Command::Stop(stop) => stop::run(&settings, stop.now),
        Command::Restart => start::restart(settings),
        Command::Upgrade(upgrade) => upgrade::run(&settings, upgrade.binary, json),
        Command::Supervise { lock } => run::go_on(settings, lock),
        Command::HelperLayout => run::print_layout(),
        Command::Status => status::run(&settings, json),
        Command::Service(service) => service::run(&settings, service, json),
        Command::Dev(arguments) => dev::run(&settings, arguments, json),
        Command::Call(call) => call::run(Some(&settings), call),
        Command::Bench(bench) => bench::run(Some(&settings), &bench, json),
        Command::Key(key) => key::run(&key, json),
        Command::Report(report) => report::run(&settings, &report, json),
        Command::Log(log) => operations::log(&settings, &log, json),
        Command::Drain => operations::drain(&settings, json),
        Command::Undrain => operations::undrain(&settings, json),
        Command::Ipc(ipc) => ipc::run(&settings, &ipc, json),
        Command::Serial(serial) => serial::run(&settings, &serial, json),
        Command::Data(data) => data::run(&settings, &data, json),
        Command::Config(ConfigCommand::Check) => operations::check(&settings, json),
        Command::Config(ConfigCommand::Reload) => operations::reload(&settings, json),
        Command::Doctor => doctor::run(&settings, json),
        Command::ChildComm(comm) => child::comm(settings, comm),
        Command::ChildWorker(worker) => child::worker(settings, worker),
        Command::HelperRegistry(operation) => helper::registry(&settings, operation),
        Command::HelperProbe { path, describe, parent } => helper::probe(&settings, &path, describe, parent),
    }
}
