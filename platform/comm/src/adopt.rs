//! How a thread goes on with the connections of a predecessor.

use std::os::fd::AsRawFd;

use gantry_message::CallerName;
use gantry_sys::atomic::Ordering;
use mio::unix::SourceFd;
use mio::{Interest, Token};

use crate::connection::{self, CLOSE_WHEN_SENT, Marks, NOT_READ, PEER_CLOSED};
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::WATCHES_PER_TURN;
use crate::recover::Heir;

impl IoThread<'_> {
    /// Goes on with a connection. What stands in the receive buffer is scanned, what the kernel is known to have is read, and
    /// what is recorded is sent, all in the first turn. It is watched a little later, which announces anew whatever the
    /// kernel has: watching ten thousand takes longer than everything else here.
    pub(crate) fn adopt(&mut self, heir: Heir) {
        let Heir { row: row_index, socket, out_tail, frames, bytes, large, is_readable } = heir;
        let Some(number) = self.clients.adopt(row_index) else {
            tracing::error!(row = row_index, "a connection's row is of another I/O thread");
            return std::mem::forget(socket);
        };
        let row = self.clients.row(number);
        let marks = Marks::load(row);
        let mut name = [0_u8; 32];
        let length = row.caller.copy_to(&mut name);
        let now_ns = self.now_ns;
        let is_read = marks.flags & NOT_READ == 0;
        let client = self.clients.at(number);
        client.socket = Some(socket);
        client.is_readable = is_readable;
        client.deaths = connection::deaths_in_hand(row);
        client.generation = connection::generation(row);
        client.caller = CallerName::new(&name[..length]).unwrap_or(CallerName::ANONYMOUS);
        client.scanned = if is_read { marks.parsed } else { marks.rx };
        (client.frames, client.bytes, client.out_tail, client.large) = (frames, bytes, out_tail, large);
        (client.received_ns, client.active_ns, client.moved_ns) = (now_ns, now_ns, now_ns);
        self.node.inboxes[self.index].open_count.fetch_add(1, Ordering::Relaxed);
        self.unwatched.push_back(number);
        if self.live.idle_ns != 0 {
            self.arm_client(number, now_ns.saturating_add(self.live.idle_ns));
        }
        if is_read && (large.is_some() || marks.is_discarding()) {
            self.wait_for_body(number);
        }
        if out_tail != 0 {
            self.mark_dirty(number);
        }
        let is_ending = marks.flags & (PEER_CLOSED | CLOSE_WHEN_SENT) != 0;
        if is_readable
            || marks.rx != marks.parsed
            || is_ending
            || row.receive_buffer.load(Ordering::Relaxed) != 0
        {
            // Its turn scans what there is, gives back what is not needed, and ends what is over.
            self.list(number);
            self.touch(number);
        }
    }
    /// Watches some of the connections that were taken over.
    pub(crate) fn watch_adopted(&mut self) {
        for _ in 0..self.unwatched.len().min(WATCHES_PER_TURN) {
            let Some(number) = self.unwatched.pop_front() else { return };
            let is_due = self.clients.get_mut(number).is_some_and(|client| !client.is_watched);
            if is_due {
                self.watch_client(number, Interest::READABLE);
            }
        }
    }

    /// Watches a connection for the first time, or for more than before; closes it if that cannot be.
    pub(crate) fn watch_client(&mut self, number: u32, interest: Interest) {
        let client = self.clients.look(number);
        let Some(socket) = &client.socket else { return };
        let (descriptor, token) = (socket.as_raw_fd(), Token(number as usize));
        let registry = self.poll.registry();
        let watched = match client.is_watched {
            false => registry.register(&mut SourceFd(&descriptor), token, interest),
            true => registry.reregister(&mut SourceFd(&descriptor), token, interest),
        };
        if let Err(cause) = watched {
            tracing::error!(%cause, "a connection cannot be watched; closed");
            return self.close(number, Some(Counter::ConnectionFailed));
        }
        let client = self.clients.at(number);
        client.is_watched = true;
        client.is_write_watched = interest.is_writable();
    }
}
