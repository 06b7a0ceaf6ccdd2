//! Logs in files, each in a folder of its own.

use crate::log::to_file;
use crate::values::VALUES_BYTES_MAX;
use crate::{Level, LogGuard, LogOptions, TelemetryError};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

struct Log {
    folder: TempDir,
    options: LogOptions,
    dispatch: Dispatch,
    guard: LogGuard,
}

fn options(folder: &Path) -> LogOptions {
    LogOptions {
        role: "worker".to_owned(),
        row: Some(3),
        dir: folder.join("log"),
        level: Level::Warn,
        rotate_bytes: 1 << 30,
        keep: 3,
    }
}

fn log_with(change: impl FnOnce(&mut LogOptions)) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    change(&mut options);
    let (dispatch, guard) = to_file(&options).unwrap();
    Log { folder, options, dispatch, guard }
}

impl Log {
    fn record(&self, records: impl FnOnce()) {
        with_default(&self.dispatch, records);
    }

    /// Everything in the file after what was queued was written.
    fn text(&self) -> String {
        self.guard.flush().unwrap();
        fs::read_to_string(self.options.file()).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        parsed(&self.text())
    }

    fn messages(&self) -> Vec<String> {
        self.records().iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect()
    }
}

/// Each line must be one whole JSON object.
fn parsed(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last record is torn");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn record_is_one_line_with_time_level_process_target_message_and_fields() {
    let log = log_with(|_| {});
    log.record(|| {
        tracing::warn!(service = 20_000_004_u32, late = true, share = 0.5, plate = "粤B", "over\ntime")
    });
    let records = log.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(record["level"], "warn");
    assert_eq!((&record["role"], &record["row"]), (&Value::from("worker"), &Value::from(3)));
    assert_eq!(record["pid"], std::process::id());
    assert_eq!(record["target"], "gantry_telemetry::tests");
    assert_eq!(record["message"], "over\ntime");
    let fields = serde_json::json!({ "service": 20_000_004, "late": true, "share": 0.5, "plate": "粤B" });
    assert_eq!(record["fields"], fields);
    let time = record["time"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!((time.len(), time.ends_with('Z')), ("2026-05-01T08:00:00.123Z".len(), true), "{time}");
}

#[test]
fn hostile_text_in_a_record_stays_within_its_line() {
    let log = log_with(|_| {});
    let hostile = "\"}\r\n{\"level\":\"error\"\u{0}\u{1b}[31m\u{85}\\";
    log.record(|| tracing::error!(body = hostile, value = ?hostile, number = f64::NAN, "{hostile}"));
    let records = log.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(
        (record["message"].as_str(), record["fields"]["body"].as_str()),
        (Some(hostile), Some(hostile))
    );
    assert_eq!(record["fields"]["number"], "NaN");
}

#[test]
fn record_without_a_message_and_record_within_spans_are_whole() {
    let log = log_with(|_| {});
    log.record(|| {
        let span = tracing::error_span!("request", id = 7);
        let _entered = span.enter();
        tracing::error!(slot = 5);
    });
    let records = log.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&record["fields"]["slot"], record.get("message")), (&Value::from(5), None));
    assert_eq!(record["spans"], serde_json::json!(["request{id=7}"]));
}

/// Method: the line itself is looked at too, since a reader of JSON takes the last of two keys without a word.
#[test]
fn field_with_the_name_of_the_message_or_of_another_field_keeps_its_value_under_a_name_of_its_own() {
    let log = log_with(|_| {});
    log.record(|| {
        tracing::error!(message = "field", "said {}", 1);
        tracing::error!(message = 7, field.message = 8, plate = 1, plate = 2, plate = 3, "said 2");
        tracing::error!(message = "said 3", message = true, message = false);
    });
    let records = log.records();
    let [first, second, third] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(log.messages(), ["said 1", "said 2", "said 3"]);
    assert_eq!(first["fields"], serde_json::json!({ "field.message": "field" }));
    let fields = serde_json::json!({
        "field.message": 7, "field.message.2": 8, "plate": 1, "plate.2": 2, "plate.3": 3
    });
    assert_eq!(second["fields"], fields);
    assert_eq!(third["fields"], serde_json::json!({ "field.message": true, "field.message.2": false }));
    for (line, record) in log.text().lines().zip(&records) {
        assert_eq!(line.len(), written_length(record), "no key is there twice: {line}");
    }
}

/// Bytes of a record without blanks between its parts.
fn written_length(record: &Value) -> usize {
    record.to_string().len()
}

