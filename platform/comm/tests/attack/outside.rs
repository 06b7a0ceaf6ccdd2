//! What outlives the communication process: the client, the kernel's side of its connection, the worker.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gantry_frame::{Reply, read_reply};
use gantry_sys::socket::{Positions, positions};

use crate::scenarios::{Act, Scenario};
use crate::worker::Workers;
use crate::world::World;

/// Longer than anything that is waited for; an attack that meets it has found something.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(20);
const ROUNDS_MAX: u32 = 1_000;

/// The world outside, as it is at one moment.
pub(crate) struct Outside {
    client: TcpStream,
    /// The same socket as the attacked process has.
    server: TcpStream,
    /// All that the client has sent and received.
    sent: Vec<u8>,
    received: Vec<u8>,
    is_write_closed: bool,
    is_ended: bool,
    pub(crate) workers: Workers,
    /// How many of the scenario's acts were done.
    pub(crate) acts_done: usize,
}

impl Outside {
    /// A new client.
    pub(crate) fn new() -> Self {
        let (client, server) = connected();
        Self {
            client,
            server,
            sent: Vec::new(),
            received: Vec::new(),
            is_write_closed: false,
            is_ended: false,
            workers: Workers::default(),
            acts_done: 0,
        }
    }

    /// The socket, for the process that serves it.
    pub(crate) fn socket(&self) -> TcpStream {
        self.server.try_clone().unwrap()
    }

    /// How far the streams are, as the kernel says.
    pub(crate) fn positions(&self) -> Positions {
        positions(&self.server, ROUNDS_MAX).unwrap().expect("nobody else uses the socket now")
    }

    /// The same outside with another connection that is just as far, for a successor.
    pub(crate) fn copy(&mut self) -> Self {
        self.receive();
        let told = self.positions();
        let (mut client, mut server) = connected();
        let (taken, waiting) = self.sent.split_at(told.received as usize);
        pass(&mut client, &mut server, taken);
        pass(&mut server, &mut client, &self.received);
        client.write_all(waiting).unwrap();
        if self.is_write_closed {
            client.shutdown(Shutdown::Write).unwrap();
        }
        client.set_nonblocking(true).unwrap();
        server.set_nonblocking(true).unwrap();
        Self {
            client,
            server,
            sent: self.sent.clone(),
            received: self.received.clone(),
            is_write_closed: self.is_write_closed,
            is_ended: self.is_ended,
            workers: self.workers.clone(),
            acts_done: self.acts_done,
        }
    }

    /// Does the next act of a scenario.
    pub(crate) fn act(&mut self, world: &World, act: &Act) {
        match act {
            Act::Nothing => {}
            Act::Send(bytes) => {
                self.sent.extend(bytes);
                self.client.write_all(bytes).unwrap();
            }
            Act::EndSending => {
                self.is_write_closed = true;
                self.client.shutdown(Shutdown::Write).unwrap();
            }
            Act::Serve => drop::<bool>(self.workers.serve_all(world)),
            Act::Take => drop::<bool>(self.workers.take(world)),
            Act::Finish => self.workers.finish(world),
            Act::Lose { is_executed } => self.workers.die(world, *is_executed),
            Act::Wait(time) => std::thread::sleep(*time),
        }
        self.acts_done += 1;
        world.doorbell.signal();
    }

    /// Takes what has come, and all that the kernel was given for us.
    pub(crate) fn receive(&mut self) {
        let started = Instant::now();
        let mut buffer = [0; 16 * 1024];
        let told = self.positions();
        while !self.is_ended {
            match self.client.read(&mut buffer) {
                Ok(0) => self.is_ended = true,
                Ok(bytes) => self.received.extend(&buffer[..bytes]),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                    if told.is_closed || self.received.len() as u64 >= told.sent {
                        return;
                    }
                    assert!(started.elapsed() < WATCHDOG, "sent bytes do not come");
                }
                Err(cause) => panic!("the connection broke: {cause}"),
            }
        }
    }

    /// Whether everything has come that the scenario expects, and nothing else.
    pub(crate) fn is_complete(&self, scenario: &Scenario) -> Result<bool, String> {
        let replies = self.replies()?;
        for reply in &replies {
            if !scenario.expects(reply) {
                let (id, status) = (reply.header.request_id, reply.status());
                return Err(format!(
                    "a reply that is not owed: {id:?} {status:?}, {} bytes",
                    reply.body.len()
                ));
            }
        }
        if replies.len() > scenario.expected.len() {
            return Err(format!("{} replies for {} frames", replies.len(), scenario.expected.len()));
        }
        if self.is_ended && !scenario.ends {
            return Err("the connection ended".to_owned());
        }
        Ok(replies.len() == scenario.expected.len() && self.is_ended == scenario.ends)
    }

    /// What has come, in short.
    pub(crate) fn summary(&self) -> String {
        let replies =
            self.replies().map(|replies| replies.iter().map(|reply| reply.status()).collect::<Vec<_>>());
        format!("{replies:?}, {} bytes, ended: {}", self.received.len(), self.is_ended)
    }

    /// The replies that have come whole.
    fn replies(&self) -> Result<Vec<Reply>, String> {
        let mut rest = &self.received[..];
        let mut replies = Vec::new();
        while let Some(header) = rest.get(..64) {
            let bytes = std::str::from_utf8(&header[4..12]).ok().and_then(|text| text.parse::<usize>().ok());
            let bytes = bytes.ok_or_else(|| format!("no reply begins with {header:?}"))?;
            if rest.len() < 64 + bytes {
                break;
            }
            replies.push(read_reply(&mut rest).map_err(|error| format!("a reply cannot be read: {error}"))?);
        }
        Ok(replies)
    }

    /// The client goes away.
    pub(crate) fn leave(&mut self, world: &World) {
        let _ = self.client.shutdown(Shutdown::Both);
        world.doorbell.signal();
    }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    client.set_nonblocking(true).unwrap();
    server.set_nonblocking(true).unwrap();
    (client, server)
}

/// Passes bytes through, so that the kernel counts them.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    to.set_nonblocking(false).unwrap();
    from.set_nonblocking(false).unwrap();
    let mut buffer = vec![0; bytes.len()];
    for (part, room) in bytes.chunks(4096).zip(buffer.chunks_mut(4096)) {
        from.write_all(part).unwrap();
        to.read_exact(room).unwrap();
    }
    assert!(buffer == bytes);
    // Until the last byte is acknowledged the kernel counts it as waiting, which is counted as sent too.
}
