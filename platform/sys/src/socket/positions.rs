//! How far the streams of a TCP connection are, as the kernel tells who did not count along.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// States of a TCP connection, as in the kernel's `enum` (`include/net/tcp_states.h`).
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Where both streams of an accepted TCP connection stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Bytes that were taken from the socket so far.
    pub received: u64,
    /// Bytes that were given to the socket so far.
    pub sent: u64,
    /// The connection is over; the other two may be wrong by one then.
    pub is_closed: bool,
}

/// Asks the kernel until two answers agree: each consists of several calls, and what happens between them tears it.
/// Gives `None` when they do not agree within `rounds_max` rounds.
///
/// Valid for a socket that came from `accept` without TCP Fast Open, whose bytes were read without `MSG_PEEK` games and
/// whose urgent data stays in line; nobody may read or write it meanwhile.
///
/// # Errors
/// `ENOTSOCK`, or `EOPNOTSUPP`/`ENOPROTOOPT` if the socket is not TCP.
pub fn positions(socket: impl AsFd, rounds_max: u32) -> io::Result<Option<Positions>> {
    let number = socket.as_fd().as_raw_fd();
    let mut before = ask(number)?;
    for _ in 1..rounds_max {
        let now = ask(number)?;
        if now == before {
            return Ok(Some(now));
        }
        before = now;
    }
    Ok(None)
}

fn ask(socket: libc::c_int) -> io::Result<Positions> {
    let waiting_out = queue(socket, libc::TIOCOUTQ)?;
    let waiting_in = queue(socket, libc::FIONREAD)?;
    let info = info(socket)?;
    // A FIN counts as one byte in the kernel's sequence numbers, and these figures are differences of those.
    let fin_in = u64::from(matches!(info.state, CLOSE_WAIT | LAST_ACK | CLOSING));
    let fin_out = u64::from(matches!(info.state, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING));
    Ok(Positions {
        received: info.bytes_received.saturating_sub(waiting_in).saturating_sub(fin_in),
        sent: (info.bytes_acked + waiting_out).saturating_sub(fin_out),
        is_closed: info.state == CLOSE,
    })
}

struct Info {
    state: u8,
    bytes_acked: u64,
    bytes_received: u64,
}

fn queue(socket: libc::c_int, request: libc::Ioctl) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one `int`, which is live.
    let returned = unsafe { libc::ioctl(socket, request, &raw mut bytes) };
    if returned != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// The front of the kernel's `struct tcp_info` (`include/uapi/linux/tcp.h`), which only ever grows at its end. libc's own
/// stops before the counters.
#[repr(C)]
struct TcpInfo {
    state: u8,
    bytes: [u8; 7],
    words: [u32; 24],
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
}

const _: () = assert!(
    core::mem::offset_of!(TcpInfo, bytes_acked) == 120
        && core::mem::offset_of!(TcpInfo, bytes_received) == 128
);

fn info(socket: libc::c_int) -> io::Result<Info> {
    let mut info = core::mem::MaybeUninit::<TcpInfo>::zeroed();
    let mut bytes = size_of::<TcpInfo>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` into `info`, which is that large.
    let returned = unsafe {
        libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut bytes)
    };
    if returned != 0 {
        return Err(io::Error::last_os_error());
    }
    if (bytes as usize) < size_of::<TcpInfo>() {
        let message = "this kernel does not count the bytes of a TCP connection (it is older than 4.1)";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    // SAFETY: all of it is integers, zeroed before and written by the kernel.
    let info = unsafe { info.assume_init() };
    Ok(Info { state: info.state, bytes_acked: info.bytes_acked, bytes_received: info.bytes_received })
}
