//! Libraries and services that are wrong: each is refused or fails by itself, with a reason.

use gantry_abi::descriptor::{GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bench::{Bench, compile_hostile, diag, number, probe_program};
use gantry_service_host::{Instance, LoadError, Loader};

fn refusal(path: &Path) -> LoadError {
    match Loader::open(path) {
        Ok(library) => panic!("{library:?} was loaded"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
            error
        }
    }
}

#[test]
fn file_that_is_no_library_is_refused_with_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("X.so");
    assert!(matches!(Loader::open(&path), Err(LoadError::Read { .. })));
    assert!(matches!(Loader::open(folder.path()), Err(LoadError::NotALibrary { .. })));
    let diag = std::fs::read(diag()).unwrap();
    let mut other_machine = diag.clone();
    other_machine[18] = 0x08;
    let chinese = "收费".repeat(100);
    let cases: [(&[u8], &str); 7] = [
        (b"", "the file is empty"),
        (b"#!/bin/sh\necho hello\n", "a text file"),
        (chinese.as_bytes(), "a text file"),
        (b"!<arch>\n", "a static archive"),
        (&[0x7f, b'E', b'L', b'F', 9, 9, 9], "header is broken"),
        (&diag[..diag.len() / 2], "cut off"),
        (&other_machine, "built for ELF machine 8"),
    ];
    for (index, (content, expected)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.so"));
        std::fs::write(&path, content).unwrap();
        let text = refusal(&path).to_string();
        assert!(text.contains(expected), "{text} where {expected} was expected");
    }
}

/// Goal: no half-written copy of a library kills a worker. Method: cut it everywhere, in steps.
#[test]
fn library_cut_off_anywhere_is_refused_without_being_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(compile_hostile("oversized_reply.c", folder.path(), &[])).unwrap();
    for bytes in (0..whole.len()).step_by(whole.len() / 200).chain([whole.len() - 1]) {
        let path = folder.path().join(format!("cut-{bytes}.so"));
        std::fs::write(&path, &whole[..bytes]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, LoadError::NotALibrary { .. }), "{bytes} bytes: {error}");
    }
}

#[test]
fn library_without_the_entry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&compile_hostile("no_symbol.c", folder.path(), &[]));
    assert!(matches!(error, LoadError::NoEntry { .. }), "{error}");
}

#[test]
fn library_of_another_major_version_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&compile_hostile("wrong_abi.c", folder.path(), &[]));
    let text = error.to_string();
    assert!(matches!(error, LoadError::AbiVersion { major: 2, .. }), "{text}");
    let own = format!("ABI {GANTRY_ABI_MAJOR}.{GANTRY_ABI_MINOR}");
    assert!(text.contains("ABI 2.") && text.contains(&own), "{text}");
}

#[test]
fn library_with_unique_symbols_is_refused_with_the_symbol() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(&compile_hostile("gnu_unique.cpp", folder.path(), &["-fgnu-unique"]));
    assert!(
        matches!(&error, LoadError::UniqueSymbol { symbol, .. } if symbol.contains("count_of_calls")),
        "{error}"
    );
    // The remedy that the message names works.
    let cured = compile_hostile("gnu_unique.cpp", folder.path(), &["-fno-gnu-unique"]);
    Loader::open(&cured).unwrap();
}

#[test]
fn library_with_an_undefined_symbol_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("undefined.c");
    let text = "extern int toll(void);\n__attribute__((visibility(\"default\"))) int \
                gantry_service_entry(void) { return toll(); }\n";
    std::fs::write(&source, text).unwrap();
    let error = refusal(&crate::bench::compile(&source, folder.path(), &[]));
    assert!(matches!(error, LoadError::Open { .. }) && error.to_string().contains("toll"), "{error}");
}

#[test]
fn descriptor_that_breaks_a_rule_is_refused_with_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    let expected = [
        "magic number",
        "struct_bytes is 112",
        "has 0 services",
        "10000000 to 99999999",
        "kind 9",
        "create, call or destroy is null",
        "not UTF-8",
        "is there twice",
        "ABI 1.3",
        "is null",
        "`a-z 0-9 . _ -`",
        "names 17 data sources",
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        let define = format!("-DBROKEN={}", index + 1);
        let library = compile_hostile("bad_descriptor.c", folder.path(), &[&define]);
        let text = refusal(&library).to_string();
        assert!(text.contains(expected), "{define}: {text} where {expected} was expected");
    }
    let sound = compile_hostile("bad_descriptor.c", folder.path(), &["-DBROKEN=0"]);
    Loader::open(&sound).unwrap();
}

