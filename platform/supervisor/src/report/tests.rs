use super::*;
use crate::children::{COMM, READ_WORKER};
use crate::testing::small_dimensions;
use gantry_message::ServiceNumber;
use gantry_segment::LibraryFacts;
use gantry_sys::process::PidFd;

const RUNNING: u64 = 9 << 32 | 4;

/// A segment whose process in row 2 runs the request in slot 3: the second attempt of its third use.
fn segment() -> Control {
    let control = Control::heap(small_dimensions()).unwrap();
    let row = &control.processes()[2];
    row.running_slot.store(RUNNING, Relaxed);
    row.running_since_ns.store(clock::monotonic_ns(), Relaxed);
    let slot = &control.slots()[3];
    slot.caller.set(b"anonymous");
    slot.service.store(19_000_003, Relaxed);
    slot.flags.store(1 << 8, Relaxed);
    slot.timeout_ms.store(200, Relaxed);
    slot.request_bytes.store(17, Relaxed);
    slot.arrival_ns.store(clock::monotonic_ns(), Relaxed);
    slot.deadline_ns.store(slot.arrival_ns.load(Relaxed) + 150_000_000, Relaxed);
    let id = b"till-07.2024-05-01.00042";
    for (word, bytes) in slot.request_id.iter().zip(id.chunks(8)) {
        word.store(u64::from_le_bytes(bytes.try_into().unwrap()), Relaxed);
    }
    control
}

/// A process that stands for one that has died; it is this one.
fn dead(ending: Option<Ending>) -> Running {
    let pid = i32::try_from(std::process::id()).unwrap();
    let mut dead = Running::new(pid, PidFd::open(pid).unwrap(), 7, 0);
    dead.ending = ending;
    dead
}

fn last(note: u32, service: Option<u32>) -> LastState {
    let service = service.map(|number| ServiceNumber::new(number).unwrap());
    let library = Some(LibraryFacts { version: "1.0".into(), ..LibraryFacts::default() });
    LastState { note, service, library, is_canary: false }
}

fn killed(reason: Reason) -> Option<Ending> {
    Some(Ending { reason, kill_at_ns: 1, is_killed: true, overran_ns: 0 })
}

const BY_KILL: ExitState = ExitState::Killed { signal: 9, core_dumped: false };

#[test]
fn the_request_is_told_by_its_header() {
    let noted = noted(&segment(), 2);
    let request = noted.request.unwrap();
    assert_eq!(
        (&request["id"], &request["caller"]),
        (&json!("till-07.2024-05-01.00042"), &json!("anonymous"))
    );
    assert_eq!((&request["service"], &request["kind"]), (&json!("19000003"), &json!("read")));
    assert_eq!((&request["body_bytes"], &request["budget_ms"]), (&json!(17), &json!(150)));
    assert_eq!((&request["attempt"], &request["timeout_ms"]), (&json!(1), &json!(200)));
}

#[test]
fn a_process_that_ran_nothing_or_names_no_slot_has_no_request() {
    let control = segment();
    control.processes()[2].running_slot.store(0, Relaxed);
    assert!(noted(&control, 2).request.is_none());
    control.processes()[2].running_slot.store(9 << 32 | 400, Relaxed);
    assert!(noted(&control, 2).request.is_none());
}