#[test]
fn error_is_recorded_with_all_its_causes() {
    let log = log_with(|_| {});
    let cause = TelemetryError::File { file: PathBuf::from("/x"), cause: io::Error::other("disk") };
    let error: &(dyn std::error::Error + 'static) = &cause;
    log.record(|| tracing::error!(error, "failed"));
    let text = log.records()[0]["fields"]["error"].as_str().unwrap().to_owned();
    assert!(text.starts_with("log /x: ") && text.ends_with(": disk"), "{text}");
}

#[test]
fn record_that_is_too_long_is_cut_and_says_so() {
    let log = log_with(|_| {});
    let long = "号".repeat(VALUES_BYTES_MAX);
    log.record(|| tracing::error!(first = long, second = "more", third = 12_345, "message"));
    let records = log.records();
    let fields = &records[0]["fields"];
    let first = fields["first"].as_str().unwrap();
    assert!(first.len() <= VALUES_BYTES_MAX + '…'.len_utf8() && first.ends_with("号…"), "{}", first.len());
    assert!(log.text().len() < VALUES_BYTES_MAX + 512);
}

#[test]
fn level_change_takes_effect_at_once_in_both_directions() {
    let log = log_with(|_| {});
    let at_all_levels = |round: u32| {
        log.record(|| {
            tracing::debug!("debug {round}");
            tracing::warn!("warn {round}");
            tracing::error!("error {round}");
        });
    };
    // Within the log's scope: while a process has one log only, tracing asks the calling thread's log which
    // records are wanted. That of a real process is global, so there it is the same on every thread.
    let set = |level| log.record(|| log.guard.set_level(level).unwrap());
    at_all_levels(1);
    set(Level::Debug);
    at_all_levels(2);
    set(Level::Error);
    at_all_levels(3);
    assert_eq!(log.messages(), ["warn 1", "error 1", "debug 2", "warn 2", "error 2", "error 3"]);
}

#[test]
fn level_of_a_log_that_has_ended_cannot_be_changed() {
    let Log { dispatch, guard, .. } = log_with(|_| {});
    drop(dispatch);
    assert!(matches!(guard.set_level(Level::Debug), Err(TelemetryError::Ended)));
}

/// Goal: nothing is lost or torn when records come faster than they are written, nor at the end.
/// Method: four threads make far more records than the queue holds, and the guard is dropped at once.
#[test]
fn all_of_100_000_records_from_four_threads_arrive_in_the_order_of_each_thread() {
    const THREADS: u64 = 4;
    const EACH: u64 = 25_000;
    let Log { folder: _folder, options, dispatch, guard } = log_with(|_| {});
    thread::scope(|scope| {
        for source in 0..THREADS {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                with_default(&dispatch, || {
                    (0..EACH).for_each(|number| tracing::warn!(source, number, "record"))
                });
            });
        }
    });
    assert_eq!(guard.lost(), 0);
    drop(guard);
    let mut next = [0; THREADS as usize];
    for record in parsed(&fs::read_to_string(options.file()).unwrap()) {
        let source = record["fields"]["source"].as_u64().unwrap() as usize;
        assert_eq!(record["fields"]["number"], next[source]);
        next[source] += 1;
    }
    assert_eq!(next, [EACH; THREADS as usize]);
}

/// Goal: dropping the guard waits for a slow disk instead of giving the queue up after a second, as the
/// appender's own guard does. Method: the file is a pipe that nobody reads until the drop has not returned.
#[test]
fn dropped_guard_waits_until_a_slow_file_has_taken_every_record() {
    /// More than the pipe takes (64 KiB) and less than the pipe and the queue together.
    const RECORDS: usize = 1_200;
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fs::create_dir_all(&options.dir).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(options.file()).status().unwrap().success());
    let (dispatch, guard) = to_file(&options).unwrap();
    // Open before the drop: the writing end must not be the last one when it goes, or the rest goes with it.
    let pipe = fs::File::open(options.file()).unwrap();
    with_default(&dispatch, || (0..RECORDS).for_each(|number| tracing::warn!(number, "{:60}", "record")));
    drop(dispatch);
    let (tell, dropped) = mpsc::channel();
    let dropping = thread::spawn(move || {
        drop(guard);
        tell.send(()).unwrap();
    });
    let given_up = dropped.recv_timeout(Duration::from_secs(2));
    assert_eq!(given_up, Err(mpsc::RecvTimeoutError::Timeout), "the guard gave up");
    let text = io::read_to_string(pipe).unwrap();
    dropping.join().unwrap();
    assert_eq!(parsed(&text).len(), RECORDS);
}

/// Goal: only so many files are kept, and no record is lost or doubled where one ends and the next begins.
#[test]
fn rotation_keeps_so_many_files_and_every_record_in_them() {
    const RECORDS: u64 = 2_000;
    let log = log_with(|options| options.rotate_bytes = 16 << 10);
    log.record(|| (0..RECORDS).for_each(|number| tracing::warn!(number, "record")));
    let mut text = log.text();
    let current = log.options.file();
    for number in 1..=log.options.keep {
        let older = fs::read_to_string(format!("{}.{number}", current.display())).unwrap();
        assert!(older.len() <= 16 << 10, "{} bytes in file {number}", older.len());
        text.insert_str(0, &older);
    }
    assert_eq!(fs::read_dir(&log.options.dir).unwrap().count(), 1 + log.options.keep as usize);
    let numbers: Vec<_> =
        parsed(&text).iter().map(|record| record["fields"]["number"].as_u64().unwrap()).collect();
    let first = numbers[0];
    assert!(first > 0, "there was nothing to rotate");
    assert_eq!(numbers, (first..RECORDS).collect::<Vec<_>>());
}

