//! A deployment whose command, helper or any process of the node is killed in the middle: the old or the new version
//! serves, never none, and the registry says which.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use gantry_tests::etc::ECHO;
use gantry_tests::processes::{command_line, is_running, kill_hard, mentioning};
use gantry_tests::{Client, Node, NodeOptions, Request, gantry_binary, soak, until};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::hot::{READ, WRITE, listed};
use super::{deploy, version};

/// Milliseconds between two places where a deployment is cut off.
const STEP_MS: u64 = 6;

/// How often each is cut off, one step later each time.
fn rounds() -> u64 {
    if soak() { 120 } else { 16 }
}

/// What reads are answered meanwhile: callers must see one of the two versions and nothing else.
struct Watch {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn begin(node: &Node) -> Self {
        let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut client = node.client();
        let (over, list) = (Arc::clone(&is_over), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let text = say(&mut client);
                let mut list = list.lock().expect("it does not panic");
                if list.last() != Some(&text) {
                    list.push(text);
                }
            }
        });
        Self { is_over, seen, thread }
    }

    /// Everything that was answered, without repetitions.
    fn end(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("every read is answered");
        std::mem::take(&mut *self.seen.lock().expect("it does not panic"))
    }
}

/// The version that answers a read.
fn say(client: &mut Client) -> String {
    client.call(READ, "0").done().text()
}

pub(super) fn begin_deployment(node: &Node, library: &std::path::Path) -> Child {
    begin(node, &["service", "deploy", &library.to_string_lossy()])
}

