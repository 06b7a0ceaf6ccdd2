//! A small poller for loops that wait for a few descriptors, such as the supervisor's. The communication
//! process uses `mio`.

use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Events that one [`Poller::wait`] returns at most; the others come with the next call.
pub const EVENTS_MAX: usize = 64;

/// What to wait for on a descriptor. Combined with `|`; hang-ups and errors are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(EpollFlags);

impl Interest {
    /// There is something to read, or the other side will send no more.
    pub const READABLE: Self = Self(EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP));
    /// There is room to write.
    pub const WRITABLE: Self = Self(EpollFlags::EPOLLOUT);
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token that the descriptor was added with.
    pub token: u64,
    /// Reading will not block: there is something, or the end.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The other side is gone or will send no more, or there is an error to be read. What came before may
    /// still be there.
    pub closed: bool,
}

/// Waits for descriptors. Level-triggered: what is still ready is reported again.
#[derive(Debug)]
pub struct Poller {
    inner: Epoll,
}

impl Poller {
    /// Makes one that watches nothing yet, closed on exec.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inner: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Begins to watch a descriptor; its events carry `token`.
    ///
    /// Remove it before it is closed: while another process or a duplicate holds it, it would go on being
    /// reported.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if it is watched, `EPERM` for plain files, which are always ready.
    pub fn add(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.inner.add(descriptor, EpollEvent::new(interest.0, token))?)
    }

    /// Changes the token and what is waited for.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not watched.
    pub fn modify(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.inner.modify(descriptor, &mut EpollEvent::new(interest.0, token))?)
    }

    /// Ends watching a descriptor.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not watched.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.inner.delete(descriptor)?)
    }

    /// Blocks until something is ready, at most for `timeout` (`None`: without limit; rounded up to
    /// milliseconds).
    ///
    /// Empty when the time was up or a signal came; at most [`EVENTS_MAX`] events otherwise.
    ///
    /// # Errors
    /// Memory is short in the kernel.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(limit) => {
                EpollTimeout::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(EpollTimeout::MAX)
            }
        };
        let mut ready = [EpollEvent::empty(); EVENTS_MAX];
        match self.inner.wait(&mut ready, timeout) {
            Ok(count) => Ok(ready.iter().take(count).map(event).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.0.as_fd()
    }
}

fn event(ready: &EpollEvent) -> Event {
    let flags = ready.events();
    let gone = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR | EpollFlags::EPOLLRDHUP;
    Event {
        token: ready.data(),
        readable: flags.intersects(EpollFlags::EPOLLIN | gone),
        writable: flags.contains(EpollFlags::EPOLLOUT),
        closed: flags.intersects(gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventfd::EventFd;
    use std::os::unix::net::UnixStream;

    /// No wait: what is ready is ready already.
    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn tokens(poller: &Poller) -> Vec<u64> {
        let mut tokens: Vec<u64> = poller.wait(NOW).unwrap().iter().map(|event| event.token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn ready_descriptor_is_reported_until_it_is_drained() {
        let (one, two) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        let poller = Poller::new().unwrap();
        poller.add(&one, 1, Interest::READABLE).unwrap();
        poller.add(&two, u64::MAX, Interest::READABLE).unwrap();
        assert!(tokens(&poller).is_empty());
        two.signal();
        assert_eq!(tokens(&poller), [u64::MAX]);
        one.signal();
        assert_eq!(tokens(&poller), [1, u64::MAX]);
        two.drain();
        assert_eq!(tokens(&poller), [1]);
        poller.modify(&one, 7, Interest::READABLE).unwrap();
        assert_eq!(tokens(&poller), [7]);
        poller.remove(&one).unwrap();
        assert!(tokens(&poller).is_empty());
    }

    #[test]
    fn interest_decides_what_is_reported_and_closing_always_is() {
        let (far, near) = UnixStream::pair().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&near, 1, Interest::READABLE | Interest::WRITABLE).unwrap();
        let writable = Event { token: 1, readable: false, writable: true, closed: false };
        assert_eq!(poller.wait(NOW).unwrap(), [writable]);
        poller.modify(&near, 1, Interest::READABLE).unwrap();
        assert!(poller.wait(NOW).unwrap().is_empty());
        drop(far);
        assert_eq!(
            poller.wait(NOW).unwrap(),
            [Event { token: 1, readable: true, writable: false, closed: true }]
        );
    }

    #[test]
    fn wait_ends_when_another_thread_signals() {
        let event = EventFd::new().unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&event, 3, Interest::READABLE).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| event.signal());
            assert_eq!(poller.wait(Some(Duration::from_secs(60))).unwrap().len(), 1);
        });
    }

    #[test]
    fn mistakes_are_told() {
        let event = EventFd::new().unwrap();
        let poller = Poller::new().unwrap();
        assert_eq!(poller.remove(&event).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(poller.modify(&event, 1, Interest::READABLE).unwrap_err().kind(), io::ErrorKind::NotFound);
        poller.add(&event, 1, Interest::READABLE).unwrap();
        assert_eq!(
            poller.add(&event, 1, Interest::READABLE).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
