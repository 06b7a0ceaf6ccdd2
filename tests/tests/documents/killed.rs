//! A worker killed at any border of a system call between the first statement and the reply of a passage or a refund, and
//! the documents' server killed there.

use gantry_test_servers::MongoServer;
use gantry_tests::etc::{PASSAGE, REFUND, customer};
use gantry_tests::processes::is_running;
use gantry_tests::steps::{Led, Step};
use gantry_tests::{Client, Node, Request, soak, until};
use serde_json::{Value, json};

use super::{MONEY, expect_agreement, insist, listed, options, passage};

/// Borders of one write at most; a write that never ends fails the test.
const BORDERS_MAX: usize = 2_000;

/// Leads the write worker to its `borders`-th border in this request. `None`: it was done before that.
fn lead(node: &Node, client: &mut Client, request: &Request, borders: usize) -> Option<Led> {
    let mut led = Led::take(node.pid("write"));
    client.send(request);
    for _ in 0..borders {
        match led.step(|| !client.has_reply()) {
            Step::AtCall => {}
            Step::NotYet => return None,
            Step::Gone => panic!("the worker died before it was killed"),
        }
    }
    (!client.has_reply()).then_some(led)
}

/// Kills the write worker at its `borders`-th border in this request. `false`: it was done before that.
fn kill_within(node: &Node, warm: &Value, request: &Request, borders: usize) -> bool {
    // Whoever has just replaced a killed one opens its connections at its first write, which would be other calls.
    insist(&mut node.client(), PASSAGE, warm);
    let worker = node.pid("write");
    let mut client: Client = node.client();
    let Some(led) = lead(node, &mut client, request, borders) else { return false };
    led.kill();
    until("the worker is gone", || (!is_running(worker)).then_some(()));
    node.successor("write", worker);
    // One that was about to commit is run again by the successor; before its answer is there, nothing stands still.
    let status = client.receive().status;
    assert!(matches!(status, 0 | 302), "border {borders}: {status:03}");
    true
}

#[test]
fn passage_whose_worker_is_killed_is_listed_if_and_only_if_it_was_booked() {
    let server = MongoServer::start();
    let node = Node::start(options(&server));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    let stride = if soak() { 1 } else { 7 };
    for (kills, borders) in (1..BORDERS_MAX).step_by(stride).enumerate() {
        let body = passage(&card, borders);
        let is_killed =
            kill_within(&node, &passage(&card, 0), &Request::new(PASSAGE, body.to_string()), borders);
        let place = format!("killed at border {borders}");
        expect_agreement(&mut client, &account, &card, &place);
        let first = insist(&mut client, PASSAGE, &body);
        assert_eq!(insist(&mut client, PASSAGE, &body), first, "{place}: the same passage");
        let all = expect_agreement(&mut client, &account, &card, &place);
        let same = all.iter().filter(|found| found["serial"] == first["serial"]).count();
        assert_eq!(same, 1, "{place}");
        assert_eq!(all.len(), kills + 2, "{place}: each passage is listed once");
        if !is_killed {
            assert!(kills > 10, "only {kills} borders were tried");
            return;
        }
    }
    panic!("a passage has more than {BORDERS_MAX} borders");
}

#[test]
fn refund_whose_worker_is_killed_is_shown_if_and_only_if_it_was_booked() {
    let server = MongoServer::start();
    let node = Node::start(options(&server));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    let stride = if soak() { 1 } else { 3 };
    for borders in (1..BORDERS_MAX).step_by(stride) {
        let recorded = insist(&mut client, PASSAGE, &passage(&card, borders));
        let body = json!({"serial": recorded["serial"], "reason": "收费两次"});
        let is_killed =
            kill_within(&node, &passage(&card, 0), &Request::new(REFUND, body.to_string()), borders);
        let place = format!("killed at border {borders}");
        expect_agreement(&mut client, &account, &card, &place);
        // Whether it was booked or not, it is now; and never twice.
        insist(&mut client, REFUND, &body);
        assert_eq!(insist(&mut client, REFUND, &body)["error"], "already_refunded", "{place}");
        expect_agreement(&mut client, &account, &card, &place);
        let shown = listed(&mut client, &card);
        let shown = shown.iter().find(|found| found["serial"] == recorded["serial"]);
        assert_eq!(shown.expect("the passage is listed")["refunded"], true, "{place}");
        if !is_killed {
            assert!(borders > 30 * stride, "only {borders} borders were tried");
            return;
        }
    }
    panic!("a refund has more than {BORDERS_MAX} borders");
}

#[test]
fn passage_whose_server_of_documents_is_killed_is_listed_if_and_only_if_it_was_booked() {
    let mut server = MongoServer::start_durable();
    let node = Node::start(options(&server));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    let stride = if soak() { 5 } else { 41 };
    for (kills, borders) in (1..BORDERS_MAX).step_by(stride).enumerate() {
        insist(&mut client, PASSAGE, &passage(&card, 0));
        let body = passage(&card, borders);
        let request = Request::new(PASSAGE, body.to_string());
        let mut asking = node.client();
        let led = lead(&node, &mut asking, &request, borders);
        let is_killed = led.is_some();
        if is_killed {
            server.kill();
        }
        // It goes on beside a server that is not there, and then beside one that does not know its connection.
        drop(led);
        let status = asking.receive().status;
        assert!(matches!(status, 0 | 306), "border {borders}: {status:03}");
        if is_killed {
            server.restart();
        }
        let place = format!("killed at border {borders}, answered {status:03}");
        let before = expect_agreement(&mut client, &account, &card, &place).len();
        assert_eq!(before, kills + 1 + usize::from(status == 0), "{place}: 306 says that nothing was done");
        let first = insist(&mut client, PASSAGE, &body);
        assert_eq!(insist(&mut client, PASSAGE, &body), first, "{place}: the same passage");
        assert_eq!(expect_agreement(&mut client, &account, &card, &place).len(), kills + 2, "{place}");
        if !is_killed {
            assert!(kills > 3, "only {kills} borders were tried");
            return;
        }
    }
    panic!("a passage has more than {BORDERS_MAX} borders");
}
