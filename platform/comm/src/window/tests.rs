//! The window on a small node whose slots are moved by hand.

use gantry_ring::Cursor;
use gantry_segment::{BlockClass, Control, Dimensions};

use super::*;

const OWNER: Owner = Owner::new(1, 7);
const KEEP_NS: u64 = 1_000;
const REQUEST: Request = Request { service: 20_000_004, body_hash: [1, 2] };

fn node(window_entries: u32) -> Control {
    Control::heap(Dimensions {
        slots: 32,
        processes: 4,
        io_threads: 1,
        connections: 4,
        receive_buffers: 4,
        receive_buffer_bytes: 1024,
        out_records: 4,
        services: 4,
        libraries: 1,
        window_entries,
        classes: vec![BlockClass { block_bytes: 1024, blocks_count: 4 }],
    })
    .unwrap()
}

fn window(control: &Control) -> Window<'_> {
    Window::new(control.window(), Slots::new(control.slots()), KEEP_NS)
}

fn key(number: u32) -> Key {
    Key::new(CallerName::ANONYMOUS, format!("{number:024}").parse().unwrap())
}

fn claim(window: &Window<'_>) -> SlotRef {
    window.slots.claim(OWNER, &mut Cursor::default()).unwrap()
}

fn begin(window: &Window<'_>, number: u32, slot: SlotRef, now_ns: u64) -> (Begun, Vec<u8>) {
    let mut reply = Vec::new();
    (window.begin(&key(number), &REQUEST, slot, OWNER, now_ns, &mut reply), reply)
}

/// A new write that runs; gives its slot and entry.
fn running(window: &Window<'_>, number: u32, now_ns: u64) -> (SlotRef, u32) {
    let slot = claim(window);
    let (Begun::Run { entry }, _) = begin(window, number, slot, now_ns) else { panic!("it is new") };
    assert_ne!(entry, 0);
    (slot, entry)
}

fn settle(
    window: &Window<'_>,
    entry: u32,
    slot: SlotRef,
    status: Status,
    reply: &[u8],
    now_ns: u64,
) -> Settled {
    let mut reply = reply.to_vec();
    window.settle(entry, slot, End::Done(status, SharedBytes::from_private(&mut reply)), now_ns)
}

#[test]
fn a_repeat_of_a_done_write_gets_its_reply_until_the_window_is_over() {
    let control = node(16);
    let window = window(&control);
    let (slot, entry) = running(&window, 1, 10);
    settle(&window, entry, slot, Status::BusinessError, b"{\"error\":\"x\"}", 20);
    window.slots.release(slot).unwrap();
    let repeat = claim(&window);
    let (begun, reply) = begin(&window, 1, repeat, 20 + KEEP_NS);
    assert_eq!((begun, &reply[..]), (Begun::Replay { status: 304 }, &b"{\"error\":\"x\"}"[..]));
    let (begun, _) = begin(&window, 1, repeat, 21 + KEEP_NS);
    assert!(matches!(begun, Begun::Run { entry } if entry != 0), "the entry is over: {begun:?}");
}

#[test]
fn every_length_of_reply_up_to_the_limit_comes_back_and_a_longer_one_is_asked_of_the_database() {
    let control = node(16);
    let window = window(&control);
    for length in [0, 1, 7, 8, 9, 519, 520, 521] {
        let reply: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let (slot, entry) = running(&window, length, 10);
        settle(&window, entry, slot, Status::Done, &reply, 20);
        window.slots.release(slot).unwrap();
        let (begun, back) = begin(&window, length, claim(&window), 30);
        if length <= 520 {
            assert_eq!((begun, back), (Begun::Replay { status: 0 }, reply));
        } else {
            assert_eq!(begun, Begun::Ask);
        }
    }
}

#[test]
fn an_id_used_for_another_body_or_service_is_told() {
    let control = node(16);
    let window = window(&control);
    running(&window, 1, 10);
    let (slot, mut reply) = (claim(&window), Vec::new());
    for other in [Request { service: 20_000_005, ..REQUEST }, Request { body_hash: [1, 3], ..REQUEST }] {
        assert_eq!(window.begin(&key(1), &other, slot, OWNER, 11, &mut reply), Begun::Reused);
    }
    let stranger = Key::new("till".parse().unwrap(), key(1).request_id);
    let begun = window.begin(&stranger, &REQUEST, slot, OWNER, 11, &mut reply);
    assert!(matches!(begun, Begun::Run { .. }), "ids are unique per caller: {begun:?}");
}

#[test]
fn a_repeat_of_a_running_write_waits_and_is_given_out_once() {
    let control = node(16);
    let window = window(&control);
    let (slot, entry) = running(&window, 1, 10);
    let (first, second) = (claim(&window), claim(&window));
    assert_eq!(begin(&window, 1, first, 11).0, Begun::Joined);
    assert_eq!(begin(&window, 1, second, 12).0, Begun::Joined);
    assert!(window.slots.word(first.index).is(State::Joined));
    assert!(window.cancel_join(entry, second));
    assert!(!window.cancel_join(entry, second));
    assert_eq!(settle(&window, entry, slot, Status::Done, b"ok", 20).joiners, [first]);
    assert!(settle(&window, entry, slot, Status::Done, b"ok", 20).joiners.is_empty());
}

