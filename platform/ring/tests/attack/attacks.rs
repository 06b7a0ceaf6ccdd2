//! The operations, and what is attacked in which scene.

use crate::puppet::world_at;
use crate::scenes::Scene;
use crate::survivors::Who;
use crate::world::{COMM, COMM_2, COMM_3, Kind, Status, WORKER_A, WORKER_B, World};

/// One thing that a process does, from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(*const u8),
    /// Who does it, and so who is dead when it is killed in the middle.
    pub(crate) who: Who,
}

macro_rules! operations {
    ($($constant:ident, $function:ident, $name:literal, $who:expr, $act:expr;)*) => {$(
        fn $function(base: *const u8) {
            let act: fn(&World) = $act;
            act(world_at(base));
        }
        pub(crate) const $constant: Operation = Operation { name: $name, run: $function, who: $who };
    )*};
}

impl Operation {
    /// The recovery of this one's death, and whose death it is when that recovery dies too.
    pub(crate) fn recovery(&self) -> (Self, Who) {
        match self.who {
            Who::Comm(1) => (TAKE_OVER, Who::Comm(2)),
            Who::Comm(_) => (TAKE_OVER_AGAIN, Who::Comm(3)),
            _ => (RECOVER, Who::Supervisor),
        }
    }

    /// Whether it answers requests, which only their home thread does: no other thread answers them then.
    pub(crate) fn is_at_home(&self) -> bool {
        [DELIVER, SWEEP, CANCEL, TIME_OUT].iter().any(|home| home.name == self.name)
    }

    /// What a peer may tell callers while a victim dies, as bits.
    fn tells_meanwhile(&self) -> u32 {
        match self.name {
            "expire" => EXPIRED,
            "time out" | "cancel a repeat" => TIMED_OUT,
            _ => 0,
        }
    }

    /// What it may tell the callers of requests that it meets, as bits.
    pub(crate) fn tells(&self) -> u32 {
        match self.who {
            Who::Supervisor => LOST,
            _ => EXPIRED | TIMED_OUT,
        }
    }
}

const C: Who = Who::Comm(1);

operations! {
    SUBMIT, submit, "submit", C, |world| _ = world.submit(COMM, 9, Kind::Read);
    SUBMIT_WRITE, submit_write, "submit a write", C, |world| _ = world.submit(COMM, 10, Kind::Write);
    BEGIN_BODY, begin_body, "begin a large body", C, |world| world.begin_body(COMM, 9);
    END_BODY, end_body, "end a large body", C, |world| _ = world.end_body(COMM);
    WITHDRAW, withdraw, "withdraw", C, |world| world.withdraw();
    ALONE, alone, "answer alone", C, |world| world.answer_alone(COMM, 9);
    JOIN, join, "join", C, |world| world.join(COMM, 9, 1);
    DELIVER, deliver, "deliver", C, |world| _ = world.deliver();
    EXPIRE, expire, "expire", C, |world| world.expire_first();
    TIME_OUT, time_out, "time out", C, |world| world.time_out_first();
    CANCEL, cancel, "cancel a repeat", C, |world| world.cancel_join();
    SWEEP, sweep, "sweep", C, |world| world.sweep_slots();
    TAKE_OVER, take_over, "take over", Who::Comm(2), |world| world.take_over(COMM_2);
    TAKE_OVER_AGAIN, take_over_again, "take over again", Who::Comm(3), |world| world.take_over(COMM_3);
    SERVE_A, serve_a, "take, run, reply", Who::WorkerA, |world| _ = world.serve(WORKER_A);
    FINISH_A, finish_a, "run, reply", Who::WorkerA, |world| _ = world.finish_running(WORKER_A);
    SERVE_B, serve_b, "take, run, reply", Who::WorkerA, |world| _ = world.serve(WORKER_B);
    DOZE_A, doze_a, "fall asleep", Who::WorkerA, |world| world.doze(WORKER_A);
    DOZE_B, doze_b, "fall asleep", Who::WorkerA, |world| world.doze(WORKER_B);
    RECOVER, recover, "recover a worker", Who::Supervisor, |world| world.recover_a();
}

