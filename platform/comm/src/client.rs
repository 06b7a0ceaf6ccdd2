//! What an I/O thread itself knows of its connections: private memory, lost with the process, and made again from the
//! rows by the next.

use std::os::fd::OwnedFd;

use gantry_frame::Header;
use gantry_message::CallerName;
use gantry_ring::{BlockRef, SlotRef};
use gantry_segment::ConnectionRow;

use crate::age_list::AgeList;
use crate::connection;
use crate::node::Share;

/// How much of the next frame is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partial {
    /// Nothing.
    None,
    /// Some of its header; since when.
    Header { since_ns: u64 },
    /// Its header and perhaps some of its body; since when.
    Body { since_ns: u64 },
}

/// A large body on its way into its block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Large {
    pub(crate) slot: SlotRef,
    pub(crate) block: BlockRef,
    pub(crate) header: Header,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None`: the row is free.
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) generation: u32,
    pub(crate) caller: CallerName,
    /// Stream offset of the first byte that is not in the communication queue yet; at or behind `parsed`.
    pub(crate) scanned: u64,
    /// Frames in the communication queue, in slots, or answered and not sent.
    pub(crate) frames: u32,
    /// Bytes of those frames or of their replies.
    pub(crate) bytes: u64,
    /// Last out record, index + 1.
    pub(crate) out_tail: u32,
    /// When bytes came last: no later than that, everything here had arrived.
    pub(crate) received_ns: u64,
    /// When it last received or got something.
    pub(crate) active_ns: u64,
    /// When the kernel last took bytes of it, while there are some to take.
    pub(crate) moved_ns: u64,
    pub(crate) partial: Partial,
    /// Stream offset of the frame that `partial` speaks of.
    pub(crate) partial_offset: u64,
    pub(crate) large: Option<Large>,
    /// After the half-close: until when it is read, and how many bytes more.
    pub(crate) linger: Option<(u64, u64)>,
    /// The kernel may have bytes for us.
    pub(crate) is_readable: bool,
    /// The peer's end was announced: read until it is seen.
    pub(crate) is_end_near: bool,
    /// Nobody is at the other end any more, to whom a reply could be sent.
    pub(crate) is_gone: bool,
    /// The kernel takes no bytes now.
    pub(crate) is_stalled: bool,
    /// Processes before this one that died in succession while they served it; 0 once this one has.
    pub(crate) deaths: u32,
    /// Events of it are announced.
    pub(crate) is_watched: bool,
    /// It is watched for room to send too, which costs nothing until it stalls for the first time.
    pub(crate) is_write_watched: bool,
    /// It is in the list of those that are served next.
    pub(crate) is_listed: bool,
    /// It is in the list of those with replies to send.
    pub(crate) is_dirty: bool,
    /// It is in the list of those that were served in this turn.
    pub(crate) is_touched: bool,
    /// It is not read: too much is in flight.
    pub(crate) is_paused: bool,
    /// It waits for a receive buffer, or for an out record.
    pub(crate) is_waiting: bool,
    /// Its next frame is in the communication queue and says how the stream goes on: nothing behind it is scanned.
    pub(crate) is_scan_held: bool,
    /// There may be whole frames that are not scanned, because the communication queue was full.
    pub(crate) is_scan_due: bool,
}

impl Client {
    fn vacant() -> Self {
        Self {
            socket: None,
            generation: 0,
            caller: CallerName::ANONYMOUS,
            scanned: 0,
            frames: 0,
            bytes: 0,
            out_tail: 0,
            received_ns: 0,
            active_ns: 0,
            moved_ns: 0,
            partial: Partial::None,
            partial_offset: 0,
            large: None,
            linger: None,
            is_readable: false,
            is_end_near: false,
            is_gone: false,
            is_stalled: false,
            deaths: 0,
            is_watched: false,
            is_write_watched: false,
            is_listed: false,
            is_dirty: false,
            is_touched: false,
            is_paused: false,
            is_waiting: false,
            is_scan_held: false,
            is_scan_due: false,
        }
    }

    /// Counts a frame out that will not be answered, or not now.
    pub(crate) fn forget_frame(&mut self, cost: u64) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
    }
}

/// The connections of one I/O thread: its share of the rows, and what it knows of each. A client's number is its
/// row's index less the share's first.
#[derive(Debug)]
pub(crate) struct Clients<'a> {
    rows: &'a [ConnectionRow],
    share: Share,
    clients: Vec<Client>,
    free: Vec<u32>,
    open_count: u32,
    /// Those that hold a frame in part, the longest first.
    pub(crate) partial: AgeList,
    /// Those whose incomplete frame holds more than a receive buffer (the slot of a large body, the record of its
    /// refusal), the longest first.
    pub(crate) holding: AgeList,
    /// Those whose replies the kernel does not take, the longest first.
    pub(crate) stalled: AgeList,
}

impl<'a> Clients<'a> {
    pub(crate) fn new(rows: &'a [ConnectionRow], share: Share) -> Self {
        // Popped from the back: low numbers first, which keeps the touched memory small.
        let is_free = |number: &u32| connection::is_free(&rows[(share.first + number) as usize]);
        let free = (0..share.count()).rev().filter(is_free).collect();
        Self {
            rows,
            share,
            clients: Vec::new(),
            free,
            open_count: 0,
            partial: AgeList::default(),
            holding: AgeList::default(),
            stalled: AgeList::default(),
        }
    }

    /// Takes a free row into use.
    pub(crate) fn open(&mut self) -> Option<u32> {
        let number = self.free.pop()?;
        while self.clients.len() <= number as usize {
            self.clients.push(Client::vacant());
        }
        self.open_count += 1;
        Some(number)
    }

    /// Takes the row of a connection that goes on; `None` if the row is not of this share. It was never free.
    pub(crate) fn adopt(&mut self, row_index: u32) -> Option<u32> {
        let number = row_index.checked_sub(self.share.first).filter(|_| row_index < self.share.end)?;
        while self.clients.len() <= number as usize {
            self.clients.push(Client::vacant());
        }
        self.open_count += 1;
        Some(number)
    }

    /// Gives a row back whose connection is closed. The lists that may still name it are swept by their owners.
    pub(crate) fn close(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        let (is_listed, is_dirty, is_touched) = (client.is_listed, client.is_dirty, client.is_touched);
        *client = Client { is_listed, is_dirty, is_touched, ..Client::vacant() };
        self.partial.leave(number);
        self.holding.leave(number);
        self.stalled.leave(number);
        self.free.push(number);
        self.open_count -= 1;
    }

    pub(crate) fn open_count(&self) -> u32 {
        self.open_count
    }

    /// One past the highest number that was ever in use.
    pub(crate) fn numbers(&self) -> u32 {
        self.clients.len() as u32
    }

    /// The connection with this number, if it is open.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.get_mut(number as usize).filter(|client| client.socket.is_some())
    }

    /// A client that is known to exist, open or not.
    pub(crate) fn at(&mut self, number: u32) -> &mut Client {
        &mut self.clients[number as usize]
    }

    /// As [`at`](Self::at), to look at.
    pub(crate) fn look(&self, number: u32) -> &Client {
        &self.clients[number as usize]
    }

    pub(crate) fn is_open(&self, number: u32) -> bool {
        self.clients.get(number as usize).is_some_and(|client| client.socket.is_some())
    }

    /// The row of a client.
    pub(crate) fn row(&self, number: u32) -> &'a ConnectionRow {
        &self.rows[self.row_index(number) as usize]
    }

    /// The index of a client's row.
    pub(crate) fn row_index(&self, number: u32) -> u32 {
        self.share.first + number
    }

    /// The client of a row, if the row is of this thread and still of that connection.
    pub(crate) fn find(&self, row_index: u32, generation: u32) -> Option<u32> {
        let number = row_index.checked_sub(self.share.first)?;
        let client = self.clients.get(number as usize)?;
        (client.socket.is_some() && client.generation == generation).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_row_is_found_by_its_generation_only() {
        let control = testing::control();
        let mut clients = Clients::new(control.connections(), Share { first: 2, end: 5 });
        let number = clients.open().unwrap();
        assert_eq!((number, clients.row_index(number)), (0, 2));
        clients.at(number).socket = Some(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into());
        clients.at(number).generation = 7;
        assert_eq!((clients.find(2, 7), clients.find(2, 8), clients.find(1, 7)), (Some(0), None, None));
        clients.close(number);
        assert_eq!((clients.find(2, 7), clients.open_count()), (None, 0));
        assert_eq!((0..4).filter_map(|_| clients.open()).count(), 3, "all rows of the share, once");
    }
}
