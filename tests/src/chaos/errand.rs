//! One write on its way to a certain end: done, or certainly not done.
//!
//! Each reply says whether the write can have been executed. What is unknown is asked for with the outcome query or
//! repeated with the same id, until the platform commits itself; only then it enters the model, or is given up.

use std::time::Duration;

use serde_json::Value;

use super::books::Task;
use super::dice::Dice;
use crate::{Reply, Request};

/// A write and what is known of it.
pub(super) struct Errand {
    pub(super) task: Task,
    pub(super) request: Request,
    /// Frames that were sent and not answered.
    awaited_count: u32,
    /// The reply, once one says that it was done.
    done: Option<(u16, Vec<u8>)>,
    /// An attempt may have been executed.
    is_unknown: bool,
    /// Who has settled an unknown end since this was last asked.
    settled: Vec<Settled>,
    /// How many ends were unknown since this was last asked.
    unknown_count: u64,
    /// A frame was sent on a connection that ended; it may be read later than anything that is sent now.
    may_stray: bool,
    /// Why it is to be tried again.
    back_off: Duration,
    tries_count: u32,
}

/// How an unknown end became a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// A frame of the same id was answered as done.
    ByRepeat,
    /// The outcome query said that it was done.
    ToldDone,
    /// The outcome query said that it was not done.
    ToldFailed,
}

impl Settled {
    /// The words under which it is counted.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ByRepeat => "unknown ends of writes settled by a repeat of the id: done",
            Self::ToldDone => "unknown ends of writes settled by 00000002: done",
            Self::ToldFailed => "unknown ends of writes settled by 00000002: not done",
        }
    }
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Frames are still to be answered.
    Wait,
    /// It was done: its status, and its reply if that is known.
    Finished { status: u16, body: Option<Vec<u8>> },
    /// Send it (again).
    Attempt { after: Duration },
    /// Ask what became of it.
    Query { after: Duration },
    /// It was not done and will not be tried again; it must not be found in the database.
    GiveUp,
    /// The platform said what it must not say.
    Fault(String),
}

impl Errand {
    pub(super) fn new(task: Task, budget_ms: u32, dice: &mut Dice) -> Self {
        let mut request = Request::new(task.service(), task.body()).budget_ms(budget_ms);
        request.checked = dice.chance(300);
        Self {
            task,
            request,
            awaited_count: 0,
            done: None,
            is_unknown: false,
            settled: Vec::new(),
            unknown_count: 0,
            may_stray: false,
            back_off: Duration::ZERO,
            tries_count: 0,
        }
    }

    /// The bytes to send, as often as one wants it sent at once.
    pub(super) fn attempt(&mut self, frames: u32) -> Vec<u8> {
        self.tries_count += 1;
        if self.tries_count > 3 {
            // A budget that was too short is no reason never to end.
            self.request.budget_ms = 0;
        }
        self.awaited_count += frames;
        self.back_off = Duration::ZERO;
        self.request.encode().repeat(frames as usize)
    }

    /// How often it was sent so far, for messages.
    pub(super) fn tries_count(&self) -> u32 {
        self.tries_count
    }

    /// How many ends were unknown and who settled them, since this was last asked.
    pub(super) fn take_doubts(&mut self) -> (u64, Vec<Settled>) {
        (std::mem::take(&mut self.unknown_count), std::mem::take(&mut self.settled))
    }

    fn doubt(&mut self) {
        // What another frame has shown to be done needs no asking.
        if self.done.is_none() && !self.is_unknown {
            self.is_unknown = true;
            self.unknown_count += 1;
        }
    }

    fn settle(&mut self, how: Settled) {
        if std::mem::take(&mut self.is_unknown) {
            self.settled.push(how);
        }
    }

    /// A frame was answered.
    pub(super) fn answered(&mut self, reply: &Reply, dice: &mut Dice) -> Next {
        self.awaited_count = self.awaited_count.saturating_sub(1);
        match reply.status {
            0 | 304 => {
                if let Some(fault) = self.note_done(reply) {
                    return Next::Fault(fault);
                }
            }
            301 | 302 => self.doubt(),
            500 => {
                self.doubt();
                return Next::Fault(format!("a platform fault: {reply:?}"));
            }
            201..=203 => self.back_off = retry_after(reply),
            305 | 306 => self.back_off = Duration::from_millis(5),
            _ => return Next::Fault(format!("no answer to {:?}: {reply:?}", self.task)),
        }
        self.next(dice)
    }

