//! `gantry call`: one request over the wire.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use gantry_frame::{Reply, Request, read_reply, write_request};
use gantry_message::{RequestId, ServiceNumber, Status};
use gantry_settings::Settings;

use crate::arguments::CallArguments;
use crate::failure::{FAILED, Failure};
use crate::output::complain;

/// How long connecting may take for each address that a name stands for.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a reply may be late after the budget; the node answers at the deadline itself.
const REPLY_MARGIN: Duration = Duration::from_secs(10);

/// A connection of either kind.
pub(crate) trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// Sends the request and prints the reply.
pub(crate) fn run(settings: Option<&Settings>, call: CallArguments) -> anyhow::Result<ExitCode> {
    let body = match call.body.as_deref() {
        Some("-") => {
            let mut body = Vec::new();
            std::io::stdin().lock().read_to_end(&mut body).context("standard input cannot be read")?;
            body
        }
        Some(text) => text.as_bytes().to_vec(),
        None => Vec::new(),
    };
    let request_id = match call.id {
        Some(id) => id,
        None => fresh_id()?,
    };
    let limit = (call.budget > 0).then(|| Duration::from_millis(call.budget.into()) + REPLY_MARGIN);
    let mut stream = connect(settings, call.addr.as_deref(), limit)?;
    let (service, budget_ms) = (call.number, call.budget);
    write_request(
        &mut stream,
        &Request { service, request_id, budget_ms, body: &body, with_checksum: true },
    )?;
    let reply = read_reply(&mut stream).with_context(|| format!("the request's id is {request_id}"))?;
    print_reply(&reply)
}

/// Sends one request to the node of a configuration and gives the reply, whatever its status.
pub(crate) fn exchange(
    settings: &Settings,
    service: ServiceNumber,
    request_id: RequestId,
    body: &[u8],
    budget_ms: u32,
) -> anyhow::Result<Reply> {
    let limit = Duration::from_millis(budget_ms.into()) + REPLY_MARGIN;
    let mut stream = connect(Some(settings), None, Some(limit))?;
    write_request(&mut stream, &Request { service, request_id, budget_ms, body, with_checksum: true })?;
    read_reply(&mut stream).with_context(|| format!("the request's id is {request_id}"))
}

fn print_reply(reply: &Reply) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    // On a terminal the next prompt is to stand on a line of its own; elsewhere the body stays as it is.
    let ends_line = !out.is_terminal() || reply.body.is_empty() || reply.body.ends_with(b"\n");
    let end: &[u8] = if ends_line { b"" } else { b"\n" };
    match out.write_all(&reply.body).and_then(|()| out.write_all(end)).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(error).context("standard output cannot be written");
        }
        _ => {}
    }
    if reply.status() == Some(Status::Done) {
        return Ok(ExitCode::SUCCESS);
    }
    let code = reply.header.status_code;
    let meaning = reply.status().map_or("a status that this version does not know", Status::meaning);
    complain(format_args!("status {code:03} {meaning}"));
    Ok(ExitCode::from(FAILED))
}

/// Connects to `addr`, or to the first address of the configuration.
fn connect(
    settings: Option<&Settings>,
    addr: Option<&str>,
    limit: Option<Duration>,
) -> anyhow::Result<Box<dyn Stream>> {
    let tcp = match (addr, settings) {
        (Some(addr), _) => Some(addr.to_owned()),
        (None, Some(settings)) => settings.listen.tcp.first().map(ToString::to_string),
        (None, None) => None,
    };
    if let Some(address) = tcp {
        let stream = connect_tcp(&address)?;
        stream.set_read_timeout(limit)?;
        return Ok(Box::new(stream));
    }
    let unix = settings.and_then(|settings| settings.listen.unix.first());
    let path =
        unix.ok_or_else(|| Failure::usage("no address is configured; name one with --addr HOST:PORT"))?;
    match UnixStream::connect(path) {
        Ok(stream) => {
            stream.set_read_timeout(limit)?;
            Ok(Box::new(stream))
        }
        Err(error) => Err(refusal(&path.display().to_string(), error)),
    }
}

/// Connects to a TCP address, written as HOST:PORT.
///
/// # Errors
/// [`Failure`] with "not running" when nothing listens there.
pub(crate) fn connect_tcp(address: &str) -> anyhow::Result<TcpStream> {
    let candidates = match address.to_socket_addrs() {
        Ok(candidates) => candidates,
        Err(error) => {
            return Err(Failure::usage(format!("{address} is no address: {error}; write HOST:PORT")).into());
        }
    };
    let mut last = None;
    for candidate in candidates {
        match TcpStream::connect_timeout(&candidate, CONNECT_LIMIT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow!("{address} stands for no address"), |error| refusal(address, error)))
}

fn refusal(address: &str, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Failure::nothing_listens(address).into(),
        _ => anyhow::Error::from(error).context(format!("cannot connect to {address}")),
    }
}

/// A request id that nobody else has: from random bits of the standard library's hashers and this process's number.
pub(crate) fn fresh_id() -> anyhow::Result<RequestId> {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let text = format!("call-{:016x}{:03x}", hasher.finish(), std::process::id() & 0xfff);
    text.parse().context("the request id is not one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_ids_and_differ() {
        let (first, second) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert_ne!(first, second);
        assert!(first.to_string().starts_with("call-"));
    }

    #[test]
    fn an_address_where_nothing_listens_means_not_running() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = connect_tcp(&free.to_string()).unwrap_err();
        assert!(
            error.downcast_ref::<Failure>().is_some() && error.to_string().contains("not running"),
            "{error}"
        );
        let error = connect_tcp("nowhere").unwrap_err();
        assert!(error.to_string().contains("HOST:PORT"), "{error}");
    }
}
