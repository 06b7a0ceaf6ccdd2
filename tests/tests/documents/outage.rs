//! The server of the documents dies under load and comes back.

use std::sync::Mutex;
use std::sync::PoisonError;

use gantry_test_servers::MongoServer;
use gantry_tests::etc::{PASSAGE, customer, expect_books_to_balance};
use gantry_tests::{Node, Request, until};

use super::{MONEY, expect_agreement, insist, options, passage};

/// What each request may take.
const BUDGET_MS: u32 = 2_000;

#[test]
fn documents_server_killed_under_load_costs_no_passage_and_doubles_none() {
    let mut server = MongoServer::start_durable();
    let node = Node::start(options(&server).set("workers.write", 2));
    let mut client = node.client();
    let customers: Vec<_> = (0..3).map(|_| customer(&mut client, MONEY)).collect();
    let before = [node.pids("write"), node.pids("comm")];
    let state = Mutex::new((false, 0_usize));
    let at = |change: &dyn Fn(&mut (bool, usize))| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        *state
    };
    let sent: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let (node, at) = (&node, &at);
        let threads: Vec<_> = customers
            .iter()
            .map(|(_, card)| {
                scope.spawn(move || {
                    let mut client = node.client();
                    let mut statuses = Vec::new();
                    while !at(&|state| state.1 += 1).0 {
                        let body = passage(card, statuses.len()).to_string();
                        let reply = client.exchange(&Request::new(PASSAGE, &body).budget_ms(BUDGET_MS));
                        statuses.push(reply.status);
                    }
                    statuses
                })
            })
            .collect();
        let go_on = |more: usize| {
            let goal = at(&|_| ()).1 + more;
            until("the load goes on", || (at(&|_| ()).1 >= goal).then_some(()));
        };
        go_on(60);
        server.kill();
        go_on(6);
        server.restart();
        insist(&mut node.client(), PASSAGE, &passage(&customers[0].1, 0));
        go_on(30);
        at(&|state| state.0 = true);
        threads.into_iter().map(|thread| thread.join().expect("it ends well")).collect()
    });
    let is_clear = |status: &u16| [0, 301, 302, 305, 306].contains(status);
    assert!(sent.iter().flatten().all(is_clear), "{sent:?}");
    assert!(sent.iter().flatten().any(|status| *status != 0), "the outage was noticed: {sent:?}");
    for ((account, card), statuses) in customers.iter().zip(&sent) {
        // What was called done is there, before anything is sent again.
        let listed = expect_agreement(&mut client, account, card, "after the outage").len();
        let done = statuses.iter().filter(|status| **status == 0).count();
        assert!((done..=statuses.len()).contains(&listed), "{done} done, {listed} listed");
        for number in 0..statuses.len() {
            insist(&mut client, PASSAGE, &passage(card, number));
        }
        let listed = expect_agreement(&mut client, account, card, "after all were sent again").len();
        assert_eq!(listed, statuses.len());
    }
    expect_books_to_balance(&mut client);
    assert_eq!([node.pids("write"), node.pids("comm")], before, "nothing was restarted");
}

/// A connection that was used just now is not asked whether it is well, and what only reads can be asked again.
#[test]
fn read_right_after_the_server_was_started_again_is_done() {
    let mut server = MongoServer::start_durable();
    let node = Node::start(options(&server));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    for number in 0..5 {
        insist(&mut client, PASSAGE, &passage(&card, number));
        expect_agreement(&mut client, &account, &card, "before");
        server.kill();
        server.restart();
        expect_agreement(&mut client, &account, &card, "at the first try");
    }
}
