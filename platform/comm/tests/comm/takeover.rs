//! Connections that outlive the communication process.

use std::io::{Read, Write};
use std::net::Shutdown;

use gantry_comm::Counter;
use gantry_frame::read_reply;
use gantry_message::Status;
use gantry_sys::atomic::Ordering;
use gantry_sys::signal::Signal;

use crate::client::{frame, id, wait_until};
use crate::process::{CommProcess, keepers};
use crate::steps::Steps;
use crate::world::{READ_ECHO, READ_HOLD, WRITE_HOLD, World};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8).collect()
}

#[test]
fn an_idle_connection_goes_on_after_a_kill() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    assert_eq!(client.call(READ_ECHO, id(1), b"before").body, b"before");
    for round in 0..3 {
        world.kill_and_replace();
        assert_eq!(client.call(READ_ECHO, id(10 + round), b"after").body, b"after");
        // The old one was killed, and closes what it holds.
        wait_until("one keeper is left", || keepers(world.control()).len() == 1);
    }
    assert_eq!(world.open_connections(), 1);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_frame_that_is_cut_anywhere_by_a_kill_goes_on() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    for (round, bytes) in [0_usize, 1, 200, 5000, 20_000, 100_000].into_iter().enumerate() {
        let (id, body) = (id(round as u64), pattern(bytes));
        let stream = frame(READ_ECHO, id, 0, &body, true);
        for cut in [1, 30, 63, 64, 65, stream.len() - 1] {
            if cut >= stream.len() {
                continue;
            }
            client.stream.write_all(&stream[..cut]).unwrap();
            world.client().call(READ_ECHO, id, b"so the first part was read, most probably");
            world.kill_and_replace();
            client.stream.write_all(&stream[cut..]).unwrap();
            let reply = client.receive();
            assert_eq!(
                (reply.status(), reply.body == body),
                (Some(Status::Done), true),
                "{bytes} cut at {cut}"
            );
        }
    }
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_reply_that_is_sent_in_part_goes_on_at_the_right_byte() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    let body = pattern(1_000_000);
    for round in 0..4 {
        client.send(READ_ECHO, id(round), &body);
    }
    let mut first = [0; 1000];
    client.stream.read_exact(&mut first).unwrap();
    world.kill_and_replace();
    let mut replies = first.chain(&client.stream);
    for _ in 0..4 {
        let reply = read_reply(&mut replies).unwrap();
        assert!(reply.body == body);
    }
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn requests_that_run_over_a_kill_are_answered_once() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    for number in 0..20 {
        client.send(if number % 2 == 0 { READ_HOLD } else { WRITE_HOLD }, id(number), b"held");
    }
    wait_until("one of each runs", || world.executed() == 2);
    world.kill_and_replace();
    world.gate.open();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let reply = client.receive();
        assert_eq!((reply.status(), &reply.body[..]), (Some(Status::Done), &b"held"[..]));
        assert!(seen.insert(reply.header.request_id));
    }
    assert_eq!(world.executed(), 20);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_half_closed_connection_still_gets_what_it_is_owed() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.send(WRITE_HOLD, id(1), b"owed");
    wait_until("it runs", || world.executed() == 1);
    client.stream.shutdown(Shutdown::Write).unwrap();
    world.kill_and_replace();
    world.gate.open();
    assert_eq!(client.receive().body, b"owed");
    assert!(client.is_closed());
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_connection_that_died_while_nobody_read_it_is_forgotten() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.send(READ_HOLD, id(1), b"x");
    wait_until("it runs", || world.executed() == 1);
    world.process.take().unwrap().kill();
    drop(client);
    world.start_process();
    world.gate.open();
    world.check_nothing_is_held();
    wait_until("its row is free", || world.open_connections() == 0);
    world.stop_process();
}

#[test]
fn without_a_keeper_connections_are_lost_and_nothing_is_left_behind() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.call(READ_ECHO, id(1), b"x");
    let process = world.process.take().unwrap();
    let keeper = keepers(world.control()).pop().unwrap();
    // Stopped, so that it cannot make another one in between.
    process.pidfd().signal(Signal::SIGSTOP).unwrap();
    keeper.1.signal(Signal::SIGKILL).unwrap();
    process.kill();
    assert!(client.is_closed());
    world.start_process();
    assert_eq!(world.open_connections(), 0);
    assert_eq!(keepers(world.control()).len(), 1);
    assert_eq!(world.client().call(READ_ECHO, id(2), b"y").body, b"y");
    world.check_nothing_is_held();
    world.stop_process();
}

