//! What happens when buffers, records, slots or blocks are out: the slowest goes, and who waited goes on.

use crate::client::Partial;
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::{EVICT_HOLDER_AGE_NS, EVICT_PARTIAL_AGE_NS};

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

    /// Closes who holds records, slots or blocks for the longest time without getting on: a client that has not taken
    /// a byte, else one whose large body does not come.
    pub(crate) fn evict_holder(&mut self) {
        if let Some(number) = self.clients.stalled.oldest()
            && self.now_ns.saturating_sub(self.clients.look(number).moved_ns) >= EVICT_HOLDER_AGE_NS
        {
            return self.close(number, Some(Counter::EvictedStalled));
        }
        if let Some(number) = self.clients.holding.oldest()
            && let Partial::Body { since_ns } = self.clients.look(number).partial
            && self.now_ns.saturating_sub(since_ns) >= EVICT_HOLDER_AGE_NS
        {
            self.close(number, Some(Counter::EvictedPartial));
        }
    }

    /// Lets those go on who waited for what is there now. Replies that are done go before requests that are not.
    pub(crate) fn relieve_shortages(&mut self) {
        let is_waited_for = !self.slot_waiters.is_empty() || !self.record_waiters.is_empty();
        if std::mem::take(&mut self.is_memory_short) || is_waited_for && self.records.is_empty() {
            self.evict_holder();
        }
        if is_waited_for {
            self.relieve_record_waiters();
        }
        if !self.buffer_waiters.is_empty() {
            self.relieve_buffer_waiters();
        }
    }

    fn relieve_record_waiters(&mut self) {
        for _ in 0..self.slot_waiters.len().min(self.records.free_count()) {
            if let Some(slot) = self.slot_waiters.pop_front() {
                self.deliver(slot);
            }
        }
        // Each will need one at least; who finds none waits again.
        for _ in 0..self.record_waiters.len().min(self.records.free_count()) {
            if let Some(number) = self.record_waiters.pop_front() {
                self.wake_waiter(number);
            }
        }
    }

    fn relieve_buffer_waiters(&mut self) {
        if self.buffers.is_empty() {
            let evicted = self.evict_for_buffer();
            self.buffers.extend(evicted);
        }
        for _ in 0..self.buffer_waiters.len().min(self.buffers.len()) {
            if let Some(number) = self.buffer_waiters.pop_front() {
                self.wake_waiter(number);
            }
        }
    }

    fn wake_waiter(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(number) {
            client.is_waiting = false;
            self.list(number);
        }
    }
}
