//! Listening sockets. They are made by the supervisor and handed on, so they outlive the process that
//! accepts.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Listens on a TCP address; `backlog` connections may wait to be accepted (the kernel cuts it to
/// `net.core.somaxconn`).
///
/// The socket is non-blocking and closed on exec. Out-of-band data stays in the stream (`SO_OOBINLINE`, which
/// accepted sockets inherit), so that the count of received bytes is exact. An address of a connection that
/// lingers can be taken at once (`SO_REUSEADDR`). An IPv6 address serves IPv6 only: who wants both lists
/// both.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`], [`io::ErrorKind::AddrNotAvailable`], [`io::ErrorKind::PermissionDenied`] for
/// ports below 1024; each names the address.
pub fn listen_tcp(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let listen = || -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.set_out_of_band_inline(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(socket.into())
    };
    listen().map_err(|cause| io::Error::new(cause.kind(), format!("cannot listen on {address}: {cause}")))
}

/// Listens on a Unix socket at `path` with the permission bits `mode`; `backlog` connections may wait to be
/// accepted.
///
/// The socket is non-blocking and closed on exec. A socket file that nobody listens on is removed and
/// replaced; nothing can connect before the mode is set. Two processes that do this at the same time for one
/// path are to be kept apart by their pid file.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if somebody listens there, [`io::ErrorKind::AlreadyExists`] if the path is
/// something other than a socket, [`io::ErrorKind::InvalidInput`] if it is longer than 107 bytes; each names
/// the path.
pub fn listen_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    let listen = || -> io::Result<OwnedFd> {
        let address = SockAddr::unix(path)?;
        remove_stale(path, &address)?;
        let socket = stream()?;
        socket.bind(&address)?;
        // Between bind and listen nobody can connect, so the umask's mode is never in force.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(backlog)?;
        Ok(socket.into())
    };
    listen().map_err(|cause| {
        io::Error::new(cause.kind(), format!("cannot listen on {}: {cause}", path.display()))
    })
}

fn stream() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes a socket file if connecting to it proves that nobody listens.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    if !found.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket; it is left alone",
        ));
    }
    match stream()?.connect(address) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or a full queue, or no permission: somebody is there, or it cannot be told.
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}
