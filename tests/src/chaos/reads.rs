//! Reads, and what their replies must be.

use std::time::Duration;

use serde_json::{Value, json};

use super::books::{Books, Card};
use super::dice::Dice;
use super::errand::retry_after;
use crate::etc::{BALANCE, CARD, COUNTER, ECHO, NODE, PING, SLEEP, STATEMENT, TRIAL_BALANCE};
use crate::{Reply, Request};

/// Bodies from this size are received straight into a block; only so many of them are under way at once.
const LARGE_BYTES: usize = 3 * 1024;

/// What a reply is compared with.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// The same bytes.
    Same,
    Card(Card),
    Balance,
    Statement,
    /// A counter that holds at least what was acknowledged before it was read.
    CountedAtLeast(i64),
    /// Both sides are equal.
    Books,
    Slept,
    /// A sleep that its time-out cuts short: it is answered, that is all.
    CutShort,
    Node,
    Version,
}

/// A read.
#[derive(Clone, Debug)]
pub(super) struct ReadErrand {
    pub(super) request: Request,
    check: Check,
}

/// The service of the library that is deployed again and again.
pub(super) const VERSIONED: u32 = 19_900_001;
/// Its versions.
pub(super) const VERSIONS: [&str; 2] = ["1.0", "1.1"];

/// The longest sleep that fits the time-out that a run gives the sleep service.
pub(super) const SLEEP_MS_MAX: u64 = 150;
/// The time-out that a run gives it.
pub(super) const SLEEP_TIMEOUT: &str = "300ms";

/// What a read's answer means for it.
pub(super) enum Verdict {
    /// It has its answer.
    Answered,
    /// It is to be sent again.
    Again { after: Duration },
    /// The platform said what it must not say.
    Fault(String),
}

impl ReadErrand {
    /// What a client might want to read next.
    pub(super) fn draw(books: &Books, dice: &mut Dice, is_versioned: bool) -> Self {
        let card = dice.pick(&books.cards).cloned();
        let (service, body, check) = match (dice.below(100), card) {
            (0..20, Some(card)) => (CARD, json!({"card": card.card}), Check::Card(card)),
            (20..35, Some(card)) => (BALANCE, json!({"account": card.account}), Check::Balance),
            (35..43, Some(card)) => (STATEMENT, json!({"account": card.account}), Check::Statement),
            (43..53, _) => {
                let key = format!("k{}", dice.below(20));
                (COUNTER, json!({"key": key}), Check::CountedAtLeast(books.counted(&key)))
            }
            (53..54, _) => (TRIAL_BALANCE, json!({}), Check::Books),
            (54..56, _) => (SLEEP, json!({"ms": dice.between(1, 15)}), Check::Slept),
            (56..57, _) if dice.chance(500) => return Self::sleep(dice),
            (62..65, _) => return Self::of(NODE, Vec::new(), Check::Node),
            (65..70, _) => return Self::of(PING, bytes(dice, 3000), Check::Same),
            (70..74, _) if is_versioned => return Self::of(VERSIONED, b"0".to_vec(), Check::Version),
            _ => return Self::echo(dice),
        };
        Self::of(service, body.to_string().into_bytes(), check)
    }

    /// An echo of 0 to 200 KiB.
    pub(super) fn echo(dice: &mut Dice) -> Self {
        let count_max = if dice.chance(150) { 200 * 1024 } else { 2000 };
        let mut read = Self::of(ECHO, bytes(dice, count_max), Check::Same);
        read.request.checked = dice.chance(500);
        read
    }

    /// A small echo.
    pub(super) fn probe() -> Self {
        Self::of(ECHO, b"probe".to_vec(), Check::Same)
    }

    /// One that its time-out or its caller's budget may cut short; now and then one is killed for it.
    fn sleep(dice: &mut Dice) -> Self {
        if dice.chance(60) {
            return Self::of(SLEEP, json!({"ms": 5000}).to_string().into_bytes(), Check::CutShort);
        }
        let body = json!({"ms": dice.between(50, SLEEP_MS_MAX)}).to_string().into_bytes();
        let mut read = Self::of(SLEEP, body, Check::CutShort);
        read.request.budget_ms = u32::try_from(dice.between(1, 100)).unwrap_or(1);
        read
    }

    fn of(service: u32, body: Vec<u8>, check: Check) -> Self {
        Self { request: Request::new(service, body), check }
    }

    /// Whether it holds large blocks.
    pub(super) fn is_large(&self) -> bool {
        self.request.body.len() >= LARGE_BYTES
    }

    /// The same under a new id: reads have no effect, so nothing binds the second one to the first.
    pub(super) fn again(mut self) -> Self {
        self.request.id = crate::RequestId::fresh();
        self.request.budget_ms = 0;
        self
    }

    /// What its reply means.
    pub(super) fn judge(&self, reply: &Reply) -> Verdict {
        let is_cut_short = matches!(self.check, Check::CutShort);
        match reply.status {
            0 if self.is_right(reply) => Verdict::Answered,
            301 | 302 | 305 if is_cut_short => Verdict::Answered,
            201..=203 => Verdict::Again { after: retry_after(reply) },
            301 | 302 | 305 | 306 => Verdict::Again { after: Duration::from_millis(5) },
            0 => Verdict::Fault(format!(
                "a wrong reply to {:?} ({:?}): {reply:?}",
                self.check, self.request.id
            )),
            _ => Verdict::Fault(format!("no answer to {:?}: {reply:?}", self.check)),
        }
    }

    fn is_right(&self, reply: &Reply) -> bool {
        if reply.checksum.is_some() != (self.request.checked && !reply.body.is_empty()) {
            return false;
        }
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        match &self.check {
            Check::Same => reply.body == self.request.body,
            Check::Card(card) => body["card"] == *card.card && body["account"] == *card.account,
            Check::Balance => body["balance"].is_i64(),
            Check::Statement => body["entries"].as_array().is_some_and(|entries| is_whole(entries)),
            Check::CountedAtLeast(least) => body["value"].as_i64().is_some_and(|value| value >= *least),
            Check::Books => body["debit"].is_i64() && body["debit"] == body["credit"],
            Check::Slept | Check::CutShort => body["slept_ms"].is_u64(),
            Check::Node => body["name"].is_string(),
            Check::Version => VERSIONS.iter().any(|version| reply.body == version.as_bytes()),
        }
    }
}

/// Whether each line's balance follows from the one before it; the newest comes first.
pub(super) fn is_whole(entries: &[Value]) -> bool {
    entries.windows(2).all(|pair| {
        let number = |at: usize, key: &str| pair[at][key].as_i64();
        match (number(0, "balance"), number(0, "amount"), number(1, "balance")) {
            (Some(after), Some(amount), Some(before)) => after == before + amount,
            _ => false,
        }
    })
}

fn bytes(dice: &mut Dice, count_max: usize) -> Vec<u8> {
    let count = dice.below(count_max + 1);
    dice.bytes(count)
}
