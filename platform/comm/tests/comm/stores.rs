//! The process is killed behind every single store that it makes to a connection's row, its slots and its records while it
//! answers one request (or a few), and while it takes them over: each row of the table of stores, store by store.
//!
//! For each watched word and each n, the process is killed behind the n-th store to that word, until there is no n-th. The
//! next process is then, every other time, killed behind a store of its own before a third one ends the exchange.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use gantry_frame::read_reply;
use gantry_message::{RequestId, Status};

use crate::client::{WATCHDOG, frame, wait_until};
use crate::process::{CommProcess, reap_keepers};
use crate::steps::Steps;
use crate::traffic::Random;
use crate::world::{READ_ECHO, WRITE_ECHO, World};

/// What is asked, and what must come back, in any order.
#[derive(Default)]
struct Scenario {
    sent: Vec<u8>,
    expected: Vec<(RequestId, Status, Vec<u8>)>,
    /// The node ends the connection afterwards.
    is_ended: bool,
}

impl Scenario {
    fn ask(&mut self, service: u32, id: RequestId, body: &[u8], status: Status, reply: &[u8]) {
        self.sent.extend(frame(service, id, 0, body, true));
        self.expected.push((id, status, reply.to_vec()));
    }
}

/// A scenario under way.
struct Exchange {
    stream: TcpStream,
    scenario: Scenario,
    received: Vec<u8>,
    is_over: bool,
}

impl Exchange {
    fn begin(mut stream: TcpStream, scenario: Scenario) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.write_all(&scenario.sent).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, scenario, received: Vec::new(), is_over: false }
    }

    /// Takes what has come; whether that was all.
    fn look(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        while !self.is_over {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(
                        self.scenario.is_ended && self.scenario.expected.is_empty(),
                        "the connection ended"
                    );
                    self.is_over = true;
                }
                Ok(bytes) => self.received.extend(&buffer[..bytes]),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => break,
                Err(cause) => panic!("the connection broke: {cause}"),
            }
            self.take_replies();
            self.is_over |= self.scenario.expected.is_empty() && !self.scenario.is_ended;
        }
        self.is_over
    }

    fn take_replies(&mut self) {
        while let Some(header) = self.received.get(..64) {
            let bytes: usize = std::str::from_utf8(&header[4..12]).unwrap().parse().unwrap();
            if self.received.len() < 64 + bytes {
                return;
            }
            let whole: Vec<u8> = self.received.drain(..64 + bytes).collect();
            let reply = read_reply(&mut &whole[..]).unwrap();
            let found = (reply.header.request_id, reply.status().unwrap(), reply.body);
            let place = self.scenario.expected.iter().position(|expected| *expected == found);
            let place = place.unwrap_or_else(|| panic!("not owed: {:?} {:?}", found.0, found.1));
            self.scenario.expected.swap_remove(place);
        }
    }
}

/// Addresses of the words that are watched: of the first connection, the first slots, the first records.
fn words(world: &World) -> Vec<(String, usize)> {
    let control = world.control();
    let row = &control.connections()[0];
    let at = |name: &str, field: *const u8| (name.to_owned(), field as usize);
    let mut words = vec![
        at("word", (&raw const row.word).cast()),
        at("rx", (&raw const row.rx).cast()),
        at("parsed", (&raw const row.parsed).cast()),
        at("tx", (&raw const row.tx).cast()),
        at("recorded", (&raw const row.recorded).cast()),
        at("receive_buffer", (&raw const row.receive_buffer).cast()),
        at("out_head, flags", (&raw const row.out_head).cast()),
        at("body_slot", (&raw const row.body_slot).cast()),
        at("body_start", (&raw const row.body_start).cast()),
        at("body_end", (&raw const row.body_end).cast()),
        at("discard_end", (&raw const row.discard_end).cast()),
        at("discard_record, in_transfer", (&raw const row.discard_record).cast()),
    ];
    for (index, slot) in control.slots().iter().take(2).enumerate() {
        words.push(at(&format!("slot {index} word"), (&raw const slot.word).cast()));
        words.push(at(&format!("slot {index} window_entry"), (&raw const slot.window_entry).cast()));
        words.push(at(&format!("slot {index} reply"), (&raw const slot.reply_block).cast()));
        words.push(at(&format!("slot {index} joined"), (&raw const slot.joined).cast()));
    }
    for (index, record) in control.out_records().iter().take(2).enumerate() {
        words.push(at(&format!("record {index} next"), (&raw const record.kind).cast()));
        words.push(at(&format!("record {index} start"), (&raw const record.start).cast()));
    }
    words
}

/// Lets the next process go on to the n-th store and kills it there. `false`: there was none.
fn kill_past_store(world: &World, exchange: &mut Exchange, address: usize, count: u32) -> bool {
    let process = CommProcess::start_held(world, world.next_epoch());
    let pidfd = process.pidfd();
    let mut steps = Steps::stop(process.pid(), &pidfd).unwrap();
    // The segments are there once the row is taken.
    let row = &world.control().processes()[usize::from(crate::world::COMM_ROW)];
    while row.pid().is_none() {
        assert!(steps.next_call());
    }
    let started = Instant::now();
    let is_met = steps.past_store(address, count, || {
        assert!(started.elapsed() < WATCHDOG, "neither a store nor an end: {}", exchange.received.len());
        exchange.look()
    });
    steps.kill(&pidfd);
    process.kill();
    is_met
}

