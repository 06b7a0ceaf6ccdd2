//! Stopped at borders of system calls, and going on later, or killed by its time-out.

use gantry_tests::etc::{ADD, outcome};
use gantry_tests::processes::{is_running, send_signal};
use gantry_tests::{Node, NodeOptions, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Attempt, BORDERS_MAX, expect_truth, final_word, lead, places};

/// How long a write may run; the stopped one is answered 301 then.
const TIMEOUT: &str = "timeout=250ms";

/// A node whose adds have that time-out and this policy.
fn start(base: NodeOptions, policy: &str) -> Node {
    let base = base.text("workers.kill_grace", "30ms").set("service.quarantine_deaths", 1000);
    let node = Node::start(base);
    let policy = format!("policy={policy}");
    node.gantry(&["service", "rule", &ADD.to_string(), TIMEOUT, &policy]).expect_code(0);
    node
}

/// Whether the write was never taken: its worker was stopped before that, and is let go.
fn was_never_taken(status: u16, worker: Pid) -> bool {
    if status == 305 {
        send_signal(worker, Signal::SIGCONT);
    }
    status == 305
}

/// The time-out kills the stopped worker; what is said before and after that must be the same truth.
#[test]
fn write_whose_worker_is_stopped_and_then_killed_for_it_is_what_its_outcome_says() {
    for place in &places() {
        let node = start(place.options(), "kill");
        for borders in (1..BORDERS_MAX).step_by(place.stride()) {
            let mut attempt = Attempt::new(&node, borders);
            let worker = node.pid("write");
            let Some(led) = lead(&node, &mut attempt, borders) else { break };
            led.leave_stopped();
            if was_never_taken(attempt.client.receive().status, worker) {
                continue;
            }
            let said = final_word(&node, &attempt);
            // It cannot go on any more; were it still there, this would be its chance to commit late.
            send_signal(worker, Signal::SIGCONT);
            if is_running(worker) {
                // It had been stopped behind its reply, where nothing is left to kill it for.
                assert_eq!(said, "done", "the worker lives, and its write was called {said}");
            } else {
                node.successor("write", worker);
            }
            expect_truth(&node, &attempt, &said, place.name);
        }
        node.until_quiet();
    }
}

/// Nobody kills it, so nothing final may be said while it stands before its commit; when it goes on, it ends.
#[test]
fn write_whose_worker_is_stopped_and_goes_on_is_what_its_outcome_says() {
    for place in &places() {
        let node = start(place.options(), "answer");
        let worker = node.pid("write");
        for borders in (1..BORDERS_MAX).step_by(place.stride()) {
            let mut attempt = Attempt::new(&node, borders);
            let Some(led) = lead(&node, &mut attempt, borders) else { break };
            led.leave_stopped();
            let answer = attempt.client.receive().status;
            if was_never_taken(answer, worker) {
                continue;
            }
            assert!(matches!(answer, 0 | 301), "{answer:03} at border {borders}");
            let mut asking = node.client();
            let early: Vec<String> = (0..3).map(|_| outcome(&mut asking, &attempt.request.id).0).collect();
            send_signal(worker, Signal::SIGCONT);
            let said = final_word(&node, &attempt);
            let held = early.iter().all(|word| *word == "running" || *word == said);
            assert!(held, "border {borders}: {early:?} was said of a write that then was {said}");
            assert!(answer != 0 || said == "done", "border {borders}: answered 000, and then {said}");
            expect_truth(&node, &attempt, &said, place.name);
            assert_eq!(node.pid("write"), worker, "with the policy `answer` nobody is killed");
        }
        node.until_quiet();
    }
}

/// The supervisor is stopped too, so nobody knows whether the worker lives: nothing final is said until it is known.
#[test]
fn nothing_final_is_said_of_a_stopped_write_while_nobody_can_tell_whether_it_is_dead() {
    for place in &places() {
        let node = start(place.options(), "kill");
        let supervisor = node.pid("supervisor");
        let mut commits = 0;
        for borders in (3..BORDERS_MAX).step_by(place.stride() * 5) {
            let mut attempt = Attempt::new(&node, borders);
            let worker = node.pid("write");
            let Some(led) = lead(&node, &mut attempt, borders) else { break };
            send_signal(supervisor, Signal::SIGSTOP);
            led.leave_stopped();
            if was_never_taken(attempt.client.receive().status, worker) {
                send_signal(supervisor, Signal::SIGCONT);
                continue;
            }
            let mut asking = node.client();
            let early: Vec<String> = (0..5).map(|_| outcome(&mut asking, &attempt.request.id).0).collect();
            // The worker goes on before the supervisor does, and ends its write late.
            send_signal(worker, Signal::SIGCONT);
            let late = until("the late write ends", || {
                let (state, _) = outcome(&mut asking, &attempt.request.id);
                (state != "running").then_some(state)
            });
            send_signal(supervisor, Signal::SIGCONT);
            assert!(
                early.iter().all(|word| *word == "running" || *word == late),
                "{early:?}, and then {late}"
            );
            expect_truth(&node, &attempt, &late, place.name);
            commits += u32::from(late == "done");
        }
        println!("{}: {commits} late commits", place.name);
        node.until_quiet();
    }
}
