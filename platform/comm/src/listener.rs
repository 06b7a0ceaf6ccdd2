//! Accepts sockets. The first I/O thread accepts for all, and hands each connection to the thread with the
//! fewest: connections live long, so where they go at first is where the load stays.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use gantry_sys::atomic::Ordering;
use mio::Registry;
use mio::unix::SourceFd;

use crate::CommError;
use crate::connection::Family;
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::{ACCEPT_PAUSE_NS, ACCEPTS_PER_TURN};
use crate::node::{Accepted, Share};
use crate::recover::Listening;
use crate::run::ListenerKind;

/// A listening socket.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                Ok(Accepted { socket: socket.into(), family: Family::Tcp })
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                Ok(Accepted { socket: socket.into(), family: Family::Unix })
            }
        }
    }

    fn descriptor(&self) -> RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    /// The kernel said that somebody waits, and not yet that nobody does.
    is_pending: bool,
    /// Nothing is accepted before this time; 0 = no pause.
    paused_until_ns: u64,
    /// The pause was told in the log already.
    is_pause_told: bool,
}

impl Listeners {
    /// Takes over listening sockets, which are made non-blocking.
    pub(crate) fn new(sockets: Vec<(ListenerKind, OwnedFd)>) -> Result<Self, CommError> {
        let operation = "making a listening socket non-blocking";
        let mut listeners = Vec::new();
        for (kind, socket) in sockets {
            let listener = match kind {
                ListenerKind::Tcp => Listener::Tcp(TcpListener::from(socket)),
                ListenerKind::Unix => Listener::Unix(UnixListener::from(socket)),
            };
            let set = match &listener {
                Listener::Tcp(listener) => listener.set_nonblocking(true),
                Listener::Unix(listener) => listener.set_nonblocking(true),
            };
            set.map_err(CommError::system(operation))?;
            listeners.push(listener);
        }
        // Who connected before this process began to watch brings no event.
        Ok(Self { listeners, is_pending: true, paused_until_ns: 0, is_pause_told: false })
    }

    /// Notes that the kernel announced somebody.
    pub(crate) fn announce(&mut self) {
        self.is_pending = true;
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.listeners.iter().map(Listener::descriptor)
    }

    /// Where this node listens.
    pub(crate) fn addresses(&self) -> Listening {
        let mut listening = Listening::default();
        for listener in &self.listeners {
            match listener {
                Listener::Tcp(listener) => listening.tcp.extend(listener.local_addr()),
                Listener::Unix(listener) => {
                    let address = listener.local_addr().ok();
                    listening
                        .unix
                        .extend(address.and_then(|address| address.as_pathname().map(PathBuf::from)));
                }
            }
        }
        listening
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until_ns != 0
    }

    /// Whether somebody may wait whom no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.is_pending && !self.is_paused()
    }

    /// Stops watching; the sockets stay open in the supervisor, so nobody is refused meanwhile.
    pub(crate) fn stop(self, registry: &Registry) {
        for descriptor in self.descriptors() {
            let _ = registry.deregister(&mut SourceFd(&descriptor));
        }
    }
}

impl IoThread<'_> {
    /// Accepts who waits, up to the turn's limit.
    pub(crate) fn accept(&mut self) {
        let Some(mut listeners) = self.listeners.take() else { return };
        let is_due = if listeners.is_paused() {
            self.now_ns >= listeners.paused_until_ns
        } else {
            listeners.is_pending
        };
        if is_due {
            listeners.paused_until_ns = 0;
            self.accept_all(&mut listeners);
        }
        self.listeners = Some(listeners);
    }

    fn accept_all(&mut self, listeners: &mut Listeners) {
        let mut left = ACCEPTS_PER_TURN;
        for index in 0..listeners.listeners.len() {
            while left > 0 {
                left -= 1;
                match listeners.listeners[index].accept() {
                    Ok(accepted) => {
                        listeners.is_pause_told = false;
                        self.place(accepted);
                    }
                    Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                    // That one went away while it waited.
                    Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(cause) => return self.pause_accepting(listeners, &cause),
                }
            }
        }
        // With the limit used up somebody may still wait, and no event will say so again.
        listeners.is_pending = left == 0;
    }

    /// No descriptor or no memory: those who wait stay in the kernel's queue until some connection ends.
    fn pause_accepting(&self, listeners: &mut Listeners, cause: &io::Error) {
        self.count(Counter::AcceptPaused);
        listeners.is_pending = true;
        listeners.paused_until_ns = self.now_ns + ACCEPT_PAUSE_NS;
        if !listeners.is_pause_told {
            listeners.is_pause_told = true;
            tracing::error!(
                %cause,
                "no more connections can be accepted for now; if descriptors are out, raise the limit of open files \
                 above `comm.connections_max`"
            );
        }
    }

    /// Gives a connection to the thread that has the fewest, or closes it when there are too many.
    pub(crate) fn place(&mut self, accepted: Accepted) {
        self.count(Counter::Accepted);
        let rows = self.node.control.dimensions().connections;
        let threads = self.node.threads_count();
        let open = |thread: usize| self.node.inboxes[thread].open_count.load(Ordering::Relaxed);
        let free = |thread: usize| Share::new(rows, thread, threads).count().saturating_sub(open(thread));
        let open_count: u32 = (0..threads).map(open).sum();
        let chosen = (0..threads).filter(|thread| free(*thread) > 0).min_by_key(|thread| open(*thread));
        let Some(thread) = chosen.filter(|_| open_count < self.node.bounds.connections_max) else {
            // Dropped, and so closed.
            return self.count(Counter::ConnectionsMax);
        };
        self.node.inboxes[thread].open_count.fetch_add(1, Ordering::Relaxed);
        if thread == self.index {
            self.open(accepted);
        } else {
            self.node.inboxes[thread].put(accepted);
            self.node.wake(thread);
        }
    }
}
