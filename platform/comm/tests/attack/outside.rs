//! What outlives the communication process: the client, the kernel's side of its connection, the worker.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use gantry_frame::{Reply, read_reply};
use gantry_sys::socket::{Positions, positions};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

use crate::scenarios::{Act, Scenario};
use crate::worker::Workers;
use crate::world::World;

/// Longer than the kernel takes to pass bytes that it has.
const WATCHDOG: Duration = Duration::from_secs(20);
/// Turns and time in which everything comes that ever will, also when the processors are busy with others.
const TURNS_MAX: u32 = 5_000;
const TIME_MAX: Duration = Duration::from_millis(1_000);
const ROUNDS_MAX: u32 = 1_000;

/// How long something is waited for that may never come.
pub(crate) struct Patience {
    began: Instant,
    turns_count: u32,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), turns_count: 0 }
    }

    /// Whether another turn is one too many.
    pub(crate) fn is_over(&mut self) -> bool {
        self.turns_count += 1;
        self.turns_count > TURNS_MAX && self.began.elapsed() > TIME_MAX
    }
}

/// The world outside, as it is at one moment.
pub(crate) struct Outside {
    client: TcpStream,
    /// The same socket as the attacked process has.
    server: TcpStream,
    /// All that the client has sent and received.
    sent: Vec<u8>,
    received: Vec<u8>,
    is_write_closed: bool,
    /// The client went away.
    is_left: bool,
    /// It did so by a reset.
    is_reset: bool,
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
            is_left: false,
            is_reset: false,
            is_ended: false,
            workers: Workers::default(),
            acts_done: 0,
        }
    }

    /// The descriptor of the client's own socket.
    pub(crate) fn client_number(&self) -> RawFd {
        self.client.as_raw_fd()
    }

    /// The socket, for the process that serves it.
    pub(crate) fn socket(&self) -> TcpStream {
        self.server.try_clone().unwrap()
    }

    /// How far the streams are, as the kernel says.
    pub(crate) fn positions(&self) -> Positions {
        positions(&self.server, ROUNDS_MAX).unwrap().expect("nobody else uses the socket now")
    }

    /// Whether the server's side has ended the connection, or a direction of it.
    fn is_ended_by(&self, told: Positions) -> bool {
        told.is_closed || self.is_ended && !self.is_left
    }

    /// Whether nobody has used the server's side yet.
    pub(crate) fn is_untouched(&self) -> bool {
        let told = self.positions();
        told.received == 0 && told.sent == 0 && !self.is_ended_by(told)
    }

    /// The same outside with another connection that is just as far, for a successor.
    pub(crate) fn copy(&mut self) -> Self {
        self.receive();
        let told = self.positions();
        let (mut client, mut server) = connected();
        // Of a connection that is over the kernel counts one too many.
        let (taken, waiting) = self.sent.split_at(self.sent.len().min(told.received as usize));
        pass(&mut client, &mut server, taken);
        pass(&mut server, &mut client, &self.received);
        client.write_all(waiting).unwrap();
        client.set_nonblocking(true).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut copy = Self {
            client,
            server,
            sent: self.sent.clone(),
            received: self.received.clone(),
            is_write_closed: self.is_write_closed,
            is_left: self.is_left,
            is_reset: self.is_reset,
            is_ended: self.is_ended,
            workers: self.workers.clone(),
            acts_done: self.acts_done,
        };
        copy.end_as_its_model(self.is_ended_by(told));
        copy
    }

    /// Ends the copied connection as the other was ended, by the client and by the server's side.
    fn end_as_its_model(&mut self, is_ended_by_server: bool) {
        if self.is_reset {
            return self.reset();
        }
        if self.is_write_closed {
            self.client.shutdown(Shutdown::Write).unwrap();
        }
        if self.is_left {
            self.client.shutdown(Shutdown::Both).unwrap();
        }
        if is_ended_by_server {
            self.server.shutdown(Shutdown::Write).unwrap();
        }
    }

    /// Whether what must come before this act has come.
    pub(crate) fn is_time_for(
        &mut self,
        world: &World,
        scenario: &Scenario,
        act: &Act,
    ) -> Result<bool, String> {
        match act {
            Act::Take | Act::Serve => Ok(world.is_queued()),
            Act::Leave => {
                self.receive();
                self.is_answered(scenario)
            }
            _ => Ok(true),
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
            Act::Leave => self.leave(world),
            Act::Reset => self.reset(),
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
        loop {
            match self.client.read(&mut buffer) {
                Ok(0) => {
                    self.is_ended = true;
                    return;
                }
                Ok(bytes) => self.received.extend(&buffer[..bytes]),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                    if told.is_closed || self.received.len() as u64 >= told.sent {
                        return;
                    }
                    assert!(started.elapsed() < WATCHDOG, "sent bytes do not come");
                }
                // It was sent what it does not read any more.
                Err(cause) if cause.kind() == ErrorKind::ConnectionReset && self.is_left => {
                    self.is_ended = true;
                    return;
                }
                Err(cause) => panic!("the connection broke: {cause}"),
            }
        }
    }

    /// Whether everything has come that the scenario expects, nothing else, and the end if that is expected.
    pub(crate) fn is_complete(&self, scenario: &Scenario) -> Result<bool, String> {
        Ok(self.is_answered(scenario)? && self.is_ended == scenario.ends)
    }

    /// Whether each frame is answered, and no more than that.
    pub(crate) fn is_answered(&self, scenario: &Scenario) -> Result<bool, String> {
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
        Ok(replies.len() == scenario.expected.len())
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

    /// The client goes away without a farewell: what it was sent on the way is refused.
    fn reset(&mut self) {
        (self.is_left, self.is_reset) = (true, true);
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.client, Linger, &at_once).unwrap();
        // In its place stands one whose other side is gone.
        self.client = connected().0;
    }

    /// The client goes away.
    pub(crate) fn leave(&mut self, world: &World) {
        self.is_left = true;
        // The other side may have been quicker.
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