/// Stops the I/O thread, does `meanwhile`, goes on past a system call that gave something, and kills it there.
fn kill_past(world: &mut World, call: i64, meanwhile: impl FnOnce()) {
    let process = world.process.take().unwrap();
    let pidfd = process.pidfd();
    let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
    meanwhile();
    while steps.past(call) && steps.result() <= 0 {}
    steps.kill(&pidfd);
    process.kill();
}

#[test]
fn bytes_that_were_received_and_not_counted_are_where_the_row_says() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    for (number, bytes) in [0_usize, 100, 5000, 20_000, 300_000].into_iter().enumerate() {
        let body = pattern(bytes);
        let mut theirs = client.stream.try_clone().unwrap();
        let (sent, id) = (frame(READ_ECHO, id(number as u64), 0, &body, true), id(number as u64));
        let sender = sent.clone();
        let mut thread = None;
        kill_past(&mut world, libc_number(Call::Receive), || {
            thread = Some(std::thread::spawn(move || theirs.write_all(&sender).unwrap()));
        });
        world.start_process();
        let reply = client.receive();
        assert_eq!((reply.header.request_id, reply.body == body), (id, true), "{bytes}");
        thread.unwrap().join().unwrap();
    }
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn bytes_that_were_sent_and_not_counted_are_not_sent_again() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    for (number, bytes) in [0_usize, 100, 5000, 300_000].into_iter().enumerate() {
        let (body, id) = (pattern(bytes), id(number as u64));
        for service in [READ_ECHO, 1] {
            let mut theirs = client.stream.try_clone().unwrap();
            let sender = frame(service, id, 0, &body, true);
            let mut thread = None;
            kill_past(&mut world, libc_number(Call::Send), || {
                thread = Some(std::thread::spawn(move || theirs.write_all(&sender).unwrap()));
            });
            world.start_process();
            let reply = client.receive();
            assert_eq!((reply.header.request_id, reply.body == body), (id, true), "{bytes}");
            thread.unwrap().join().unwrap();
        }
    }
    assert_eq!(client.call(READ_ECHO, id(99), b"x").body, b"x", "nothing came twice");
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_connection_that_was_accepted_and_has_no_row_is_taken_as_new() {
    let mut world = World::of_processes("");
    let (address, path) = (world.address(), world.path().to_owned());
    let mut client = None;
    kill_past(&mut world, libc_number(Call::Accept), || {
        client = Some(std::net::TcpStream::connect(address).unwrap());
    });
    let mut unix = None;
    world.start_process();
    kill_past(&mut world, libc_number(Call::Accept), || {
        unix = Some(std::os::unix::net::UnixStream::connect(path).unwrap());
    });
    world.start_process();
    let mut client = crate::client::Client { stream: client.unwrap() };
    let mut unix = crate::client::Client { stream: unix.unwrap() };
    assert_eq!(client.call(READ_ECHO, id(1), b"x").body, b"x");
    assert_eq!(unix.call(READ_ECHO, id(2), b"y").body, b"y");
    assert_eq!(world.open_connections(), 2);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_connection_that_was_being_closed_is_closed() {
    let mut world = World::of_processes("[comm]\nidle_timeout = \"200ms\"\n");
    let mut client = world.client();
    client.call(READ_ECHO, id(1), b"x");
    let process = world.process.take().unwrap();
    let pidfd = process.pidfd();
    let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
    assert!(steps.before(libc_number(Call::Shutdown)));
    steps.kill(&pidfd);
    process.kill();
    world.start_process();
    assert!(client.is_closed());
    assert_eq!(world.open_connections(), 0);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_connection_that_kills_every_process_is_closed_in_the_end() {
    let mut world = World::of_processes("");
    let (mut deadly, mut other) = (world.client(), world.client());
    deadly.call(READ_ECHO, id(1), b"x");
    other.call(READ_ECHO, id(2), b"x");
    deadly.stream.write_all(&frame(READ_ECHO, id(3), 0, &[7; 100_000], false)[..90_000]).unwrap();
    for deaths in 0..8 {
        let process =
            world.process.take().unwrap_or_else(|| CommProcess::start_held(&world, world.next_epoch()));
        let pidfd = process.pidfd();
        let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
        let row = &world.control().connections()[0];
        deadly.stream.write_all(b"x").unwrap();
        // Not "one more than when it was stopped": it may have been stopped with the connection in hand.
        while row.in_hand.load(Ordering::Relaxed) <= deaths {
            assert!(steps.next_call());
        }
        steps.kill(&pidfd);
        process.kill();
    }
    world.start_process();
    assert!(deadly.is_closed());
    assert_eq!(other.call(READ_ECHO, id(4), b"y").body, b"y");
    assert_eq!(world.open_connections(), 1);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn unix_connections_go_on_unless_they_were_in_a_transfer() {
    let mut world = World::of_processes("");
    let (mut idle, mut busy) = (world.unix_client(), world.unix_client());
    idle.call(READ_ECHO, id(1), b"before");
    busy.call(READ_ECHO, id(2), b"before");
    let sent = frame(READ_ECHO, id(3), 0, b"lost", false);
    kill_past(&mut world, libc_number(Call::Receive), || busy.stream.write_all(&sent).unwrap());
    world.start_process();
    assert!(busy.is_closed());
    assert_eq!(idle.call(READ_ECHO, id(4), b"after").body, b"after");
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_keeper_that_is_killed_is_replaced_at_once() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    for round in 0..5 {
        assert_eq!(client.call(READ_ECHO, id(round), b"x").body, b"x");
        // That of the process before, which was killed too, would be taken for another one.
        wait_until("one keeper is left", || keepers(world.control()).len() == 1);
        let (old, pidfd) = keepers(world.control()).pop().unwrap();
        pidfd.signal(Signal::SIGKILL).unwrap();
        wait_until("there is another one", || keepers(world.control()).iter().any(|(pid, _)| *pid != old));
        world.kill_and_replace();
    }
    assert_eq!(client.call(READ_ECHO, id(9), b"y").body, b"y");
    world.stop_process();
}

#[test]
fn keepers_of_processes_that_died_taking_over_never_fill_the_table() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.call(READ_ECHO, id(1), b"x");
    world.process.take().unwrap().kill();
    let mut most = 0;
    for _ in 0..20 {
        let process = CommProcess::start_held(&world, world.next_epoch());
        let pidfd = process.pidfd();
        let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
        // Its own keeper is made, everything is taken, and the old ones are about to be killed.
        assert!(steps.before(libc_number(Call::SignalByPidfd)));
        steps.kill(&pidfd);
        process.kill();
        most = most.max(keepers(world.control()).len());
    }
    assert_eq!(most, gantry_segment::KEEPERS_MAX);
    world.start_process();
    assert_eq!(client.call(READ_ECHO, id(2), b"y").body, b"y");
    wait_until("one keeper is left", || keepers(world.control()).len() == 1);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn a_repeat_that_waits_gets_the_reply_of_its_original_over_a_kill() {
    let mut world = World::of_processes("");
    let (mut first, mut second) = (world.client(), world.client());
    first.send(WRITE_HOLD, id(1), b"once");
    wait_until("it runs", || world.executed() == 1);
    second.send(WRITE_HOLD, id(1), b"once");
    wait_until("the repeat waits", || world.counted(Counter::Repeats) == 1);
    world.kill_and_replace();
    // A third one meets a window that knows who waits for whom.
    let mut third = world.client();
    third.send(WRITE_HOLD, id(1), b"once");
    wait_until("the third waits", || world.counted(Counter::Repeats) == 2);
    world.gate.open();
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.receive().body, b"once");
    }
    assert_eq!(world.executed(), 1);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn deadlines_are_kept_over_a_kill() {
    let mut world = World::without_workers("");
    world.start_process();
    let mut client = world.client();
    client.stream.write_all(&frame(READ_ECHO, id(1), 400, b"queued", false)).unwrap();
    client.call(1, id(2), b"so it is queued");
    world.kill_and_replace();
    assert_eq!(client.receive().status(), Some(Status::BudgetSpent));
    world.start_workers();
    client.stream.write_all(&frame(WRITE_HOLD, id(3), 400, b"runs", false)).unwrap();
    wait_until("it runs", || world.executed() == 1);
    world.kill_and_replace();
    let reply = client.receive();
    assert_eq!((reply.header.request_id, reply.status()), (id(3), Some(Status::TimedOut)));
    // Told already: the next process does not tell again, nor does it send the late reply.
    world.kill_and_replace();
    world.gate.open();
    world.check_nothing_is_held();
    assert_eq!(client.call(WRITE_HOLD, id(3), b"runs").body, b"runs");
    assert_eq!(world.executed(), 1, "the repeat was not run");
    world.stop_process();
}

#[test]
fn the_answer_at_a_deadline_that_was_not_sent_yet_is_given_once() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.stream.write_all(&frame(READ_HOLD, id(1), 300, b"x", false)).unwrap();
    wait_until("it runs", || world.executed() == 1);
    let process = world.process.take().unwrap();
    let pidfd = process.pidfd();
    let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
    // The answer is recorded; the mark that says so may not be set.
    assert!(steps.before(libc_number(Call::Send)));
    steps.kill(&pidfd);
    process.kill();
    let slot = world.control().slots().iter().find(|row| row.answered.load(Ordering::Relaxed) != 0).unwrap();
    slot.answered.store(0, Ordering::Relaxed);
    world.start_process();
    assert_eq!(client.receive().status(), Some(Status::TimedOut));
    world.gate.open();
    world.check_nothing_is_held();
    assert_eq!(client.call(READ_ECHO, id(2), b"y").body, b"y", "and no late reply in between");
    world.stop_process();
}

#[test]
fn time_outs_of_clients_are_kept_over_a_kill() {
    let mut world = World::of_processes("[comm]\nheader_timeout = \"500ms\"\nidle_timeout = \"700ms\"\n");
    let (mut silent, mut slow) = (world.client(), world.client());
    silent.call(READ_ECHO, id(1), b"x");
    slow.stream.write_all(b"ETC1").unwrap();
    world.kill_and_replace();
    assert!(slow.is_closed());
    assert!(silent.is_closed());
    wait_until("both were counted", || {
        world.counted(Counter::HeaderTimeout) == 1 && world.counted(Counter::IdleTimeout) == 1
    });
    world.stop_process();
}

#[test]
fn a_connection_that_is_ended_after_a_malformed_frame_ends_over_a_kill() {
    let mut world = World::of_processes("");
    let mut client = world.client();
    client.stream.write_all(b"nonsense").unwrap();
    assert_eq!(client.receive().status(), Some(Status::Malformed));
    world.kill_and_replace();
    client.stream.write_all(&[0; 100_000]).unwrap();
    assert!(client.is_closed());
    wait_until("its row is free", || world.open_connections() == 0);
    world.check_nothing_is_held();
    world.stop_process();
}

#[test]
fn the_limit_of_connections_counts_those_that_go_on() {
    let mut world = World::of_processes("[comm]\nconnections_max = 3\n");
    let mut clients: Vec<_> = (0..3).map(|_| world.client()).collect();
    for client in &mut clients {
        client.call(READ_ECHO, id(1), b"x");
    }
    world.kill_and_replace();
    assert!(world.client().is_closed());
    for client in &mut clients {
        assert_eq!(client.call(READ_ECHO, id(2), b"y").body, b"y");
    }
    drop(clients.pop());
    wait_until("there is room again", || world.open_connections() == 2);
    assert_eq!(world.client().call(READ_ECHO, id(3), b"z").body, b"z");
    world.stop_process();
}

#[test]
fn requests_beyond_the_limit_in_flight_wait_over_a_kill() {
    let mut world = World::of_processes("[comm]\nframes_in_flight_max = 4\n");
    let mut client = world.client();
    for number in 0..10 {
        client.send(READ_HOLD, id(number), b"held");
    }
    wait_until("four are in", || world.held_slots() == 4);
    world.kill_and_replace();
    client.send(READ_HOLD, id(10), b"held");
    world.client().call(1, id(99), b"so it was read");
    assert_eq!(world.held_slots(), 4, "those that are in flight count in the new process too");
    world.gate.open();
    for _ in 0..11 {
        assert_eq!(client.receive().body, b"held");
    }
    world.check_nothing_is_held();
    world.stop_process();
}

/// The system calls that tests stop at.
enum Call {
    Receive,
    Send,
    Accept,
    Shutdown,
    SignalByPidfd,
}

fn libc_number(call: Call) -> i64 {
    match call {
        Call::Receive => nix::libc::SYS_recvmsg,
        Call::Send => nix::libc::SYS_sendmsg,
        Call::Accept => nix::libc::SYS_accept4,
        Call::Shutdown => nix::libc::SYS_shutdown,
        Call::SignalByPidfd => nix::libc::SYS_pidfd_send_signal,
    }
}
