//! The node as all I/O threads of this process see it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gantry_frame::Limits;
use gantry_message::Queue as QueueName;
use gantry_ring::{Blocks, Doorbell, Owner, Queue, SlotRef, Slots};
use gantry_segment::{Bodies, Control, Directory, ProcessRow, Role, Segments, ThreadRow};
use gantry_settings::Settings;
use gantry_sys::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use gantry_sys::eventfd::EventFd;

use crate::admission::Admission;
use crate::connection::Family;
use crate::keepers::Keepers;
use crate::limits::{Bounds, HAND_OVER};
use crate::window::Window;

/// A socket on its way from the thread that accepted it to the one that will serve it.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    pub(crate) family: Family,
}

/// Where a thread is handed its connections, and how many it has.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<VecDeque<Accepted>>,
    /// How many wait, to be looked at without the lock.
    waiting_count: AtomicU32,
    /// Connections of the thread, those that wait included.
    pub(crate) open_count: AtomicU32,
}

impl Inbox {
    pub(crate) fn put(&self, accepted: Accepted) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(accepted);
        self.waiting_count.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Option<Accepted> {
        if self.is_empty() {
            return None;
        }
        let taken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if taken.is_some() {
            self.waiting_count.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_count.load(Ordering::Acquire) == 0
    }
}

/// A part of a table that one thread has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) first: u32,
    pub(crate) end: u32,
}

impl Share {
    /// The `part`-th of `parts` shares of `count` rows; they differ by one row at most.
    pub(crate) fn new(count: u32, part: usize, parts: usize) -> Self {
        let border = |part: usize| (u64::from(count) * part as u64 / parts as u64) as u32;
        Self { first: border(part), end: border(part + 1) }
    }

    pub(crate) fn count(self) -> u32 {
        self.end - self.first
    }

    pub(crate) fn has(self, row: u32) -> bool {
        (self.first..self.end).contains(&row)
    }
}

/// What all threads share: the segments, and the process's own admission, window and inboxes.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) control: &'a Control,
    pub(crate) bodies: &'a Bodies,
    pub(crate) directory: Directory<'a>,
    pub(crate) owner: Owner,
    pub(crate) process: &'a ProcessRow,
    pub(crate) slots: Slots<'a>,
    pub(crate) blocks: Blocks<'a>,
    pub(crate) read: Queue<'a>,
    pub(crate) write: Queue<'a>,
    pub(crate) replies: Vec<Queue<'a>>,
    pub(crate) bounds: Bounds,
    pub(crate) frame_limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) window: Window<'a>,
    pub(crate) inboxes: Vec<Inbox>,
    keepers: Mutex<Keepers<'a>>,
    pub(crate) doorbells: &'a [EventFd],
    /// Set by a SIGTERM.
    terminate: &'a AtomicBool,
    /// Set when a thread failed: all others end at once.
    failed: AtomicBool,
}

impl<'a> Node<'a> {
    pub(crate) fn new(
        segments: &'a Segments,
        settings: &Settings,
        owner: Owner,
        doorbells: &'a [EventFd],
        terminate: &'a AtomicBool,
    ) -> Self {
        let control = segments.control();
        let dimensions = control.dimensions();
        let bounds = Bounds::new(settings, dimensions);
        let slots = Slots::new(control.slots());
        let threads = dimensions.io_threads as usize;
        Self {
            control,
            bodies: segments.bodies(),
            directory: segments.directory(),
            owner,
            process: &control.processes()[usize::from(owner.row())],
            slots,
            blocks: Blocks::of(control),
            read: Queue::requests(control.read_ring(), slots),
            write: Queue::requests(control.write_ring(), slots),
            replies: (0..threads).map(|thread| Queue::replies(control.reply_ring(thread), slots)).collect(),
            frame_limits: Limits { body_bytes_max: bounds.body_bytes_max },
            admission: Admission::new(dimensions, &bounds),
            window: Window::new(control.window(), slots, bounds.window_ns),
            inboxes: (0..threads).map(|_| Inbox::default()).collect(),
            keepers: Mutex::new(Keepers::new(control)),
            doorbells,
            terminate,
            failed: AtomicBool::new(false),
            bounds,
        }
    }

    /// How many I/O threads there are.
    pub(crate) fn threads_count(&self) -> usize {
        self.inboxes.len()
    }

    /// A thread's row.
    pub(crate) fn thread(&self, index: usize) -> &'a ThreadRow {
        &self.control.threads()[index]
    }

    /// The ring of a queue.
    pub(crate) fn queue(&self, name: QueueName) -> &Queue<'a> {
        match name {
            QueueName::Read => &self.read,
            QueueName::Write => &self.write,
        }
    }

    /// Whether this process was told to end when it owes nothing any more, or its node was.
    pub(crate) fn is_leaving(&self) -> bool {
        let told = self.process.leave.load(Ordering::Relaxed);
        self.terminate.load(Ordering::Relaxed)
            || told != 0 && told != HAND_OVER
            || self.control.node().stopping.load(Ordering::Relaxed) != 0
    }

    /// Whether this process was told to end at once and to leave everything to a successor, as a death would.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.process.leave.load(Ordering::Relaxed) == HAND_OVER && !self.is_leaving()
    }

    /// The keepers; the first thread and the start and end of the process take turns.
    pub(crate) fn keepers(&self) -> MutexGuard<'_, Keepers<'a>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the sockets that no thread has opened yet to the keeper.
    pub(crate) fn leave_inboxes(&self) {
        for inbox in &self.inboxes {
            while let Some(accepted) = inbox.take() {
                std::mem::forget(accepted);
            }
        }
    }

    /// Whether a thread failed, so that nothing is waited for any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Ends all threads.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        for thread in 0..self.threads_count() {
            self.wake(thread);
        }
    }

    /// Wakes an I/O thread if it sleeps.
    pub(crate) fn wake(&self, thread: usize) {
        if Doorbell::new(&self.thread(thread).sleeping).claim_wake() {
            self.doorbells[thread].signal();
        }
    }

    /// Hands a done slot to its home thread, as a worker does.
    pub(crate) fn hand_over(&self, slot: SlotRef, home: usize) {
        if self.replies[home].push(slot).is_err() {
            self.thread(home).sweep.store(1, Ordering::Release);
        }
        self.wake(home);
    }

    /// Wakes at most `count` sleeping workers of a queue, after so many requests were pushed.
    pub(crate) fn wake_workers(&self, name: QueueName, count: u32) {
        if count == 0 {
            return;
        }
        let role = match name {
            QueueName::Read => Role::ReadWorker,
            QueueName::Write => Role::WriteWorker,
        };
        // SeqCst: pairs with the fence in `Doorbell::announce`, once for all rows: either we see a bell that is set, or
        // its owner sees the entries at its second look.
        fence(Ordering::SeqCst);
        let mut left = count;
        for row in self.control.processes() {
            if left == 0 {
                return;
            }
            let is_asleep = row.bell.load(Ordering::Relaxed) == 1 && row.role() == role;
            if is_asleep && Doorbell::new(&row.bell).ring() {
                left -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_row_once() {
        for (count, parts) in [(10, 3), (16, 4), (5, 5), (40_000, 7)] {
            let shares: Vec<_> = (0..parts).map(|part| Share::new(count, part, parts)).collect();
            assert_eq!((shares[0].first, shares[parts - 1].end), (0, count));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].first));
            assert!(shares.iter().all(|share| share.count() >= count / parts as u32));
        }
    }
}
