//! Event descriptors: the doorbell that wakes a process out of `epoll`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::EfdFlags;

/// A counter in the kernel that is readable while it is above 0.
///
/// Any number of signals before a drain are one wake-up. Signalling and draining never block, and may be done
/// by several threads and processes that share the descriptor.
#[derive(Debug)]
pub struct EventFd {
    /// Known to be an event descriptor, and non-blocking.
    descriptor: OwnedFd,
}

impl EventFd {
    /// Makes a new one with the count 0, non-blocking and closed on exec.
    ///
    /// # Errors
    /// No descriptor is left in the process (`EMFILE`) or in the system (`ENFILE`), or memory is short.
    pub fn new() -> io::Result<Self> {
        let made = nix::sys::eventfd::EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { descriptor: made.into() })
    }

    /// Takes over a descriptor that another process made, for example one inherited from the supervisor, and
    /// makes it non-blocking (a property that all its holders share).
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if it is not an event descriptor; otherwise what the kernel says.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        let number = descriptor.as_raw_fd();
        let target = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
        if target.as_os_str() != "anon_inode:[eventfd]" {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("descriptor {number} is {}, not an event descriptor", target.display()),
            ));
        }
        let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
        fcntl(&descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { descriptor })
    }

    /// Adds 1 to the count and so wakes whoever waits for it.
    ///
    /// It cannot fail in a way that matters: a count at its maximum is readable already.
    pub fn signal(&self) {
        loop {
            match nix::unistd::write(&self.descriptor, &1_u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                // `new` and `adopt` made sure of the kind of descriptor, which leaves no other error to
                // happen.
                Err(other) => unreachable!("write to an event descriptor: {other}"),
            }
        }
    }

    /// Takes the whole count, leaving 0. Returns 0 if nobody signalled since the last drain.
    pub fn drain(&self) -> u64 {
        let mut count = [0_u8; 8];
        loop {
            match nix::unistd::read(&self.descriptor, &mut count) {
                Ok(_) => return u64::from_ne_bytes(count),
                Err(Errno::EAGAIN) => return 0,
                Err(Errno::EINTR) => {}
                // As in `signal`.
                Err(other) => unreachable!("read from an event descriptor: {other}"),
            }
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> OwnedFd {
        event.descriptor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_after_several_signals_returns_their_number_once() {
        let event = EventFd::new().unwrap();
        assert_eq!(event.drain(), 0);
        event.signal();
        event.signal();
        event.signal();
        assert_eq!(event.drain(), 3);
        assert_eq!(event.drain(), 0);
    }

    #[test]
    fn signal_at_the_full_count_returns_at_once() {
        let event = EventFd::new().unwrap();
        nix::unistd::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        event.signal();
        assert_eq!(event.drain(), u64::MAX - 1);
    }

    #[test]
    fn adopted_duplicate_of_a_blocking_one_shares_the_count_and_does_not_block() {
        let blocking = nix::sys::eventfd::EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
        let event = EventFd::adopt(blocking.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(event.drain(), 0);
        blocking.write(5).unwrap();
        assert_eq!(event.drain(), 5);
    }

    #[test]
    fn adoption_of_another_kind_of_descriptor_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let refusal = EventFd::adopt(null.into()).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::InvalidInput);
        assert!(refusal.to_string().contains("/dev/null"), "{refusal}");
    }
}