    /// A frame's connection ended before its answer came.
    pub(super) fn lost(&mut self, dice: &mut Dice) -> Next {
        self.awaited_count = self.awaited_count.saturating_sub(1);
        self.may_stray = true;
        self.doubt();
        self.next(dice)
    }

    /// The outcome query was answered.
    pub(super) fn told(&mut self, reply: &Reply, dice: &mut Dice) -> Next {
        let again = Next::Query { after: Duration::from_millis(dice.between(5, 40)) };
        if reply.status != 0 {
            return match reply.status {
                201..=203 | 301 | 302 | 305 => again,
                _ => Next::Fault(format!("no answer to an outcome query: {reply:?}")),
            };
        }
        let Ok(told) = serde_json::from_slice::<Value>(&reply.body) else {
            return Next::Fault(format!("an outcome that is no JSON: {reply:?}"));
        };
        match told["state"].as_str() {
            Some("queued" | "running") => again,
            Some("done") => self.told_done(&told),
            Some("failed") => {
                self.settle(Settled::ToldFailed);
                self.next(dice)
            }
            // Never seen: so it is with a frame that is still on its way, and with nothing else.
            Some("unknown") if self.may_stray => Next::Attempt { after: Duration::ZERO },
            _ => Next::Fault(format!("the outcome of {:?} after an unknown end: {told}", self.request.id)),
        }
    }

    fn told_done(&mut self, told: &Value) -> Next {
        let Some(status) = told["status"].as_str().and_then(|text| text.parse().ok()) else {
            return Next::Fault(format!("an outcome without a status: {told}"));
        };
        let wanted = if self.task.error_code().is_some() { 304 } else { 0 };
        if status != wanted {
            return Next::Fault(format!("{:?} ended as {told}", self.task));
        }
        if let (Some(code), Some(error)) = (self.task.error_code(), told["reply"]["error"].as_str())
            && code != error
        {
            return Next::Fault(format!("{:?} ended as {told}", self.task));
        }
        self.settle(Settled::ToldDone);
        let reply = told.get("reply").filter(|reply| reply.get("base64").is_none() && !reply.is_null());
        Next::Finished { status, body: reply.map(|reply| reply.to_string().into_bytes()) }
    }

    fn note_done(&mut self, reply: &Reply) -> Option<String> {
        if reply.status == 304 {
            let wanted = self.task.error_code();
            let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            if wanted.is_none() || body["error"].as_str() != wanted {
                return Some(format!("a business error to {:?}: {reply:?}", self.task));
            }
        } else if self.task.error_code().is_some() {
            return Some(format!("{:?} was done: {reply:?}", self.task));
        }
        match &self.done {
            Some((status, body)) if (*status, body) != (reply.status, &reply.body) => {
                Some(format!("two answers to {:?}, and now {reply:?}", self.task))
            }
            _ => {
                self.done = Some((reply.status, reply.body.clone()));
                self.settle(Settled::ByRepeat);
                None
            }
        }
    }

    fn next(&mut self, dice: &mut Dice) -> Next {
        if self.awaited_count > 0 {
            return Next::Wait;
        }
        if let Some((status, body)) = self.done.take() {
            return Next::Finished { status, body: Some(body) };
        }
        if self.is_unknown {
            // After a lost connection the query may be answered before the frame itself is read.
            return if !self.may_stray && dice.chance(600) {
                Next::Query { after: Duration::ZERO }
            } else {
                Next::Attempt { after: Duration::ZERO }
            };
        }
        let is_pointless = matches!(self.task, Task::Sleep { .. });
        if !self.may_stray && (is_pointless || dice.chance(250)) {
            return Next::GiveUp;
        }
        Next::Attempt { after: self.back_off }
    }
}

/// How long a refusal asks to wait.
pub(super) fn retry_after(reply: &Reply) -> Duration {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    Duration::from_millis(body["retry_after_ms"].as_u64().unwrap_or(10).clamp(1, 200))
}

#[cfg(test)]
mod tests {
    use super::{Errand, Next, Settled};
    use crate::Reply;
    use crate::chaos::books::Task;
    use crate::chaos::dice::Dice;

    fn reply(status: u16, body: &str) -> Reply {
        let body = body.as_bytes().to_vec();
        Reply { service: 29_000_004, status, id: "i".to_owned(), checksum: None, body }
    }

