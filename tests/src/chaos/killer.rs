//! Kills and stops, every 50 to 500 ms.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};

use super::cast::{Member, leads_own_group, members, of};
use super::dice::Dice;
use super::hall::{Hall, Phase};
use super::plan::Role;
use super::sockets::Sockets;
use super::spoil::{self, Spoil};
use super::stage::{AWAY_MS, LOOK, Stage};
use crate::processes::{is_running, send_signal, start_ticks};

/// How long a role may be without anybody: far longer than a machine under load needs to replace one.
const ABSENCE_MAX: Duration = Duration::from_secs(30);

/// When a run itself gets no processor for so long, commands of the node need not end in time either.
const STALL: Duration = Duration::from_secs(1);

/// How long a role may go without a kill: many times what the plan asks for.
const SPARED_MAX: Duration = Duration::from_secs(180);

/// What was done to whom, and how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) kills: BTreeMap<Role, u64>,
    pub(super) stops: BTreeMap<Role, u64>,
    pub(super) groups: u64,
}

/// A process that sleeps until its time.
struct Stopped {
    member: Member,
    until: Instant,
}

/// The part of a run that kills.
pub(super) struct Killer<'a> {
    hall: &'a Hall,
    stage: &'a Stage,
    dice: Dice,
    sockets: Sockets,
    stopped: Vec<Stopped>,
    killed: Vec<Member>,
    /// When somebody of each role was last there.
    seen: BTreeMap<Role, Instant>,
    /// When somebody of each role was last killed.
    hit: BTreeMap<Role, Instant>,
    tally: Tally,
    begin: Instant,
}

impl<'a> Killer<'a> {
    pub(super) fn new(hall: &'a Hall, stage: &'a Stage) -> Self {
        Self {
            hall,
            stage,
            dice: Dice::new(hall.plan.seed, 1),
            sockets: Sockets::default(),
            stopped: Vec::new(),
            killed: Vec::new(),
            seen: Role::ALL.into_iter().map(|role| (role, Instant::now())).collect(),
            hit: hall.plan.roles.iter().map(|role| (*role, Instant::now())).collect(),
            tally: Tally::default(),
            begin: Instant::now(),
        }
    }

    /// Kills until the phase changes, then lets everybody go on.
    pub(super) fn run(mut self) -> Tally {
        let mut next = Instant::now() + Duration::from_millis(300);
        let mut last = Instant::now();
        while self.hall.phase() == Phase::Chaos {
            thread::sleep(LOOK);
            let now = Instant::now();
            let pause = now.duration_since(std::mem::replace(&mut last, now));
            if pause > STALL {
                self.hall.chronicle.note(&format!("this run did not run for {pause:.1?}"));
                self.hall.count("times this run itself got no processor for over a second");
                self.stage.disturb();
            }
            let members = self.look(now);
            if self.hall.is_to_spoil(Spoil::Sockets) {
                spoil::holders(&members).into_iter().for_each(|pid| send_signal(pid, Signal::SIGKILL));
            }
            if now >= next {
                self.strike(&members, now);
                next = now + Duration::from_millis(self.dice.between(50, 500));
            }
        }
        for stopped in std::mem::take(&mut self.stopped) {
            resume(&stopped.member);
        }
        self.tally
    }

    fn look(&mut self, now: Instant) -> Vec<Member> {
        let (due, rest) =
            std::mem::take(&mut self.stopped).into_iter().partition(|stopped| stopped.until <= now);
        self.stopped = rest;
        let due: Vec<Stopped> = due;
        for stopped in due {
            self.hall.chronicle.note(&format!("go on {} {}", stopped.member.role, stopped.member.pid));
            resume(&stopped.member);
            self.note_disturbance(stopped.member.role);
        }
        // A child between fork and exec looks like its parent; the real supervisor is the one that wrote its pid.
        let supervisor = self.stage.supervisor();
        let mut members = members(&self.stage.node.config());
        members.retain(|member| member.role != Role::Supervisor || Some(member.pid) == supervisor);
        // Who was killed is dead, though the kernel may need a moment to tidy up after it.
        members.retain(|member| !self.killed.contains(member));
        self.expect_everybody(&members, now);
        let is_comm_stopped = self.stopped.iter().any(|stopped| stopped.member.role == Role::Comm);
        self.sockets.look(&members, is_comm_stopped, now);
        members
    }