#[test]
fn a_write_that_never_started_hands_its_place_to_a_repeat_that_waits() {
    let control = node(16);
    let window = window(&control);
    let (slot, entry) = running(&window, 1, 10);
    let (first, second) = (claim(&window), claim(&window));
    begin(&window, 1, first, 11);
    begin(&window, 1, second, 12);
    let settled = window.settle(entry, slot, End::NeverStarted, 20);
    assert!(settled.joiners.is_empty());
    assert_eq!(settled.promoted, Some(first));
    assert!(window.slots.word(first.index).is(State::Queued));
    window.slots.release(slot).unwrap();
    assert_eq!(window.look_up(&key(1), 21, &mut Vec::new()), Known::InFlight(first));
    assert_eq!(settle(&window, entry, first, Status::Done, b"ok", 30).joiners, [second]);
}

#[test]
fn a_failed_write_runs_again_and_says_failed_until_then() {
    let control = node(16);
    let window = window(&control);
    for (status, known) in [
        (Status::ServiceFailed, Known::Lost),
        (Status::WorkerLost, Known::Lost),
        (Status::PlatformFault, Known::Lost),
    ] {
        let number = u32::from(status.code());
        let (slot, entry) = running(&window, number, 10);
        window.settle(entry, slot, End::Failed(status), 20);
        window.slots.release(slot).unwrap();
        assert_eq!(window.look_up(&key(number), 21, &mut Vec::new()), known);
        let (again, same) = running(&window, number, 30);
        assert_eq!(same, entry);
        assert_eq!(window.look_up(&key(number), 31, &mut Vec::new()), Known::InFlight(again));
    }
}

#[test]
fn what_a_worker_knew_better_is_forgotten() {
    let control = node(16);
    let window = window(&control);
    let (slot, entry) = running(&window, 1, 10);
    window.settle(entry, slot, End::Forget, 20);
    assert_eq!(window.look_up(&key(1), 21, &mut Vec::new()), Known::Nothing);
}

#[test]
fn a_running_entry_of_a_slot_that_went_on_is_not_believed() {
    let control = node(16);
    let window = window(&control);
    let (slot, entry) = running(&window, 1, 10);
    window.slots.release(slot).unwrap();
    assert_eq!(window.look_up(&key(1), 11, &mut Vec::new()), Known::Nothing);
    let (next, same) = running(&window, 1, 12);
    assert_eq!(same, entry);
    assert!(!next.is_same_use(slot));
    // The late settling of the first use changes nothing for the second.
    settle(&window, entry, slot, Status::Done, b"old", 13);
    assert_eq!(window.look_up(&key(1), 14, &mut Vec::new()), Known::InFlight(next));
}

#[test]
fn a_full_bucket_gives_up_its_oldest_settled_entry_and_never_a_running_one() {
    let control = node(8);
    let window = window(&control);
    let running_ones: Vec<_> = (0..6).map(|number| running(&window, number, 10)).collect();
    for (number, changed_ns) in [(6, 300), (7, 200)] {
        let (slot, entry) = running(&window, number, 10);
        settle(&window, entry, slot, Status::Done, b"ok", changed_ns);
        window.slots.release(slot).unwrap();
    }
    running(&window, 8, 400);
    assert_eq!(window.look_up(&key(7), 401, &mut Vec::new()), Known::Nothing, "the oldest went");
    assert_eq!(window.look_up(&key(6), 401, &mut Vec::new()), Known::Done { status: 0 });
    running(&window, 9, 402);
    assert_eq!(begin(&window, 10, claim(&window), 403).0, Begun::Full);
    for (number, (slot, _)) in running_ones.iter().enumerate() {
        assert_eq!(window.look_up(&key(number as u32), 404, &mut Vec::new()), Known::InFlight(*slot));
    }
}

/// A write that runs, and repeats of it that wait, as a process leaves them that dies now.
fn running_with_repeats(window: &Window<'_>, repeats: usize) -> (SlotRef, u32, Vec<SlotRef>) {
    let (original, entry) = running(window, 1, 10);
    window.slots.publish(original, OWNER).unwrap();
    let repeats = (0..repeats).map(|_| {
        let repeat = claim(window);
        assert_eq!(begin(window, 1, repeat, 11).0, Begun::Joined);
        repeat
    });
    (original, entry, repeats.collect())
}

fn rejoin(window: &Window<'_>, joiner: SlotRef) -> (Rejoined, Vec<u8>) {
    let mut reply = Vec::new();
    (window.rejoin(&key(1), joiner, |_| false, 50, &mut reply), reply)
}

