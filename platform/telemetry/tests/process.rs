//! What holds for a whole process: each test runs itself again as a child, with the folder of its log in the
//! environment, and looks at what the child left behind.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use gantry_telemetry::{Level, LogOptions, TelemetryError, init, init_stderr, set_level};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names the folder in a child, and so says that this is one.
const FOLDER: &str = "GANTRY_TELEMETRY_TEST_FOLDER";

fn options(folder: PathBuf) -> LogOptions {
    LogOptions {
        role: "comm".to_owned(),
        row: None,
        dir: folder,
        level: Level::Warn,
        rotate_bytes: 1 << 20,
        keep: 1,
    }
}

/// Runs `child` in a process of its own and `check` on its output and folder in this one.
fn in_a_process(test: &str, child: impl FnOnce(PathBuf), check: impl FnOnce(&Output, &Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return child(PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    check(&output, folder.path());
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("comm.log")).unwrap()
}

fn messages(folder: &Path) -> Vec<String> {
    let record = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    log(folder).lines().map(|line| record(line)["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn process_has_one_log_and_its_level_can_be_set_from_anywhere() {
    in_a_process(
        "process_has_one_log_and_its_level_can_be_set_from_anywhere",
        |folder| {
            assert!(matches!(set_level(Level::Debug), Err(TelemetryError::NotSet)));
            let guard = init(&options(folder.clone())).unwrap();
            assert!(matches!(init(&options(folder)), Err(TelemetryError::AlreadySet)));
            assert!(matches!(init_stderr("probe", Level::Warn), Err(TelemetryError::AlreadySet)));
            let all = |round: u32| {
                tracing::debug!("debug {round}");
                tracing::warn!("warn {round}");
                tracing::error!("error {round}");
            };
            all(1);
            std::thread::spawn(|| set_level(Level::Debug).unwrap()).join().unwrap();
            all(2);
            guard.set_level(Level::Error).unwrap();
            std::thread::spawn(move || all(3)).join().unwrap();
        },
        |output, folder| {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(messages(folder), ["warn 1", "error 1", "debug 2", "warn 2", "error 2", "error 3"]);
        },
    );
}

/// Goal: the record of a panic is in the file before anything else happens, since the process may abort then.
/// Method: the hook from before counts the records in the file, for each of many panics, and aborts at the last.
#[test]
fn panic_is_recorded_before_the_earlier_hook_runs_and_the_process_aborts() {
    const PANICS: usize = 50;
    in_a_process(
        "panic_is_recorded_before_the_earlier_hook_runs_and_the_process_aborts",
        |folder| {
            let seen = folder.clone();
            std::panic::set_hook(Box::new(move |info| {
                let count = log(&seen).lines().count();
                eprintln!("earlier hook saw {count}: {info}");
                if count == PANICS {
                    std::process::abort();
                }
            }));
            let _guard = init(&options(folder)).unwrap();
            for slot in 1..=PANICS {
                let thread = std::thread::Builder::new().name("io-0".to_owned());
                assert!(thread.spawn(move || panic!("slot {slot} is odd")).unwrap().join().is_err());
            }
        },
        |output, folder| {
            assert!(!output.status.success());
            let printed = String::from_utf8_lossy(&output.stderr);
            let saw: Vec<_> = printed
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("earlier hook saw ")?.split(':').next()?.parse::<usize>().ok()
                })
                .collect();
            assert_eq!(saw, (1..=PANICS).collect::<Vec<_>>(), "{printed}");
            let text = log(folder);
            let record: serde_json::Value = serde_json::from_str(text.lines().next_back().unwrap()).unwrap();
            assert_eq!(
                (&record["message"], &record["level"]),
                (&"panic: slot 50 is odd".into(), &"error".into())
            );
            assert_eq!(record["fields"]["thread"], "io-0");
            assert!(record["fields"]["at"].as_str().unwrap().contains("process.rs:"), "{text}");
        },
    );
}

#[test]
fn records_flushed_before_an_exit_are_in_the_file() {
    in_a_process(
        "records_flushed_before_an_exit_are_in_the_file",
        |folder| {
            let guard = init(&options(folder)).unwrap();
            (0..5_000).for_each(|number| tracing::warn!("record {number}"));
            guard.flush().unwrap();
            std::process::exit(0);
        },
        |output, folder| {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(messages(folder).len(), 5_000);
        },
    );
}

#[test]
fn helper_records_to_standard_error_as_plain_lines() {
    in_a_process(
        "helper_records_to_standard_error_as_plain_lines",
        |_| {
            let guard = init_stderr("probe", Level::Warn).unwrap();
            tracing::warn!(path = "/a b", code = 3, "bad\x1b[31m\nlibrary");
            tracing::debug!("hidden");
            guard.flush().unwrap();
            assert_eq!((guard.file(), guard.lost()), (None, 0));
        },
        |output, _| {
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<_> = text.lines().filter(|line| line.contains(" probe[")).collect();
            let [line] = lines.as_slice() else { panic!("{text}") };
            assert!(line.ends_with("process: bad\\u{1b}[31m\\nlibrary path=\"/a b\" code=3"), "{line}");
            assert_eq!(line.split(' ').nth(1), Some("warn"));
        },
    );
}

/// Goal: the log fits a supervisor of 4 MiB. Method: private memory before the log and after 100,000 records.
#[test]
fn log_takes_less_than_half_a_mebibyte_of_private_memory() {
    in_a_process(
        "log_takes_less_than_half_a_mebibyte_of_private_memory",
        |folder| {
            let before = private_kib();
            let guard = init(&options(folder)).unwrap();
            (0..100_000).for_each(|number| tracing::warn!(number, "record"));
            guard.flush().unwrap();
            println!("private KiB: {}", private_kib().saturating_sub(before));
        },
        |output, _| {
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8_lossy(&output.stdout);
            let figure = text.lines().find_map(|line| line.split("private KiB: ").nth(1)).unwrap();
            let kib: u64 = figure.trim().parse().unwrap();
            println!("{kib} KiB");
            assert!(kib < 512, "{kib} KiB");
        },
    );
}

fn private_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