    /// Whoever is not there for long is not revived, or not recognised and so never killed.
    fn expect_everybody(&mut self, members: &[Member], now: Instant) {
        for member in members {
            self.seen.insert(member.role, now);
        }
        for (role, seen) in &mut self.seen {
            if now.duration_since(*seen) > ABSENCE_MAX {
                self.hall.chronicle.fault(&format!("nobody was {role} for {ABSENCE_MAX:?}"));
                *seen = now;
            }
        }
        for (role, hit) in &mut self.hit {
            if now.duration_since(*hit) > SPARED_MAX {
                self.hall.chronicle.fault(&format!("no {role} could be killed for {SPARED_MAX:?}"));
                *hit = now;
            }
        }
    }

    fn strike(&mut self, members: &[Member], now: Instant) {
        let roll = self.dice.below(100);
        if roll < 25 {
            let role = self.draw_role(&[
                (Role::Worker, 60),
                (Role::Comm, 16),
                (Role::Supervisor, 12),
                (Role::Keeper, 12),
            ]);
            return self.stop(members, role, now);
        }
        if roll < 35 {
            return self.strike_several(members, now);
        }
        let role = match self.most_behind() {
            Some(role) if self.dice.chance(500) => Some(role),
            _ => self.draw_role(&[
                (Role::Worker, 55),
                (Role::Comm, 23),
                (Role::Keeper, 12),
                (Role::Supervisor, 10),
            ]),
        };
        self.kill_one(members, role, now);
    }

    /// Several at the same time: what each of them leaves is then found by others that are new themselves.
    fn strike_several(&mut self, members: &[Member], now: Instant) {
        match self.dice.below(4) {
            0 | 1 => {
                for worker in of(members, Role::Worker) {
                    self.kill(&worker, now);
                }
            }
            2 => {
                self.kill_one(members, Some(Role::Worker), now);
                self.kill_one(members, Some(Role::Comm), now);
            }
            _ => {
                self.kill_one(members, Some(Role::Supervisor), now);
                self.kill_one(members, Some(Role::Comm), now);
                self.kill_one(members, Some(Role::Worker), now);
            }
        }
    }

    fn kill_one(&mut self, members: &[Member], role: Option<Role>, now: Instant) {
        let Some(role) = role.filter(|role| self.hall.plan.roles.contains(role)) else { return };
        let victims = of(members, role);
        let Some(victim) = self.dice.pick(&victims).copied() else { return };
        if self.may_hurt(role, members, now) {
            self.kill(&victim, now);
        }
    }

    fn may_hurt(&self, role: Role, members: &[Member], now: Instant) -> bool {
        match role {
            Role::Comm => self.sockets.may_hurt_comm(members, now),
            Role::Keeper => !self.hall.are_keepers_spared() && self.sockets.may_hurt_keeper(now),
            Role::Worker | Role::Supervisor => true,
        }
    }

    fn kill(&mut self, victim: &Member, now: Instant) {
        if !self.hall.plan.roles.contains(&victim.role) || !is_there(victim) {
            return;
        }
        // Only a worker's group is certain to be its own; a group of comm's is what a service's child would be.
        let by_group = victim.role == Role::Worker && leads_own_group(victim) && self.dice.chance(300);
        let words = if by_group { "group of " } else { "" };
        self.hall.chronicle.note(&format!("kill {words}{} {}", victim.role, victim.pid));
        if victim.role == Role::Supervisor {
            self.stage.note_killed(victim.pid);
        }
        self.hall.wound(victim.role);
        if by_group {
            self.tally.groups += 1;
            // The group may be gone with its leader by now.
            let _gone = killpg(victim.pid, Signal::SIGKILL);
        } else {
            send_signal(victim.pid, Signal::SIGKILL);
        }
        match victim.role {
            Role::Comm => self.sockets.hurt_comm(now),
            Role::Keeper => self.sockets.hurt_keeper(now),
            Role::Worker | Role::Supervisor => {}
        }
        self.killed.push(*victim);
        self.hit.insert(victim.role, now);
        *self.tally.kills.entry(victim.role).or_default() += 1;
    }

