//! Segments that are not what the node left: another program's, of another layout, damaged.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use gantry_tests::processes::{kill_hard, segments};
use gantry_tests::{Backend, Node, NodeOptions, compile_program, repository_root, run_command};

use super::{expect_refusal, expect_said, expect_service};

/// Where the magic and the version of the layout stand in each segment's header, in bytes.
const MAGIC: u64 = 0;
const VERSION: u64 = 8;
/// Where the sizes begin: behind kind, creation, time and name.
const FIGURES: u64 = 8 + 4 + 4 + 8 + 8 + 72;

/// A node of which only the segments are left, with these bytes written into the header of `control`.
fn killed_with(node: &mut Node, offset: u64, bytes: &[u8]) {
    expect_service(node);
    node.memory("control").write(offset, bytes);
    node.kill_everything();
}

/// Another program's segment, removed at the end.
struct Foreign {
    program: Child,
    id: String,
}

impl Foreign {
    fn make(key: u32, folder: &Path) -> Self {
        let program = compile_program(&repository_root().join("tests/tools/segment.c"), folder);
        let mut command = Command::new(program);
        command.args([key.to_string(), "65536".to_owned()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("the program can be started");
        let mut id = String::new();
        let said = program.stdout.take().expect("its output is piped");
        BufReader::new(said).read_line(&mut id).expect("it says its segment's id");
        assert!(!id.trim().is_empty(), "it could not make a segment under the key {key:#x}");
        Self { program, id: id.trim().to_owned() }
    }

    /// The program ends; what it has made stays.
    fn detach(&mut self) {
        drop(self.program.stdin.take());
        self.program.wait().expect("a child can be waited for");
    }

    fn is_there(&self) -> bool {
        segments().iter().any(|segment| segment.id.to_string() == self.id && segment.key != 0)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.detach();
        if self.is_there() {
            run_command(Command::new("ipcrm").args(["-m", &self.id]));
        }
    }
}

#[test]
fn foreign_segment_under_our_key_is_refused_by_name_and_left_alone() {
    if Backend::chosen() == Backend::Posix {
        return foreign_file_is_refused_and_left_alone();
    }
    // A key of this test alone; the low two bits say which of the node's segments it would be.
    let base = 0x4700_0000 | (std::process::id() & 0x000f_ffff) << 2;
    for kind in 1..=3 {
        let node = Node::prepare(NodeOptions::small().set("ipc.key", base));
        let mut foreign = Foreign::make(base | kind, node.folder());
        for is_attached in [true, false] {
            if !is_attached {
                foreign.detach();
            }
            let output = node.gantry(&["start"]);
            println!("kind {kind}, attached: {is_attached}: {:?} {}", output.code, output.stderr.trim());
            expect_refusal(&output, &["ipc"]);
            let key = format!("{:x}", base | kind);
            assert!(output.stderr.contains(&foreign.id) || output.stderr.contains(&key), "{}", output.stderr);
            for command in [&["ipc", "list"][..], &["ipc", "clean"], &["stop", "--now"]] {
                let output = node.gantry(command);
                assert!(foreign.is_there(), "`{command:?}` removed somebody else's segment: {output:?}");
            }
        }
    }
}

fn foreign_file_is_refused_and_left_alone() {
    let mut node = Node::start(NodeOptions::small());
    let name = node.segment_id("control");
    node.stop();
    let path = format!("/dev/shm/{}", name.trim_start_matches("posix:").trim_start_matches('/'));
    std::fs::write(&path, vec![7; 65536]).expect("a file in /dev/shm can be written");
    expect_refusal(&node.gantry(&["start"]), &[]);
    node.gantry(&["ipc", "clean"]);
    let left = std::fs::read(&path).unwrap_or_default();
    std::fs::remove_file(&path).expect("the file is still there, and can be removed by whoever made it");
    assert_eq!(left, vec![7; 65536]);
}

#[test]
fn segment_of_another_layout_is_refused_with_both_versions_and_a_remedy_that_works() {
    let mut node = Node::start(NodeOptions::small());
    killed_with(&mut node, VERSION, &77_u32.to_le_bytes());
    let output = node.gantry(&["start"]);
    expect_refusal(&output, &["77", "gantry"]);
    // The remedy that it names.
    let remedy = ["ipc clean", "stop --now"].into_iter().find(|remedy| output.stderr.contains(remedy));
    let remedy = remedy.unwrap_or_else(|| panic!("no remedy in {}", output.stderr));
    let words: Vec<&str> = remedy.split(' ').collect();
    node.gantry(&words).expect_code(0);
    node.run();
    expect_service(&node);
}

#[test]
fn damaged_magic_is_refused_at_the_start_and_said() {
    let mut node = Node::start(NodeOptions::small());
    let was = node.memory("control").read(MAGIC, 8);
    killed_with(&mut node, MAGIC, b"NOTOURS!");
    let output = node.gantry(&["start"]);
    expect_refusal(&output, &[]);
    assert!(!was.is_empty() && !output.stderr.trim().is_empty());
    remove_by_hand(&mut node);
    node.run();
    expect_service(&node);
}

/// The harness knows the segments by their ids; nobody but a person may remove what nobody recognises.
fn remove_by_hand(node: &mut Node) {
    for segment in node.segments() {
        run_command(Command::new("ipcrm").args(["-m", &segment.id.to_string()])).expect_code(0);
    }
    if Backend::chosen() == Backend::Posix {
        let name = node.name().to_owned();
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&name) {
                std::fs::remove_file(entry.path()).expect("a file in /dev/shm can be removed");
            }
        }
    }
}

#[test]
fn damaged_sizes_are_refused_at_the_start_and_never_believed() {
    for figure in [0, 0xffff_ffff_u32, 0x7fff_ffff] {
        let mut node = Node::start(NodeOptions::small());
        killed_with(&mut node, FIGURES, &figure.to_le_bytes());
        let output = node.gantry(&["start"]);
        // Either it says that the sizes cannot be, or it has seen that nobody needs the segments and made new ones.
        if output.code == Some(0) {
            expect_service(&node);
            expect_said(&node, &["other sizes", "made anew"]);
            node.gantry(&["stop"]).expect_code(0);
        } else {
            expect_refusal(&output, &[]);
            remove_by_hand(&mut node);
        }
    }
}

/// Those who live have looked at it when they attached; those who are born now refuse it and say so.
#[test]
fn header_damaged_in_a_running_node_is_said_by_the_next_child_and_the_others_serve_on() {
    let node = Node::start(
        NodeOptions::small().set("workers.read", 2).text("supervisor.restart_backoff_max", "100ms"),
    );
    expect_service(&node);
    let memory = node.memory("control");
    let was = memory.read(MAGIC, 8);
    memory.write(MAGIC, b"NOTOURS!");
    let victim = node.pid("write");
    kill_hard(victim);
    expect_said(&node, &["not a Gantry segment", "not one of Gantry", "NOTOURS", "foreign", "magic"]);
    assert_eq!(node.client().call(gantry_tests::etc::ECHO, "reads go on").done().body, b"reads go on");
    memory.write(MAGIC, &was);
    node.successor("write", victim);
    expect_service(&node);
}
