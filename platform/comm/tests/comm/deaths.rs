//! Workers that die, and what a dead predecessor of the communication process left.

use gantry_comm::Counter;
use gantry_message::Status;
use gantry_ring::{BlockKind, Blocks, Cursor, Owner, Queue, SlotRef, Slots, State};
use gantry_segment::SlotRow;
use gantry_sys::atomic::Ordering;

use crate::client::{id, wait_until};
use crate::world::{
    COMM_ROW, EPOCH, READ_DIE, READ_ECHO, READ_LOSE, WRITE_ECHO, WRITE_LOSE, WRITE_ROW, WRITE_UNCOMMITTED,
    World,
};

#[test]
fn a_read_whose_worker_died_is_run_again() {
    let world = World::new("");
    let mut client = world.client();
    assert_eq!(client.call(READ_LOSE, id(1), b"again").body, b"again");
    assert_eq!((world.executed(), world.counted(Counter::Retried)), (2, 1));
    world.check_nothing_is_held();
}

#[test]
fn a_read_that_kills_every_worker_is_given_up() {
    let world = World::new("");
    let mut client = world.client();
    assert_eq!(client.call(READ_DIE, id(1), b"x").status(), Some(Status::WorkerLost));
    assert_eq!(world.executed(), 2, "the first attempt and one more");
    world.check_nothing_is_held();
}

#[test]
fn a_write_whose_worker_died_is_302_and_runs_again_only_when_it_is_repeated() {
    let world = World::new("");
    let mut client = world.client();
    assert_eq!(client.call(WRITE_LOSE, id(1), b"x").status(), Some(Status::WorkerLost));
    assert_eq!(world.executed(), 1);
    assert_eq!(
        client.call(WRITE_LOSE, id(1), b"x").status(),
        Some(Status::WorkerLost),
        "a new attempt, also lost"
    );
    assert_eq!(world.executed(), 2);
    world.check_nothing_is_held();
}

#[test]
fn a_write_that_died_before_its_commit_was_known_is_run_again() {
    let world = World::new("");
    let mut client = world.client();
    assert_eq!(client.call(WRITE_UNCOMMITTED, id(1), b"x").body, b"x");
    assert_eq!(world.executed(), 2);
    assert_eq!(client.call(WRITE_UNCOMMITTED, id(1), b"x").body, b"x");
    assert_eq!(world.executed(), 2, "the repeat is answered from the window");
    world.check_nothing_is_held();
}

/// Fills a slot as a predecessor would have, for a connection that is gone.
fn leave(world: &World, service: u32, body: &[u8]) -> (SlotRef, Owner) {
    let control = world.control();
    let slots = Slots::new(control.slots());
    let dead = Owner::new(COMM_ROW, EPOCH - 1);
    let slot = slots.claim(dead, &mut Cursor::default()).unwrap();
    let row: &SlotRow = slots.row(slot.index).unwrap();
    let index =
        control.services().iter().position(|row| row.number.load(Ordering::Relaxed) == service).unwrap();
    let kind = if service < 20_000_000 { 1 } else { 2 };
    row.connection.store(1, Ordering::Relaxed);
    row.connection_generation.store(0, Ordering::Relaxed);
    row.service.store(service, Ordering::Relaxed);
    row.service_index.store(index as u32, Ordering::Relaxed);
    row.flags.store(kind << 8, Ordering::Relaxed);
    row.deadline_ns.store(gantry_sys::clock::monotonic_ns() + 60_000_000_000, Ordering::Relaxed);
    row.request_bytes.store(body.len() as u32, Ordering::Relaxed);
    let block = Blocks::of(control).claim(0, slot, BlockKind::Request, &mut Cursor::default()).unwrap();
    row.request_block.store(block.to_bits(), Ordering::Relaxed);
    world.segments().bodies().block(0, block.index as usize).unwrap().copy_from(body);
    for (place, chunk) in row.request_id.iter().zip(id(slot.index.into()).as_bytes().as_chunks::<8>().0) {
        place.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    (slot, dead)
}

#[test]
fn a_new_process_frees_what_was_being_filled_and_runs_what_was_accepted() {
    let mut world = World::without_workers("");
    let slots_of =
        |world: &World| Slots::new(world.control().slots()).words().map(|(_, word)| word).collect::<Vec<_>>();
    let (filling, _) = leave(&world, READ_ECHO, b"half");
    let (in_ring, dead) = leave(&world, READ_ECHO, b"a");
    let (not_in_ring, _) = leave(&world, WRITE_ECHO, b"b");
    let (done, _) = leave(&world, WRITE_ECHO, b"c");
    let (expired, _) = leave(&world, WRITE_ECHO, b"d");
    let (joined, _) = leave(&world, WRITE_ECHO, b"e");
    let (lost, _) = leave(&world, WRITE_ECHO, b"f");
    {
        let control = world.control();
        let slots = Slots::new(control.slots());
        Queue::requests(control.read_ring(), slots).submit(in_ring, dead).unwrap();
        slots.publish(not_in_ring, dead).unwrap();
        slots.answer(done, dead).unwrap();
        slots.publish(expired, dead).unwrap();
        slots.expire(expired).unwrap();
        slots.join(joined, dead).unwrap();
        slots.publish(lost, dead).unwrap();
        let worker = Owner::new(WRITE_ROW, EPOCH - 1);
        slots.take(lost, worker).unwrap();
        gantry_ring::recover_worker(slots, worker);
        control.services()[0].in_flight.store(77, Ordering::Relaxed);
        control.connections()[1].word.store(1, Ordering::Relaxed);
        control.out_records()[0].kind.store(2, Ordering::Relaxed);
    }
    world.start_comm();
    for gone in [filling, done, expired, joined, lost] {
        // What had come to its end is met in the threads' first sweep.
        wait_until("it is free", || slots_of(&world)[usize::from(gone.index)].is(State::Free));
    }
    let words = slots_of(&world);
    for kept in [in_ring, not_in_ring] {
        assert!(words[usize::from(kept.index)].is(State::Queued));
    }
    assert_eq!(world.control().connections()[1].word.load(Ordering::Relaxed) & 0xff, 0);
    world.start_workers();
    wait_until("both are run", || world.executed() == 2);
    world.check_nothing_is_held();
    assert_eq!(world.client().call(READ_ECHO, id(99), b"x").status(), Some(Status::Done));
}

#[test]
fn a_process_whose_row_has_another_life_refuses_to_start() {
    let mut world = World::without_workers("");
    world.start_comm();
    world.stop_comm().unwrap();
    world.control().processes()[usize::from(COMM_ROW)].begin_life(EPOCH + 1);
    let options = gantry_comm::CommOptions {
        segments: gantry_segment::Segments::attach(world.segments().handoff()).unwrap(),
        row: COMM_ROW,
        epoch: EPOCH,
        settings: gantry_settings::Settings::from_text("", std::path::Path::new("/tmp/gantry.toml")).unwrap(),
        listeners: Vec::new(),
        doorbells: world.doorbells(),
    };
    let error = gantry_comm::run(options).unwrap_err();
    assert!(error.to_string().contains("life 6, not in life 5"), "{error}");
}
