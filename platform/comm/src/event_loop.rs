//! The loop of an I/O thread: one turn is sleep, accept, deliver, receive, dispatch, send.

use std::io;
use std::time::Duration;

use gantry_ring::Doorbell;
use gantry_sys::atomic::Ordering;
use gantry_sys::clock;
use gantry_sys::eventfd::EventFd;
use gantry_sys::socket;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use crate::CommError;
use crate::client::Partial;
use crate::connection::{self, Family, Marks};
use crate::counters::Counter;
use crate::io_thread::IoThread;
use crate::limits::{KEEPER_LOOK_NS, Live, PARTIAL_GRACE_NS, SHORTAGE_SLEEP_NS};
use crate::listener::Listeners;
use crate::node::Accepted;
use gantry_message::CallerName;

/// Tokens below are clients.
const DOORBELL: Token = Token(usize::MAX);
const KEEPER: Token = Token(usize::MAX - 1);
/// The first listener; the others follow.
const LISTENERS: usize = usize::MAX / 2;

/// How a thread came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All its connections are closed.
    Closed,
    /// They are left to the next process.
    HandedOver,
}

/// An `epoll` descriptor that watches a thread's doorbell, and the listeners if it is the first one.
///
/// # Errors
/// No descriptor or no memory is left.
pub(crate) fn watch(doorbell: &EventFd, listeners: Option<&Listeners>) -> Result<Poll, CommError> {
    let poll = Poll::new().map_err(CommError::system("making an epoll descriptor"))?;
    let doorbell = doorbell.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&doorbell), DOORBELL, Interest::READABLE)
        .map_err(CommError::system("watching the doorbell"))?;
    for (index, listener) in listeners.iter().flat_map(|listeners| listeners.descriptors()).enumerate() {
        poll.registry()
            .register(&mut SourceFd(&listener), Token(LISTENERS + index), Interest::READABLE)
            .map_err(CommError::system("watching a listening socket"))?;
    }
    Ok(poll)
}

