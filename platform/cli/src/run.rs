//! `gantry run`: the supervisor in the foreground.

use std::process::ExitCode;

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_supervisor::{Exit, SupervisorOptions, block_signals};
use gantry_sys::lock::Holder;
use gantry_sys::process::{own_executable, set_name};

use crate::failure::FAILED;
use crate::output::complain;
use crate::{client, telemetry};

/// Runs the node until it is told to stop.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    refuse_second(&settings)?;
    supervise(settings, Box::new(|| complain("ready")))
}

/// Refuses when the node runs, before its log or anything else of it is touched. The lock itself, which two starts at
/// the same moment cannot both have, is taken by the supervisor.
pub(crate) fn refuse_second(settings: &Settings) -> anyhow::Result<()> {
    let name = &settings.node.name;
    match client::holder(settings)? {
        Holder::Nobody => Ok(()),
        Holder::Process(pid) => {
            bail!("\"{name}\" is running already: its supervisor is process {pid}; see `gantry status`")
        }
        Holder::Starting => bail!("\"{name}\" is just being started by another process"),
    }
}

/// Is the supervisor until the node ends; `ready` is called when it serves.
pub(crate) fn supervise(settings: Settings, ready: Box<dyn FnMut()>) -> anyhow::Result<ExitCode> {
    // Before the log's thread is started, which would otherwise be the one to get them.
    block_signals()?;
    set_name("gantry");
    let executable =
        own_executable().context("the path of this program cannot be found; is /proc mounted?")?;
    let _log = telemetry::init(&settings, "supervisor", None, telemetry::level(settings.log.level))?;
    match gantry_supervisor::run(SupervisorOptions { settings, executable, ready })? {
        Exit::Drained | Exit::Now => Ok(ExitCode::SUCCESS),
        Exit::Killed { processes_count } => {
            complain(format_args!(
                "gantry: {processes_count} processes did not leave in time and were killed"
            ));
            Ok(ExitCode::from(FAILED))
        }
    }
}