#[test]
fn the_note_tells_library_statement_and_stack_of_this_request_only() {
    let control = segment();
    let note = &control.notes()[2];
    note.begin_request(RUNNING, "diag", "1.2.0");
    note.begin_statement("main", "SELECT ?", clock::monotonic_ns());
    note.begin_stack(RUNNING, 11);
    let module = note.push_module(b"/lib/libx.so", &[0xab, 0x01]);
    assert!(note.push_frame(FrameNote { module, offset: 0x1234 }));
    assert!(note.push_frame(FrameNote { module: None, offset: 0x10 }));
    note.end_stack(StackEnd::Whole);
    let (dead, last) = (dead(None), last(11, Some(19_000_003)));
    let death = Death { kind: &READ_WORKER, row: 2, dead: &dead, exit: BY_KILL, last: &last };
    let told = report(&death, &noted(&control, 2));
    assert_eq!((&told["library"], &told["version"]), (&json!("diag"), &json!("1.2.0")));
    assert_eq!(
        (&told["statement"]["text"], &told["statement"]["is_cut"]),
        (&json!("SELECT ?"), &json!(false))
    );
    assert_eq!(
        (&told["why"], &told["why_text"]),
        (&json!("fatal_signal"), &json!("fatal signal 11 (SIGSEGV)"))
    );
    assert_eq!(told["stack"]["modules"], json!([{"path": "/lib/libx.so", "build": "ab01"}]));
    let frames = json!([
        {"module": "/lib/libx.so", "offset": "0x1234", "symbol": null},
        {"module": null, "offset": "0x10", "symbol": null},
    ]);
    assert_eq!((&told["stack"]["frames"], &told["stack"]["end"]), (&frames, &json!("whole")));
    assert_eq!(told["stack_missing"], Value::Null);
    // The next request of the same worker: nothing of this may be taken for its own.
    control.processes()[2].running_slot.store(RUNNING + 1, Relaxed);
    let told = report(&death, &noted(&control, 2));
    assert_eq!(
        (&told["stack"], &told["library"], &told["version"]),
        (&Value::Null, &Value::Null, &json!("1.0"))
    );
    assert_eq!(told["stack_missing"], "the stack could not be walked");
}

#[test]
fn each_way_to_die_has_a_word_of_its_own() {
    let exited = ExitState::Exited { code: 3 };
    let (none, over, hung) = (None, killed(Reason::OverTime), killed(Reason::Hung));
    let cases = [
        (0, none, BY_KILL, "killed"),
        (6, none, ExitState::Killed { signal: 6, core_dumped: true }, "fatal_signal"),
        (0x100, none, exited, "exit"),
        (0, none, exited, "ended"),
        (0, none, ExitState::Unknown, "unknown"),
        (0, over, BY_KILL, "over_time"),
        (0, hung, BY_KILL, "hung"),
        (0, killed(Reason::NotReady), BY_KILL, "not_ready"),
        (0, killed(Reason::Stop), BY_KILL, "stopped"),
    ];
    for (note, ending, exit, word) in cases {
        let (dead, last) = (dead(ending), last(note, Some(19_000_003)));
        let why = Death { kind: &READ_WORKER, row: 2, dead: &dead, exit, last: &last }.why(200);
        assert_eq!(why.word, word, "{why:?}");
    }
    let (dead, last) = (dead(over), last(0, Some(19_000_003)));
    let why = Death { kind: &READ_WORKER, row: 2, dead: &dead, exit: BY_KILL, last: &last }.why(200);
    assert_eq!(why.text, "the service overran its time-out of 200 ms; killed");
}

#[test]
fn deaths_inside_a_service_and_by_the_supervisors_hand_are_reported_others_are_not() {
    let is_reported = |row, ending, exit, note, service| {
        let kind = if row == COMM_ROW { &COMM } else { &READ_WORKER };
        Death { kind, row, dead: &dead(ending), exit, last: &last(note, service) }.is_worth_a_report()
    };
    let left = ExitState::Exited { code: 0 };
    assert!(is_reported(2, None, BY_KILL, 0, Some(19_000_003)));
    assert!(is_reported(2, None, left, 0x100, Some(19_000_003)));
    assert!(is_reported(2, killed(Reason::Hung), BY_KILL, 0, None));
    assert!(is_reported(COMM_ROW, killed(Reason::Hung), BY_KILL, 0, None));
    assert!(is_reported(COMM_ROW, None, BY_KILL, 0, None));
    assert!(!is_reported(2, None, BY_KILL, 0, None), "an idle worker, killed by hand");
    assert!(!is_reported(2, killed(Reason::Stop), BY_KILL, 0, None));
    assert!(!is_reported(COMM_ROW, killed(Reason::Stop), BY_KILL, 0, None));
    assert!(!is_reported(COMM_ROW, None, left, 0, None));
}

#[test]
fn reports_are_kept_up_to_a_number_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..REPORTS_MAX {
        fs::write(folder.path().join(format!("{number:013}-x.json")), "{}").unwrap();
    }
    fs::write(folder.path().join("0000000000700-x.part"), "{").unwrap();
    let path = write(folder.path(), "19000003-41", &json!({"a": 1})).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), REPORTS_MAX);
    assert!(!folder.path().join(format!("{:013}-x.json", 0)).exists());
    let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(report, json!({"a": 1}));
}