pub(super) fn begin(node: &Node, arguments: &[&str]) -> Child {
    let mut command = Command::new(gantry_binary());
    command.arg("-c").arg(node.config()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("gantry can be started")
}

/// The helper that works on the registry, or probes a library, if one lives.
pub(super) fn helper(node: &Node) -> Option<Pid> {
    running(node, "helper-")
}

/// The one that works on the registry.
pub(super) fn registry_helper(node: &Node) -> Option<Pid> {
    running(node, "helper-registry")
}

/// A process of the node with a word in its command line that begins so.
fn running(node: &Node, word: &str) -> Option<Pid> {
    let config = node.config().to_string_lossy().into_owned();
    let has_word = |pid: &Pid| command_line(*pid).iter().any(|found| found.starts_with(word));
    mentioning(&config).into_iter().find(has_word)
}

/// The version that the registry itself says, which is read for it.
fn registered(node: &Node) -> String {
    let shown = node.gantry(&["service", "show", &READ.to_string(), "--json"]).expect_code(0).json();
    shown["version"].as_str().expect("a version").to_owned()
}

/// Cuts deployments off, each a step later than the one before, and shows after each that the node serves what its
/// registry says.
#[track_caller]
fn cut_off_again_and_again(cut: impl Fn(&Node, &mut Child)) {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let libraries = ["1.0", "2.0"].map(|text| version(&node, text, &[]));
    deploy(&node, &libraries[0]).expect_code(0);
    let watch = Watch::begin(&node);
    let mut in_force = 0;
    let mut counts = [0; 2];
    for round in 0..rounds() {
        let mut command = begin_deployment(&node, &libraries[1 - in_force]);
        thread::sleep(Duration::from_millis(round % 40 * STEP_MS));
        cut(&node, &mut command);
        command.wait().expect("a child can be waited for");
        until("the helper has ended", || helper(&node).is_none().then_some(()));
        // Until it is settled everywhere: all workers serve what the registry says.
        let settled = until("one version serves, the registry's", || {
            let (says, mut client) = (registered(&node), node.client());
            let answers: Vec<String> = (0..8).map(|_| say(&mut client)).collect();
            let write = client.call(WRITE, "0");
            let serves = answers.iter().all(|answer| *answer == says);
            let listed = listed(&node, READ)["version"] == *says;
            (serves && listed && write.status == 0 && write.text() == says).then_some(says)
        });
        let now = usize::from(settled == "2.0");
        counts[usize::from(now != in_force)] += 1;
        in_force = now;
    }
    // The node is none the worse for it, and what it publishes is what its registry says.
    deploy(&node, &libraries[1 - in_force]).expect_code(0);
    let seen = watch.end();
    assert!(seen.iter().all(|text| text == "1.0" || text == "2.0"), "{seen:?}");
    println!("cut off before it came into force: {}, after it: {}", counts[0], counts[1]);
    node.client().call(ECHO, "x").done();
    let rest: Vec<_> = std::fs::read_dir(node.state_folder().join("libraries")).expect("a folder").collect();
    let staged =
        rest.iter().flatten().filter(|file| file.file_name().to_string_lossy().starts_with("versioned-"));
    assert_eq!(staged.count(), 2, "{rest:?}");
    node.until_quiet();
}

#[test]
fn killed_command() {
    cut_off_again_and_again(|_, command| command.kill().expect("a child can be killed"));
}

#[test]
fn killed_helper() {
    cut_off_again_and_again(|node, _| {
        helper(node).into_iter().for_each(kill_hard);
    });
}

#[test]
fn killed_supervisor() {
    cut_off_again_and_again(|node, _| {
        let supervisor = node.pid("supervisor");
        kill_hard(supervisor);
        until("the supervisor is gone", || (!is_running(supervisor)).then_some(()));
        node.gantry(&["start"]).expect_code(0);
    });
}

#[test]
fn killed_communication_process() {
    cut_off_again_and_again(|node, _| {
        let comm = node.pid("comm");
        kill_hard(comm);
        node.successor("comm", comm);
    });
}

#[test]
fn killed_workers() {
    cut_off_again_and_again(|node, _| {
        node.pids("read").into_iter().chain(node.pids("write")).for_each(kill_hard);
    });
}

/// The helper that works on the registry, held at its end, when its change is made and its answer said.
fn hold_helper(node: &Node) -> Pid {
    let held = until("a helper works on the registry", || registry_helper(node));
    ptrace::seize(held, ptrace::Options::PTRACE_O_TRACEEXIT).expect("a process may be traced");
    let at_its_end = loop {
        match waitpid(held, Some(WaitPidFlag::__WALL)).expect("a tracer may wait") {
            // Of a signal before that, such as the end of the probe.
            WaitStatus::Stopped(_, signal) => ptrace::cont(held, signal).expect("it is stopped"),
            other => break other,
        }
    };
    assert!(matches!(at_its_end, WaitStatus::PtraceEvent(..)), "{at_its_end:?}");
    held
}

/// Two helpers whose answers come in another order than their changes lose neither.
#[test]
fn helper_that_ends_later_than_the_next_one_undoes_nothing() {
    let node = Node::start(NodeOptions::small());
    deploy(&node, &version(&node, "1.0", &[])).expect_code(0);
    let mut command = begin_deployment(&node, &version(&node, "2.0", &[]));
    let held = hold_helper(&node);
    node.gantry(&["service", "stop", &WRITE.to_string()]).expect_code(0);
    ptrace::detach(held, None).expect("it is traced");
    assert!(command.wait().expect("a child can be waited for").success());
    node.client().call(WRITE, "0").expect_status(103);
    assert_eq!(say(&mut node.client()), "2.0");
}

/// What the helper that ends late lifted is lifted, although what it says is older than what is published.
#[test]
fn quarantine_is_lifted_by_a_helper_that_ends_later_than_the_next_one() {
    let node = Node::start(NodeOptions::small().set("service.quarantine_deaths", 2));
    deploy(&node, &version(&node, "1.0", &["-DABORTS"])).expect_code(0);
    (0..2).for_each(|_| drop(node.client().call(WRITE, "abort").expect_status(302)));
    let number = WRITE.to_string();
    until("the registry knows", || {
        let shown = node.gantry(&["service", "show", &number, "--json"]).expect_code(0).json();
        let action = &shown["history"][0]["action"];
        (shown["quarantined"] == true && action == "quarantine").then_some(())
    });
    node.client().call(WRITE, "0").expect_status(303);
    let mut command = begin(&node, &["service", "start", &number]);
    let held = hold_helper(&node);
    node.gantry(&["service", "stop", &READ.to_string()]).expect_code(0);
    ptrace::detach(held, None).expect("it is traced");
    assert!(command.wait().expect("a child can be waited for").success());
    assert_eq!(node.client().call(WRITE, "0").done().text(), "1.0");
    assert_eq!(listed(&node, WRITE)["quarantined"], false);
    node.client().call(READ, "0").expect_status(103);
}

/// Everybody at once, as when the machine loses its power: the node that starts next serves what the registry says.
#[test]
fn killed_node() {
    let mut node = Node::start(NodeOptions::small());
    let libraries = ["1.0", "2.0"].map(|text| version(&node, text, &[]));
    deploy(&node, &libraries[0]).expect_code(0);
    let mut in_force = 0;
    for round in 0..rounds() / 2 {
        let mut command = begin_deployment(&node, &libraries[1 - in_force]);
        thread::sleep(Duration::from_millis(round % 20 * 2 * STEP_MS));
        node.kill_everything();
        command.wait().expect("a child can be waited for");
        node.run();
        let says = listed(&node, READ)["version"].as_str().expect("a version").to_owned();
        let mut client = node.client();
        for request in [Request::new(READ, "0"), Request::new(WRITE, "0")] {
            client.send(&request);
            assert_eq!(client.receive().done().text(), says);
        }
        in_force = usize::from(says == "2.0");
    }
}
