//! Clients that keep many requests in flight, in pieces, and check every byte of every reply.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gantry_frame::{Reply, read_reply};
use gantry_message::{RequestId, Status};
use gantry_sys::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crate::client::{WATCHDOG, frame};
use crate::world::{READ_ECHO, WRITE_ECHO};

/// A small generator whose seed is printed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

/// The body of a request: a function of its number.
fn body(number: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut body = Vec::with_capacity(bytes + 8);
    while body.len() < bytes {
        body.extend(random.below(u64::MAX).to_le_bytes());
    }
    body.truncate(bytes);
    body
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Requests in flight.
    pub(crate) window: usize,
    /// Longest body in bytes.
    pub(crate) bytes_max: u64,
    /// Sends in pieces of at most so many bytes, with a pause now and then; 0 = all at once.
    pub(crate) piece: usize,
    /// Reads at most so many bytes at a time, with pauses; 0 = as they come.
    pub(crate) sip: usize,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answered: AtomicU64,
}

/// Connects, asks some, ends the stream in one of three ways, and gets all that it is owed, then the end.
fn end_early(address: SocketAddr, first: u64, shared: &Shared) -> u64 {
    let (mut random, mut answered, mut number) = (Random::new(first), 0, first);
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        let mut sent = Vec::new();
        let mut owed = std::collections::HashSet::new();
        for _ in 0..random.below(6) {
            number += 1;
            let id: RequestId = format!("e{number:023}").parse().unwrap();
            sent.extend(frame(READ_ECHO, id, 0, &body(number, random.below(9000) as usize), false));
            owed.insert(id);
        }
        let mut is_wrong = false;
        match random.below(3) {
            0 => {
                is_wrong = true;
                sent.extend(vec![b'?'; random.below(30_000) as usize + 1]);
            }
            1 => {
                is_wrong = true;
                let id = format!("w{number:023}").parse().unwrap();
                sent.extend(frame(READ_ECHO, id, 0, &vec![7; (1 << 20) + 1], false));
            }
            // A frame in part, of which nothing will come of.
            _ => sent.extend(
                &frame(READ_ECHO, RequestId::ZERO, 0, &body(9, 9000), false)[..random.below(9000) as usize],
            ),
        }
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the end, and no reset");
        let mut rest = &received[..];
        while !rest.is_empty() {
            let reply = read_reply(&mut rest).expect("whole replies");
            match reply.status() {
                Some(Status::Done) => assert!(owed.remove(&reply.header.request_id), "one answer each"),
                Some(Status::Malformed | Status::BodyTooLarge) => assert!(std::mem::take(&mut is_wrong)),
                other => panic!("{other:?}"),
            }
            answered += 1;
        }
        assert!(owed.is_empty() && !is_wrong, "{} answers are missing", owed.len());
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    answered
}

/// Clients at work.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<u64>>,
}

impl Traffic {
    pub(crate) fn start(address: SocketAddr, seed: u64, manners: &[Manners]) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |(index, manners): (usize, &Manners)| {
            let (shared, manners) = (shared.clone(), *manners);
            let first = (seed << 32) + ((index as u64) << 24);
            let stream = TcpStream::connect(address).unwrap();
            std::thread::spawn(move || Talk::new(stream, first, manners).go_on(&shared))
        };
        let mut clients: Vec<_> = manners.iter().enumerate().map(client).collect();
        let theirs = shared.clone();
        clients.push(std::thread::spawn(move || end_early(address, (seed << 32) + (99 << 24), &theirs)));
        Self { shared, clients }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Whether a client failed already.
    pub(crate) fn has_failed(&self) -> bool {
        self.clients.iter().any(JoinHandle::is_finished)
    }

    /// Lets every client get its last replies, and gives how many there were.
    pub(crate) fn end(self) -> u64 {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).sum()
    }
}

/// What a request is to be answered.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    service: u32,
    status: Status,
    has_checksum: bool,
    /// Number and bytes of the body that is to come back; `None`: none.
    echo: Option<(u64, usize)>,
    /// What comes back instead.
    text: Option<String>,
}

/// One connection's talk.
struct Talk {
    stream: TcpStream,
    manners: Manners,
    random: Random,
    next: u64,
    /// What is owed for each id; several for an id that is used again.
    waiting: HashMap<RequestId, Vec<Expected>>,
    waiting_count: usize,
    to_send: Vec<u8>,
    received: Vec<u8>,
    answered: u64,
    moved: Instant,
}

