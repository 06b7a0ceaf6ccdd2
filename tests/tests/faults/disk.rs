//! Disks that are full: a file system of a few MiB under the database, or under the state folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_tests::etc::{ADD, ECHO, add, counter, outcome};
use gantry_tests::processes::kill_hard;
use gantry_tests::{Node, NodeOptions, Request, compile_plugin, repository_root, run_command, until};
use serde_json::json;

use super::expect_service;

/// A file system in memory, unmounted at the end also of a test that fails.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one of `mib` MiB.
    fn mount(folder: &Path, mib: u32) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let size = format!("size={mib}m,mode=0700");
        let output =
            run_command(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder));
        assert_eq!(output.code, Some(0), "a file system of its own needs root: {}", output.stderr);
        Self { folder: folder.to_owned() }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves not one byte.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file can be made");
        for piece in [vec![0; 65536], vec![0; 1]] {
            while file.write_all(&piece).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("the filler can be removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a node that a failed test left may still have files open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} cannot be unmounted", self.folder.display());
        }
    }
}

/// Keeps the disk below the node alive until the node is gone: fields are dropped in this order.
struct Rig {
    node: Node,
    disk: Disk,
    _folder: tempfile::TempDir,
}

fn start(mib: u32, options: impl FnOnce(NodeOptions, &Path) -> NodeOptions) -> Rig {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let disk = Disk::mount(&folder.path().join("disk"), mib);
    let options = options(NodeOptions::small(), &disk.folder);
    let node = Node::start(options);
    Rig { node, disk, _folder: folder }
}

fn data_on_disk(options: NodeOptions, disk: &Path) -> NodeOptions {
    options.text("data.main.path", &disk.join("data.db").to_string_lossy())
}

#[test]
fn full_disk_under_the_database_fails_writes_without_effect_and_reads_go_on() {
    let rig = start(8, data_on_disk);
    let node = &rig.node;
    let mut client = node.client();
    add(&mut client, "disk", 1);
    rig.disk.fill();
    let mut acknowledged = 1;
    let mut failed = Vec::new();
    // What is left of files that were already allotted may still take a few.
    until("a write fails", || {
        let request =
            Request::new(ADD, json!({"key": "disk", "add": 1, "pad": "x".repeat(2000)}).to_string());
        match client.exchange(&request).status {
            0 => acknowledged += 1,
            306 => failed.push(request),
            other => panic!("{other:03} for a full disk is no honest answer"),
        }
        (failed.len() >= 5).then_some(())
    });
    assert_eq!(counter(&mut client, "disk"), acknowledged, "306 promises that there was no effect");
    assert_eq!(client.call(ECHO, "reads").done().body, b"reads");
    super::expect_said(node, &["full"]);
    rig.disk.make_room();
    for request in &failed {
        let (state, _) = outcome(&mut client, &request.id);
        assert!(state == "failed" || state == "unknown", "{state}");
        client.exchange(request).done();
        acknowledged += 1;
    }
    assert_eq!(counter(&mut client, "disk"), acknowledged);
    node.until_quiet();
}

/// A worker dies while the disk is full: recovery needs the disk as well.
#[test]
fn worker_killed_on_a_full_disk_leaves_a_database_that_goes_on_when_there_is_room() {
    let rig = start(8, data_on_disk);
    let node = &rig.node;
    let mut client = node.client();
    let before = add(&mut client, "disk", 1);
    rig.disk.fill();
    let request = Request::new(ADD, json!({"key": "disk", "add": 1}).to_string());
    client.send(&request);
    let victim = node.pid("write");
    kill_hard(victim);
    let status = client.receive().status;
    assert!(matches!(status, 0 | 302 | 306), "{status:03}");
    node.successor("write", victim);
    rig.disk.make_room();
    until("the outcome is final", || {
        let reply = client.call(gantry_tests::etc::OUTCOME, request.id.as_str());
        let state = (reply.status == 0).then(|| gantry_tests::etc::text(&reply, "state"));
        state.filter(|state| state != "running" && state != "queued")
    });
    client.exchange(&request).done();
    assert_eq!(counter(&mut client, "disk"), before + 1);
    node.until_quiet();
}

/// The state folder lies in the node's own folder, so the disk is mounted before the node starts.
fn start_with_full_state() -> (Node, Disk, tempfile::TempDir) {
    let elsewhere = tempfile::tempdir().expect("a temporary folder can be made");
    let data = elsewhere.path().join("data.db");
    let mut node = Node::prepare(NodeOptions::small().text("data.main.path", &data.to_string_lossy()));
    let disk = Disk::mount(&node.state_folder(), 16);
    node.run();
    (node, disk, elsewhere)
}

#[test]
fn full_disk_under_the_state_folder_stops_no_request_and_is_said_by_commands() {
    let (node, disk, _data) = start_with_full_state();
    expect_service(&node);
    disk.fill();
    // Logs, reports and the registry have no place; requests need none.
    for _ in 0..20 {
        expect_service(&node);
    }
    let source = repository_root().join("tests/plugins/versioned.c");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let library = compile_plugin(&source, folder.path(), &["-DVERSION=\"1.0\""]);
    let deployed = node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(1);
    assert!(deployed.stderr.contains("space") || deployed.stderr.contains("full"), "{}", deployed.stderr);
    let stopped = node.gantry(&["service", "stop", "19000002"]);
    assert!(
        stopped.code == Some(0) || stopped.stderr.contains("full") || stopped.stderr.contains("space"),
        "{stopped:?}"
    );
    node.status();
    for role in ["write", "comm"] {
        let victim = node.pid(role);
        kill_hard(victim);
        node.successor(role, victim);
        expect_service(&node);
    }
    disk.make_room();
    node.gantry(&["service", "start", "19000002"]).expect_code(0);
    node.gantry(&["service", "deploy", &library.to_string_lossy()]).expect_code(0);
    assert_eq!(node.client().call(19_900_001, "0").done().text(), "1.0");
    drop(node);
    drop(disk);
}

/// A start that finds no place for its files says which and why.
#[test]
fn node_does_not_start_on_a_full_state_folder_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut node = Node::prepare(NodeOptions::small());
    let disk = Disk::mount(&node.state_folder(), 1);
    disk.fill();
    let output = node.gantry(&["start"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("space") || output.stderr.contains("full"), "{}", output.stderr);
    disk.make_room();
    fs::remove_dir_all(node.state_folder().join("libraries")).ok();
    drop(disk);
    node.run();
    expect_service(&node);
    drop(node);
    drop(folder);
}
