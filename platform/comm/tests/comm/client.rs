//! A client that waits with a watchdog, never for ever.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gantry_frame::{ClientError, Reply, Request, read_reply, write_request};
use gantry_message::{RequestId, ServiceNumber, Status};

/// Longer than anything that is waited for; a test that meets it has failed.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(20);

/// Waits until `is_so`, looking again and again.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < WATCHDOG, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A stream of either kind.
pub(crate) trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

pub(crate) fn id(number: u64) -> RequestId {
    format!("test-{number:019}").parse().unwrap()
}

pub(crate) fn number(number: u32) -> ServiceNumber {
    ServiceNumber::new(number).unwrap()
}

/// A whole request as bytes.
pub(crate) fn frame(
    service: u32,
    request_id: RequestId,
    budget_ms: u32,
    body: &[u8],
    with_checksum: bool,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let request = Request { service: number(service), request_id, budget_ms, body, with_checksum };
    write_request(&mut bytes, &request).unwrap();
    bytes
}

pub(crate) struct Client<S> {
    pub(crate) stream: S,
}

impl<S: Stream> Client<S> {
    pub(crate) fn send(&mut self, service: u32, id: RequestId, body: &[u8]) {
        self.stream.write_all(&frame(service, id, 0, body, false)).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Reply {
        read_reply(&mut self.stream).unwrap()
    }

    pub(crate) fn call(&mut self, service: u32, id: RequestId, body: &[u8]) -> Reply {
        self.send(service, id, body);
        let reply = self.receive();
        assert_eq!(reply.header.request_id, id);
        assert_eq!(reply.header.service, number(service));
        reply
    }

    /// The status and the body, as text.
    pub(crate) fn ask(&mut self, service: u32, id: RequestId, body: &[u8]) -> (Status, String) {
        let reply = self.call(service, id, body);
        (reply.status().unwrap(), String::from_utf8(reply.body).unwrap())
    }

    /// Waits for the end of the connection; whether it ended without a further byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match read_reply(&mut self.stream) {
            Ok(reply) => panic!("a reply instead of the end: {:?}", reply.header),
            Err(ClientError::Closed) => true,
            Err(ClientError::Receive { cause }) => cause.kind() == std::io::ErrorKind::ConnectionReset,
            Err(_) => false,
        }
    }
}