/// Which request an attack looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// One that the scene has.
    Is(u32),
    /// One that the operation brings.
    Comes(u32),
}

/// One victim in one scene, with the rows of the table that its instructions pass.
pub(crate) struct Single {
    pub(crate) scene: Scene,
    pub(crate) victim: Operation,
    pub(crate) subject: Subject,
    pub(crate) rows: &'static [&'static str],
}

/// A victim beside a live peer, or beside another thread of the same process.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) scene: Scene,
    pub(crate) victim: Operation,
    pub(crate) peer: Operation,
    /// Answers that the peer may give to requests which would otherwise get another, as bits.
    pub(crate) also: u32,
}

const fn single(scene: Scene, victim: Operation, subject: Subject, rows: &'static [&'static str]) -> Single {
    Single { scene, victim, subject, rows }
}

const fn pair(scene: Scene, victim: Operation, peer: Operation) -> Pair {
    Pair { scene, victim, peer, also: 0 }
}

const SUBMITS: &[&str] = &["submit-1", "submit-2", "submit-3", "submit-4"];
const TAKES: &[&str] =
    &["take-1", "take-2", "run-1", "run-2", "run-3", "reply-1", "reply-2", "reply-3", "reply-4"];
const DELIVERS: &[&str] = &["reply-3", "deliver-1", "deliver-2", "deliver-3"];
const EXPIRES: &[&str] = &["expire-1", "expire-2", "expire-3"];
const RESOLVES: &[&str] = &["resolve-1", "resolve-2", "resolve-3"];
const PROMOTES: &[&str] = &["promote-1", "promote-2", "promote-3", "promote-4"];
const RETRIES: &[&str] = &["lost-1", "lost-2"];
const ENDS_LOST: &[&str] = &["lost-3", "lost-4"];
const RECOVERS: &[&str] = &["recover-1", "recover-2", "recover-3"];
const TAKES_OVER: &[&str] = &["takeover-1", "takeover-2", "takeover-3"];
const REPLIES: &[&str] = &["run-1", "reply-1", "reply-2", "reply-3", "reply-4"];
const RECOVERS_EXECUTED: &[&str] = &["recover-4", "recover-5"];
const SLEEPS: &[&str] = &["sleep-1", "sleep-2", "take-1", "take-2", "run-1", "reply-1", "reply-2", "reply-3"];

use Scene as S;
use Subject::{Comes, Is};

