//! When a communication process or a keeper may be killed without taking the connections with it.
//!
//! Both together hold them, so one of the two must be whole when the other dies: a keeper is one from when it is
//! written down, a communication process from when it has taken everything over and ended the old keeper. Nothing of
//! that takes long, but a loaded machine may let anybody wait, so what is asked is not how much time has passed but
//! what there is; the documented 100 ms are kept besides.

use std::time::{Duration, Instant};

use super::cast::{Member, of};
use super::plan::Role;

/// What the documentation asks to lie between the kills of the two.
const APART: Duration = Duration::from_millis(100);

/// What was done to the two lately.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    comm_hurt: Option<Instant>,
    keeper_hurt: Option<Instant>,
    /// The one keeper beside a communication process that runs, and since when that is so.
    pair: Option<(Member, Member, Instant)>,
}

impl Sockets {
    /// Takes note of who lives now. Call it often. `is_comm_stopped`: it was sent SIGSTOP.
    pub(super) fn look(&mut self, members: &[Member], is_comm_stopped: bool, now: Instant) {
        let pair = match (&of(members, Role::Comm)[..], &of(members, Role::Keeper)[..]) {
            // A keeper that is older than its communication process is still to be taken over from.
            ([comm], [keeper]) if keeper.started >= comm.started && !is_comm_stopped => {
                Some((*comm, *keeper))
            }
            _ => None,
        };
        self.pair = match (pair, self.pair) {
            (Some((comm, keeper)), Some((old_comm, old_keeper, since)))
                if comm == old_comm && keeper == old_keeper =>
            {
                Some((comm, keeper, since))
            }
            (Some((comm, keeper)), _) => Some((comm, keeper, now)),
            (None, _) => None,
        };
    }

    /// Whether the keeper may be killed: the communication process has everything and runs.
    pub(super) fn may_hurt_keeper(&self, now: Instant) -> bool {
        self.is_settled(now) && is_past(self.comm_hurt, now)
    }

    /// Whether the communication process may be killed or stopped: a keeper shares all it has. One that is just
    /// taking over may be killed too, since nobody has ended the old keeper before it is done.
    pub(super) fn may_hurt_comm(&self, members: &[Member], now: Instant) -> bool {
        let is_taking_over =
            self.keeper_hurt.is_none_or(|hurt| self.comm_hurt.is_some_and(|comm| comm > hurt));
        let has_keeper = !of(members, Role::Keeper).is_empty();
        self.is_settled(now) && is_past(self.keeper_hurt, now) || is_taking_over && has_keeper
    }

    pub(super) fn hurt_comm(&mut self, now: Instant) {
        self.comm_hurt = Some(now);
    }

    pub(super) fn hurt_keeper(&mut self, now: Instant) {
        self.keeper_hurt = Some(now);
        self.pair = None;
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.pair.is_some_and(|(_, _, since)| now.duration_since(since) >= APART)
    }
}

fn is_past(hurt: Option<Instant>, now: Instant) -> bool {
    hurt.is_none_or(|hurt| now.duration_since(hurt) >= APART)
}

#[cfg(test)]
mod tests {
    use super::{APART, Sockets};
    use crate::chaos::cast::Member;
    use crate::chaos::plan::Role;
    use nix::unistd::Pid;
    use std::time::Instant;

    fn member(role: Role, pid: i32, started: u64) -> Member {
        Member { role, pid: Pid::from_raw(pid), started }
    }

    #[test]
    fn keeper_is_left_alone_until_the_new_comm_has_taken_over() {
        let mut sockets = Sockets::default();
        let start = Instant::now();
        let (comm, keeper) = (member(Role::Comm, 10, 5), member(Role::Keeper, 11, 6));
        sockets.look(&[comm, keeper], false, start);
        assert!(!sockets.may_hurt_keeper(start), "not before it has been so for a while");
        assert!(sockets.may_hurt_keeper(start + APART));
        sockets.hurt_comm(start + APART);
        let next = member(Role::Comm, 12, 50);
        let own = member(Role::Keeper, 13, 51);
        for members in [vec![keeper], vec![next, keeper], vec![next, keeper, own]] {
            sockets.look(&members, false, start + APART * 9);
            assert!(!sockets.may_hurt_keeper(start + APART * 20), "{members:?}");
            assert!(sockets.may_hurt_comm(&members, start + APART * 20), "a successor may die at any time");
        }
        sockets.look(&[next, own], false, start + APART * 30);
        assert!(sockets.may_hurt_keeper(start + APART * 31));
    }

    #[test]
    fn comm_is_left_alone_until_there_is_a_new_keeper() {
        let mut sockets = Sockets::default();
        let start = Instant::now();
        let (comm, keeper) = (member(Role::Comm, 10, 5), member(Role::Keeper, 11, 6));
        sockets.look(&[comm, keeper], false, start);
        sockets.hurt_keeper(start + APART);
        sockets.look(&[comm], false, start + APART * 3);
        assert!(!sockets.may_hurt_comm(&[comm], start + APART * 3));
        let fresh = [comm, member(Role::Keeper, 14, 80)];
        sockets.look(&fresh, false, start + APART * 4);
        assert!(!sockets.may_hurt_comm(&fresh, start + APART * 4), "it may not be written down yet");
        sockets.look(&fresh, true, start + APART * 5);
        sockets.look(&fresh, false, start + APART * 6);
        assert!(!sockets.may_hurt_comm(&fresh, start + APART * 6), "it was stopped meanwhile");
        assert!(sockets.may_hurt_comm(&fresh, start + APART * 7));
    }
}