/// Kills behind every store of a scenario, which is made anew with a number for its ids.
fn kill_behind_every_store(scenario: impl Fn(u64) -> Scenario) {
    let mut world = World::without_workers("");
    world.start_workers();
    let words = words(&world);
    let (mut random, mut number, mut kills, mut second_kills) = (Random::new(31), 0, 0_u32, 0_u32);
    let mut stream = None;
    for (name, address) in &words {
        let mut count = 1;
        loop {
            number += 1;
            let scenario = scenario(number);
            let is_ended = scenario.is_ended;
            let connected = stream.take().unwrap_or_else(|| TcpStream::connect(world.address()).unwrap());
            let mut exchange = Exchange::begin(connected, scenario);
            let is_met = kill_past_store(&world, &mut exchange, *address, count);
            kills += u32::from(is_met);
            if is_met && random.below(2) == 0 {
                let (_, address) = words[random.below(words.len() as u64) as usize];
                second_kills +=
                    u32::from(kill_past_store(&world, &mut exchange, address, 1 + random.below(2) as u32));
            }
            world.start_process();
            wait_until(&format!("all is answered after a death behind store {count} to {name}"), || {
                exchange.look()
            });
            world.check_nothing_is_held();
            world.process.take().unwrap().kill();
            reap_keepers(None);
            stream = (!is_ended).then_some(exchange.stream);
            if !is_met {
                break;
            }
            count += 1;
        }
    }
    println!("killed behind {kills} stores, and {second_kills} times again before the end");
    assert!(kills > 10 && second_kills > 0);
    world.start_process();
    drop(stream);
    wait_until("every connection is closed", || world.open_connections() == 0);
    world.stop_process();
}

fn id(number: u64, part: u64) -> RequestId {
    format!("s{number:019}{part:04}").parse().unwrap()
}

fn pattern(number: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index as u64 % 251 + number) as u8).collect()
}

/// A frame that goes to a worker and comes back.
fn echo(service: u32, bytes: usize) -> impl Fn(u64) -> Scenario {
    move |number| {
        let (mut scenario, body) = (Scenario::default(), pattern(number, bytes));
        scenario.ask(service, id(number, 1), &body, Status::Done, &body);
        scenario
    }
}

/// Two frames that are refused for this reason.
fn refused(bytes: usize, status: Status) -> impl Fn(u64) -> Scenario {
    move |number| {
        let (mut scenario, body) = (Scenario::default(), pattern(number, bytes));
        for part in 0..2 {
            let service = if status == Status::NoSuchService { 29_000_777 } else { WRITE_ECHO };
            scenario.ask(service, id(number, part), &body, status, b"");
            if status == Status::ChecksumWrong {
                let at = scenario.sent.len() - bytes - 8;
                scenario.sent[at..at + 8].copy_from_slice(b"0badc0de");
            }
        }
        scenario
    }
}

/// A write and its repeat.
fn repeated(bytes: usize) -> impl Fn(u64) -> Scenario {
    move |number| {
        let (mut scenario, body) = (Scenario::default(), pattern(number, bytes));
        for _ in 0..2 {
            scenario.ask(WRITE_ECHO, id(number, 1), &body, Status::Done, &body);
        }
        scenario
    }
}

#[test]
fn a_small_read() {
    kill_behind_every_store(echo(READ_ECHO, 100));
}

#[test]
fn a_large_read() {
    kill_behind_every_store(echo(READ_ECHO, 90_000));
}

#[test]
fn a_small_write() {
    kill_behind_every_store(echo(WRITE_ECHO, 700));
}

#[test]
fn a_large_write() {
    kill_behind_every_store(echo(WRITE_ECHO, 40_000));
}

#[test]
fn a_ping_that_is_answered_from_its_record() {
    kill_behind_every_store(echo(1, 100));
}

#[test]
fn a_ping_that_is_answered_from_its_block() {
    kill_behind_every_store(echo(1, 50_000));
}

#[test]
fn a_small_refusal() {
    kill_behind_every_store(refused(100, Status::NoSuchService));
}

#[test]
fn a_body_that_is_thrown_away() {
    kill_behind_every_store(refused(100_000, Status::NoSuchService));
}

#[test]
fn a_small_body_with_a_wrong_checksum() {
    kill_behind_every_store(refused(100, Status::ChecksumWrong));
}

#[test]
fn a_large_body_with_a_wrong_checksum() {
    kill_behind_every_store(refused(50_000, Status::ChecksumWrong));
}

#[test]
fn a_small_write_and_its_repeat() {
    kill_behind_every_store(repeated(200));
}

#[test]
fn a_large_write_and_its_repeat() {
    kill_behind_every_store(repeated(20_000));
}

#[test]
fn an_id_that_is_used_for_another_write() {
    kill_behind_every_store(|number| {
        let (mut scenario, body) = (Scenario::default(), pattern(number, 20_000));
        scenario.ask(WRITE_ECHO, id(number, 1), &body, Status::Done, &body);
        let another = pattern(number + 1, 20_000);
        scenario.ask(WRITE_ECHO, id(number, 1), &another, Status::RequestIdReused, b"");
        scenario
    });
}

#[test]
fn an_outcome_query() {
    kill_behind_every_store(|number| {
        let mut scenario = Scenario::default();
        let unknown = id(number, 9);
        let reply = format!("{{\"asked\":\"{unknown}\"}}");
        scenario.ask(2, id(number, 1), unknown.as_bytes(), Status::Done, reply.as_bytes());
        scenario
    });
}

#[test]
fn a_malformed_frame_behind_a_good_one() {
    kill_behind_every_store(|number| {
        let mut scenario = Scenario { is_ended: true, ..Scenario::default() };
        scenario.ask(READ_ECHO, id(number, 1), b"good", Status::Done, b"good");
        scenario.sent.extend(b"nonsense, and then some");
        let told = br#"{"error":"malformed","field":"magic","position":0}"#;
        scenario.expected.push((RequestId::ZERO, Status::Malformed, told.to_vec()));
        scenario
    });
}