#[test]
fn reply_over_the_limit_is_a_failure_also_when_the_service_overlooks_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = Arc::new(Loader::open(&compile_hostile("oversized_reply.c", folder.path(), &[])).unwrap());
    let instance = Instance::create(&library, number(39_100_001), "").unwrap();
    let mut bench = Bench::new();
    assert_eq!(bench.failed(&instance, b"s"), "64 MiB do not fit");
    let reason = bench.failed(&instance, b"");
    assert!(reason.contains("67108864") && reason.contains("1048576"), "{reason}");
}

#[test]
fn service_that_breaks_the_contract_is_noticed_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let library = Arc::new(Loader::open(&compile_hostile("misuse.c", folder.path(), &[])).unwrap());
    let instance = Instance::create(&library, number(39_100_002), "").unwrap();
    let mut bench = Bench::new();
    for (request, expected) in [
        (b"c", "returned 4711"),
        (b"e", "returned 1 and gave no reason"),
        (b"b", "a business error whose code"),
        (b"m", "1099511627776"),
    ] {
        let reason = bench.failed(&instance, request);
        assert!(reason.contains(expected), "{reason}");
    }
    for request in [b"k", b"s", b"t", b"r", b"n", b"v", b"d"] {
        let shown = String::from_utf8_lossy(request).into_owned();
        let (outcome, reply) = bench.call(&instance, request);
        assert_eq!(reply, b"ok", "{shown}: {outcome:?}");
    }
}

/// Runs the probe program on a library, in a process of its own that lives for at most `limit`.
fn run_probe(arguments: &[&str], input: &[u8], limit: Duration) -> Option<(ExitStatus, String)> {
    let mut child = Command::new(probe_program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A library that dies while it is loaded never reads.
    let _ = child.stdin.take().unwrap().write_all(input);
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let text = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
            return Some((status, text));
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Longer than any sound probe takes on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(60);

#[test]
fn library_that_crashes_kills_only_its_probe() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["crash_on_load.c", "crash_in_create.c"] {
        let library = compile_hostile(file, folder.path(), &[]);
        let (status, _) = run_probe(&[library.to_str().unwrap()], b"", WATCHDOG).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{file}");
    }
    let (status, text) = run_probe(&[diag().to_str().unwrap()], b"", WATCHDOG).unwrap();
    assert!(status.success() && text.contains("diag.echo"), "{text}");
}

#[test]
fn library_that_hangs_holds_up_only_its_probe() {
    let folder = tempfile::tempdir().unwrap();
    let library = compile_hostile("hang_in_create.c", folder.path(), &[]);
    assert!(run_probe(&[library.to_str().unwrap()], b"", Duration::from_millis(300)).is_none());
}

#[test]
fn fault_that_cannot_be_caught_ends_the_process_as_it_says() {
    let diag = diag();
    let fault = |how: &str| {
        let request = format!(r#"{{"how":"{how}"}}"#);
        let (status, text) =
            run_probe(&[diag.to_str().unwrap(), "19000003"], request.as_bytes(), WATCHDOG).unwrap();
        (status.code(), status.signal(), text)
    };
    assert_eq!(fault("segv"), (None, Some(libc::SIGSEGV), String::new()));
    assert_eq!(fault("abort"), (None, Some(libc::SIGABRT), String::new()));
    assert_eq!(fault("exit"), (Some(0), None, String::new()));
    let (code, _, text) = fault("panic");
    assert!(code == Some(0) && text.contains("a panic was asked for"), "{text}");
}

#[test]
fn exception_that_leaves_a_call_aborts_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let library = compile_hostile("throws.cpp", folder.path(), &["-fno-gnu-unique"]);
    let (status, _) = run_probe(&[library.to_str().unwrap(), "39100003"], b"", WATCHDOG).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT));
}