    fn errand(dice: &mut Dice) -> Errand {
        Errand::new(Task::Add { key: "k".to_owned(), amount: 1 }, 0, dice)
    }

    #[test]
    fn unknown_end_is_settled_by_what_the_platform_says_last() {
        let mut dice = Dice::new(1, 1);
        for last in ["done", "failed"] {
            let mut errand = errand(&mut dice);
            errand.attempt(1);
            let next = errand.answered(&reply(302, ""), &mut dice);
            assert!(matches!(next, Next::Query { .. } | Next::Attempt { .. }), "{next:?}");
            let next = errand.told(&reply(0, r#"{"state":"running"}"#), &mut dice);
            assert!(matches!(next, Next::Query { .. }), "{next:?}");
            let told = format!(r#"{{"state":"{last}","status":"000","reply":{{"value":1}}}}"#);
            match errand.told(&reply(0, &told), &mut dice) {
                Next::Finished { status: 0, body: Some(body) } if last == "done" => {
                    assert_eq!(body, br#"{"value":1}"#);
                }
                Next::Attempt { .. } | Next::GiveUp if last == "failed" => {}
                other => panic!("{last}: {other:?}"),
            }
        }
    }

    #[test]
    fn each_unknown_end_is_settled_once_by_whoever_told() {
        let mut dice = Dice::new(1, 1);
        let mut errand = errand(&mut dice);
        errand.attempt(2);
        errand.answered(&reply(302, ""), &mut dice);
        errand.answered(&reply(0, r#"{"value":1}"#), &mut dice);
        assert_eq!(errand.take_doubts(), (1, vec![Settled::ByRepeat]));
        let mut errand = self::errand(&mut dice);
        errand.attempt(1);
        errand.answered(&reply(301, ""), &mut dice);
        errand.told(&reply(0, r#"{"state":"failed"}"#), &mut dice);
        errand.attempt(1);
        errand.lost(&mut dice);
        errand.told(&reply(0, r#"{"state":"done","status":"000","reply":{"value":1}}"#), &mut dice);
        assert_eq!(errand.take_doubts(), (2, vec![Settled::ToldFailed, Settled::ToldDone]));
        assert_eq!(errand.take_doubts(), (0, vec![]));
    }

    #[test]
    fn outcome_of_another_kind_than_the_task_can_have_is_a_fault() {
        let mut dice = Dice::new(1, 1);
        let nobody = Task::RechargeOfNobody;
        for (task, told) in [
            (nobody.clone(), r#"{"state":"done","status":"000","reply":{"serial":"R1"}}"#),
            (nobody, r#"{"state":"done","status":"304","reply":{"error":"amount_invalid"}}"#),
            (Task::OpenAccount, r#"{"state":"done","status":"304","reply":{"error":"card_unknown"}}"#),
        ] {
            let mut errand = Errand::new(task, 0, &mut dice);
            errand.attempt(1);
            errand.answered(&reply(302, ""), &mut dice);
            let next = errand.told(&reply(0, told), &mut dice);
            assert!(matches!(next, Next::Fault(_)), "{told}: {next:?}");
        }
    }

    #[test]
    fn write_whose_frame_may_still_be_read_is_never_given_up() {
        for seed in 0..50 {
            let mut dice = Dice::new(seed, 1);
            let mut errand = errand(&mut dice);
            errand.attempt(1);
            assert!(matches!(errand.lost(&mut dice), Next::Attempt { .. }));
            errand.attempt(1);
            assert!(matches!(errand.answered(&reply(305, ""), &mut dice), Next::Attempt { .. }));
        }
    }

    #[test]
    fn two_frames_of_one_write_must_agree() {
        let mut dice = Dice::new(1, 1);
        let mut errand = errand(&mut dice);
        errand.attempt(2);
        assert_eq!(errand.answered(&reply(0, r#"{"value":1}"#), &mut dice), Next::Wait);
        assert!(matches!(errand.answered(&reply(0, r#"{"value":2}"#), &mut dice), Next::Fault(_)));
    }

    #[test]
    fn quarantine_and_unknown_outcomes_are_faults() {
        let mut dice = Dice::new(1, 1);
        let mut errand = errand(&mut dice);
        errand.attempt(1);
        assert!(matches!(errand.answered(&reply(303, ""), &mut dice), Next::Fault(_)));
        assert!(matches!(errand.told(&reply(0, r#"{"state":"unknown"}"#), &mut dice), Next::Fault(_)));
    }
}
