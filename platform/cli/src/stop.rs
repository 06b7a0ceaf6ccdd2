//! `gantry stop`: drained, or at once; also of what a dead supervisor left.

use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use gantry_segment::{Removal, Role, SegmentError, Segments};
use gantry_settings::Settings;
use gantry_supervisor::protocol::Request;
use gantry_supervisor::{
    LivingProcess, Purpose, backend, children_of, end_processes, find_segments, forget_segments,
    living_processes,
};
use gantry_sys::lock::Holder;
use gantry_sys::process::PidFd;
use gantry_sys::signal::Signal;

use crate::failure::Failure;
use crate::lock::StartLock;
use crate::output::print;
use crate::{client, run};

/// How long a supervisor may take to end when it was told to do so at once.
const NOW_LIMIT: Duration = Duration::from_secs(10);
/// How long killed processes are waited for.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// What a drained stop may take beyond what the configuration allows it.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// Stops the node, whether or not its supervisor lives.
pub(crate) fn run(settings: &Settings, now: bool) -> anyhow::Result<ExitCode> {
    let (was_running, left) = if now {
        (end_supervisor(settings)?, end_leftovers(settings)?)
    } else {
        let supervisor = held(settings)?;
        match drained(settings) {
            Ok(()) => (true, Vec::new()),
            Err(error) if Failure::is_not_running(&error) => {
                if let Some(supervisor) = supervisor {
                    // It is stopped or hangs. Its children live on, and this process stops them in its place.
                    kill(&supervisor)?;
                }
                if client::living(settings).is_empty() {
                    return Err(error);
                }
                return stop_orphans(settings);
            }
            Err(error) => return Err(error),
        }
    };
    if !was_running && left.is_empty() {
        return Err(Failure::not_running(&settings.node.name).into());
    }
    for line in left {
        print(line)?;
    }
    print(format_args!("{} is stopped", settings.node.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes over what a dead supervisor left, and stops it drained: this process is its supervisor until then.
fn stop_orphans(settings: &Settings) -> anyhow::Result<ExitCode> {
    let code = run::supervise(settings.clone(), Purpose::Stop, None, Box::new(|| {}))?;
    if code == ExitCode::SUCCESS {
        print(format_args!("{} is stopped", settings.node.name))?;
    }
    Ok(code)
}

/// Drains and stops the running node; returns when its supervisor has ended.
fn drained(settings: &Settings) -> anyhow::Result<()> {
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
    match client::ask(settings, &Request::Stop { now: true }) {
        Ok(_) if supervisor.wait(Some(NOW_LIMIT)) => return Ok(true),
        Ok(_) => {}
        Err(error) if Failure::is_not_running(&error) => {}
        Err(error) => return Err(error),
    }
    // It hangs, or is stopped; what it leaves is ended below.
    kill(&supervisor)?;
    Ok(true)
}

fn kill(supervisor: &PidFd) -> anyhow::Result<()> {
    if supervisor.is_dead() {
        return Ok(());
    }
    supervisor.signal(Signal::SIGKILL).context("the supervisor cannot be killed")?;
    if !supervisor.wait(Some(KILL_LIMIT)) {
        bail!("the supervisor cannot be ended; it hangs in the kernel");
    }
    Ok(())
}

/// Ends what is left of a dead supervisor and removes the segments; gives what was done, a line each.
fn end_leftovers(settings: &Settings) -> anyhow::Result<Vec<String>> {
    // Held meanwhile, so that nobody starts a node on what is being removed.
    let _lock = StartLock::take(settings)?;
    let mut done = match find_segments(settings) {
        Ok(Some(segments)) => end_children(living_processes(segments.control()))?,
        Ok(None) => Vec::new(),
        Err(error) => {
            let mut done = vec![format!("the process table cannot be read: {error}")];
            done.extend(end_children(unreadable_children(&error))?);
            done
        }
    };
    done.extend(remove_segments(settings)?);
    forget_segments(settings);
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

/// The children that live on segments which another version of this program made, whose process table this one cannot
/// read: their command lines name the control segment.
fn unreadable_children(error: &SegmentError) -> Vec<LivingProcess> {
    match error {
        SegmentError::Version { id, .. } => children_of(&format!("{id},")),
        _ => Vec::new(),
    }
}

fn remove_segments(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let Removal { removed, foreign } = Segments::remove_all(backend(settings), &settings.node.name)?;
    let removed = removed.into_iter().map(|id| format!("removed segment {id}"));
    let foreign = foreign.into_iter().map(|id| {
        format!("segment {id} under our key is not Gantry's; left alone (`ipcrm` removes it, or set another ipc.key)")
    });
    Ok(removed.chain(foreign).collect())
}

/// Kills the living children and keepers of a dead supervisor, each with its group.
fn end_children(living: Vec<LivingProcess>) -> anyhow::Result<Vec<String>> {
    if let Some(supervisor) = living.iter().find(|process| process.role == Role::Supervisor) {
        bail!(
            "process {} supervises a node of the same name with another state folder; stop it with its own configuration",
            supervisor.pid
        );
    }
    end_processes(&living, KILL_LIMIT)?;
    Ok(living.iter().map(|process| format!("ended {}", process.name())).collect())
}
