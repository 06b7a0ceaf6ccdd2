//! `gantry run`: the supervisor in the foreground; and how it goes on as another program.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_supervisor::{Exit, Purpose, SupervisorOptions, block_signals, pid_file};
use gantry_sys::lock::{Holder, PidFile};
use gantry_sys::process::{own_executable, set_name};
use gantry_sys::signal::{Signal, ignore};
use gantry_telemetry::LogGuard;
use serde_json::{Value, json};

use crate::failure::FAILED;
use crate::output::{complain, print};
use crate::{client, telemetry};

/// Runs the node until it is told to stop.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    refuse_second(&settings)?;
    supervise(settings, Purpose::Run, None, Box::new(|| complain("ready")))
}

/// Goes on with the node as the program that this process executed: it has the lock already.
pub(crate) fn go_on(settings: Settings, lock: i32) -> anyhow::Result<ExitCode> {
    let lock = PidFile::take_over(&pid_file(&settings), lock)?;
    supervise(settings, Purpose::Upgrade, Some(lock), Box::new(|| {}))
}

/// `gantry helper-layout`: what this program is.
pub(crate) fn print_layout() -> anyhow::Result<ExitCode> {
    print(layout())?;
    Ok(ExitCode::SUCCESS)
}

fn layout() -> Value {
    json!({
        "layout": gantry_segment::LAYOUT_VERSION,
        "abi": gantry_abi::descriptor::GANTRY_ABI_MAJOR,
        "version": env!("CARGO_PKG_VERSION"),
    })
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
pub(crate) fn supervise(
    settings: Settings,
    purpose: Purpose,
    lock: Option<PidFile>,
    ready: Box<dyn FnMut()>,
) -> anyhow::Result<ExitCode> {
    // Before the log's thread is started, which would otherwise be the one to get them.
    block_signals()?;
    set_name("gantry");
    let executable =
        own_executable().context("the path of this program cannot be found; is /proc mounted?")?;
    let log = telemetry::init(&settings, "supervisor", None, telemetry::level(settings.log.level))?;
    let (mut purpose, mut lock, mut ready) = (purpose, lock, ready);
    loop {
        let (settings, executable, layout) = (settings.clone(), executable.clone(), layout());
        let file = settings.file.clone();
        let options = SupervisorOptions { settings, executable, layout, purpose, lock, ready };
        match gantry_supervisor::run(options)? {
            Exit::Drained | Exit::Now => return Ok(ExitCode::SUCCESS),
            Exit::Killed { processes_count } => {
                complain(format_args!(
                    "gantry: {processes_count} processes did not leave in time and were killed"
                ));
                return Ok(ExitCode::from(FAILED));
            }
            Exit::Upgrade { executable, lock: held } => {
                let error = execute(&executable, &file, &held, &log);
                tracing::error!(executable = %executable.display(), %error, "it cannot be executed; this program goes on");
                // Nobody of the node has noticed anything, and what lives is taken over again.
                (purpose, lock, ready) = (Purpose::Run, Some(held), Box::new(|| {}));
            }
        }
    }
}

/// Executes another program in place of this one, with the same pid and the same lock. Returns only when that fails.
fn execute(executable: &Path, configuration: &Path, lock: &PidFile, log: &LogGuard) -> anyhow::Error {
    let attempt = || -> anyhow::Result<()> {
        log.flush()?;
        let number = lock.pass_over_exec()?;
        let mut command = Command::new(executable);
        command.arg("-c").arg(configuration).args(["supervise", "--lock", &number.to_string()]);
        let error = command.exec();
        // The attempt opened the signals that are read from a descriptor, and those that are ignored.
        block_signals()?;
        ignore(Signal::SIGPIPE)?;
        lock.keep_from_exec()?;
        Err(error.into())
    };
    attempt().err().unwrap_or_else(|| anyhow::anyhow!("it returned without having been executed"))
}
