//! The supervisor is killed, stopped or replaced: its children serve on, and the next one takes them over.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_tests::etc::{ECHO, ECHO_WRITE, SLEEP, SLEEP_WRITE, counter, number};
use gantry_tests::processes::{is_running, kill_hard, mentioning, send_signal, short_name};
use gantry_tests::{Answer, Load, Node, NodeOptions, Output, Request, gantry_binary, tally, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

use super::{add_one, expect_each_counted_once};

/// Everybody but the supervisor.
const CHILDREN: [&str; 4] = ["comm", "worker", "spare", "keeper"];

/// The pids of everybody but the supervisor, sorted, once the spare is ready too.
#[track_caller]
pub(super) fn settled_children(node: &Node) -> Vec<Pid> {
    until("everybody is ready", || {
        let status = node.status();
        let spares = status.of("spare");
        let are_ready = status.processes().iter().all(|process| process.state != "starting");
        (are_ready && !spares.is_empty() && !status.of("keeper").is_empty()).then_some(())
    });
    let mut pids: Vec<Pid> = CHILDREN.iter().flat_map(|role| node.pids(role)).collect();
    pids.sort();
    pids
}

/// Kills the supervisor and waits until it is gone, so that the next command meets a node without one.
#[track_caller]
pub(super) fn kill_supervisor(node: &Node) {
    let supervisor = node.pid("supervisor");
    kill_hard(supervisor);
    until("the supervisor is gone", || (!is_running(supervisor)).then_some(()));
}

/// Processes that were started as children of this node, whether or not its status knows them.
fn started_children(node: &Node) -> Vec<Pid> {
    let config = node.config().to_string_lossy().into_owned();
    let is_child = |pid: &Pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_running(*pid) && String::from_utf8_lossy(&line).contains("\0child-")
    };
    let mut pids: Vec<Pid> = mentioning(&config).into_iter().filter(is_child).collect();
    pids.sort();
    pids
}

/// That `start` succeeds; the daemon is stopped when the node is dropped.
#[track_caller]
pub(super) fn start_again(node: &Node) {
    node.gantry(&["start"]).expect_code(0);
}

#[track_caller]
pub(super) fn expect_told(output: &Output, words: &str) {
    assert!(output.stderr.contains(words), "{words:?} is not in: {}", output.stderr);
}

#[test]
fn killed_supervisor_is_noticed_by_no_client_and_the_next_one_takes_everybody_over() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2));
    let before = settled_children(&node);
    let writes = Load::start(node.address(), 2, |_| add_one("orphans"));
    let reads = Load::start(node.address(), 2, |_| Request::new(ECHO, "x"));
    for _ in 0..3 {
        kill_supervisor(&node);
        writes.go_on(30);
        start_again(&node);
        writes.go_on(30);
        reads.go_on(30);
        assert_eq!(settled_children(&node), before, "everybody lives on in the same process");
    }
    let status = node.status();
    assert_eq!(status.of("supervisor").remove(0).restarts, 3);
    assert!(status.of("worker").iter().all(|worker| worker.restarts == 0), "{:?}", status.of("worker"));
    assert_eq!(status.connections(), 4, "open connections are still counted");
    let reads = tally(&reads.stop());
    assert!(reads.keys().all(|answer| *answer == Answer::Status(0)), "{reads:?}");
    let sent = writes.stop();
    assert!(sent.iter().all(|one| one.answer == Answer::Status(0)), "{:?}", tally(&sent));
    expect_each_counted_once(&node, "orphans", &sent);
    // The new supervisor does all that the old one did.
    node.gantry(&["service", "stop", "19000001"]).expect_code(0);
    assert_eq!(node.client().call(ECHO, "x").status, 103);
    node.gantry(&["service", "start", "19000001"]).expect_code(0);
    let victim = node.pid("comm");
    kill_hard(victim);
    node.successor("comm", victim);
    node.client().call(ECHO, "x").done();
    node.until_quiet();
}