    fn stop(&mut self, members: &[Member], role: Option<Role>, now: Instant) {
        let Some(role) = role else { return };
        let victims = of(members, role);
        let Some(victim) = self.dice.pick(&victims).copied() else { return };
        let is_stopped = self.stopped.iter().any(|stopped| stopped.member == victim);
        let is_allowed = role != Role::Comm || self.may_hurt(role, members, now);
        if is_stopped || !is_allowed || !is_there(&victim) {
            return;
        }
        // One in twelve sleeps longer than the supervisor believes in it.
        let ms =
            if self.dice.chance(80) { self.dice.between(3200, 4500) } else { self.dice.between(5, 1200) };
        self.hall.chronicle.note(&format!("stop {role} {} for {ms} ms", victim.pid));
        send_signal(victim.pid, Signal::SIGSTOP);
        if role == Role::Comm {
            self.sockets.hurt_comm(now);
        }
        self.note_disturbance(role);
        self.stopped.push(Stopped { member: victim, until: now + Duration::from_millis(ms) });
        *self.tally.stops.entry(role).or_default() += 1;
    }

    fn note_disturbance(&self, role: Role) {
        if role == Role::Supervisor {
            self.stage.disturb();
        }
    }

    /// The role whose kills are furthest below what the plan asks for by now.
    fn most_behind(&self) -> Option<Role> {
        let share = self.begin.elapsed().as_secs_f64() / self.hall.plan.duration.as_secs_f64().max(0.001);
        let behind = |role: Role| {
            let done = self.tally.kills.get(&role).copied().unwrap_or(0) as f64;
            // A little ahead, so that the last seconds decide nothing.
            let wanted = self.hall.plan.kills_min(role) as f64 * 1.3 * share + 1.0;
            (wanted > done).then_some((role, wanted / (done + 1.0)))
        };
        let roles = self.hall.plan.roles.iter().filter_map(|role| behind(*role));
        roles.max_by(|left, right| left.1.total_cmp(&right.1)).map(|(role, _)| role)
    }

    fn draw_role(&mut self, weights: &[(Role, usize)]) -> Option<Role> {
        let allowed: Vec<_> =
            weights.iter().filter(|(role, _)| self.hall.plan.roles.contains(role)).copied().collect();
        let mut rest = self.dice.below(allowed.iter().map(|(_, weight)| weight).sum());
        allowed.into_iter().find_map(|(role, weight)| {
            let is_it = rest < weight;
            rest = rest.saturating_sub(weight);
            is_it.then_some(role)
        })
    }
}

/// Keeps the node supervised until the run ends.
pub(super) fn keep_supervised(hall: &Hall, stage: &Stage) {
    let mut dice = Dice::new(hall.plan.seed, 2);
    let mut last = stage.supervisor();
    while hall.phase() != Phase::Closing {
        thread::sleep(LOOK);
        stage.look_at_children(hall);
        let now = stage.supervisor();
        if now.is_some() {
            last = now;
            continue;
        }
        // One that was just started has not written its pid yet.
        if last.is_some_and(is_running) || stage.is_starting() {
            continue;
        }
        thread::sleep(Duration::from_millis(dice.between(AWAY_MS.0, AWAY_MS.1)));
        stage.revive(hall, &mut dice, last.take());
    }
}

fn is_there(member: &Member) -> bool {
    start_ticks(member.pid) == Some(member.started)
}

/// Lets a process go on, if it is still that one.
fn resume(member: &Member) {
    if is_there(member) {
        send_signal(member.pid, Signal::SIGCONT);
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, Role, is_there};
    use nix::unistd::Pid;

    #[test]
    fn a_pid_with_another_start_is_somebody_else() {
        let pid = Pid::this();
        let started = crate::processes::start_ticks(pid).unwrap();
        assert!(is_there(&Member { role: Role::Worker, pid, started }));
        assert!(!is_there(&Member { role: Role::Worker, pid, started: started + 1 }));
    }
}
