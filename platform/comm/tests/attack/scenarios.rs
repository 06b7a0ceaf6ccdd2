//! What clients and workers do, and what must come of it.

use std::time::Duration;

use gantry_frame::{Reply, Request, write_request};
use gantry_message::{RequestId, ServiceNumber, Status};

use crate::world::{LARGE_BYTES, READ, UNKNOWN, WRITE};

/// One thing that happens outside of the communication process.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Nothing,
    Send(Vec<u8>),
    /// The client sends no more.
    EndSending,
    /// The worker takes and answers all there is.
    Serve,
    /// The worker takes one.
    Take,
    /// It answers that one.
    Finish,
    /// It dies with that one.
    Lose {
        is_executed: bool,
    },
    Wait(Duration),
}

/// What a frame is answered: any of these.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    id: RequestId,
    statuses: Vec<Status>,
    body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) acts: Vec<Act>,
    pub(crate) expected: Vec<Expected>,
    /// How often each request that is run at all is run.
    pub(crate) runs: u32,
    /// The node ends the connection.
    pub(crate) ends: bool,
}

impl Scenario {
    fn new(name: &'static str) -> Self {
        Self { name, acts: vec![Act::Nothing], expected: Vec::new(), runs: 1, ends: false }
    }

    fn act(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    fn send(self, bytes: Vec<u8>) -> Self {
        self.act(Act::Send(bytes))
    }

    fn expect(mut self, number: u8, status: Status, body: Vec<u8>) -> Self {
        self.expected.push(Expected { id: id(number), statuses: vec![status], body });
        self
    }

    fn expect_either(mut self, number: u8, statuses: [Status; 2]) -> Self {
        self.expected.push(Expected { id: id(number), statuses: statuses.to_vec(), body: Vec::new() });
        self
    }

    /// Whether a reply is one of those that are owed.
    pub(crate) fn expects(&self, reply: &Reply) -> bool {
        self.expected.iter().any(|expected| {
            let status = reply.status();
            expected.id == reply.header.request_id
                && expected.statuses.iter().any(|one| status == Some(*one))
                && (expected.body == reply.body || expected.statuses[0] != Status::Done)
        })
    }
}

fn id(number: u8) -> RequestId {
    if number == 0 {
        return RequestId::ZERO;
    }
    format!("attack-{number:017}").parse().unwrap()
}

fn body(number: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8 ^ number).collect()
}

fn budgeted(service: u32, number: u8, body: &[u8], budget_ms: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let service = ServiceNumber::new(service).unwrap();
    let request = Request { service, request_id: id(number), budget_ms, body, with_checksum: true };
    write_request(&mut bytes, &request).unwrap();
    bytes
}

fn frame(service: u32, number: u8, body: &[u8]) -> Vec<u8> {
    budgeted(service, number, body, 0)
}

/// The frame with a checksum that is not its body's.
fn wrong(mut frame: Vec<u8>) -> Vec<u8> {
    frame[56..64].copy_from_slice(b"0badc0de");
    frame
}

/// A request that goes to a worker and comes back.
fn echo(name: &'static str, service: u32, bytes: usize) -> Scenario {
    let sent = body(1, bytes);
    Scenario::new(name).send(frame(service, 1, &sent)).act(Act::Serve).expect(1, Status::Done, sent)
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = requests();
    all.extend(refusals());
    all.extend(repeats());
    all.extend(misfortunes());
    all
}

fn requests() -> Vec<Scenario> {
    let (small, large) = (body(1, 100), body(2, LARGE_BYTES));
    let whole = frame(READ, 2, &large);
    let pieces = |name, at: usize| {
        Scenario::new(name)
            .send(whole[..at].to_vec())
            .act(Act::Nothing)
            .send(whole[at..].to_vec())
            .act(Act::Serve)
            .expect(2, Status::Done, large.clone())
    };
    vec![
        echo("a small read", READ, 100),
        echo("a read without a body", READ, 0),
        echo("a large read", READ, LARGE_BYTES),
        echo("a small write", WRITE, 700),
        echo("a large write", WRITE, LARGE_BYTES),
        pieces("a frame cut in its header", 30),
        pieces("a frame cut in its body", 1_000),
        Scenario::new("two frames at once")
            .send([frame(READ, 1, &small), frame(WRITE, 3, &small)].concat())
            .act(Act::Serve)
            .expect(1, Status::Done, small.clone())
            .expect(3, Status::Done, small.clone()),
        Scenario::new("a small ping").send(frame(1, 1, &small)).expect(1, Status::Done, small.clone()),
        Scenario::new("a large ping").send(frame(1, 2, &large)).expect(2, Status::Done, large.clone()),
        Scenario { ends: true, ..echo("a read and the client's end", READ, 100) }.act(Act::EndSending),
        Scenario { ends: true, ..Scenario::new("a body that never becomes whole") }
            .send(whole[..1_000].to_vec())
            .act(Act::EndSending),
    ]
}

