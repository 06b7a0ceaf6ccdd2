//! Asking a running supervisor over its admin socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use gantry_settings::Settings;
use gantry_supervisor::limits::{HELPER_LIMIT, SERVED_LIMIT};
use gantry_supervisor::pid_file;
use gantry_supervisor::protocol::{Request, Response};
use gantry_sys::lock::{Holder, PidFile};
use serde_json::Value;

use crate::failure::Failure;

/// How long an answer may take that the supervisor gives by itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// How long a node may take to say its name.
const NAME_LIMIT: Duration = Duration::from_secs(2);

/// Who has the node's pid file.
pub(crate) fn holder(settings: &Settings) -> anyhow::Result<Holder> {
    Ok(PidFile::holder(&pid_file(settings))?)
}

/// Asks, and gives what was answered.
///
/// # Errors
/// [`Failure`] with "not running" when there is no supervisor; otherwise what it said, or that it does not answer.
pub(crate) fn ask(settings: &Settings, request: &Request) -> anyhow::Result<Value> {
    check_name(settings)?;
    let response = exchange(settings, request, limit(settings, request))?;
    match response {
        Response { ok: true, result, .. } => Ok(result.unwrap_or_default()),
        Response { error, .. } => {
            bail!(error.unwrap_or_else(|| "the node refused without a word".to_owned()))
        }
    }
}

/// Refuses to command a node of another name that has our state folder. One that does not answer is not refused: what
/// is asked of it next will tell.
///
/// # Errors
/// The name of the node that runs there.
pub(crate) fn check_name(settings: &Settings) -> anyhow::Result<()> {
    let Ok(Response { result: Some(status), .. }) = exchange(settings, &Request::Status, NAME_LIMIT) else {
        return Ok(());
    };
    match status["node"].as_str() {
        Some(name) if name != settings.node.name => bail!(
            "the node that runs in {} is \"{name}\", not \"{}\"; use its configuration, or give this one a state_dir of its own",
            settings.node.state_dir.display(),
            settings.node.name
        ),
        _ => Ok(()),
    }
}

fn exchange(settings: &Settings, request: &Request, limit: Duration) -> anyhow::Result<Response> {
    let holder = holder(settings)?;
    if holder == Holder::Nobody {
        return Err(Failure::not_running(&settings.node.name).into());
    }
    let path = settings.admin_socket();
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            bail!("the node is just starting or stopping; try again in a moment")
        }
        Err(error) => {
            let path = path.display();
            return Err(error)
                .with_context(|| format!("cannot connect to {path}; run as the node's own user or root"));
        }
    };
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&request.to_line()).context("the command could not be sent")?;
    let mut line = Vec::new();
    match BufReader::new(stream).read_until(b'\n', &mut line) {
        Ok(0) => bail!("the node closed the connection without an answer; see its log"),
        Ok(_) => serde_json::from_slice(&line).context("the node's answer cannot be understood"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            bail!("the node gave no answer in time; see its log, or end it with `gantry stop --now`")
        }
        Err(error) => Err(error).context("the answer could not be read"),
    }
}

/// Longer than the node itself takes to give up.
fn limit(settings: &Settings, request: &Request) -> Duration {
    match request {
        Request::Service(_) => HELPER_LIMIT + SERVED_LIMIT + ANSWER_LIMIT,
        Request::Drain => settings.node.drain_grace + settings.supervisor.stop_timeout + ANSWER_LIMIT,
        Request::Status | Request::Stop { .. } | Request::Undrain | Request::Log { .. } | Request::Reload => {
            ANSWER_LIMIT
        }
    }
}
