//! Restarts: at once for a child that was ready, with growing pauses for one that never gets there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use gantry_tests::etc::{ECHO, ECHO_WRITE};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Node, NodeOptions, Request, until};

/// Starts of the worker that never gets ready, before its binary is mended.
const STARTS: usize = 6;

/// After how long it is started again at the earliest.
const PAUSES_MS: [u64; STARTS - 1] = [100, 200, 400, 800, 1600];
/// Times of files come from a clock of the kernel that ticks every few milliseconds.
const FILE_TIME_ERROR: Duration = Duration::from_millis(50);

#[test]
fn worker_that_dies_before_it_is_ready_is_started_again_with_growing_pauses() {
    let mut node = Node::prepare(NodeOptions::small());
    let binary = node.copy_binary();
    node.run();
    let (sound, starts) = (binary.with_extension("sound"), node.folder().join("starts"));
    fs::create_dir(&starts).expect("a folder can be made");
    fs::rename(&binary, &sound).expect("the binary can be set aside");
    write_broken_binary(&binary, &starts);
    let victim = node.pid("read");
    kill_hard(victim);
    until("the broken binary was started some times", || (times(&starts).len() >= STARTS).then_some(()));
    // The others are not drawn into it.
    assert_eq!(node.client().call(ECHO_WRITE, "goes on").done().body, b"goes on");
    let times = times(&starts);
    let pauses: Vec<Duration> =
        times.windows(2).map(|pair| pair[1].duration_since(pair[0]).unwrap_or_default()).collect();
    println!("pauses between starts: {pauses:?}");
    for (pause, promised) in pauses.iter().zip(PAUSES_MS) {
        let least = Duration::from_millis(promised).saturating_sub(FILE_TIME_ERROR);
        assert!(*pause >= least, "a pause of at least {least:?}: {pauses:?}");
    }
    fs::rename(&sound, &binary).expect("the binary can be put back");
    node.successor("read", victim);
    assert_eq!(node.client().exchange(&Request::new(ECHO, "back")).done().body, b"back");
}

/// A program that leaves an empty file for each start as a worker, and fails. Helpers are started by other rules.
fn write_broken_binary(binary: &Path, starts: &Path) {
    let script =
        format!("#!/bin/sh\ncase \"$*\" in *child-worker*) : > {}/$$ ;; esac\nexit 1\n", starts.display());
    fs::write(binary, script).expect("the script can be written");
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755))
        .expect("the script can be made executable");
}

/// When the broken binary was started, oldest first.
fn times(starts: &Path) -> Vec<SystemTime> {
    let entries = fs::read_dir(starts).expect("the folder can be read").flatten();
    let mut times: Vec<SystemTime> =
        entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).collect();
    times.sort_unstable();
    times
}