#[test]
fn those_who_die_while_nobody_supervises_are_recovered_by_the_next_supervisor() {
    let node = Node::start(NodeOptions::small().set("workers.read", 2).set("workers.spare", 0));
    let (mut writing, mut reading, mut queued) = (node.client(), node.client(), node.client());
    writing.send(&Request::new(SLEEP_WRITE, r#"{"ms":30000}"#));
    node.until_busy("write");
    reading.send(&Request::new(SLEEP, r#"{"ms":5000}"#));
    until("a read runs", || {
        let busy = node.status().of("read").into_iter().find(|worker| worker.state == "busy");
        busy.map(|_| ())
    });
    for _ in 0..10 {
        queued.send(&add_one("behind"));
    }
    until("the others are queued", || (node.status().used("write") == 10).then_some(()));
    let busy = |queue: &str| {
        let workers = node.status().of(queue);
        workers.into_iter().find(|worker| worker.state == "busy").expect("one is busy").pid
    };
    let (writer, reader) = (busy("write"), busy("read"));
    kill_supervisor(&node);
    kill_hard(writer);
    kill_hard(reader);
    start_again(&node);
    assert_eq!(writing.receive().status, 302);
    assert_eq!(number(&reading.receive().done(), "slept_ms"), 5_000);
    for _ in 0..10 {
        queued.receive().done();
    }
    assert_eq!(counter(&mut queued, "behind"), 10);
    assert_ne!(node.pid("write"), writer);
    assert_eq!(node.status().of("write").remove(0).restarts, 1);
    node.until_quiet();
}

/// A supervisor that is killed while it takes over has taken nothing away, and the next one does it again.
#[test]
fn supervisor_killed_again_and_again_while_it_takes_over_leaves_everybody_in_place() {
    let node = Node::start(NodeOptions::small());
    let before = settled_children(&node);
    let writes = Load::start(node.address(), 2, |_| add_one("again"));
    kill_supervisor(&node);
    // Every few milliseconds of a start, up to one that is long over.
    for delay_ms in (0..40).map(|step| step * 3) {
        let mut supervisor = run_supervisor(&node);
        std::thread::sleep(Duration::from_millis(delay_ms));
        supervisor.kill().expect("a child can be killed");
        supervisor.wait().expect("a child can be waited for");
    }
    writes.go_on(20);
    start_again(&node);
    assert_eq!(settled_children(&node), before);
    // The keeper has the command line of its original.
    assert_eq!(started_children(&node), before, "nobody lives beside the table");
    writes.go_on(20);
    expect_each_counted_once(&node, "again", &writes.stop());
    node.until_quiet();
}

/// The same while children are to be started, so that some are met between fork and the first word in their row.
#[test]
fn supervisor_killed_while_it_starts_children_leaves_nobody_beside_the_table() {
    let node = Node::start(NodeOptions::small());
    settled_children(&node);
    let writes = Load::start(node.address(), 2, |_| add_one("between"));
    kill_supervisor(&node);
    for delay_ms in 0..30 {
        // Not the keepers, which hold the listening sockets while nobody else lives.
        for victim in started_children(&node).into_iter().filter(|pid| short_name(*pid) != "gantry-keeper") {
            kill_hard(victim);
        }
        let mut supervisor = run_supervisor(&node);
        std::thread::sleep(Duration::from_millis(delay_ms * 4));
        supervisor.kill().expect("a child can be killed");
        supervisor.wait().expect("a child can be waited for");
    }
    start_again(&node);
    writes.go_on(20);
    let known = settled_children(&node);
    until("who came late has ended", || (started_children(&node) == known).then_some(()));
    expect_each_counted_once(&node, "between", &writes.stop());
    node.until_quiet();
}

fn run_supervisor(node: &Node) -> Child {
    let mut command = Command::new(gantry_binary());
    command.arg("-c").arg(node.config()).arg("run").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().expect("gantry can be started")
}

#[test]
fn commands_end_with_3_and_say_what_runs_when_the_supervisor_is_dead() {
    let node = Node::start(NodeOptions::small());
    settled_children(&node);
    let comm = node.pid("comm");
    kill_supervisor(&node);
    for arguments in [&["status"][..], &["service", "list"], &["drain"], &["log", "level", "debug"]] {
        let output = node.gantry(arguments).expect_code(3);
        expect_told(&output, &format!("comm {comm}"));
        expect_told(&output, "gantry start");
    }
    let status = node.gantry(&["status", "--json"]).expect_code(3).json();
    assert_eq!((&status["node"], &status["state"]), (&json!(node.name()), &json!("unsupervised")));
    let roles: Vec<&str> = status["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["role"].as_str())
        .collect();
    assert_eq!(roles, ["comm", "worker", "worker", "spare", "keeper"]);
    assert_eq!(node.client().call(ECHO, "serves").done().body, b"serves");
    start_again(&node);
}

#[test]
fn commands_end_with_3_when_the_supervisor_is_stopped_and_work_when_it_goes_on() {
    let node = Node::start(NodeOptions::small());
    let (supervisor, comm) = (node.pid("supervisor"), node.pid("comm"));
    send_signal(supervisor, Signal::SIGSTOP);
    let library = node.folder().join("no.so");
    for arguments in [&["status"][..], &["service", "deploy", &library.to_string_lossy()], &["drain"]] {
        let output = node.gantry(arguments).expect_code(3);
        expect_told(&output, &format!("process {supervisor}"));
        expect_told(&output, &format!("comm {comm}"));
    }
    assert_eq!(node.client().call(ECHO, "serves").done().body, b"serves");
    send_signal(supervisor, Signal::SIGCONT);
    until("the supervisor answers again", || (node.gantry(&["status"]).code == Some(0)).then_some(()));
    assert_eq!(node.pid("comm"), comm, "nobody was taken for dead because of it");
}

/// A command that waits for its end when the supervisor dies.
#[test]
fn command_under_way_ends_with_3_when_the_supervisor_dies() {
    let options = NodeOptions::small().set("workers.read", 2).text("supervisor.stop_timeout", "60s");
    let node = Node::start(options);
    let mut client = node.client();
    client.send(&Request::new(SLEEP, r#"{"ms":10000}"#));
    until("a read runs", || {
        node.status().of("read").into_iter().find(|worker| worker.state == "busy").map(|_| ())
    });
    let supervisor = node.pid("supervisor");
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| node.gantry(&["drain"]));
        until("it drains", || (node.status().0["state"] == "drained").then_some(()));
        kill_hard(supervisor);
        let output = draining.join().expect("the command ends").expect_code(3);
        expect_told(&output, "whether it was done is not known");
    });
    // What was asked for stays in force.
    start_again(&node);
    assert_eq!(node.status().0["state"], "drained");
    assert_eq!(number(&client.receive().done(), "slept_ms"), 10_000);
    node.gantry(&["undrain"]).expect_code(0);
    node.until_serving();
}

#[test]
fn stop_without_a_supervisor_lets_requests_end_and_ends_everybody() {
    for is_stopped in [false, true] {
        let node = Node::start(NodeOptions::small());
        let everybody = settled_children(&node);
        let mut client = node.client();
        client.send(&Request::new(SLEEP_WRITE, r#"{"ms":5000}"#));
        node.until_busy("write");
        if is_stopped {
            send_signal(node.pid("supervisor"), Signal::SIGSTOP);
        } else {
            kill_supervisor(&node);
        }
        node.gantry(&["stop"]).expect_code(0);
        assert_eq!(number(&client.receive().done(), "slept_ms"), 5_000);
        for pid in everybody {
            assert!(!is_running(pid), "{pid} still runs");
        }
        assert!(node.segments().is_empty());
        node.gantry(&["stop"]).expect_code(3);
    }
}

#[test]
fn stop_now_without_a_supervisor_ends_orphans_and_keepers() {
    let node = Node::start(NodeOptions::small());
    let everybody = settled_children(&node);
    send_signal(node.pid("supervisor"), Signal::SIGSTOP);
    node.gantry(&["stop", "--now"]).expect_code(0);
    for pid in everybody {
        assert!(!is_running(pid), "{pid} still runs");
    }
    assert!(node.segments().is_empty());
}

#[test]
fn changed_configuration_is_followed_as_far_as_a_running_node_can() {
    let options = NodeOptions::small().set("workers.read", 3);
    let node = Node::start(options.clone());
    settled_children(&node);
    let writes = Load::start(node.address(), 1, |_| add_one("changed"));
    let readers = node.pids("read");
    kill_supervisor(&node);
    // Fewer readers; more slots, for which the node has to be stopped.
    node.write_configuration(options.clone().set("workers.read", 1).set("ipc.slots", 512));
    start_again(&node);
    until("one reader is left", || (node.pids("read").len() == 1).then_some(()));
    assert!(readers.contains(&node.pid("read")));
    let status = node.status();
    assert_eq!(status.slots("total"), 256);
    assert_eq!(status.0["needs_restart"], json!(["ipc.slots"]));
    kill_supervisor(&node);
    node.write_configuration(options.set("workers.read", 2).set("workers.write", 2));
    start_again(&node);
    until("there are more again", || {
        let status = node.status();
        let is_ready = |queue: &str| {
            let workers = status.of(queue);
            workers.len() == 2 && workers.iter().all(|worker| worker.state != "starting")
        };
        (is_ready("read") && is_ready("write")).then_some(())
    });
    writes.go_on(10);
    let sent = writes.stop();
    assert!(sent.iter().all(|one| one.answer == Answer::Status(0)), "{:?}", tally(&sent));
    expect_each_counted_once(&node, "changed", &sent);
}

/// The communication process is replaced for it; whoever is connected stays so.
#[test]
fn changed_address_is_listened_on_by_the_next_supervisor() {
    let node = Node::start(NodeOptions::small());
    settled_children(&node);
    let mut connected = node.client();
    connected.call(ECHO, "before").done();
    let comm = node.pid("comm");
    kill_supervisor(&node);
    let text = fs::read_to_string(node.config()).expect("the configuration is there");
    let address = node.address();
    let other = std::net::SocketAddr::new(address.ip(), address.port() + 1);
    fs::write(node.config(), text.replace(&address.to_string(), &other.to_string()))
        .expect("it can be written");
    start_again(&node);
    node.successor("comm", comm);
    let mut client = gantry_tests::Client::connect(other).expect("the new address is listened on");
    assert_eq!(client.call(ECHO, "there").done().body, b"there");
    until("the old address is not", || gantry_tests::Client::connect(address).is_err().then_some(()));
    assert_eq!(connected.call(ECHO, "after").done().body, b"after");
}

#[test]
fn spare_takes_the_seat_of_the_only_write_worker_that_dies() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.client();
    for round in 1..=5 {
        settled_children(&node);
        let (spare, victim) = (node.pid("spare"), node.pid("write"));
        kill_hard(victim);
        let begin = std::time::Instant::now();
        client.exchange(&add_one("spare")).done();
        println!("the next write was answered {:?} after the kill", begin.elapsed());
        let worker = node.status().of("write").remove(0);
        assert_eq!((worker.pid, worker.restarts), (spare, round), "the spare serves the queue");
        assert!(!is_running(victim));
    }
    assert_eq!(counter(&mut client, "spare"), 5);
    node.until_quiet();
}

#[test]
fn node_without_spares_replaces_its_workers_all_the_same() {
    let node = Node::start(NodeOptions::small().set("workers.spare", 0));
    assert!(node.pids("spare").is_empty());
    let victim = node.pid("write");
    kill_hard(victim);
    node.client().call(ECHO_WRITE, "x").done();
    node.successor("write", victim);
}

/// Keepers are children of the supervisor, which nobody holds by pidfd.
#[test]
fn dead_keepers_are_reaped() {
    let node = Node::start(NodeOptions::small());
    settled_children(&node);
    let supervisor = node.pid("supervisor");
    for _ in 0..3 {
        let victim = node.pid("comm");
        kill_hard(victim);
        node.successor("comm", victim);
        let keeper = until("there is one keeper", || match *node.pids("keeper") {
            [keeper] => Some(keeper),
            _ => None,
        });
        kill_hard(keeper);
        until("another keeper is there", || node.pids("keeper").into_iter().find(|pid| *pid != keeper));
    }
    until("no dead child is left", || {
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
        let pids = children.split_ascii_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap_or(0)));
        pids.into_iter().all(is_running).then_some(())
    });
    node.client().call(ECHO, "x").done();
}

/// Removes the segments of a running node as `ipcrm -m` and systemd-logind do.
fn remove_segments(node: &Node) {
    for segment in node.segments() {
        let removed = Command::new("ipcrm").args(["-m", &segment.id.to_string()]).status();
        assert!(removed.is_ok_and(|status| status.success()), "ipcrm -m {}", segment.id);
    }
}

#[test]
fn node_whose_segments_are_removed_serves_on_and_replaces_who_dies() {
    let options = NodeOptions::small();
    if !options.is_sysv() {
        return;
    }
    let node = Node::start(options);
    settled_children(&node);
    assert_eq!(node.status().0["segments_removed"], false);
    remove_segments(&node);
    until("the supervisor notices", || (node.status().0["segments_removed"] == true).then_some(()));
    expect_words(&node.gantry(&["status"]).expect_code(0).text(), "removed under the node");
    let mut client = node.client();
    for round in 1..=2 {
        for role in ["comm", "write", "read"] {
            let victim = node.pid(role);
            kill_hard(victim);
            node.successor(role, victim);
        }
        node.client().exchange(&add_one("removed")).done();
        assert_eq!(counter(&mut node.client(), "removed"), round);
    }
    assert_eq!(client.call(ECHO, "x").done().body, b"x");
    node.gantry(&["stop"]).expect_code(0);
    assert!(started_children(&node).is_empty());
}

fn expect_words(text: &str, words: &str) {
    assert!(text.contains(words), "{words:?} is not in: {text}");
}

/// A look-up by key would find nothing, and make a second set of segments beside the one that is lived on.
#[test]
fn supervisor_that_starts_after_the_segments_were_removed_takes_over_by_their_ids() {
    let options = NodeOptions::small();
    if !options.is_sysv() {
        return;
    }
    let node = Node::start(options);
    let before = settled_children(&node);
    let ids: Vec<u64> = node.segments().iter().map(|segment| segment.id).collect();
    let writes = Load::start(node.address(), 1, |_| add_one("ids"));
    kill_supervisor(&node);
    remove_segments(&node);
    let output = node.gantry(&["status"]).expect_code(3);
    expect_told(&output, "gantry start");
    start_again(&node);
    assert_eq!(settled_children(&node), before);
    let status = node.status();
    let used: Vec<String> = ids.iter().map(|id| format!("sysv:{id}")).collect();
    let told = status.0["segments"].as_array().expect("a list").iter();
    assert!(
        told.into_iter().all(|segment| used.iter().any(|id| segment["id"] == **id)),
        "{}",
        status.0["segments"]
    );
    until("the supervisor notices", || (node.status().0["segments_removed"] == true).then_some(()));
    let victim = node.pid("write");
    kill_hard(victim);
    writes.go_on(10);
    expect_each_counted_once(&node, "ids", &writes.stop());
    node.gantry(&["stop", "--now"]).expect_code(0);
    assert!(node.segments().is_empty(), "nothing is left of them when the last process has ended");
}

#[test]
fn fault_in_the_configuration_keeps_nobody_from_status_and_stop() {
    let node = Node::prepare(NodeOptions::small());
    start_again(&node);
    let text = fs::read_to_string(node.config()).expect("the configuration is there");
    fs::write(node.config(), format!("{text}\n[workers\nread = \"many\"\n")).expect("it can be written");
    let output = node.gantry(&["status"]).expect_code(0);
    expect_words(&output.text(), "serving");
    expect_told(&output, "gantry.toml:");
    // It says why before it stops anything.
    node.gantry(&["restart"]).expect_code(2);
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
    node.gantry(&["stop"]).expect_code(0);
    assert!(started_children(&node).is_empty());
    node.gantry(&["status"]).expect_code(2);
    fs::write(node.config(), text).expect("it can be written");
}

#[test]
fn restart_that_could_not_start_again_leaves_the_node_running() {
    let options = NodeOptions::small();
    let node = Node::prepare(options.clone());
    start_again(&node);
    let before = node.pid("supervisor");
    node.write_configuration(options.clone().set("service.libraries", r#"["gantry_no_such_library"]"#));
    let output = node.gantry(&["restart"]).expect_code(1);
    expect_told(&output, "gantry_no_such_library");
    assert_eq!(node.pid("supervisor"), before);
    assert_eq!(node.client().call(ECHO, "x").done().body, b"x");
    node.write_configuration(options);
}