#[test]
fn rotation_with_one_file_kept_replaces_it() {
    let log = log_with(|options| (options.rotate_bytes, options.keep) = (1, 1));
    log.record(|| ["a", "b", "c"].into_iter().for_each(|text| tracing::warn!("{text}")));
    assert_eq!(log.messages(), ["c"]);
    let older = fs::read_to_string(format!("{}.1", log.options.file().display())).unwrap();
    assert_eq!(parsed(&older)[0]["message"], "b");
    assert_eq!(fs::read_dir(&log.options.dir).unwrap().count(), 2);
}

#[test]
fn restarted_process_appends_to_its_file() {
    let first = log_with(|_| {});
    first.record(|| tracing::warn!("first life"));
    let Log { folder: _folder, options, guard, .. } = first;
    drop(guard);
    let (dispatch, guard) = to_file(&options).unwrap();
    with_default(&dispatch, || tracing::warn!("second life"));
    drop(guard);
    let text = fs::read_to_string(options.file()).unwrap();
    let messages: Vec<_> = parsed(&text).iter().map(|record| record["message"].clone()).collect();
    assert_eq!(messages, ["first life", "second life"]);
}

/// Goal: a process killed while writing spoils its last record only, not the first of the next life.
#[test]
fn record_torn_by_a_kill_gets_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fs::create_dir_all(&options.dir).unwrap();
    fs::write(options.file(), "{\"time\":\"20").unwrap();
    let (dispatch, guard) = to_file(&options).unwrap();
    with_default(&dispatch, || tracing::warn!("next life"));
    drop(guard);
    let text = fs::read_to_string(options.file()).unwrap();
    let (torn, rest) = text.split_once('\n').unwrap();
    assert_eq!((torn, &parsed(rest)[0]["message"]), ("{\"time\":\"20", &Value::from("next life")));
}

#[test]
fn file_or_folder_removed_by_somebody_else_is_made_again() {
    let log = log_with(|_| {});
    log.record(|| tracing::warn!("gone"));
    log.guard.flush().unwrap();
    fs::remove_file(log.options.file()).unwrap();
    log.record(|| tracing::warn!("after the file"));
    assert_eq!(log.messages(), ["after the file"]);
    fs::rename(&log.options.dir, log.folder.path().join("moved")).unwrap();
    log.record(|| tracing::warn!("after the folder"));
    assert_eq!(log.messages(), ["after the folder"]);
    assert_eq!(log.guard.lost(), 0);
}

/// Method: `/dev/full` under the log's name refuses every write as a full disk does; then it is taken away.
#[test]
fn records_lost_on_a_full_disk_are_counted_and_told_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fs::create_dir_all(&options.dir).unwrap();
    std::os::unix::fs::symlink("/dev/full", options.file()).unwrap();
    let (dispatch, guard) = to_file(&options).unwrap();
    let log = Log { folder, options, dispatch, guard };
    log.record(|| (0..3).for_each(|_| tracing::warn!("lost")));
    log.guard.flush().unwrap();
    assert_eq!(log.guard.lost(), 3);
    fs::remove_file(log.options.file()).unwrap();
    log.record(|| tracing::warn!("room again"));
    assert_eq!(log.messages(), ["3 records before this one could not be written and are lost", "room again"]);
    log.record(|| tracing::warn!("and on"));
    assert_eq!((log.messages().len(), log.guard.lost()), (3, 3));
}

#[test]
fn log_and_its_folder_are_private_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let log = log_with(|_| {});
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&log.options.dir), mode(&log.options.file())), (0o700, 0o600));
}

#[test]
fn name_of_the_file_has_role_and_row() {
    let mut options = options(Path::new("/srv"));
    assert_eq!(options.file(), Path::new("/srv/log/worker-3.log"));
    (options.role, options.row) = ("supervisor".to_owned(), None);
    assert_eq!(options.file(), Path::new("/srv/log/supervisor.log"));
}

#[test]
fn log_that_cannot_be_opened_says_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log"), "a file").unwrap();
    let Err(error) = to_file(&options(folder.path())) else { panic!("opened") };
    let message = error.to_string();
    assert!(message.contains("worker-3.log: cannot be opened: ") && message.contains("log.dir"), "{message}");
}

#[test]
fn role_that_would_leave_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for role in ["", "../x", "a/b", "A", "\"", &"x".repeat(33)] {
        let options = LogOptions { role: role.to_owned(), ..options(folder.path()) };
        assert!(matches!(to_file(&options), Err(TelemetryError::Role { .. })), "{role}");
    }
}

#[test]
fn level_is_the_same_as_word_and_as_number() {
    for level in [Level::Debug, Level::Warn, Level::Error] {
        assert_eq!(level.as_str().parse(), Ok(level));
        assert_eq!(Level::from_code(level.code()), Some(level));
    }
    assert_eq!(
        "info".parse::<Level>().unwrap_err().to_string(),
        "\"info\" is no level; write debug, warn or error"
    );
    assert_eq!((Level::from_code(0), Level::from_code(4)), (None, None));
}
