//! The sockets of dead predecessors, taken from their keepers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use gantry_segment::Control;
use gantry_sys::atomic::Ordering;
use gantry_sys::process::{PidFd, descriptor_numbers_end};
use gantry_sys::socket::{self, Positions, SocketKind};

use crate::connection::{self, Family};
use crate::keepers::{OldKeeper, say_refused};
use crate::limits::POSITION_ROUNDS_MAX;
use crate::node::{Accepted, Node};
use crate::recover::Pulse;

/// `EBADF`: there is no descriptor of this number.
const BAD_DESCRIPTOR: i32 = 9;
/// `ENFILE` and `EMFILE`: the machine, or this process, has no descriptor left.
const NO_DESCRIPTORS: [i32; 2] = [23, 24];

/// So many descriptors are worth a thread, and so many threads at most fight for the table of descriptors.
const NUMBERS_PER_THREAD_MIN: u32 = 512;
const THREADS_MAX: u32 = 4;

/// Where this node listens.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) unix: Vec<PathBuf>,
}

/// What the keepers held.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// The socket of each connection row, by index.
    pub(crate) by_row: Vec<Option<OwnedFd>>,
    /// Accepted, and not in any row yet: nothing was read of them.
    pub(crate) unopened: Vec<Accepted>,
}

/// Takes every socket that the keepers hold and that is a connection's or may become one.
pub(crate) fn take(
    node: &Node<'_>,
    keepers: &[OldKeeper<'_>],
    listening: &Listening,
    pulse: &mut Pulse<'_>,
) -> Sockets {
    let mut taking = Taking {
        rows: rows_by_cookie(node.control),
        seen: Cookies::default(),
        listening,
        sockets: Sockets { by_row: Vec::new(), unopened: Vec::new() },
    };
    taking.sockets.by_row.resize_with(node.control.connections().len(), || None);
    for keeper in keepers {
        if let Err(cause) = taking.take_from(keeper, pulse) {
            match cause.raw_os_error() {
                Some(number) if NO_DESCRIPTORS.contains(&number) => tracing::error!(
                    %cause,
                    "not all connections could be taken over; raise the limit of open files above \
                     `comm.connections_max`"
                ),
                _ => say_refused(&cause),
            }
        }
    }
    taking.sockets
}

/// The kernel's cookies are counted up: any spreading of their bits does.
#[derive(Debug, Default, Clone, Copy)]
struct CookieHasher(u64);

impl Hasher for CookieHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, cookie: u64) {
        self.0 = (self.0 ^ cookie).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

type Cookies<V> = HashMap<u64, V, BuildHasherDefault<CookieHasher>>;

/// Which row each cookie stands in, closing ones included: what is found of those is closed.
fn rows_by_cookie(control: &Control) -> Cookies<u32> {
    let mut rows = Cookies::default();
    for (index, row) in control.connections().iter().enumerate() {
        if !connection::is_free(row) {
            rows.insert(row.cookie.load(Ordering::Relaxed), index as u32);
        }
    }
    rows
}

struct Taking<'a> {
    rows: Cookies<u32>,
    /// Sockets without a row that were taken already.
    seen: Cookies<()>,
    listening: &'a Listening,
    sockets: Sockets,
}

/// What one thread took: each socket with its cookie, and why it stopped.
type Taken = (Vec<(u64, OwnedFd)>, Option<io::Error>);

/// Takes the sockets among the descriptors of these numbers.
fn take_range(pidfd: &PidFd, numbers: Range<u32>, mut step: impl FnMut()) -> Taken {
    let mut taken = Vec::with_capacity(numbers.len());
    for number in numbers {
        step();
        match pidfd.take_descriptor(number as RawFd) {
            // Everything else (doorbells, epoll, logs) is no socket, and dropped here.
            Ok(descriptor) => {
                taken.extend(socket::cookie(&descriptor).ok().map(|cookie| (cookie, descriptor)))
            }
            Err(cause) if cause.raw_os_error() == Some(BAD_DESCRIPTOR) => {}
            Err(cause) => return (taken, Some(cause)),
        }
    }
    (taken, None)
}

impl Taking<'_> {
    /// Takes what one keeper holds, with as many threads as there are processors to do it.
    fn take_from(&mut self, keeper: &OldKeeper<'_>, pulse: &mut Pulse<'_>) -> io::Result<()> {
        let end = descriptor_numbers_end(keeper.pid)?;
        let processors = thread::available_parallelism().map_or(1, |count| count.get() as u32);
        let parts = (end / NUMBERS_PER_THREAD_MIN).clamp(1, processors.min(THREADS_MAX));
        let range = |part: u32| end * part / parts..end * (part + 1) / parts;
        let taken: Vec<Taken> = thread::scope(|scope| {
            let others: Vec<_> = (1..parts)
                .map(|part| scope.spawn(move || take_range(&keeper.pidfd, range(part), || ())))
                .collect();
            let mut taken = vec![take_range(&keeper.pidfd, range(0), || pulse.step())];
            taken.extend(others.into_iter().filter_map(|other| other.join().ok()));
            taken
        });
        let mut failed = None;
        for (sockets, cause) in taken {
            sockets.into_iter().for_each(|(cookie, descriptor)| self.sort_in(cookie, descriptor));
            failed = failed.or(cause);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Keeps what is a connection's; listeners are dropped, and so is what another keeper held too.
    fn sort_in(&mut self, cookie: u64, descriptor: OwnedFd) {
        if let Some(row) = self.rows.get(&cookie) {
            let place = &mut self.sockets.by_row[*row as usize];
            if place.is_none() {
                *place = Some(descriptor);
            }
            return;
        }
        if let Some(accepted) = self.unopened(descriptor)
            && self.seen.insert(cookie, ()).is_none()
        {
            self.sockets.unopened.push(accepted);
        }
    }

    /// A connection to one of this node's own listeners. Others are those that this process opened itself.
    fn unopened(&self, descriptor: OwnedFd) -> Option<Accepted> {
        match socket::kind(descriptor.as_fd()).ok()? {
            SocketKind::TcpStream => {
                let stream = TcpStream::from(descriptor);
                let local = stream.local_addr().ok()?;
                let is_its = |address: &SocketAddr| {
                    address.port() == local.port()
                        && (address.ip().is_unspecified() || address.ip() == local.ip())
                };
                // One that is not connected any more has nobody to serve, and one that was served already was closed by a
                // process that died before its predecessor's keeper did.
                let is_fresh = |told: Positions| told.received == 0 && told.sent == 0 && !told.is_closed;
                let told = socket::positions(&stream, POSITION_ROUNDS_MAX).ok()?;
                let is_accepted = self.listening.tcp.iter().any(is_its)
                    && stream.peer_addr().is_ok()
                    && told.is_some_and(is_fresh);
                is_accepted.then(|| Accepted { socket: stream.into(), family: Family::Tcp })
            }
            SocketKind::UnixStream => {
                let stream = UnixStream::from(descriptor);
                let local = stream.local_addr().ok()?;
                let path = local.as_pathname()?;
                let is_accepted = self.listening.unix.iter().any(|own| own == path);
                is_accepted.then(|| Accepted { socket: stream.into(), family: Family::Unix })
            }
            _ => None,
        }
    }
}
