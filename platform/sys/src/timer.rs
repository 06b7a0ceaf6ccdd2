//! A timer as something to wait for with `epoll`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Expires again and again, by the monotonic clock. Its descriptor is readable from an expiration until the
/// next [`drain`](Self::drain).
#[derive(Debug)]
pub struct Timer {
    inner: TimerFd,
}

impl Timer {
    /// Starts a timer that expires every `period`, for the first time after one. Non-blocking and closed on
    /// exec.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a period of 0; no descriptor is left.
    pub fn periodic(period: Duration) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Self { inner: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)? };
        timer.set_period(period)?;
        Ok(timer)
    }

    /// Changes the period, beginning now: the next expiration is one new period away, and undrained ones are
    /// forgotten.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a period of 0, which to the kernel means "stop".
    pub fn set_period(&self, period: Duration) -> io::Result<()> {
        if period.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a period of 0 never ends"));
        }
        let every = Expiration::Interval(TimeSpec::from_duration(period));
        Ok(self.inner.set(every, TimerSetTimeFlags::empty())?)
    }

    /// Takes the number of expirations since the last call; 0 if there was none. Does not block.
    pub fn drain(&self) -> u64 {
        let mut count = [0_u8; 8];
        loop {
            match nix::unistd::read(&self.inner, &mut count) {
                Ok(_) => return u64::from_ne_bytes(count),
                Err(Errno::EAGAIN) => return 0,
                Err(Errno::EINTR) => {}
                // The descriptor is ours and a timer, and a monotonic clock is never set, which leaves no
                // other error.
                Err(other) => unreachable!("read from a timer: {other}"),
            }
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}

impl From<Timer> for OwnedFd {
    fn from(timer: Timer) -> OwnedFd {
        timer.inner.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoll::{Interest, Poller};

    #[test]
    fn timer_becomes_readable_every_period_until_drained() {
        let timer = Timer::periodic(Duration::from_millis(1)).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&timer, 1, Interest::READABLE).unwrap();
        let mut expirations = 0;
        while expirations < 3 {
            let events = poller.wait(Some(Duration::from_secs(60))).unwrap();
            assert_eq!(events.len(), 1, "the timer never expires");
            expirations += timer.drain();
        }
    }

    #[test]
    fn timer_with_a_long_period_has_nothing_to_drain() {
        let timer = Timer::periodic(Duration::from_secs(3600)).unwrap();
        assert_eq!(timer.drain(), 0);
        timer.set_period(Duration::from_secs(7200)).unwrap();
        assert_eq!(timer.drain(), 0);
    }

    #[test]
    fn period_of_zero_is_refused() {
        assert_eq!(Timer::periodic(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
