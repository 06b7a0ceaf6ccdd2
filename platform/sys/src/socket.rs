//! Sockets: listeners, identity, and transfers straight from and into shared memory.

mod listen;
mod positions;
mod transfer;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials as KernelCredentials};
use socket2::SockRef;

pub use listen::{listen_tcp, listen_unix};
pub use positions::{Positions, positions};
pub use transfer::{PARTS_MAX, Span, recv, send};

/// Who is at the other end of a Unix socket, as the kernel noted it when they connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Pid of the process; it may have ended or handed the socket on since.
    pub pid: i32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// The kernel's number for a socket (`SO_COOKIE`): the same in every process that holds it, never given to
/// another until the machine restarts.
///
/// # Errors
/// `ENOTSOCK` if the descriptor is no socket.
pub fn cookie(socket: impl AsFd) -> io::Result<u64> {
    SockRef::from(&socket).cookie()
}

/// Asks who is at the other end of a connected Unix socket.
///
/// # Errors
/// `ENOTSOCK` if the descriptor is no socket. Of a TCP socket the kernel tells pid 0 and impossible ids.
pub fn peer(socket: impl AsFd) -> io::Result<PeerCredentials> {
    let told = getsockopt(&socket, KernelCredentials)?;
    Ok(PeerCredentials { pid: told.pid(), uid: told.uid(), gid: told.gid() })
}

/// What a socket is, told by the kernel; for descriptors that come from another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// It listens for TCP connections at this address.
    TcpListener(SocketAddr),
    /// It listens for Unix connections; the path, unless it has none.
    UnixListener(Option<PathBuf>),
    /// A TCP connection.
    TcpStream,
    /// A Unix stream connection.
    UnixStream,
    /// Something else.
    Other,
}

/// Asks what a socket is.
///
/// # Errors
/// `ENOTSOCK` if the descriptor is no socket.
pub fn kind(socket: impl AsFd) -> io::Result<SocketKind> {
    use nix::sys::socket::sockopt::SockType as KernelType;
    let address = SockRef::from(&socket).local_addr()?;
    let is_stream = getsockopt(&socket, KernelType)? == nix::sys::socket::SockType::Stream;
    if !is_stream {
        return Ok(SocketKind::Other);
    }
    let is_listening = getsockopt(&socket, nix::sys::socket::sockopt::AcceptConn)?;
    Ok(match (address.as_socket(), address.is_unix(), is_listening) {
        (Some(address), _, true) => SocketKind::TcpListener(address),
        (Some(_), _, false) => SocketKind::TcpStream,
        (None, true, true) => SocketKind::UnixListener(address.as_pathname().map(PathBuf::from)),
        (None, true, false) => SocketKind::UnixStream,
        (None, false, _) => SocketKind::Other,
    })
}

/// Ends one or both directions of a connection, for all processes that hold it.
///
/// # Errors
/// `ENOTCONN` if the other side was quicker.
pub fn shutdown(socket: impl AsFd, how: Shutdown) -> io::Result<()> {
    SockRef::from(&socket).shutdown(how)
}

/// Which of these sockets have something to read (bytes, an end, an error), asked in one call for thousands of them. Does
/// not block.
///
/// # Errors
/// The kernel is out of memory, or there are more sockets than this process may have descriptors.
pub fn readable(sockets: &[BorrowedFd<'_>]) -> io::Result<Vec<bool>> {
    let mut asked: Vec<_> = sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(_) => return Ok(asked.iter().map(|one| one.any().unwrap_or(true)).collect()),
            Err(Errno::EINTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// Switches the delay of small TCP segments (Nagle) off or on again.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOPROTOOPT` for a socket that is not TCP.
pub fn set_nodelay(socket: impl AsFd, nodelay: bool) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_nodelay(nodelay)
}

#[cfg(test)]
mod tests;