pub(crate) const SINGLES: &[Single] = &[
    single(S::Empty, SUBMIT, Comes(9), SUBMITS),
    single(S::OneQueued(Kind::Read), SUBMIT_WRITE, Comes(10), SUBMITS),
    single(S::NearlyFull, SUBMIT, Comes(9), SUBMITS),
    single(S::StaleEntry, SUBMIT, Comes(9), SUBMITS),
    single(S::Asleep, SUBMIT, Comes(9), SUBMITS),
    single(S::NoBlock, SUBMIT, Comes(9), &["submit-1", "submit-5"]),
    single(S::RequestsFull, SUBMIT, Comes(9), SUBMITS),
    single(S::RequestsFull, SUBMIT, Is(1), &["rotate-1", "rotate-2"]),
    single(S::Empty, BEGIN_BODY, Comes(9), &["body-1", "body-2"]),
    single(S::Receiving, END_BODY, Is(1), &["body-3", "body-4"]),
    single(S::Receiving, WITHDRAW, Is(1), &["withdraw-1", "withdraw-2"]),
    single(S::Empty, ALONE, Comes(9), &["alone-1", "alone-2", "alone-3", "alone-4"]),
    single(S::JoinedToRunning, JOIN, Comes(9), &["join-1", "join-2"]),
    single(S::OneQueued(Kind::Read), SERVE_A, Is(1), TAKES),
    single(S::OneQueued(Kind::LongRead), SERVE_A, Is(1), TAKES),
    single(S::OneQueued(Kind::Write), SERVE_A, Is(1), TAKES),
    single(S::TwoQueued, SERVE_A, Is(1), TAKES),
    single(S::RepliesFull, FINISH_A, Is(2), REPLIES),
    single(S::OneDone(Kind::Read), DELIVER, Is(1), DELIVERS),
    single(S::OneDone(Kind::LongRead), DELIVER, Is(1), DELIVERS),
    single(S::OneDone(Kind::Write), DELIVER, Is(1), DELIVERS),
    single(S::JoinedToDone, DELIVER, Is(1), DELIVERS),
    single(S::JoinedToDone, DELIVER, Is(2), RESOLVES),
    single(S::OneQueued(Kind::Read), EXPIRE, Is(1), EXPIRES),
    single(S::TwoQueued, EXPIRE, Is(1), EXPIRES),
    single(S::JoinedToQueued, EXPIRE, Is(1), EXPIRES),
    single(S::JoinedToQueued, EXPIRE, Is(2), PROMOTES),
    single(S::Running(Kind::Read), TIME_OUT, Is(1), &["timeout-1", "timeout-2"]),
    single(S::JoinedToRunning, CANCEL, Is(2), &["cancel-1", "cancel-2"]),
    single(S::Lost(Kind::Read), SWEEP, Is(1), RETRIES),
    single(S::Lost(Kind::Write), SWEEP, Is(1), ENDS_LOST),
    single(S::JoinedToLost, SWEEP, Is(2), &["resolve-4", "resolve-5", "lost-4"]),
    single(S::Uncommitted(false), SWEEP, Is(1), RETRIES),
    single(S::Uncommitted(true), SWEEP, Is(1), RETRIES),
    single(S::UncommittedTwice, SWEEP, Is(1), ENDS_LOST),
    single(S::WokenForOne, DOZE_A, Is(1), SLEEPS),
    single(S::Running(Kind::Read), RECOVER, Is(1), RECOVERS),
    single(S::Running(Kind::Write), RECOVER, Is(1), RECOVERS),
    single(S::Executed(false), RECOVER, Is(1), RECOVERS_EXECUTED),
    single(S::Executed(true), RECOVER, Is(1), RECOVERS_EXECUTED),
    single(S::RunningMuch, RECOVER, Is(3), RECOVERS),
    single(S::RunningMuch, RECOVER, Is(2), RECOVERS_EXECUTED),
    single(S::RunningInTwoLives, RECOVER, Is(1), RECOVERS),
    single(S::Orphans, TAKE_OVER, Is(1), TAKES_OVER),
    single(S::Orphans, TAKE_OVER, Is(2), TAKES_OVER),
];

const EXPIRED: u32 = Status::Expired.bit();
const TIMED_OUT: u32 = Status::TimedOut.bit();
const LOST: u32 = Status::Lost.bit();

/// Victims and peers that can meet in one scene.
struct Meeting {
    scene: Scene,
    victims: &'static [Operation],
    peers: &'static [Operation],
}

const fn meeting(scene: Scene, victims: &'static [Operation], peers: &'static [Operation]) -> Meeting {
    Meeting { scene, victims, peers }
}

const READ: Kind = Kind::Read;
const WRITE: Kind = Kind::Write;

