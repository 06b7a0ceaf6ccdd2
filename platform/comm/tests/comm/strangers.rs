//! What a row or a slot names and what is something else: a process, a socket, a block.

use gantry_message::Status;
use gantry_ring::{Owner, Queue, Slots};
use gantry_segment::KeeperRow;
use gantry_sys::atomic::Ordering;
use gantry_sys::process::{Output, PidFd, Spawn, reap, start_ticks};
use gantry_sys::signal::Signal;

use crate::client::{id, wait_until};
use crate::process::{CommProcess, keepers};
use crate::steps::Steps;
use crate::world::{EPOCH, READ_ECHO, WRITE_ECHO, WRITE_ROW, World};

/// Ends the process also when the test fails.
struct Stranger {
    pid: i32,
    pidfd: PidFd,
}

impl Stranger {
    fn start() -> Self {
        let mut spawn = Spawn::new("/bin/sleep");
        let child = spawn.args(["600"]).stdout(Output::Null).spawn().unwrap();
        Self { pid: child.pid, pidfd: PidFd::from(child.pidfd) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.pidfd.signal(Signal::SIGKILL);
        let _ = self.pidfd.wait(None);
        let _ = reap(self.pid);
    }
}

#[test]
fn a_process_that_has_the_pid_of_a_dead_keeper_is_left_alone() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    assert_eq!(client.call(READ_ECHO, id(1), b"x").body, b"x");
    world.process.take().unwrap().kill();
    let stranger = Stranger::start();
    let index = world.control().keepers().iter().position(KeeperRow::is_free).unwrap();
    let ticks = start_ticks(stranger.pid).unwrap();
    world.control().keepers()[index].set(stranger.pid.unsigned_abs(), ticks - 1);
    world.start_process();
    assert_eq!(client.call(READ_ECHO, id(2), b"y").body, b"y");
    let row = &world.control().keepers()[index];
    wait_until("its row is free", || row.keeper().is_none_or(|(pid, _)| pid != stranger.pid.unsigned_abs()));
    assert!(!stranger.pidfd.is_dead(), "a stranger was killed for a keeper");
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_socket_that_was_served_and_has_no_row_any_more_is_closed() {
    let mut world = World::of_processes("");
    let (mut served, mut other) = (world.client(), world.client());
    served.call(READ_ECHO, id(1), b"x");
    let sent = gantry_sys::socket::positions(&served.stream, 10).unwrap().unwrap().received;
    let index = || {
        let rows = world.control().connections();
        rows.iter().position(|row| row.tx.load(Ordering::Relaxed) == sent && sent > 0)
    };
    wait_until("its row says what was sent", || index().is_some());
    let index = index().unwrap();
    world.process.take().unwrap().kill();
    // As after a death between the freeing of the row and the end of the keeper that held the socket still.
    world.control().connections()[index].cookie.store(u64::MAX, Ordering::Relaxed);
    world.start_process();
    assert!(served.is_closed(), "nobody knows where its stream stands");
    assert_eq!(other.call(READ_ECHO, id(2), b"y").body, b"y");
    assert_eq!(world.open_connections(), 1);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_death_right_after_the_old_keepers_were_killed_loses_no_connection() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.call(READ_ECHO, id(1), b"x");
    let (_, old) = keepers(world.control()).pop().unwrap();
    world.process.take().unwrap().kill();
    let process = CommProcess::start_held(&world, world.next_epoch());
    let pidfd = process.pidfd();
    let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
    assert!(steps.past(nix::libc::SYS_pidfd_send_signal));
    assert!(old.wait(Some(crate::client::WATCHDOG)), "this was the signal that killed the old keeper");
    steps.kill(&pidfd);
    process.kill();
    world.start_process();
    assert_eq!(client.call(READ_ECHO, id(2), b"y").body, b"y");
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_reply_in_the_block_of_another_request_is_not_sent() {
    let mut world = World::idle("");
    let (mut owner, mut other) = (world.client(), world.client());
    owner.send(READ_ECHO, id(1), b"for nobody else");
    other.send(WRITE_ECHO, id(2), b"x");
    let control = world.control();
    let slots = Slots::new(control.slots());
    let row =
        |service: u32| control.slots().iter().find(|row| row.service.load(Ordering::Relaxed) == service);
    wait_until("both are queued", || row(READ_ECHO).is_some() && row(WRITE_ECHO).is_some());
    let worker = Owner::new(WRITE_ROW, EPOCH);
    let mut taken = None;
    wait_until("it is taken", || {
        taken = Queue::requests(control.write_ring(), slots).take(worker);
        taken.is_some()
    });
    let slot = taken.unwrap();
    let block = row(READ_ECHO).unwrap().request_block.load(Ordering::Relaxed);
    let mine = slots.row(slot.index).unwrap();
    mine.reply_block.store(block, Ordering::Relaxed);
    mine.reply_bytes.store(15, Ordering::Relaxed);
    mine.reply_status.store(0, Ordering::Relaxed);
    slots.finish(slot, worker).unwrap();
    assert!(Queue::replies(control.reply_ring(0), slots).push(slot).is_ok());
    world.doorbells()[0].signal();
    let reply = other.receive();
    assert_eq!((reply.status(), &reply.body[..]), (Some(Status::PlatformFault), &b""[..]));
    world.start_workers();
    assert_eq!(owner.receive().body, b"for nobody else");
    world.check_nothing_is_held();
    world.stop_comm().unwrap();
}