#[test]
fn a_successor_finds_again_who_waits_for_a_write_that_runs() {
    let control = node(16);
    let (original, entry, repeats) = running_with_repeats(&window(&control), 2);
    let successor = window(&control);
    for repeat in &repeats {
        assert_eq!(rejoin(&successor, *repeat).0, Rejoined::Waits);
    }
    let settled = settle(&successor, entry, original, Status::Done, b"reply", 60);
    assert_eq!(settled.joiners, repeats);
}

#[test]
fn a_repeat_of_a_write_that_was_settled_and_not_yet_delivered_is_told_with_it() {
    let control = node(16);
    let before = window(&control);
    let (original, entry, repeats) = running_with_repeats(&before, 1);
    before.slots.take(original, Owner::new(3, 1)).unwrap();
    before.slots.finish(original, Owner::new(3, 1)).unwrap();
    // The settled repeats are forgotten with the process.
    assert_eq!(settle(&before, entry, original, Status::Done, b"reply", 20).joiners, repeats);
    let successor = window(&control);
    assert_eq!(rejoin(&successor, repeats[0]).0, Rejoined::Waits);
    assert_eq!(settle(&successor, entry, original, Status::Done, b"reply", 60).joiners, repeats);
}

#[test]
fn the_first_repeat_takes_the_place_of_a_write_that_was_never_published_and_the_others_wait_for_it() {
    let control = node(16);
    let before = window(&control);
    let (original, _, repeats) = running_with_repeats(&before, 2);
    before.slots.expire(original).unwrap();
    before.slots.release(original).unwrap();
    let successor = window(&control);
    assert_eq!(rejoin(&successor, repeats[0]).0, Rejoined::Runs);
    assert!(successor.slots.word(repeats[0].index).is(State::Queued));
    assert_eq!(rejoin(&successor, repeats[1]).0, Rejoined::Waits);
    let entry = control.slots()[usize::from(repeats[1].index)].window_entry.load(Ordering::Relaxed);
    assert!(successor.is_run_by(entry, repeats[0]) && !successor.is_run_by(entry, repeats[1]));
    assert_eq!(settle(&successor, entry, repeats[0], Status::Done, b"r", 60).joiners, [repeats[1]]);
}

#[test]
fn a_repeat_that_was_about_to_take_a_place_takes_it() {
    let control = node(16);
    let before = window(&control);
    let (original, entry, repeats) = running_with_repeats(&before, 1);
    before.slots.expire(original).unwrap();
    // As `promote` does, up to a death before the slot is queued.
    control.slots()[usize::from(repeats[0].index)].joined.store(0, Ordering::Relaxed);
    before.run_again(entry - 1, repeats[0], 20);
    let successor = window(&control);
    assert_eq!(rejoin(&successor, repeats[0]).0, Rejoined::Runs);
    assert!(successor.slots.word(repeats[0].index).is(State::Queued));
    // The one that never started is ended again, and does not disturb the other.
    let settled = successor.settle(entry, original, End::NeverStarted, 60);
    assert!(settled.joiners.is_empty() && settled.promoted.is_none());
    assert!(successor.is_run_by(entry, repeats[0]));
}

#[test]
fn a_repeat_whose_original_is_gone_gets_what_is_recorded_or_asks() {
    let long = [7; REPLY_INLINE_MAX + 1];
    let cases: [(End<'_>, Rejoined, &[u8]); 5] = [
        (
            End::Done(Status::BusinessError, SharedBytes::from_private(&mut *b"no".to_vec().leak())),
            Rejoined::Answered { status: 304 },
            b"no",
        ),
        (End::Done(Status::Done, SharedBytes::from_private(&mut *long.to_vec().leak())), Rejoined::Asks, b""),
        (End::Failed(Status::WorkerLost), Rejoined::Answered { status: 302 }, b""),
        (End::Forget, Rejoined::Asks, b""),
        (End::Failed(Status::BudgetSpent), Rejoined::Runs, b""),
    ];
    for (end, expected, reply) in cases {
        let control = node(16);
        let before = window(&control);
        let (original, entry, repeats) = running_with_repeats(&before, 1);
        assert_eq!(before.settle(entry, original, end, 20).joiners, repeats);
        before.slots.expire(original).unwrap();
        before.slots.release(original).unwrap();
        let successor = window(&control);
        assert_eq!(rejoin(&successor, repeats[0]), (expected, reply.to_vec()), "{end:?}");
    }
}

#[test]
fn a_repeat_whose_entry_is_anothers_by_now_asks() {
    let control = node(16);
    let before = window(&control);
    let (original, _, repeats) = running_with_repeats(&before, 1);
    before.slots.expire(original).unwrap();
    before.slots.release(original).unwrap();
    let successor = window(&control);
    let mut reply = Vec::new();
    let rejoined = successor.rejoin(&key(2), repeats[0], |_| false, 50, &mut reply);
    assert_eq!(rejoined, Rejoined::Asks);
}

#[test]
fn a_body_that_met_the_window_before_its_process_died_does_not_wait_for_itself() {
    let control = node(16);
    let (slot, entry) = running(&window(&control), 1, 10);
    let successor = window(&control);
    assert_eq!(begin(&successor, 1, slot, 20).0, Begun::Run { entry });
}
