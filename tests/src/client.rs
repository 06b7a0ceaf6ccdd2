//! A blocking client: one connection, frames out, replies in.

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::HEADER_BYTES;
use crate::wait::watchdog;
use crate::{Reply, Request};

/// One connection to a node.
///
/// Every receiving call gives up after [`WATCHDOG`](crate::WATCHDOG), so that a reply that never comes fails the test.
pub struct Client {
    reader: BufReader<Stream>,
    writer: Stream,
}

impl Client {
    /// Connects over TCP.
    ///
    /// # Errors
    /// As the system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(watchdog()))?;
        stream.set_write_timeout(Some(watchdog()))?;
        Ok(Self { writer: Stream::Tcp(stream.try_clone()?), reader: BufReader::new(Stream::Tcp(stream)) })
    }

    /// Connects over a Unix socket.
    ///
    /// # Errors
    /// As the system says.
    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(watchdog()))?;
        stream.set_write_timeout(Some(watchdog()))?;
        Ok(Self { writer: Stream::Unix(stream.try_clone()?), reader: BufReader::new(Stream::Unix(stream)) })
    }

    /// Sends a request with this body and a fresh id, and waits for its reply.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn call(&mut self, service: u32, body: impl AsRef<[u8]>) -> Reply {
        self.exchange(&Request::new(service, body))
    }

    /// The same with a JSON body.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn call_json(&mut self, service: u32, body: serde_json::Value) -> Reply {
        self.exchange(&Request::new(service, body.to_string()))
    }

    /// Sends one request and waits for its reply, which must be the next one on the connection.
    ///
    /// # Panics
    /// When the connection fails, or the reply is not to this request.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Reply {
        self.send(request);
        let reply = self.receive();
        assert_eq!(reply.id, request.id.as_str(), "the reply is to another request: {reply:?}");
        assert_eq!(reply.service, request.service, "the reply names another service: {reply:?}");
        reply
    }

    /// Sends all the requests without waiting, and returns the replies in the order of the requests.
    ///
    /// # Panics
    /// When the connection fails, or a reply is missing, double or to none of them.
    #[track_caller]
    pub fn exchange_all(&mut self, requests: &[Request]) -> Vec<Reply> {
        let bytes: Vec<u8> = requests.iter().flat_map(Request::encode).collect();
        let mut writer = self.writer.try_clone().expect("a socket can be cloned");
        let mut received = HashMap::new();
        thread::scope(|scope| {
            // A thread of its own, since a node that answers early stops reading when nobody takes its
            // answers.
            let sending = scope.spawn(move || writer.write_all(&bytes));
            for _ in requests {
                let reply = self.receive();
                let before = received.insert(reply.id.clone(), reply);
                assert!(before.is_none(), "a request was answered twice: {before:?}");
            }
            sending.join().expect("the sending thread ends").expect("the requests can be sent");
        });
        let take = |request: &Request| {
            received.remove(request.id.as_str()).expect("each request gets its own reply")
        };
        requests.iter().map(take).collect()
    }

    /// Sends one request.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn send(&mut self, request: &Request) {
        self.try_send(request).expect("the request can be sent");
    }

    /// Sends one request.
    ///
    /// # Errors
    /// As the socket says.
    pub fn try_send(&mut self, request: &Request) -> io::Result<()> {
        self.writer.write_all(&request.encode())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// As the socket says.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Says that nothing more will be sent, and goes on receiving.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn finish_sending(&mut self) {
        self.writer.shutdown(Shutdown::Write).expect("a connected socket can be half-closed");
    }

    /// Waits for the next reply, whichever request it is to.
    ///
    /// # Panics
    /// When the connection ends or fails first, or the reply breaks the contract.
    #[track_caller]
    pub fn receive(&mut self) -> Reply {
        match self.try_receive() {
            Ok(Some(reply)) => reply,
            Ok(None) => panic!("a reply was expected, and the node closed the connection"),
            Err(error) => panic!("a reply was expected: {error}"),
        }
    }

    /// Waits for the next reply; `None` when the node closed the connection between two replies.
    ///
    /// # Errors
    /// As the socket says; `InvalidData` when a reply breaks the contract.
    pub fn try_receive(&mut self) -> io::Result<Option<Reply>> {
        let mut header = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.reader.read(&mut header[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the connection ended inside a header",
                    ));
                }
                count => filled += count,
            }
        }
        let broken = |words: String| io::Error::new(ErrorKind::InvalidData, words);
        let (reply, body_bytes) = Reply::read_header(&header).map_err(broken)?;
        let mut body = vec![0; body_bytes];
        self.reader.read_exact(&mut body)?;
        reply.with_body(body).map(Some).map_err(broken)
    }

    /// Waits until the node has closed the connection, which it must do without another byte.
    ///
    /// # Panics
    /// When a reply comes instead, or nothing at all.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let mut byte = [0; 1];
        match self.reader.read(&mut byte) {
            Ok(0) => {}
            // A node that closes while bytes of ours are unread resets the connection: closed all the same.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Ok(_) => panic!("the node was to close the connection in silence, but sent {byte:?}"),
            Err(error) => panic!("the node was to close the connection: {error}"),
        }
    }

    /// Whether something has come that was not received yet.
    ///
    /// # Panics
    /// When the socket cannot be asked.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        let mut asked = [PollFd::new(self.writer.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut asked, PollTimeout::ZERO).expect("a socket can be polled");
        count > 0 || !self.reader.buffer().is_empty()
    }

    /// Limits how long one receiving call waits, for tests that look whether something is there.
    ///
    /// # Panics
    /// When the socket refuses.
    pub fn set_read_timeout(&mut self, timeout: Duration) {
        self.writer.set_read_timeout(timeout).expect("a time-out above zero can be set");
    }
}

/// A stream socket of either family.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => uninterrupted(|| stream.read(buffer)),
            Self::Unix(stream) => uninterrupted(|| stream.read(buffer)),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A call with a time limit ends when a signal comes, whoever it was for: then it is made again.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
