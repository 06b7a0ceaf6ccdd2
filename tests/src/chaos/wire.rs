//! A connection that never blocks: what is to be sent waits here, and replies are cut out of what has come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::Reply;
use crate::frame::HEADER_BYTES;

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// What a look at the socket found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It goes on.
    No,
    /// The node closed it in order; whether bytes of a reply were missing.
    Closed { in_the_middle: bool },
    /// It was reset, or broke otherwise.
    Broken(ErrorKind),
}

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Vec<u8>,
    /// Nothing more will be sent.
    is_half_closed: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    pub(super) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self::of(Stream::Tcp(stream)))
    }

    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_nonblocking(true)?;
        Ok(Self::of(Stream::Unix(stream)))
    }

    fn of(stream: Stream) -> Self {
        Self { stream, outgoing: Vec::new(), sent: 0, incoming: Vec::new(), is_half_closed: false }
    }

    /// Puts bytes behind what waits to be sent.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    pub(super) fn has_outgoing(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.is_half_closed
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    /// As the socket says; that it takes nothing now is none.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.has_outgoing() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Says that nothing more will come, once everything is sent; the node answers what it has and closes.
    ///
    /// # Errors
    /// As the socket says.
    pub(super) fn finish_sending(&mut self) -> io::Result<()> {
        self.is_half_closed = true;
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Takes what has come and cuts whole replies out of it.
    ///
    /// # Errors
    /// In words, when a reply is not as the contract says.
    pub(super) fn receive(&mut self, replies: &mut Vec<Reply>) -> Result<Ended, String> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    return Ok(Ended::Closed { in_the_middle: !self.incoming.is_empty() });
                }
                Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Ended::No),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Ended::Broken(error.kind())),
            }
            self.cut(replies)?;
        }
    }

    fn cut(&mut self, replies: &mut Vec<Reply>) -> Result<(), String> {
        let mut at = 0;
        while let Some(header) = self.incoming[at..].first_chunk::<HEADER_BYTES>() {
            let (reply, body_bytes) = Reply::read_header(header)?;
            let body = at + HEADER_BYTES;
            let Some(body) = self.incoming.get(body..body + body_bytes) else { break };
            replies.push(reply.with_body(body.to_vec())?);
            at += HEADER_BYTES + body_bytes;
        }
        self.incoming.drain(..at);
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
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
