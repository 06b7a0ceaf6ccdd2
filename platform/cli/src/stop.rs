//! `gantry stop`: drained, or at once with everything that a dead supervisor left.

use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gantry_segment::{Role, Segments};
use gantry_settings::Settings;
use gantry_supervisor::protocol::Request;
use gantry_supervisor::{LivingProcess, backend, living_processes};
use gantry_sys::lock::Holder;
use gantry_sys::process::{PidFd, signal_group};
use gantry_sys::signal::Signal;

use crate::client;
use crate::failure::Failure;
use crate::lock::StartLock;
use crate::output::print;

/// How long a supervisor may take to end when it was told to do so at once.
const NOW_LIMIT: Duration = Duration::from_secs(10);
/// How long killed processes are waited for.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// What a drained stop may take beyond what the configuration allows it.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// Stops the node.
pub(crate) fn run(settings: &Settings, now: bool) -> anyhow::Result<ExitCode> {
    if !now {
        if client::holder(settings)? == Holder::Nobody {
            return Err(not_running(settings).into());
        }
        drained(settings)?;
        print(format_args!("{} is stopped", settings.node.name))?;
        return Ok(ExitCode::SUCCESS);
    }
    let was_running = end_supervisor(settings)?;
    let left = end_leftovers(settings)?;
    if !was_running && left.is_empty() {
        return Err(Failure::not_running(&settings.node.name).into());
    }
    for line in left {
        print(line)?;
    }
    print(format_args!("{} is stopped", settings.node.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing to ask; whether there is something to end all the same.
fn not_running(settings: &Settings) -> Failure {
    let name = &settings.node.name;
    let found = Segments::look_up(backend(settings), name)
        .and_then(|handoff| handoff.as_ref().map(Segments::attach).transpose());
    match found {
        Ok(Some(segments)) if !living_processes(segments.control()).is_empty() => Failure::orphans(name),
        _ => Failure::not_running(name),
    }
}

/// Drains and stops the running node; returns when its supervisor has ended.
pub(crate) fn drained(settings: &Settings) -> anyhow::Result<()> {
    let holder = held(settings)?;
    client::ask(settings, &Request::Stop { now: false })?;
    let limit = settings.node.drain_grace + settings.supervisor.stop_timeout + STOP_MARGIN;
    if let Some(supervisor) = holder
        && !supervisor.wait(Some(limit))
    {
        bail!(
            "the node did not stop within {} s; see its log, or end it with `gantry stop --now`",
            limit.as_secs()
        );
    }
    Ok(())
}

/// The running supervisor, held by descriptor. `None` when nobody runs, or is too young to have written its pid.
fn held(settings: &Settings) -> anyhow::Result<Option<PidFd>> {
    let Holder::Process(pid) = client::holder(settings)? else { return Ok(None) };
    let Ok(pidfd) = PidFd::open(pid) else { return Ok(None) };
    // The lock goes with its holder: whoever still has it with this pid is the process that we hold.
    Ok((client::holder(settings)? == Holder::Process(pid)).then_some(pidfd))
}

/// Ends a running supervisor at once, and gives whether there was one.
fn end_supervisor(settings: &Settings) -> anyhow::Result<bool> {
    let Some(supervisor) = held(settings)? else { return Ok(false) };
    client::check_name(settings)?;
    let asked = client::ask(settings, &Request::Stop { now: true });
    if asked.is_ok() && supervisor.wait(Some(NOW_LIMIT)) {
        return Ok(true);
    }
    // It hangs, or is stopped; what it leaves is ended below.
    supervisor.signal(Signal::SIGKILL).context("the supervisor cannot be killed")?;
    if !supervisor.wait(Some(KILL_LIMIT)) {
        bail!("the supervisor cannot be ended; it hangs in the kernel");
    }
    Ok(true)
}

/// Ends what is left of a dead supervisor and removes the segments; gives what was done, a line each.
fn end_leftovers(settings: &Settings) -> anyhow::Result<Vec<String>> {
    // Held meanwhile, so that nobody starts a node on what is being removed.
    let _lock = StartLock::take(settings)?;
    let mut done = match Segments::look_up(backend(settings), &settings.node.name) {
        Ok(Some(handoff)) => end_children(&Segments::attach(&handoff)?)?,
        Ok(None) => Vec::new(),
        Err(error) => vec![format!("the process table cannot be read: {error}")],
    };
    done.extend(remove_segments(settings)?);
    // Nobody listens on them any more.
    for socket in std::iter::once(&settings.admin_socket()).chain(&settings.listen.unix) {
        let is_socket = std::fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            std::fs::remove_file(socket).with_context(|| format!("cannot remove {}", socket.display()))?;
            done.push(format!("removed {}", socket.display()));
        }
    }
    Ok(done)
}

fn remove_segments(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let removed = Segments::remove_all(backend(settings), &settings.node.name)?;
    Ok(removed.into_iter().map(|id| format!("removed segment {id}")).collect())
}

/// Kills the living children of a dead supervisor, each with its group.
fn end_children(segments: &Segments) -> anyhow::Result<Vec<String>> {
    let living = living_processes(segments.control());
    if let Some(supervisor) = living.iter().find(|process| process.role == Role::Supervisor) {
        bail!(
            "process {} supervises a node of the same name with another state folder; stop it with its own configuration",
            supervisor.pid
        );
    }
    for process in &living {
        // The process is held and alive or a zombie, so its pid is still the number of its own group.
        let _gone = signal_group(process.pid, Signal::SIGKILL);
        let _gone = process.pidfd.signal(Signal::SIGKILL);
    }
    let deadline = Instant::now() + KILL_LIMIT;
    let is_alive = |process: &&LivingProcess| {
        !process.pidfd.wait(Some(deadline.saturating_duration_since(Instant::now())))
    };
    if let Some(process) = living.iter().find(is_alive) {
        bail!("{} cannot be ended; it hangs in the kernel", process.name());
    }
    Ok(living.iter().map(|process| format!("ended {}", process.name())).collect())
}
