//! What happens when buffers, records, slots or blocks are out: the slowest goes, and who waited goes on.

use gantry_sys::atomic::Ordering;

use crate::client::Partial;
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::{EVICT_PARTIAL_AGE_NS, EVICT_STALLED_AGE_NS};

impl IoThread<'_> {
    /// Closes the connection whose frame has been incomplete for the longest time, and gives its receive buffer.
    /// `None` while even that frame is young: it may only be on its way.
    pub(crate) fn evict_for_buffer(&mut self) -> Option<u32> {
        let number = self.clients.partial.oldest()?;
        let since_ns = match self.clients.look(number).partial {
            Partial::Header { since_ns } | Partial::Body { since_ns } => since_ns,
            Partial::None => return None,
        };
        if self.now_ns.saturating_sub(since_ns) < EVICT_PARTIAL_AGE_NS {
            return None;
        }
        self.close(number, Some(Counter::EvictedPartial));
        self.buffers.pop()
    }

    /// Closes the connection that has not taken a byte for the longest time, if that is long: what it holds (records,
    /// slots, blocks) is what the others wait for.
    pub(crate) fn evict_stalled(&mut self) {
        let Some(number) = self.clients.stalled.oldest() else { return };
        if self.now_ns.saturating_sub(self.clients.look(number).moved_ns) >= EVICT_STALLED_AGE_NS {
            self.close(number, Some(Counter::EvictedStalled));
        }
    }

    /// Lets those go on who waited for what is there now. Replies that are done go before requests that are not.
    pub(crate) fn relieve_shortages(&mut self) {
        if std::mem::take(&mut self.is_memory_short) {
            self.evict_stalled();
        }
        if !self.slot_waiters.is_empty() || !self.record_waiters.is_empty() {
            if self.records.is_empty() {
                self.evict_stalled();
            }
            for _ in 0..self.slot_waiters.len() {
                if self.records.is_empty() {
                    return;
                }
                if let Some(slot) = self.slot_waiters.pop_front() {
                    self.deliver(slot);
                }
            }
            while !self.records.is_empty()
                && let Some(number) = self.record_waiters.pop_front()
            {
                self.wake_waiter(number);
            }
        }
        while let Some(number) = self.buffer_waiters.pop_front() {
            let is_needed = self.clients.is_open(number)
                && self.clients.row(number).receive_buffer.load(Ordering::Relaxed) == 0;
            if is_needed && self.buffers.is_empty() {
                match self.evict_for_buffer() {
                    Some(buffer) => self.buffers.push(buffer),
                    None => return self.buffer_waiters.push_front(number),
                }
            }
            self.wake_waiter(number);
        }
    }

    fn wake_waiter(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(number) {
            client.is_waiting = false;
            self.list(number);
        }
    }
}