impl Talk {
    fn new(stream: TcpStream, first: u64, manners: Manners) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            manners,
            random: Random::new(first + 1),
            next: first,
            waiting: HashMap::new(),
            waiting_count: 0,
            to_send: Vec::new(),
            received: Vec::new(),
            answered: 0,
            moved: Instant::now(),
        }
    }

    fn go_on(mut self, shared: &Shared) -> u64 {
        while !shared.is_over.load(Ordering::Relaxed) || self.waiting_count > 0 || !self.to_send.is_empty() {
            while !shared.is_over.load(Ordering::Relaxed) && self.waiting_count < self.manners.window {
                self.ask();
            }
            let before = self.answered;
            let has_moved = self.send() | self.receive();
            shared.answered.fetch_add(self.answered - before, Ordering::Relaxed);
            if has_moved {
                self.moved = Instant::now();
            } else {
                assert!(
                    self.moved.elapsed() < WATCHDOG,
                    "{:?}: {} replies are missing, {} bytes not sent",
                    self.manners,
                    self.waiting_count,
                    self.to_send.len()
                );
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        self.answered
    }

    /// Puts the next request into the stream.
    fn ask(&mut self) {
        let number = self.next;
        self.next += 1;
        // Mostly small ones, and often enough a large one.
        let bytes_max = if self.random.below(3) == 0 { self.manners.bytes_max } else { 600 };
        let bytes = self.random.below(bytes_max + 1) as usize;
        let id: RequestId = format!("t{number:023}").parse().unwrap();
        let has_checksum = self.random.below(2) == 0;
        let echo = |service| Expected {
            service,
            status: Status::Done,
            has_checksum: has_checksum && bytes > 0,
            echo: Some((number, bytes)),
            text: None,
        };
        let refused = |service, status| Expected { status, has_checksum: false, echo: None, ..echo(service) };
        let content = body(number, bytes);
        match self.random.below(16) {
            0 => self.put(id, &content, false, refused(29_000_777, Status::NoSuchService)),
            1 if bytes > 0 => {
                self.put(
                    id,
                    &content,
                    true,
                    refused([READ_ECHO, WRITE_ECHO][number as usize % 2], Status::ChecksumWrong),
                );
                // In its header: the checksum of other bytes.
                let at = self.to_send.len() - bytes - 8;
                self.to_send[at..at + 8].copy_from_slice(b"0badc0de");
            }
            // The same write twice: the second joins the first, or gets its recorded reply.
            2 => {
                self.put(id, &content, has_checksum, echo(WRITE_ECHO));
                self.put(id, &content, has_checksum, echo(WRITE_ECHO));
            }
            // The same id for another write.
            3 => {
                self.put(id, &content, has_checksum, echo(WRITE_ECHO));
                self.put(id, b"another", false, refused(WRITE_ECHO, Status::RequestIdReused));
            }
            4 => {
                let unknown = format!("u{number:023}");
                let text = Some(format!("{{\"asked\":\"{unknown}\"}}"));
                let expected = Expected { text, ..refused(2, Status::Done) };
                self.put(id, unknown.as_bytes(), false, expected);
            }
            5..=7 => self.put(id, &content, has_checksum, echo(1)),
            8..=11 => self.put(id, &content, has_checksum, echo(WRITE_ECHO)),
            _ => self.put(id, &content, has_checksum, echo(READ_ECHO)),
        }
    }

    fn put(&mut self, id: RequestId, content: &[u8], with_checksum: bool, expected: Expected) {
        self.to_send.extend(frame(expected.service, id, 0, content, with_checksum));
        self.waiting.entry(id).or_default().push(expected);
        self.waiting_count += 1;
    }

    fn send(&mut self) -> bool {
        if self.to_send.is_empty() {
            return false;
        }
        let piece = if self.manners.piece == 0 { self.to_send.len() } else { self.manners.piece };
        if self.manners.piece != 0 && self.random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(self.random.below(700)));
        }
        let count = self.random.below(piece as u64) as usize + 1;
        match self.stream.write(&self.to_send[..count.min(self.to_send.len())]) {
            Ok(bytes) => {
                self.to_send.drain(..bytes);
                true
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => false,
            Err(cause) => panic!("{:?}: the connection broke while sending: {cause}", self.manners),
        }
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0_u8; 64 * 1024];
        let sip = if self.manners.sip == 0 { buffer.len() } else { self.manners.sip };
        if self.manners.sip != 0 && self.random.below(3) != 0 {
            std::thread::sleep(Duration::from_micros(self.random.below(300)));
        }
        match self.stream.read(&mut buffer[..sip]) {
            Ok(0) => panic!("{:?}: the connection ended", self.manners),
            Ok(bytes) => {
                self.received.extend(&buffer[..bytes]);
                self.check();
                true
            }
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => false,
            Err(cause) => panic!("{:?}: the connection broke while receiving: {cause}", self.manners),
        }
    }

    /// Takes whole replies off the front.
    fn check(&mut self) {
        let mut done = 0;
        while let Some(length) = reply_bytes(&self.received[done..]) {
            let mut bytes = &self.received[done..done + length];
            let reply = read_reply(&mut bytes).expect("a reply in the right place of the stream");
            let owed = self.waiting.get_mut(&reply.header.request_id).expect("an answer to what was asked");
            let place = owed.iter().position(|expected| expected.is_met_by(&reply));
            let place = place.unwrap_or_else(|| {
                let said = String::from_utf8_lossy(&reply.body[..reply.body.len().min(100)]);
                let (status, header) = (reply.status(), &reply.header);
                panic!("{owed:?} {status:?}: {header:?}, {} bytes: {said}", reply.body.len())
            });
            owed.swap_remove(place);
            if owed.is_empty() {
                self.waiting.remove(&reply.header.request_id);
            }
            self.waiting_count -= 1;
            self.answered += 1;
            done += length;
        }
        self.received.drain(..done);
    }
}

impl Expected {
    fn is_met_by(&self, reply: &Reply) -> bool {
        let is_body = match (&self.echo, &self.text) {
            (Some((number, bytes)), _) => reply.body == body(*number, *bytes),
            (None, Some(text)) => reply.body == text.as_bytes(),
            (None, None) => reply.body.is_empty(),
        };
        // The checksum of nothing is 0, which says "not checked".
        let is_checked = reply.header.checksum.is_some() == self.has_checksum;
        reply.status() == Some(self.status)
            && reply.header.service.get() == self.service
            && is_checked
            && is_body
    }
}

/// Bytes of the reply at the front, if it is there whole.
fn reply_bytes(received: &[u8]) -> Option<usize> {
    let header = received.get(..64)?;
    assert_eq!(&header[..4], b"ETC1", "{:?}", String::from_utf8_lossy(header));
    let body: usize = std::str::from_utf8(&header[4..12]).unwrap().parse().unwrap();
    (received.len() >= 64 + body).then_some(64 + body)
}
