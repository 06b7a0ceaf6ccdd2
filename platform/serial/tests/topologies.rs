//! Redis behind Sentinel and Redis Cluster, all real: fail-overs, provoked lag, a split brain, a lost master.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use gantry_segment::Control;
use gantry_serials::{NodeCache, SerialStatus, SharedSerials, status};
use gantry_settings::SerialSettings;
use gantry_sys::atomic::Ordering;
use support::redis_server::{Cluster, Sentinels};
use support::{Database, Seen, draw, node, now_ms, settings, wait_for, worker};

struct Rig {
    database: Database,
    settings: SerialSettings,
    control: Control,
}

impl Rig {
    fn new(url: &str) -> Self {
        Self { database: Database::new(), settings: settings(1600, 16, url, ""), control: node() }
    }

    fn worker(&self, row: u8) -> SharedSerials<'_> {
        worker(&self.control, row, &self.settings)
    }

    fn status(&self) -> SerialStatus {
        let node = NodeCache::of_visitor(&self.control, "test");
        status(&mut self.database.connection(), &self.settings, Some(node), now_ms()).unwrap()
    }

    fn taken(&self) -> u64 {
        let lists = self.control.serial_kinds().iter().flat_map(|kind| &kind.lists);
        lists.map(|list| list.taken.load(Ordering::Relaxed)).sum()
    }

    /// Draws until so many numbers came from lists.
    fn draw_listed(&self, serials: &mut SharedSerials<'_>, numbers: u64, seen: &mut Seen) {
        let mut connection = self.database.connection();
        let before = self.taken();
        wait_for("numbers from a list", || {
            seen.add(draw(serials, &mut connection, 40));
            self.taken() >= before + numbers
        });
    }

    /// Ends in peace: every number is somewhere, and every gap has a reason that is known.
    fn close(&self, mut serials: SharedSerials<'_>, seen: &Seen) -> SerialStatus {
        serials.leave(&mut self.database.connection(), now_ms()).unwrap();
        let status = self.status();
        let card = &status.types[0];
        assert_eq!(card.issued, i64::try_from(seen.count).unwrap(), "{status:#?}");
        assert_eq!(card.leased, card.issued + card.in_lists + card.in_nodes + card.lost, "{status:#?}");
        status
    }
}

#[test]
fn sentinel_names_the_master_and_a_fail_over_with_lag_gives_no_number_twice() {
    let mut sentinels = Sentinels::start();
    let rig = Rig::new(&sentinels.url());
    let (mut serials, mut seen) = (rig.worker(2), Seen::default());
    rig.draw_listed(&mut serials, 500, &mut seen);
    let (old, new) = (sentinels.master(), 1 - sentinels.master());
    wait_for("a copy of the list", || {
        !sentinels.servers[new].ask(&["KEYS", "gantry:serial:*:e0:*"]).is_empty()
    });
    // The replica sleeps while numbers are popped: it still has them when it takes over.
    sentinels.servers[new].stop();
    rig.draw_listed(&mut serials, 400, &mut seen);
    sentinels.servers[old].kill();
    sentinels.servers[new].go_on();
    sentinels.wait_for_master(new);
    let stale = sentinels.servers[new].ask(&["KEYS", "gantry:serial:*:e0:*"]);
    assert!(!stale.is_empty(), "the lagging copy has the old list");
    rig.draw_listed(&mut serials, 3200, &mut seen);
    // And back: the first one returns as a replica, gets the data, and takes over with a run id that was seen before.
    sentinels.servers[old].restart();
    sentinels.wait_until_whole();
    sentinels.servers[old].ask(&["PING"]);
    sentinels.servers[new].stop();
    sentinels.wait_for_master(old);
    rig.draw_listed(&mut serials, 3200, &mut seen);
    sentinels.servers[new].go_on();
    let status = rig.close(serials, &seen);
    let reasons: Vec<_> = status.types[0].gaps.iter().map(|gap| gap.reason.as_str()).collect();
    assert!(reasons.contains(&"restart or fail-over: another run id"), "{status:#?}");
}

/// The old master was cut off, is a master still, and one node still talks to it; the other follows the Sentinels.
#[test]
fn split_brain_gives_no_number_twice() {
    let sentinels = Sentinels::start();
    let old = sentinels.master();
    let rig = Rig::new(&sentinels.servers[old].url());
    let (control, followed) = (node(), settings(1600, 16, &sentinels.url(), ""));
    let (mut cut_off, mut following) = (rig.worker(2), worker(&control, 2, &followed));
    let mut seen = Seen::default();
    rig.draw_listed(&mut cut_off, 500, &mut seen);
    // Made a master by hand, it has a copy of everything, and the first one stays a master too.
    let new = &sentinels.servers[1 - old];
    let copied = sentinels.servers[old].ask(&["DBSIZE"]);
    wait_for("a whole copy", || new.ask(&["DBSIZE"]) == copied);
    new.ask(&["REPLICAOF", "NO", "ONE"]);
    let there = settings(1600, 16, &new.url(), "");
    let mut elsewhere = worker(&control, 3, &there);
    let mut connection = rig.database.connection();
    for _ in 0..60 {
        seen.add(draw(&mut cut_off, &mut connection, 50));
        seen.add(draw(&mut elsewhere, &mut connection, 50));
        seen.add(draw(&mut following, &mut connection, 50));
    }
    let taken: u64 =
        control.serial_kinds()[0].lists.iter().map(|list| list.taken.load(Ordering::Relaxed)).sum();
    assert!(taken > 1000, "the other side served too: {taken}");
}

#[test]
fn cluster_that_loses_the_master_of_the_list_gives_no_number_twice() {
    let mut cluster = Cluster::start();
    let rig = Rig::new(&cluster.url());
    let (mut serials, mut seen) = (rig.worker(2), Seen::default());
    for _ in 0..2 {
        rig.draw_listed(&mut serials, 500, &mut seen);
        let holder = cluster.holder().unwrap();
        cluster.members[holder].kill();
        // The database serves, then the replica that took over.
        rig.draw_listed(&mut serials, 3200, &mut seen);
        assert_ne!(cluster.holder(), Some(holder));
        cluster.members[holder].restart();
        cluster.wait_until_whole();
    }
    let status = rig.close(serials, &seen);
    let gaps = &status.types[0].gaps;
    assert!(gaps.iter().any(|gap| gap.reason == "restart or fail-over: another run id"), "{status:#?}");
}
