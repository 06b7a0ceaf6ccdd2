//! What clients and workers do, and what must come of it.

use std::time::Duration;

use gantry_frame::{Reply, Request, write_request};
use gantry_message::{RequestId, ServiceNumber, Status};

use crate::world::{BODY_BYTES_MAX, LARGE_BYTES, READ, UNKNOWN, WRITE};

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
    /// The client goes away, when it has been answered what the scenario expects.
    Leave,
    /// The client goes away by a reset, whatever it is owed.
    Reset,
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
    /// The connection ends.
    pub(crate) ends: bool,
    /// Time-outs of idle connections, and of frames that are there in part, in milliseconds; 0 = none.
    pub(crate) idle_ms: u32,
    pub(crate) partial_ms: u32,
    /// Rows of the table in `README.md` that it attacks.
    pub(crate) rows: &'static [&'static str],
}

impl Scenario {
    fn new(name: &'static str, rows: &'static [&'static str]) -> Self {
        Self {
            name,
            acts: Vec::new(),
            expected: Vec::new(),
            runs: 1,
            ends: false,
            idle_ms: 0,
            partial_ms: 0,
            rows,
        }
    }

    /// The same, with a connection that ends.
    fn ends(self) -> Self {
        Self { ends: true, ..self }
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

    fn expect_any(mut self, number: u8, statuses: &[Status]) -> Self {
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
fn echo(name: &'static str, rows: &'static [&'static str], service: u32, bytes: usize) -> Scenario {
    let sent = body(1, bytes);
    Scenario::new(name, rows).send(frame(service, 1, &sent)).act(Act::Serve).expect(1, Status::Done, sent)
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    [requests(), refusals(), ends(), repeats(), misfortunes()].concat()
}

/// What every request that a worker runs goes through.
const WAY: &[&str] = &["accept-1", "receive-1", "small-1", "reply-1", "send-1"];
const LARGE: &[&str] = &["large-1", "large-2"];

fn requests() -> Vec<Scenario> {
    let (small, large) = (body(1, 100), body(2, LARGE_BYTES));
    let whole = frame(READ, 2, &large);
    let pieces = |name, rows, at: usize| {
        Scenario::new(name, rows)
            .send(whole[..at].to_vec())
            .send(whole[at..].to_vec())
            .act(Act::Serve)
            .expect(2, Status::Done, large.clone())
    };
    vec![
        echo("a small read", WAY, READ, 100),
        echo("a read without a body", WAY, READ, 0),
        echo("a large read", LARGE, READ, LARGE_BYTES),
        echo("a small write", &["write-1", "reply-1"], WRITE, 700),
        echo("a large write", &["large-1", "large-2", "write-1"], WRITE, LARGE_BYTES),
        pieces("a frame cut in its header", &["receive-1"], 30),
        pieces("a frame cut in its body", LARGE, 1_000),
        Scenario::new("two frames at once", WAY)
            .send([frame(READ, 1, &small), frame(WRITE, 3, &small)].concat())
            .act(Act::Serve)
            .expect(1, Status::Done, small.clone())
            .expect(3, Status::Done, small.clone()),
        Scenario::new("a small ping", &["reply-1"]).send(frame(1, 1, &small)).expect(
            1,
            Status::Done,
            small.clone(),
        ),
        Scenario::new("a large ping", LARGE).send(frame(1, 2, &large)).expect(2, Status::Done, large.clone()),
    ]
}

fn refusals() -> Vec<Scenario> {
    let (small, large) = (body(1, 100), body(2, LARGE_BYTES));
    let refused = |name, rows, sent: Vec<u8>, number, status| {
        Scenario::new(name, rows).send(sent).expect(number, status, Vec::new())
    };
    let (unknown, small_frame) = (frame(UNKNOWN, 2, &large), frame(READ, 1, &small));
    let wrong_write = wrong(frame(WRITE, 2, &large));
    vec![
        refused("a small refusal", &["refuse-1"], frame(UNKNOWN, 1, &small), 1, Status::NoSuchService),
        refused("a refused body", &["refuse-2"], unknown.clone(), 2, Status::NoSuchService),
        refused("a small wrong checksum", &["refuse-1"], wrong(small_frame), 1, Status::ChecksumWrong),
        refused("a large wrong checksum", &["large-3"], wrong_write, 2, Status::ChecksumWrong),
        Scenario::new("a refused body in two pieces", &["refuse-2"])
            .send(unknown[..1_000].to_vec())
            .send(unknown[1_000..].to_vec())
            .expect(2, Status::NoSuchService, Vec::new()),
    ]
}

/// Connections that end, in each way.
fn ends() -> Vec<Scenario> {
    let (small, large) = (body(1, 100), body(2, LARGE_BYTES));
    let part = |service, bytes: usize| frame(service, 2, &large)[..bytes].to_vec();
    let malformed = [frame(READ, 1, &small), b"nonsense, and then some".to_vec()].concat();
    let too_large = frame(READ, 2, &body(2, BODY_BYTES_MAX + 1))[..500].to_vec();
    vec![
        Scenario::new("a client that comes and goes", &["accept-1", "close-1"])
            .act(Act::Nothing)
            .act(Act::Leave)
            .ends(),
        Scenario { idle_ms: 2, ..Scenario::new("an idle client", &["close-1"]).act(Act::Wait(LATE)).ends() },
        Scenario {
            partial_ms: 2,
            ..Scenario::new("half a header that is late", &["close-1"])
                .send(part(READ, 30))
                .act(Act::Wait(LATE))
                .ends()
        },
        Scenario {
            partial_ms: 2,
            ..Scenario::new("half a body that is late", &["close-1", "large-1"])
                .send(part(READ, 1_000))
                .act(Act::Wait(LATE))
                .ends()
        },
        Scenario::new("a client that leaves while its request runs", &["close-1"])
            .send(frame(READ, 1, &small))
            .act(Act::Take)
            .act(Act::Leave)
            .act(Act::Finish)
            .ends(),
        Scenario::new("a client that is gone while its request runs", &["close-1"])
            .send(frame(READ, 1, &small))
            .act(Act::Take)
            .act(Act::Reset)
            .act(Act::Finish)
            .ends(),
        Scenario::new("a client that leaves in the middle of a body", &["end-1", "close-1"])
            .send(part(READ, 1_000))
            .act(Act::Leave)
            .ends(),
        echo("a read and the client's end", &["end-1"], READ, 100).act(Act::EndSending).ends(),
        Scenario::new("a body that never becomes whole", &["end-1"])
            .send(part(READ, 1_000))
            .act(Act::EndSending)
            .ends(),
        Scenario::new("a refused body that never becomes whole", &["end-1"])
            .send(part(UNKNOWN, 1_000))
            .act(Act::EndSending)
            .ends(),
        Scenario::new("a malformed frame behind a good one", &["wrong-1", "close-1"])
            .send(malformed)
            .act(Act::Serve)
            .act(Act::Leave)
            .expect(1, Status::Done, small)
            .expect(0, Status::Malformed, Vec::new())
            .ends(),
        Scenario::new("a body that is too large", &["wrong-1", "close-1"])
            .send(too_large)
            .act(Act::Leave)
            .expect(2, Status::BodyTooLarge, Vec::new())
            .ends(),
    ]
}

fn repeats() -> Vec<Scenario> {
    let (small, other) = (body(1, 200), body(7, 200));
    let write = frame(WRITE, 1, &small);
    let hasty = budgeted(WRITE, 1, &small, 1);
    let done = |scenario: Scenario| scenario.expect(1, Status::Done, body(1, 200));
    let twice = |scenario: Scenario| done(done(scenario));
    let scenario = |name| Scenario::new(name, &["write-1", "join-1"]);
    vec![
        twice(
            scenario("a repeat of a write that runs")
                .send(write.clone())
                .act(Act::Take)
                .send(write.clone())
                .act(Act::Finish),
        ),
        twice(
            scenario("a repeat of a write that is done")
                .send(write.clone())
                .act(Act::Serve)
                .send(write.clone()),
        ),
        twice(
            scenario("a write and its repeat at once")
                .send([write.clone(), write.clone()].concat())
                .act(Act::Serve),
        ),
        done(
            scenario("a repeat that does not wait as long as its original runs")
                .send(write.clone())
                .act(Act::Take)
                .send(hasty.clone())
                .act(Act::Wait(LATE))
                .act(Act::Finish),
        )
        .expect_any(1, &[Status::TimedOut, Status::BudgetSpent, Status::Done]),
        twice(
            Scenario::new("repeats of a write that expires", &["promote-1"])
                .send([hasty, write.clone(), write.clone()].concat())
                .act(Act::Wait(LATE))
                .act(Act::Serve),
        )
        .expect_any(1, &[Status::BudgetSpent, Status::Done]),
        scenario("an id that is used again")
            .send(write)
            .act(Act::Serve)
            .send(frame(WRITE, 1, &other))
            .expect(1, Status::Done, small)
            .expect(1, Status::RequestIdReused, Vec::new()),
    ]
}

/// Longer than the budget of the frames that run out of time, and than any time-out.
const LATE: Duration = Duration::from_millis(4);

fn misfortunes() -> Vec<Scenario> {
    let small = body(1, 100);
    let lose = |is_executed| Act::Lose { is_executed };
    let taken = |name, rows, sent: Vec<u8>| Scenario::new(name, rows).send(sent).act(Act::Take);
    let (read, write) = (frame(READ, 1, &small), frame(WRITE, 1, &small));
    vec![
        Scenario::new("a read that expires", &["expire-1"])
            .send(budgeted(READ, 1, &small, 1))
            .act(Act::Wait(LATE))
            .expect(1, Status::BudgetSpent, Vec::new()),
        taken("a write that times out", &["late-1"], budgeted(WRITE, 1, &small, 1))
            .act(Act::Wait(LATE))
            .act(Act::Finish)
            .expect_any(1, &[Status::TimedOut, Status::BudgetSpent]),
        Scenario { runs: 2, ..taken("a read whose worker dies", &["late-1"], read) }
            .act(lose(false))
            .act(Act::Serve)
            .expect(1, Status::Done, small.clone()),
        taken("a write whose worker dies", &["late-1"], write.clone()).act(lose(false)).expect(
            1,
            Status::WorkerLost,
            Vec::new(),
        ),
        Scenario {
            runs: 2,
            ..taken("a write whose worker dies before the commit", &["late-1"], write.clone())
        }
        .act(lose(true))
        .act(Act::Serve)
        .expect(1, Status::Done, small.clone()),
        taken("a repeat of a write that is lost", &["late-1", "join-1"], write.clone())
            .send(write)
            .act(lose(false))
            .expect(1, Status::WorkerLost, Vec::new())
            .expect(1, Status::WorkerLost, Vec::new()),
    ]
}
