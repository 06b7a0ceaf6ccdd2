//! One client: a connection with pipelined requests of all kinds, and what it expects of each.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::errand::{Errand, Next};
use super::hall::{Hall, Phase, Probe};
use super::plan::Role;
use super::reads::{ReadErrand, Verdict};
use super::spoil::Spoil;
use super::wire::{Ended, Wire};
use crate::etc::OUTCOME;
use crate::{Reply, Request};

/// Finished writes that a client remembers, to send them again.
const FINISHED_MAX: usize = 60;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything, over TCP.
    Mixed,
    /// Everything, over the Unix socket. Such a connection may end when the communication process dies in the middle of a
    /// transfer on it, since the kernel does not tell how far that had got.
    Unix,
    /// One small request after the other, to measure.
    Probe(Probe),
}

/// A frame that is under way.
enum Flight {
    Read {
        read: ReadErrand,
        is_large: bool,
    },
    /// One of the frames of the write with the frame's own id.
    Attempt,
    /// The outcome query about this write.
    Query {
        about: String,
    },
    /// A finished write once more; it must get the same answer.
    Repeat {
        status: u16,
        body: Option<Vec<u8>>,
    },
    /// A finished write's id with another body.
    Misuse,
}

/// A frame that was sent and is not answered.
struct Sent {
    at: Instant,
    service: u32,
    flight: Flight,
}

/// What waits for its time.
enum Step {
    Read(ReadErrand),
    Attempt(String),
    Query(String),
}

/// A finished write.
struct Finished {
    request: Request,
    status: u16,
    body: Option<Vec<u8>>,
}

/// A client.
pub(super) struct Actor<'a> {
    pub(super) index: usize,
    part: Part,
    hall: &'a Hall,
    dice: Dice,
    wire: Option<Wire>,
    depth: usize,
    flights: HashMap<String, Vec<Sent>>,
    flights_count: usize,
    errands: HashMap<String, Errand>,
    steps: Vec<(Instant, Step)>,
    finished: VecDeque<Finished>,
    next_burst: Instant,
    replies: Vec<Reply>,
    is_over: bool,
}

