//! A server of documents that does not answer, and connections to it that were forgotten on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gantry_test_servers::MongoServer;
use gantry_tests::etc::{PASSAGE, customer};
use gantry_tests::{Node, NodeOptions, Request};
use nix::sys::signal::Signal;

use super::{MONEY, expect_agreement, insist, options, passage};

/// What each new connection takes on its way, so that one made in the last moment comes too late.
const DISTANCE: Duration = Duration::from_millis(200);

#[test]
fn server_that_does_not_answer_is_told_before_the_time_is_over_and_costs_no_worker() {
    let server = MongoServer::start();
    let node = Node::start(options(&server).text("service.timeout", "2s"));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    insist(&mut client, PASSAGE, &passage(&card, 1));
    let before = node.pids("write");
    server.signal(Signal::SIGSTOP);
    for number in 2..4 {
        // With no budget of its own: when the service's time-out ends, whoever runs it is killed.
        let lost = Request::new(PASSAGE, passage(&card, number).to_string());
        assert_eq!(client.exchange(&lost).status, 306, "nothing was done, and that is known");
    }
    assert_eq!(node.pids("write"), before, "nobody was killed for it");
    server.signal(Signal::SIGCONT);
    for number in 2..4 {
        insist(&mut client, PASSAGE, &passage(&card, number));
    }
    assert_eq!(expect_agreement(&mut client, &account, &card, "after it").len(), 3);
}

/// Passes bytes on between clients and a server, until it forgets the connections that it has: nobody is told.
struct Way {
    address: SocketAddr,
    open: Arc<Mutex<Vec<Arc<Mutex<bool>>>>>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let open: Arc<Mutex<Vec<Arc<Mutex<bool>>>>> = Arc::default();
        let all = Arc::clone(&open);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let is_forgotten = Arc::<Mutex<bool>>::default();
                all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&is_forgotten));
                let twin = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
                let (from, to, flag) = (twin(&client), twin(&server), Arc::clone(&is_forgotten));
                thread::spawn(move || {
                    thread::sleep(DISTANCE);
                    pass_on(from, to, &flag);
                });
                thread::spawn(move || pass_on(server, client, &is_forgotten));
            }
        });
        Self { address, open }
    }

    fn forget(&self) {
        for is_forgotten in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            *is_forgotten.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_forgotten: &Mutex<bool>) {
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let is_forgotten = *is_forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_forgotten && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    if !*is_forgotten.lock().unwrap_or_else(PoisonError::into_inner) {
        // The other side has ended, which both may know.
        let _ended = to.shutdown(Shutdown::Both);
    }
}

#[test]
fn connections_that_were_forgotten_on_the_way_are_replaced_within_the_same_request() {
    let server = MongoServer::start();
    let way = Way::to(server.address());
    let place = format!("mongodb://{}", way.address);
    let node = Node::start(NodeOptions::business().with_documents(&place).text("service.timeout", "4s"));
    let mut client = node.client();
    let (account, card) = customer(&mut client, MONEY);
    insist(&mut client, PASSAGE, &passage(&card, 1));
    expect_agreement(&mut client, &account, &card, "before it");
    way.forget();
    // A connection that was used just now is not asked whether it is well.
    thread::sleep(Duration::from_millis(600));
    client.call_json(PASSAGE, passage(&card, 2)).done();
    assert_eq!(expect_agreement(&mut client, &account, &card, "after it").len(), 2);
}
