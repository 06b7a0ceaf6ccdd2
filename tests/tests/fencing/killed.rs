//! Killed at every border of a system call.

use gantry_tests::Node;

use super::{Attempt, BORDERS_MAX, expect_truth, final_word, lead, places, wait_for_successor};

#[test]
fn write_whose_worker_is_killed_at_any_system_call_is_what_its_outcome_says() {
    for place in &places() {
        let node = Node::start(place.options());
        let (mut done, mut failed) = (0, 0);
        let stride = if place.server.is_some() { place.stride() } else { 1 };
        for borders in (1..BORDERS_MAX).step_by(stride) {
            let mut attempt = Attempt::new(&node, borders);
            let worker = node.pid("write");
            let Some(led) = lead(&node, &mut attempt, borders) else {
                println!("{}: {borders} borders; {done} were done, {failed} were not", place.name);
                assert!(done > 0 && failed > 0, "before its commit a write is lost, and after it is not");
                break;
            };
            led.kill();
            let said = final_word(&node, &attempt);
            wait_for_successor(&node, worker);
            // The caller hears the reply of the second run, which finds the first one's commit; or 302, and then nothing
            // was committed: a write says that it is about to commit before it does.
            let status = attempt.client.receive().status;
            assert!(
                matches!((status, said.as_str()), (302, "failed") | (0, "done")),
                "{status:03}, and then {said}"
            );
            expect_truth(&node, &attempt, &said, place.name);
            *(if said == "done" { &mut done } else { &mut failed }) += 1;
            assert!(borders + stride < BORDERS_MAX, "a write with more than {BORDERS_MAX} borders");
        }
        node.until_quiet();
    }
}