fn refusals() -> Vec<Scenario> {
    let (small, large) = (body(1, 100), body(2, LARGE_BYTES));
    let refused = |name, sent: Vec<u8>, number, status| {
        Scenario::new(name).send(sent).expect(number, status, Vec::new())
    };
    let malformed = [frame(READ, 1, &small), b"nonsense, and then some".to_vec()].concat();
    vec![
        refused("a small refusal", frame(UNKNOWN, 1, &small), 1, Status::NoSuchService),
        refused("a refused body", frame(UNKNOWN, 2, &large), 2, Status::NoSuchService),
        refused("a small wrong checksum", wrong(frame(READ, 1, &small)), 1, Status::ChecksumWrong),
        refused("a large wrong checksum", wrong(frame(WRITE, 2, &large)), 2, Status::ChecksumWrong),
        Scenario::new("a refused body in two pieces")
            .send(frame(UNKNOWN, 2, &large)[..1_000].to_vec())
            .send(frame(UNKNOWN, 2, &large)[1_000..].to_vec())
            .expect(2, Status::NoSuchService, Vec::new()),
        Scenario { ends: true, ..Scenario::new("a malformed frame behind a good one") }
            .send(malformed)
            .act(Act::Serve)
            .expect(1, Status::Done, small)
            .expect(0, Status::Malformed, Vec::new()),
    ]
}

fn repeats() -> Vec<Scenario> {
    let (small, other) = (body(1, 200), body(7, 200));
    let write = frame(WRITE, 1, &small);
    let twice = |scenario: Scenario| {
        scenario.expect(1, Status::Done, body(1, 200)).expect(1, Status::Done, body(1, 200))
    };
    vec![
        twice(
            Scenario::new("a repeat of a write that runs")
                .send(write.clone())
                .act(Act::Take)
                .send(write.clone())
                .act(Act::Finish),
        ),
        twice(
            Scenario::new("a repeat of a write that is done")
                .send(write.clone())
                .act(Act::Serve)
                .send(write.clone()),
        ),
        twice(
            Scenario::new("a write and its repeat at once")
                .send([write.clone(), write.clone()].concat())
                .act(Act::Serve),
        ),
        Scenario::new("an id that is used again")
            .send(write.clone())
            .act(Act::Serve)
            .send(frame(WRITE, 1, &other))
            .expect(1, Status::Done, small)
            .expect(1, Status::RequestIdReused, Vec::new()),
    ]
}

/// Longer than the budget of the frames that run out of time.
const LATE: Duration = Duration::from_millis(3);

fn misfortunes() -> Vec<Scenario> {
    let small = body(1, 100);
    let lose = |is_executed| Act::Lose { is_executed };
    vec![
        Scenario::new("a read that expires").send(budgeted(READ, 1, &small, 1)).act(Act::Wait(LATE)).expect(
            1,
            Status::BudgetSpent,
            Vec::new(),
        ),
        Scenario::new("a write that times out")
            .send(budgeted(WRITE, 1, &small, 1))
            .act(Act::Take)
            .act(Act::Wait(LATE))
            .act(Act::Finish)
            .expect_either(1, [Status::TimedOut, Status::BudgetSpent]),
        Scenario { runs: 2, ..Scenario::new("a read whose worker dies") }
            .send(frame(READ, 1, &small))
            .act(Act::Take)
            .act(lose(false))
            .act(Act::Serve)
            .expect(1, Status::Done, small.clone()),
        Scenario::new("a write whose worker dies")
            .send(frame(WRITE, 1, &small))
            .act(Act::Take)
            .act(lose(false))
            .expect(1, Status::WorkerLost, Vec::new()),
        Scenario { runs: 2, ..Scenario::new("a write whose worker dies before the commit") }
            .send(frame(WRITE, 1, &small))
            .act(Act::Take)
            .act(lose(true))
            .act(Act::Serve)
            .expect(1, Status::Done, small.clone()),
        Scenario::new("a repeat of a write that is lost")
            .send(frame(WRITE, 1, &small))
            .act(Act::Take)
            .send(frame(WRITE, 1, &small))
            .act(lose(false))
            .expect(1, Status::WorkerLost, Vec::new())
            .expect(1, Status::WorkerLost, Vec::new()),
    ]
}
