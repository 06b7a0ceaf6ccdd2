//! What the service manager (systemd) is told. Without one nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::time::after;

/// Tells the service manager; that it cannot be told is worth a record, and no reason to stop.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// The service manager's watchdog, if it has one for us.
#[derive(Debug)]
pub(crate) struct Watchdog {
    period: Option<Duration>,
    next_ns: u64,
}

impl Watchdog {
    pub(crate) fn from_environment() -> Self {
        // Twice within the time that it waits, as its manual advises.
        Self { period: sd_notify::watchdog_enabled().map(|limit| limit / 2), next_ns: 0 }
    }

    /// Gives a sign of life when one is due.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        if let Some(period) = self.period
            && now_ns >= self.next_ns
        {
            self.next_ns = after(now_ns, period);
            tell(&[NotifyState::Watchdog]);
        }
    }
}