impl<'a> Actor<'a> {
    pub(super) fn new(index: usize, part: Part, hall: &'a Hall) -> Self {
        let mut dice = Dice::new(hall.plan.seed, 1000 + index as u64);
        let depth = if matches!(part, Part::Probe(_)) { 1 } else { 1 + dice.below(12) };
        Self {
            index,
            part,
            hall,
            dice,
            wire: None,
            depth,
            flights: HashMap::new(),
            flights_count: 0,
            errands: HashMap::new(),
            steps: Vec::new(),
            finished: VecDeque::new(),
            next_burst: Instant::now(),
            replies: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// Whether it has left.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Does what is due: new requests, second tries, queries, the end.
    pub(super) fn act(&mut self, now: Instant) {
        if self.is_over {
            return;
        }
        let phase = self.hall.phase();
        let is_idle = self.flights_count == 0 && self.errands.is_empty() && self.steps.is_empty();
        if phase == Phase::Closing && is_idle {
            return self.leave();
        }
        if !self.connect() {
            return;
        }
        if self.wire.as_ref().is_some_and(Wire::is_half_closed) {
            return;
        }
        self.take_steps(now);
        if phase == Phase::Chaos && now >= self.next_burst {
            self.burst(now);
            if !matches!(self.part, Part::Probe(_)) && self.dice.chance(1) {
                self.hang_up();
            }
        }
        if let Some(wire) = self.wire.as_mut()
            && wire.flush().is_err()
        {
            // Why, is found when it is read.
            self.hall.count("sends that failed");
        }
    }

    /// Takes what has come.
    pub(super) fn listen(&mut self) {
        let Some(wire) = self.wire.as_mut() else { return };
        let mut replies = std::mem::take(&mut self.replies);
        let ended = wire.receive(&mut replies);
        for reply in replies.drain(..) {
            self.take_reply(&reply);
        }
        self.replies = replies;
        match ended {
            Ok(Ended::No) => {}
            Ok(ended) => self.end_connection(&ended),
            Err(words) => {
                self.fault(&words);
                self.wire = None;
                self.lose_flights();
            }
        }
    }

    /// In words, what it waits for; empty when it waits for nothing.
    pub(super) fn open_words(&self) -> String {
        let mut words = String::new();
        for (id, flights) in self.flights.iter().take(3) {
            let kind = flights.first().map_or("", |sent| sent.flight.name());
            words.push_str(&format!("{kind} {id} is not answered; "));
        }
        for (id, errand) in self.errands.iter().take(3) {
            let tries = errand.tries_count();
            let task: String = format!("{:?}", errand.task).chars().take(150).collect();
            words.push_str(&format!("{task} ({id}) is not settled after {tries} tries; "));
        }
        if words.is_empty() && !self.steps.is_empty() {
            words.push_str("something waits for its second try");
        }
        words
    }

    fn connect(&mut self) -> bool {
        if self.wire.is_some() {
            return true;
        }
        let wire = match self.part {
            Part::Unix => Wire::unix(&self.hall.unix_socket),
            _ => Wire::tcp(self.hall.address),
        };
        match wire {
            Ok(wire) => {
                self.hall.count("connections");
                self.wire = Some(wire);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.fault(&format!("the node refused a connection: {error}"));
                self.next_burst = Instant::now() + Duration::from_millis(100);
                false
            }
        }
    }

    /// Half-closes and waits for the node to close; an idle connection owes it nothing.
    fn leave(&mut self) {
        match self.wire.as_mut() {
            None => self.is_over = true,
            Some(wire) if wire.is_half_closed() => {}
            Some(wire) => {
                if let Err(error) = wire.finish_sending() {
                    self.fault(&format!("an idle connection cannot be half-closed: {error}"));
                    self.is_over = true;
                }
            }
        }
    }

    fn burst(&mut self, now: Instant) {
        let pause = if matches!(self.part, Part::Probe(_)) { 1 } else { self.dice.between(5, 60) };
        self.next_burst = now + Duration::from_millis(pause);
        let room = self.depth.saturating_sub(self.flights_count + self.steps.len());
        let count = if room == 0 { 0 } else { 1 + self.dice.below(room) };
        for _ in 0..count {
            match self.part {
                Part::Probe(Probe::Read) => self.send_read(ReadErrand::probe()),
                Part::Probe(Probe::Write) => self.new_write(),
                _ if self.dice.chance(40) => self.send_finished_again(),
                _ if self.dice.chance(400) && self.hall.begin_write() => self.new_write(),
                _ => {
                    let is_versioned = self.hall.is_versioned();
                    let read = ReadErrand::draw(&self.hall.books(), &mut self.dice, is_versioned);
                    self.send_read(read);
                }
            }
        }
    }

    fn new_write(&mut self) {
        let task = match self.part {
            Part::Probe(_) => super::books::Task::Add { key: "probe".to_owned(), amount: 1 },
            _ => self.hall.books().draw(&mut self.dice),
        };
        let has_budget = self.part == Part::Mixed && self.dice.chance(60);
        let budget_ms = if has_budget { self.dice.between(1, 60) } else { 0 };
        let errand = Errand::new(task, u32::try_from(budget_ms).unwrap_or(0), &mut self.dice);
        let id = errand.request.id.as_str().to_owned();
        self.errands.insert(id.clone(), errand);
        self.attempt(&id);
    }

    fn attempt(&mut self, id: &str) {
        // Now and then twice at once: the second is joined to the first, or gets its recorded reply.
        let frames = if self.part == Part::Mixed && self.dice.chance(30) { 2 } else { 1 };
        let Some(errand) = self.errands.get_mut(id) else { return };
        let (bytes, service) = (errand.attempt(frames), errand.request.service);
        for _ in 0..frames {
            self.note_flight(id, service, Flight::Attempt);
        }
        self.push(&bytes);
    }

    fn send_read(&mut self, read: ReadErrand) {
        let is_large = read.is_large();
        if is_large && !self.hall.take_large() {
            let due = Instant::now() + Duration::from_millis(self.dice.between(5, 50));
            return self.steps.push((due, Step::Read(read)));
        }
        let bytes = read.request.encode();
        let (id, service) = (read.request.id.as_str().to_owned(), read.request.service);
        self.note_flight(&id, service, Flight::Read { read, is_large });
        self.push(&bytes);
    }

    fn query(&mut self, about: String) {
        let request = Request::new(OUTCOME, &about);
        self.note_flight(request.id.as_str(), OUTCOME, Flight::Query { about });
        self.push(&request.encode());
    }

    /// Sends a write again that was finished earlier, as it was, or with its id under another body.
    fn send_finished_again(&mut self) {
        let at = self.dice.below(self.finished.len());
        let Some(finished) = self.finished.get(at) else { return };
        let mut request = finished.request.clone();
        let id = request.id.as_str().to_owned();
        if self.flights.contains_key(&id) {
            return;
        }
        let flight = if self.dice.chance(200) {
            request.body.push(b' ');
            Flight::Misuse
        } else {
            Flight::Repeat { status: finished.status, body: finished.body.clone() }
        };
        request.budget_ms = 0;
        self.note_flight(&id, request.service, flight);
        self.push(&request.encode());
    }

    fn take_steps(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.steps.len() {
            if self.steps[at].0 > now {
                at += 1;
                continue;
            }
            match self.steps.swap_remove(at).1 {
                Step::Read(read) => self.send_read(read),
                Step::Attempt(id) => self.attempt(&id),
                Step::Query(id) => self.query(id),
            }
        }
    }

    /// Ends the connection as clients do: in order, or by just going away.
    fn hang_up(&mut self) {
        let Some(wire) = self.wire.as_mut() else { return };
        if wire.flush().is_err() || wire.has_outgoing() {
            return;
        }
        if self.dice.chance(700) {
            self.hall.count("half-closes");
            if let Err(error) = wire.finish_sending() {
                self.fault(&format!("a connection cannot be half-closed: {error}"));
            }
        } else {
            self.hall.count("connections dropped by their client");
            self.wire = None;
            self.lose_flights();
        }
    }

    fn end_connection(&mut self, ended: &Ended) {
        let Some(wire) = self.wire.take() else { return };
        let is_in_order = *ended == Ended::Closed { in_the_middle: false };
        let may_end = self.part == Part::Unix && self.hall.plan.roles.contains(&Role::Comm);
        if is_in_order && wire.is_half_closed() {
            if self.flights_count > 0 {
                let open = self.open_words();
                self.fault(&format!("the node closed before it had answered: {open}"));
            }
        } else if may_end {
            self.hall.count("Unix connections lost with their process");
        } else {
            let open = self.flights_count;
            self.fault(&format!("a TCP connection ended: {ended:?}, with {open} requests open"));
        }
        self.lose_flights();
        self.is_over =
            self.hall.phase() == Phase::Closing && self.errands.is_empty() && self.steps.is_empty();
    }

    fn lose_flights(&mut self) {
        let flights: Vec<_> = self.flights.drain().collect();
        self.flights_count = 0;
        for (id, flights) in flights {
            for Sent { flight, .. } in flights {
                self.hall.count("requests whose connection ended first");
                match flight {
                    Flight::Read { read, is_large } => {
                        if is_large {
                            self.hall.give_large();
                        }
                        self.steps.push((Instant::now(), Step::Read(read.again())));
                    }
                    Flight::Attempt => {
                        let next = self.errands.get_mut(&id).map(|errand| errand.lost(&mut self.dice));
                        self.follow(&id, next);
                    }
                    Flight::Query { about } => self.steps.push((Instant::now(), Step::Query(about))),
                    Flight::Repeat { .. } | Flight::Misuse => {}
                }
            }
        }
    }

    fn note_flight(&mut self, id: &str, service: u32, flight: Flight) {
        self.hall.count("requests");
        let sent = Sent { at: Instant::now(), service, flight };
        self.flights.entry(id.to_owned()).or_default().push(sent);
        self.flights_count += 1;
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(wire) = self.wire.as_mut() {
            wire.push(bytes);
        }
    }

    fn take_reply(&mut self, reply: &Reply) {
        if self.hall.is_to_spoil(Spoil::Answer) {
            return;
        }
        if self.hall.is_to_spoil(Spoil::Twice) {
            self.take_reply(reply);
        }
        let Some(flights) = self.flights.get_mut(&reply.id) else {
            return self.fault(&format!("an answer that nobody waits for, or a second one: {reply:?}"));
        };
        let Sent { at: sent, service, flight } = flights.remove(0);
        if flights.is_empty() {
            self.flights.remove(&reply.id);
        }
        self.flights_count -= 1;
        self.hall.count_status(flight.name(), reply.status);
        if reply.service != service {
            self.fault(&format!("a request to {service:08} was answered by another service: {reply:?}"));
        }
        if let Part::Probe(probe) = self.part {
            self.hall.heal(probe, sent);
        }
        match flight {
            Flight::Read { read, is_large } => self.judge_read(reply, read, is_large),
            Flight::Attempt => {
                let next =
                    self.errands.get_mut(&reply.id).map(|errand| errand.answered(reply, &mut self.dice));
                self.follow(&reply.id, next);
            }
            Flight::Query { about } => {
                let next = self.errands.get_mut(&about).map(|errand| errand.told(reply, &mut self.dice));
                self.follow(&about, next);
            }
            Flight::Repeat { status, body } => self.judge_repeat(reply, status, body.as_deref()),
            // Refusals say nothing about the id.
            Flight::Misuse if matches!(reply.status, 107 | 201..=203 | 301 | 302 | 305 | 306) => {}
            Flight::Misuse => {
                self.fault(&format!("a finished write's id was taken with another body: {reply:?}"))
            }
        }
    }

    fn judge_read(&mut self, reply: &Reply, read: ReadErrand, is_large: bool) {
        if is_large {
            self.hall.give_large();
        }
        match read.judge(reply) {
            Verdict::Answered => {}
            Verdict::Again { after } => self.steps.push((Instant::now() + after, Step::Read(read.again()))),
            Verdict::Fault(words) => self.fault(&words),
        }
    }

    fn judge_repeat(&mut self, reply: &Reply, status: u16, body: Option<&[u8]>) {
        let is_same = |body: &[u8]| {
            // What an outcome told was written anew from JSON.
            let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
            body == reply.body || (json(body).is_some() && json(body) == json(&reply.body))
        };
        let is_right = match reply.status {
            0 | 304 => reply.status == status && body.is_none_or(is_same),
            201..=203 | 301 | 302 | 305 | 306 => true,
            _ => false,
        };
        if !is_right {
            let was = body.map(String::from_utf8_lossy);
            self.fault(&format!("a write that ended as {status:03} {was:?} was answered again: {reply:?}"));
        }
    }

    fn follow(&mut self, id: &str, next: Option<Next>) {
        let now = Instant::now();
        if let Some(errand) = self.errands.get_mut(id) {
            self.hall.count_doubts(errand.take_doubts());
        }
        match next {
            None => self.fault(&format!("an answer to {id}, which is finished")),
            Some(Next::Wait) => {}
            Some(Next::Attempt { after }) => self.steps.push((now + after, Step::Attempt(id.to_owned()))),
            Some(Next::Query { after }) => self.steps.push((now + after, Step::Query(id.to_owned()))),
            Some(Next::Finished { status, body }) => self.finish(id, status, body),
            Some(Next::GiveUp) => {
                self.hall.count("writes given up as not done");
                if let Some(errand) = self.remove_errand(id) {
                    self.hall.books().give_up(&errand.task);
                }
            }
            Some(Next::Fault(words)) => {
                self.fault(&format!("{id}: {words}"));
                self.remove_errand(id);
            }
        }
    }

    fn finish(&mut self, id: &str, status: u16, body: Option<Vec<u8>>) {
        let Some(errand) = self.remove_errand(id) else { return };
        self.hall.count("writes done");
        if status == 0 {
            let entered = match &body {
                Some(body) => self.hall.books().enter(&errand.task, body),
                None if errand.task.is_recorded() => {
                    Err(format!("{:?} is done without a reply", errand.task))
                }
                None => Ok(()),
            };
            if let Err(words) = entered {
                self.fault(&format!("{id}: {words}"));
            }
        }
        if errand.task.is_recorded() {
            if self.finished.len() == FINISHED_MAX {
                let at = self.dice.below(FINISHED_MAX);
                self.finished.swap_remove_back(at);
            }
            self.finished.push_back(Finished { request: errand.request, status, body });
        }
    }

    fn remove_errand(&mut self, id: &str) -> Option<Errand> {
        let errand = self.errands.remove(id)?;
        if !matches!(self.part, Part::Probe(_)) {
            self.hall.end_write();
        }
        Some(errand)
    }

    fn fault(&self, words: &str) {
        self.hall.chronicle.fault(&format!("client {}: {words}", self.index));
    }
}

impl Flight {
    fn name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Attempt => "write",
            Self::Query { .. } => "outcome",
            Self::Repeat { .. } => "repeat",
            Self::Misuse => "misuse",
        }
    }
}
