//! Living processes replaced one at a time: all of them in an upgrade, and workers that have grown too large.

use std::time::Duration;

use gantry_segment::Control;
use gantry_sys::atomic::Ordering::{Relaxed, Release};

use crate::children::{Life, Place};
use crate::reap::wake_all;
use crate::run::{Phase, Supervisor};
use crate::shutdown::{HAND_OVER, LEAVE};
use crate::time::after;

/// How long a worker that has grown too large waits for everybody else to be ready: its memory is bounded also beside a
/// process that cannot be started.
const UNSETTLED_WAIT: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Replaces the next process when everybody else is ready: spares first, so that each of the others finds one that
    /// takes its seat, and the communication process last.
    pub(crate) fn advance_replacements(&mut self, now_ns: u64) {
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        let is_settled = |place: &Place| {
            place.running().is_some_and(|running| running.ready_ns.is_some() && !running.is_leaving)
        };
        let are_settled = self.places.iter().all(is_settled);
        let is_overdue = now_ns >= after(self.replaced_ns, UNSETTLED_WAIT);
        let (control, is_upgrading) = (self.segments.control(), self.is_upgrading);
        let is_next = |place: &&mut Place| {
            let is_old = is_upgrading && place.running().is_some_and(|running| running.is_old);
            let is_asked = wants_to_leave(control, place) && is_settled(place);
            are_settled && (is_old || is_asked) || is_overdue && is_asked
        };
        let order = |place: &&mut Place| (!place.kind.is_worker(), !place.kind.is_spare());
        let Some(place) = self.places.iter_mut().filter(is_next).min_by_key(order) else {
            if is_upgrading && are_settled {
                tracing::warn!("every process runs the new program");
                self.is_upgrading = false;
            }
            return;
        };
        let leave = if place.kind.is_worker() { LEAVE } else { HAND_OVER };
        let Life::Running(running) = &mut place.life else { return };
        running.is_leaving = true;
        self.replaced_ns = now_ns;
        tracing::warn!(child = place.kind.name, row = place.row, pid = running.pid, "child is replaced");
        control.processes()[usize::from(place.row)].leave.store(leave, Release);
        wake_all(control, &self.doorbells);
    }
}

fn wants_to_leave(control: &Control, place: &Place) -> bool {
    let row = control.processes().get(usize::from(place.row));
    place.kind.is_worker() && row.is_some_and(|row| row.wants_to_leave.load(Relaxed) == 1)
}