const MEETINGS: &[Meeting] = &[
    meeting(S::Empty, &[SUBMIT, ALONE, BEGIN_BODY], &[SERVE_B, DOZE_B, SUBMIT_WRITE]),
    meeting(S::OnlyB, &[SUBMIT], &[DOZE_B]),
    meeting(S::Asleep, &[SUBMIT, SUBMIT_WRITE], &[SERVE_B, SUBMIT_WRITE]),
    meeting(S::NearlyFull, &[SUBMIT], &[SERVE_B, SUBMIT_WRITE, EXPIRE]),
    meeting(S::RequestsFull, &[SUBMIT, SERVE_A], &[SERVE_B, SUBMIT_WRITE, EXPIRE]),
    meeting(S::StaleEntry, &[SUBMIT, SERVE_A], &[SERVE_B, SUBMIT_WRITE]),
    meeting(S::RepliesFull, &[FINISH_A, SUBMIT], &[DELIVER, SWEEP]),
    meeting(S::Receiving, &[END_BODY, WITHDRAW], &[SERVE_B, DOZE_B, SUBMIT_WRITE]),
    meeting(S::OneQueued(READ), &[SERVE_A, SUBMIT, EXPIRE], &[SERVE_B, SUBMIT_WRITE, EXPIRE, DOZE_B]),
    meeting(S::OneQueued(WRITE), &[SERVE_A, JOIN, EXPIRE], &[SERVE_B, JOIN]),
    meeting(S::OneQueued(Kind::LongRead), &[SERVE_A], &[SERVE_B, SUBMIT]),
    meeting(S::TwoQueued, &[SERVE_A, EXPIRE], &[SERVE_B, SUBMIT, EXPIRE, TIME_OUT]),
    meeting(S::WokenForOne, &[DOZE_A, SERVE_A], &[DOZE_B, SUBMIT]),
    meeting(S::DoneAndQueued, &[DELIVER, SERVE_A, SWEEP], &[SERVE_B, SWEEP, SUBMIT_WRITE]),
    meeting(S::JoinedToRunning, &[FINISH_A, RECOVER, CANCEL], &[JOIN, CANCEL, TIME_OUT]),
    meeting(S::JoinedToDone, &[DELIVER, SWEEP], &[SERVE_B, SUBMIT_WRITE]),
    meeting(S::JoinedToQueued, &[SERVE_A, EXPIRE], &[SERVE_B, CANCEL, EXPIRE]),
    meeting(S::Lost(READ), &[SWEEP, SUBMIT], &[SERVE_B, SWEEP]),
    meeting(S::Uncommitted(true), &[SWEEP], &[SERVE_B]),
    meeting(S::Uncommitted(false), &[SWEEP], &[SERVE_B]),
    meeting(S::Running(READ), &[FINISH_A, RECOVER, TIME_OUT], &[TIME_OUT, SUBMIT, SERVE_B]),
    meeting(S::Running(WRITE), &[FINISH_A, RECOVER], &[TIME_OUT, JOIN]),
    meeting(S::RunningMuch, &[RECOVER], &[SWEEP, SUBMIT]),
    meeting(S::RunningInTwoLives, &[RECOVER], &[SWEEP, SUBMIT, SERVE_B]),
    meeting(S::Orphans, &[TAKE_OVER], &[SERVE_B, DOZE_B, FINISH_A, RECOVER]),
];

/// The first of each pair dies, the second is stopped after each of its own instructions.
pub(crate) fn pairs() -> impl Iterator<Item = Pair> {
    MEETINGS.iter().flat_map(|meeting| {
        let pairs =
            meeting.victims.iter().flat_map(|victim| meeting.peers.iter().map(|peer| (*victim, *peer)));
        // One thread does one thing at a time.
        let apart = pairs
            .filter(|(victim, peer)| victim.name != peer.name || victim.who != peer.who || is_worker(victim));
        apart.map(|(victim, peer)| Pair { scene: meeting.scene, victim, peer, also: peer.tells_meanwhile() })
    })
}

fn is_worker(operation: &Operation) -> bool {
    operation.who == Who::WorkerA
}

/// Recoveries that are stopped anywhere while a successor's whole recovery passes, which is itself stopped anywhere.
pub(crate) const OVERLAPS: &[Pair] = &[
    pair(S::Running(Kind::Read), RECOVER, RECOVER),
    pair(S::RunningMuch, RECOVER, RECOVER),
    pair(S::RunningInTwoLives, RECOVER, RECOVER),
    pair(S::Orphans, TAKE_OVER_AGAIN, TAKE_OVER),
];
