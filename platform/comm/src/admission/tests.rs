//! Admission on a small node whose queue is filled by hand.

use std::path::Path;

use gantry_ring::{Cursor, Owner, SlotRef};
use gantry_segment::Control;
use gantry_settings::Settings;

use super::*;
use crate::limits::NS_PER_MS;
use crate::testing;

const COMM: Owner = Owner::new(1, 1);
const WORKER: Owner = Owner::new(2, 1);
const READ_FLAGS: u32 = 1 << 8;

/// Ten places, of which eight may be filled and admission resumes at five.
const LIVE: Live = Live {
    is_drained: false,
    is_draining: false,
    read_threshold_ppm: 800_000,
    read_resume_ppm: 500_000,
    read_queue_max: 10,
    write_queue_max: 3,
    service_timeout_ms: 1000,
    header_ns: 0,
    body_ns: 0,
    idle_ns: 0,
    write_ns: 0,
};

struct World<'a> {
    slots: Slots<'a>,
    read: Queue<'a>,
    write: Queue<'a>,
    admission: Admission,
    now_ns: u64,
}

impl<'a> World<'a> {
    fn new(control: &'a Control) -> Self {
        let settings = Settings::from_text("", Path::new("/tmp/gantry.toml")).unwrap();
        let slots = Slots::new(control.slots());
        Self {
            slots,
            read: Queue::requests(control.read_ring(), slots),
            write: Queue::requests(control.write_ring(), slots),
            admission: Admission::new(control.dimensions(), &Bounds::new(&settings, control.dimensions())),
            now_ns: 1,
        }
    }

    /// Asks at a time at which an earlier count is too old to be relied on.
    fn admit(&mut self, name: QueueName, own: OwnThreshold<'_>) -> Result<(), Status> {
        self.now_ns += 2 * NS_PER_MS;
        self.admit_at_once(name, own)
    }

    fn admit_at_once(&self, name: QueueName, own: OwnThreshold<'_>) -> Result<(), Status> {
        let queue = if name == QueueName::Read { &self.read } else { &self.write };
        let admitted = self.admission.admit(name, queue, self.slots, &LIVE, own, self.now_ns);
        admitted.map_err(|refusal| refusal.status)
    }

    fn push(&self, name: QueueName) -> SlotRef {
        let slot = self.slots.claim(COMM, &mut Cursor::default()).unwrap();
        let (queue, flags) =
            if name == QueueName::Read { (&self.read, READ_FLAGS) } else { (&self.write, 2 << 8) };
        self.slots.row(slot.index).unwrap().flags.store(flags, Ordering::Relaxed);
        queue.submit(slot, COMM).unwrap();
        self.admission.pushed(name);
        slot
    }
}

#[test]
fn reads_are_refused_at_the_threshold_and_resume_only_further_down() {
    let control = testing::control();
    let mut world = World::new(&control);
    for _ in 0..8 {
        assert_eq!(world.admit(QueueName::Read, None), Ok(()));
        world.push(QueueName::Read);
    }
    assert_eq!(world.admit(QueueName::Read, None), Err(Status::ReadQueueOverThreshold));
    for _ in 0..2 {
        world.read.take(WORKER).unwrap();
        assert_eq!(world.admit(QueueName::Read, None), Err(Status::ReadQueueOverThreshold));
    }
    world.read.take(WORKER).unwrap();
    assert_eq!(world.admit(QueueName::Read, None), Ok(()), "five are queued");
    world.push(QueueName::Read);
    assert_eq!(world.admit(QueueName::Read, None), Ok(()), "and up to eight again");
}

#[test]
fn stale_entries_of_the_ring_do_not_count() {
    let control = testing::control();
    let mut world = World::new(&control);
    for _ in 0..8 {
        let slot = world.push(QueueName::Read);
        world.slots.expire(slot).unwrap();
    }
    assert_eq!(world.read.entries_count(), 8);
    assert_eq!(world.admit(QueueName::Read, None), Ok(()));
}

#[test]
fn a_count_that_is_still_young_is_relied_on_together_with_what_was_pushed_since() {
    let control = testing::control();
    let mut world = World::new(&control);
    let slot = world.push(QueueName::Read);
    world.slots.expire(slot).unwrap();
    for _ in 0..7 {
        world.push(QueueName::Read);
    }
    assert_eq!(world.admit(QueueName::Read, None), Ok(()), "seven live ones of eight entries");
    world.push(QueueName::Read);
    assert_eq!(world.admit_at_once(QueueName::Read, None), Err(Status::ReadQueueOverThreshold));
}

#[test]
fn a_full_read_queue_leaves_writes_alone_and_a_full_write_queue_reads() {
    let control = testing::control();
    let mut world = World::new(&control);
    for _ in 0..3 {
        assert_eq!(world.admit(QueueName::Write, None), Ok(()));
        world.push(QueueName::Write);
    }
    assert_eq!(world.admit(QueueName::Write, None), Err(Status::Full));
    assert_eq!(world.admit(QueueName::Read, None), Ok(()));
    world.write.take(WORKER).unwrap();
    assert_eq!(world.admit(QueueName::Write, None), Ok(()));
}

#[test]
fn a_services_own_threshold_refuses_it_and_nobody_else() {
    let control = testing::control();
    let mut world = World::new(&control);
    let service = ServiceRow::default();
    service.rule_threshold_ppm.store(400_000, Ordering::Relaxed);
    for _ in 0..4 {
        assert_eq!(world.admit(QueueName::Read, Some((1, &service))), Ok(()));
        world.push(QueueName::Read);
    }
    assert_eq!(world.admit(QueueName::Read, Some((1, &service))), Err(Status::ReadQueueOverThreshold));
    assert_eq!(world.admit(QueueName::Read, None), Ok(()));
    // 0.4 × 0.5 / 0.8 of ten places: it resumes at two.
    world.read.take(WORKER).unwrap();
    assert_eq!(world.admit(QueueName::Read, Some((1, &service))), Err(Status::ReadQueueOverThreshold));
    world.read.take(WORKER).unwrap();
    assert_eq!(world.admit(QueueName::Read, Some((1, &service))), Ok(()));
}

#[test]
fn reads_cannot_take_all_slots_or_blocks_and_requests_leave_blocks_to_replies() {
    let control = testing::control();
    let world = World::new(&control);
    // Shares of 0.75 of 16 slots and of 8 blocks.
    let admission = &world.admission;
    assert_eq!((0..16).filter(|_| admission.take_slot(true)).count(), 12);
    assert_eq!((0..16).filter(|_| admission.take_slot(false)).count(), 4);
    admission.give_slot(true);
    assert!(admission.take_slot(true) && !admission.take_slot(false));
    assert_eq!((0..8).filter(|_| admission.take_block(0, true)).count(), 4, "0.75 of what requests may hold");
    assert_eq!((0..8).filter(|_| admission.take_block(0, false)).count(), 2, "the rest is for replies");
    admission.give_block(0, true);
    assert!(admission.take_block(0, false));
    assert!(!admission.take_block(7, false), "there is no such class");
}

#[test]
fn the_time_to_come_again_follows_the_drain_rate() {
    let level = Level::default();
    assert_eq!(level.drained_in_ms(100), RETRY_MS_UNKNOWN);
    level.sample(1_000_000_000);
    level.finished.store(1_000, Ordering::Relaxed);
    level.sample(1_010_000_000);
    assert_eq!(level.drained_in_ms(100), RETRY_MS_UNKNOWN, "too soon to measure");
    level.sample(2_000_000_000);
    // 1,000 a second, half of it believed at first.
    assert_eq!(level.drained_in_ms(100), 200);
}