impl IoThread<'_> {
    /// Goes round until the process is to end and nothing is owed any more, or no more time is left for it; then
    /// everything is closed. When another thread failed, or everything is to be handed over, it ends after this turn and
    /// closes nothing: the next process finds what it would find after a death.
    pub(crate) fn run(&mut self) -> Result<Ended, CommError> {
        self.watch_keeper();
        while !self.is_finished() {
            if self.node.has_failed() || self.node.is_handing_over() {
                return Ok(Ended::HandedOver);
            }
            self.turn()?;
        }
        for number in 0..self.clients.numbers() {
            self.close(number, None);
        }
        Ok(Ended::Closed)
    }

    /// Is told when the keeper dies. The first thread looks after it.
    fn watch_keeper(&self) {
        if self.index != 0 {
            return;
        }
        let Some(keeper) = self.node.keepers().watched() else { return };
        let watched = self.poll.registry().register(&mut SourceFd(&keeper), KEEPER, Interest::READABLE);
        if let Err(cause) = watched {
            tracing::error!(%cause, "the keeper cannot be watched; its death is noticed late");
        }
    }

    /// Replaces a keeper that died, and tries once whether a successor could take what it holds. Now and then, and at once
    /// when its death was announced.
    fn look_after_keeper(&mut self) {
        if !self.is_keeper_told && self.now_ns < self.keeper_look_ns {
            return;
        }
        self.is_keeper_told = false;
        self.keeper_look_ns = self.now_ns + KEEPER_LOOK_NS;
        let is_new = self.node.keepers().look_after(self.now_ns);
        if is_new {
            self.watch_keeper();
        } else {
            self.node.keepers().try_out();
        }
    }

    /// One turn. What is done first frees what the next step needs.
    pub(crate) fn turn(&mut self) -> Result<(), CommError> {
        self.wait()?;
        self.look_at_the_node();
        self.take_events();
        if self.index == 0 {
            self.look_after_keeper();
        }
        self.accept();
        self.open_handed_over();
        self.take_replies();
        self.sweep_if_due();
        self.pass_deadlines();
        self.relieve_shortages();
        self.serve_ready();
        self.dispatch_batch();
        self.wake_workers();
        self.settle_touched();
        self.send_dirty();
        self.watch_adopted();
        Ok(())
    }

    /// Sleeps until something happens, a timer is due, or the heartbeat is.
    fn wait(&mut self) -> Result<(), CommError> {
        let now_ns = clock::monotonic_ns();
        let doorbell = Doorbell::new(&self.row.sleeping);
        let mut timeout = Duration::ZERO;
        if !self.has_work() {
            doorbell.announce();
            if !self.has_work() {
                timeout = self.sleep_time(now_ns);
            }
        }
        let polled = self.poll.poll(&mut self.events, Some(timeout));
        doorbell.withdraw();
        match polled {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(cause) => Err(CommError::System { operation: "epoll_wait", cause }),
        }
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || !self.unwatched.is_empty()
            || !self.node.replies[self.index].is_empty()
            || self.row.sweep.load(Ordering::Relaxed) != 0
            || !self.node.inboxes[self.index].is_empty()
            || self.listeners.as_ref().is_some_and(Listeners::has_work)
            || self.node.has_failed()
            || self.node.is_handing_over()
    }

    fn sleep_time(&self, now_ns: u64) -> Duration {
        let is_short = !self.buffer_waiters.is_empty()
            || !self.record_waiters.is_empty()
            || !self.slot_waiters.is_empty()
            || self.is_sweep_due
            || self.leaving_since_ns.is_some()
            || self.listeners.as_ref().is_some_and(Listeners::is_paused);
        let longest_ns = if is_short { SHORTAGE_SLEEP_NS } else { self.node.bounds.sleep_ns_max };
        let next_ns = self.wheel.next_ns().map_or(longest_ns, |at_ns| at_ns.saturating_sub(now_ns));
        Duration::from_nanos(next_ns.min(longest_ns))
    }

    /// Shows that the thread lives, and takes over what the operator changed.
    fn look_at_the_node(&mut self) {
        self.now_ns = clock::monotonic_ns();
        self.row.heartbeat_ns.store(self.now_ns, Ordering::Relaxed);
        let is_leaving = self.node.is_leaving();
        let live = Live::read(self.node.control.node(), is_leaving);
        let before = std::mem::replace(&mut self.live, live);
        if self.index == 0 {
            self.node.admission.sample(self.now_ns);
            self.show_life();
        }
        if live.idle_ns != before.idle_ns && live.idle_ns != 0 {
            for number in 0..self.clients.numbers() {
                self.arm_client(number, self.now_ns.saturating_add(live.idle_ns));
            }
        }
        if is_leaving && self.leaving_since_ns.is_none() {
            self.leaving_since_ns = Some(self.now_ns);
            if let Some(listeners) = self.listeners.take() {
                listeners.stop(self.poll.registry());
            }
        }
        if live.is_drained && (!before.is_drained || is_leaving) {
            self.close_idle();
        }
    }

    /// The process lives as long as the thread that was round longest ago.
    fn show_life(&self) {
        let beats = self.node.control.threads().iter().map(|row| row.heartbeat_ns.load(Ordering::Relaxed));
        self.node.process.heartbeat_ns.store(beats.min().unwrap_or(self.now_ns), Ordering::Relaxed);
    }

    fn take_events(&mut self) {
        // The events are lent to the loop below, which changes everything else.
        let events = std::mem::replace(&mut self.events, mio::Events::with_capacity(0));
        for event in &events {
            match event.token() {
                DOORBELL => {
                    self.node.doorbells[self.index].drain();
                }
                KEEPER => self.is_keeper_told = true,
                Token(number) if number >= LISTENERS => {
                    if let Some(listeners) = &mut self.listeners {
                        listeners.announce();
                    }
                }
                Token(number) => self.take_event(number as u32, event),
            }
        }
        self.events = events;
    }

    fn take_event(&mut self, number: u32, event: &mio::event::Event) {
        let Some(client) = self.clients.get_mut(number) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            client.is_readable = true;
            client.is_end_near |= event.is_read_closed() || event.is_error();
            client.is_gone |= event.is_write_closed() || event.is_error();
            self.list(number);
        }
        if event.is_writable() && self.clients.look(number).is_stalled {
            self.clients.at(number).is_stalled = false;
            self.mark_dirty(number);
        }
    }

    /// Takes the connections into service that the accepting thread chose this one for.
    fn open_handed_over(&mut self) {
        while let Some(accepted) = self.node.inboxes[self.index].take() {
            self.open(accepted);
        }
    }

    /// Takes an accepted socket into service.
    pub(crate) fn open(&mut self, accepted: Accepted) {
        let Accepted { socket, family } = accepted;
        let opened = self.clients.open();
        let (Some(number), Ok(cookie)) = (opened, socket::cookie(&socket)) else {
            // The accepting thread counted free rows, and every socket has a cookie: neither is to be expected.
            if let Some(number) = opened {
                self.clients.close(number);
            }
            self.node.inboxes[self.index].open_count.fetch_sub(1, Ordering::Relaxed);
            self.count(Counter::ConnectionsMax);
            return;
        };
        if family == Family::Tcp {
            // Only a matter of speed: a socket that refuses works all the same.
            let _ = socket::set_nodelay(&socket, true);
        }
        let caller = CallerName::ANONYMOUS;
        let row = self.clients.row(number);
        let generation = connection::open(row, self.index, family, cookie, caller, self.now_ns);
        let client = self.clients.at(number);
        client.socket = Some(socket);
        client.generation = generation;
        client.caller = caller;
        client.active_ns = self.now_ns;
        self.node.control.node().connections_open.fetch_add(1, Ordering::Relaxed);
        self.watch_client(number, Interest::READABLE);
        if self.clients.is_open(number) && self.live.idle_ns != 0 {
            self.arm_client(number, self.now_ns.saturating_add(self.live.idle_ns));
        }
    }

    /// Closes a connection: at once, whatever it is owed. Requests of it that are in flight run to their end.
    ///
    /// First the row says so, then the socket goes (for every process that holds it), then the row is free; what the
    /// row held is given back after that, so no successor finds it twice.
    pub(crate) fn close(&mut self, number: u32, cause: Option<Counter>) {
        if !self.clients.is_open(number) {
            return;
        }
        if let Some(counter) = cause {
            self.count(counter);
        }
        let row = self.clients.row(number);
        connection::closing(row);
        if let Some(socket) = self.clients.at(number).socket.take() {
            let descriptor = socket.as_raw_fd();
            // Both may say that the other side was quicker, which is what is wanted.
            let _ = socket::shutdown(&socket, Shutdown::Both);
            let _ = self.poll.registry().deregister(&mut SourceFd(&descriptor));
        }
        let buffer = row.receive_buffer.load(Ordering::Relaxed);
        let refusal = row.discard_record.swap(0, Ordering::Relaxed);
        connection::free(row);
        self.buffers.extend(buffer.checked_sub(1));
        if let Some(record) = refusal.checked_sub(1) {
            self.records.give_back(record);
        }
        if let Some(large) = self.clients.at(number).large.take() {
            self.withdraw(large.slot);
        }
        self.forget_replies(number);
        self.clients.close(number);
        self.node.inboxes[self.index].open_count.fetch_sub(1, Ordering::Relaxed);
        self.node.control.node().connections_open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes what a drained node has no reason to keep: nothing in flight, nothing received in part.
    fn close_idle(&mut self) {
        for number in 0..self.clients.numbers() {
            self.close_if_idle(number);
        }
    }

    /// As [`close_idle`](Self::close_idle), for one.
    pub(crate) fn close_if_idle(&mut self, number: u32) {
        if !self.clients.is_open(number) || !self.live.is_drained {
            return;
        }
        let client = self.clients.look(number);
        let marks = Marks::load(self.clients.row(number));
        // A frame in part may still become one while the node is drained, and is told 204 then. A node that ends does
        // not wait long for it: nothing of it was accepted.
        let is_whole = marks.rx == marks.parsed && client.partial == Partial::None;
        let is_over = self.leaving_since_ns.is_some_and(|since_ns| self.now_ns - since_ns > PARTIAL_GRACE_NS);
        let has_nothing = client.frames == 0 && (is_whole || is_over);
        if has_nothing && (is_over || !client.is_readable) && client.linger.is_none() {
            self.close(number, None);
        }
    }

    fn is_finished(&self) -> bool {
        let Some(since_ns) = self.leaving_since_ns else { return false };
        let is_empty = self.clients.open_count() == 0 && self.node.inboxes[self.index].is_empty();
        is_empty || self.now_ns.saturating_sub(since_ns) > self.node.bounds.stop_ns
    }
}
