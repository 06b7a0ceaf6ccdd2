//! Asking a running supervisor over its admin socket. A supervisor that is dead, stopped or hangs keeps nobody waiting.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_supervisor::limits::{HELPER_LIMIT, SERVED_LIMIT};
use gantry_supervisor::protocol::{Request, Response};
use gantry_supervisor::{LivingProcess, find_segments, living_processes, pid_file};
use gantry_sys::lock::{Holder, PidFile};
use serde_json::Value;

use crate::failure::Failure;

/// How long a supervisor may take for what it does by itself. It is one loop that never waits, so one that takes longer is
/// stopped, hangs, or gets no processor at all.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at something that changes in a moment.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the lock of a process that dies may outlive its sockets.
const DEATH_LIMIT: Duration = Duration::from_secs(1);

/// Who has the node's pid file.
pub(crate) fn holder(settings: &Settings) -> anyhow::Result<Holder> {
    Ok(PidFile::holder(&pid_file(settings))?)
}

/// Asks, and gives what was answered.
///
/// # Errors
/// [`Failure`] with "not running" when there is no supervisor, or none that answers, and where the same may be done in a
/// while; otherwise what it said.
pub(crate) fn ask(settings: &Settings, request: &Request) -> anyhow::Result<Value> {
    match ask_for_receipt(settings, request)? {
        (result, None) => Ok(result),
        (_, Some(error)) => bail!(error),
    }
}

/// Asks, and gives what was answered; with it what is wrong, when it was done and is not in force everywhere yet.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_for_receipt(
    settings: &Settings,
    request: &Request,
) -> anyhow::Result<(Value, Option<String>)> {
    check_name(settings)?;
    let Response { ok, result, error, again } = exchange(settings, request, limit(settings, request))?;
    let error = (!ok).then(|| error.unwrap_or_else(|| "the node refused without a word".to_owned()));
    match (result, error) {
        (None, Some(error)) if again => Err(Failure::not_now(error).into()),
        (None, Some(error)) => bail!(error),
        (result, error) => Ok((result.unwrap_or_default(), error)),
    }
}

/// Refuses to command a node of another name that has our state folder.
///
/// # Errors
/// The name of the node that runs there, or that nobody answers.
pub(crate) fn check_name(settings: &Settings) -> anyhow::Result<()> {
    let response = exchange(settings, &Request::Status, ANSWER_LIMIT)?;
    let status = response.result.unwrap_or_default();
    match status["node"].as_str() {
        Some(name) if name != settings.node.name => bail!(
            "the node that runs in {} is \"{name}\", not \"{}\"; use its configuration, or give this one a state_dir of its own",
            settings.node.state_dir.display(),
            settings.node.name
        ),
        _ => Ok(()),
    }
}

/// The processes of the node that live, besides its supervisor, as messages name them. Nobody is asked: the process table
/// tells.
pub(crate) fn living(settings: &Settings) -> Vec<String> {
    let Ok(Some(segments)) = find_segments(settings) else { return Vec::new() };
    let living = living_processes(segments.control());
    let others = living.iter().filter(|process| process.role != gantry_segment::Role::Supervisor);
    others.map(LivingProcess::name).collect()
}

/// That there is no supervisor, and what there is instead.
pub(crate) fn unsupervised(settings: &Settings) -> Failure {
    let (name, living) = (&settings.node.name, living(settings));
    if living.is_empty() { Failure::not_running(name) } else { Failure::orphans(name, &living) }
}

/// That the supervisor does not answer.
fn silent(settings: &Settings) -> anyhow::Error {
    let supervisor = match holder(settings) {
        Ok(Holder::Process(pid)) => Some(pid),
        // It died while it was asked.
        Ok(Holder::Nobody) => return unsupervised(settings).into(),
        _ => None,
    };
    Failure::silent(&settings.node.name, supervisor, &living(settings)).into()
}

fn exchange(settings: &Settings, request: &Request, limit: Duration) -> anyhow::Result<Response> {
    if holder(settings)? == Holder::Nobody {
        return Err(unsupervised(settings).into());
    }
    let mut stream = connect(settings)?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    if stream.write_all(&request.to_line()).is_err() {
        return Err(silent(settings));
    }
    let line = read_answer(settings, &mut stream, limit)?;
    serde_json::from_slice(&line).context("the node's answer cannot be understood")
}

/// Connects to the supervisor. One that is just starting or stopping is given a moment.
fn connect(settings: &Settings) -> anyhow::Result<UnixStream> {
    let path = settings.admin_socket();
    let begun = Instant::now();
    loop {
        let Some(connected) = connect_to(&path) else { return Err(silent(settings)) };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                if holder(settings)? == Holder::Nobody {
                    return Err(unsupervised(settings).into());
                }
                if begun.elapsed() >= ANSWER_LIMIT {
                    return Err(Failure::not_now(
                        "the node is just starting or stopping; try again in a moment",
                    )
                    .into());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(error) => {
                let path = path.display();
                return Err(error).with_context(|| {
                    format!("cannot connect to {path}; run as the node's own user or root")
                });
            }
        }
    }
}

/// Connects. `None` when that takes too long: nobody accepts, and the queue of those who wait is full.
fn connect_to(path: &Path) -> Option<std::io::Result<UnixStream>> {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    // Connecting to a Unix socket has no time limit of its own; a thread that still waits ends with this process.
    std::thread::spawn(move || sender.send(UnixStream::connect(path)));
    receiver.recv_timeout(ANSWER_LIMIT).ok()
}

/// Reads the answer's line. While nothing comes, the supervisor has to show that it lives.
fn read_answer(settings: &Settings, stream: &mut UnixStream, limit: Duration) -> anyhow::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut line = Vec::new();
    let mut buffer = [0; 16 << 10];
    stream.set_read_timeout(Some(limit.min(ANSWER_LIMIT)))?;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(cut_off(settings)),
            Ok(count) => line.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if limit <= ANSWER_LIMIT {
                    return Err(silent(settings));
                }
                if begun.elapsed() >= limit {
                    bail!("the node has not done it within {} s; see its log", limit.as_secs());
                }
                exchange(settings, &Request::Status, ANSWER_LIMIT)?;
            }
            // Reset: it died with our command unread.
            Err(_) => return Err(cut_off(settings)),
        }
        if line.last() == Some(&b'\n') {
            return Ok(line);
        }
    }
}

/// The connection ended before the answer: its supervisor has most likely died.
fn cut_off(settings: &Settings) -> anyhow::Error {
    let begun = Instant::now();
    while begun.elapsed() < DEATH_LIMIT {
        if matches!(holder(settings), Ok(Holder::Nobody)) {
            return anyhow::Error::from(unsupervised(settings))
                .context("the supervisor died before it answered, so whether it was done is not known");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    anyhow::anyhow!("the node closed the connection without an answer; see its log")
}

/// Longer than the node itself takes to give up.
fn limit(settings: &Settings, request: &Request) -> Duration {
    match request {
        Request::Service(_) => HELPER_LIMIT + SERVED_LIMIT + ANSWER_LIMIT,
        Request::Drain => settings.node.drain_grace + settings.supervisor.stop_timeout + ANSWER_LIMIT,
        Request::Upgrade { .. } => gantry_supervisor::limits::LAYOUT_LIMIT + 2 * ANSWER_LIMIT,
        Request::Status | Request::Stop { .. } | Request::Undrain | Request::Log { .. } | Request::Reload => {
            ANSWER_LIMIT
        }
    }
}
