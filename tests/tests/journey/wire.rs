//! Many frames, large frames, many connections, and the Unix socket.

use std::thread;

use gantry_tests::etc::{ECHO, ECHO_WRITE, PING, add, counter};
use gantry_tests::processes::allow_open_files;
use gantry_tests::{Client, Node, NodeOptions, Request, until};

#[test]
fn thousand_frames_in_flight_on_one_connection_are_each_answered() {
    let node = Node::start(NodeOptions::full_size());
    let mut client = node.client();
    for service in [ECHO, ECHO_WRITE, PING] {
        let requests: Vec<Request> =
            (0..1_000).map(|number| Request::new(service, format!("frame {number}"))).collect();
        for (number, reply) in client.exchange_all(&requests).into_iter().enumerate() {
            assert_eq!(reply.done().text(), format!("frame {number}"));
        }
    }
    node.until_quiet();
}

#[test]
fn frames_of_many_sizes_in_one_stream_keep_every_byte() {
    let node = Node::start(NodeOptions::full_size());
    let sizes = [0, 1, 63, 64, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 1_000, 200_000, 7];
    let body = |size: usize| -> Vec<u8> {
        (0..size).map(|at| u8::try_from((at * 31 + size) % 251).unwrap()).collect()
    };
    let requests: Vec<Request> = sizes.iter().map(|size| Request::new(ECHO, body(*size)).checked()).collect();
    for _ in 0..3 {
        for (reply, size) in node.client().exchange_all(&requests).into_iter().zip(sizes) {
            assert!(reply.done().body == body(size), "the echo of {size} bytes differs");
        }
    }
}

#[test]
fn bodies_of_one_mebibyte_go_there_and_back_on_both_queues() {
    let node = Node::start(NodeOptions::small());
    let body: Vec<u8> = (0..1024 * 1024_u32).map(|at| u8::try_from(at % 253).unwrap()).collect();
    let mut client = node.client();
    for service in [ECHO, ECHO_WRITE, PING] {
        for body in [&body[..], &body[1..]] {
            let reply = client.exchange(&Request::new(service, body).checked()).done();
            assert!(reply.body == body, "the echo of {} bytes by {service} differs", body.len());
        }
    }
    node.until_quiet();
}

#[test]
fn large_bodies_from_several_connections_at_once_are_echoed_or_refused_and_leave_nothing_behind() {
    let node = Node::start(NodeOptions::small());
    thread::scope(|scope| {
        for seed in 0..6_u8 {
            let node = &node;
            scope.spawn(move || {
                let mut client = node.client();
                let body = vec![seed; 1024 * 1024];
                let mut echoed = 0;
                until("four large echoes come back", || {
                    let reply = client.call(ECHO, &body);
                    // Eight blocks for twelve wishes: whoever finds none is told so and comes again.
                    match reply.status {
                        0 => {
                            assert!(reply.body == body, "the echo differs");
                            echoed += 1;
                        }
                        201 | 202 | 306 => {}
                        _ => panic!("{reply:?}"),
                    }
                    (echoed == 4).then_some(())
                });
            });
        }
    });
    node.until_quiet();
}

#[test]
fn two_thousand_connections_are_served() {
    allow_open_files(2_100);
    let node =
        Node::start(NodeOptions::full_size().set("comm.connections_max", 3_000).set("comm.threads", 2));
    let mut clients: Vec<Client> = (0..2_000).map(|_| node.client()).collect();
    until("the node counts them", || (node.status().connections() >= 2_000).then_some(()));
    for round in 0..2 {
        let requests: Vec<Request> =
            (0..clients.len()).map(|number| Request::new(ECHO, format!("{round}/{number}"))).collect();
        for (batch, requests) in clients.chunks_mut(500).zip(requests.chunks(500)) {
            for (client, request) in batch.iter_mut().zip(requests) {
                client.send(request);
            }
            for (client, request) in batch.iter_mut().zip(requests) {
                let reply = client.receive().done();
                assert_eq!((reply.id.as_str(), &reply.body), (request.id.as_str(), &request.body));
            }
        }
    }
    drop(clients);
    until("the closed connections are forgotten", || (node.status().connections() <= 1).then_some(()));
}

#[test]
fn unix_socket_speaks_the_same_protocol() {
    let node = Node::start(NodeOptions::small());
    let mut client = node.unix_client();
    assert_eq!(client.call(ECHO, "over the file system").done().text(), "over the file system");
    let large = vec![7; 300_000];
    assert!(client.exchange(&Request::new(ECHO, &large).checked()).done().body == large);
    let requests: Vec<Request> = (0..50).map(|number| Request::new(ECHO, number.to_string())).collect();
    for (number, reply) in client.exchange_all(&requests).into_iter().enumerate() {
        assert_eq!(reply.done().text(), number.to_string());
    }
    assert_eq!(add(&mut client, "unix", 2), 2);
    assert_eq!(counter(&mut node.client(), "unix"), 2);
}

#[test]
fn several_io_threads_answer_on_their_own_connections() {
    let node = Node::start(NodeOptions::full_size().set("comm.threads", 3).set("workers.read", 2));
    thread::scope(|scope| {
        for thread in 0..6 {
            let node = &node;
            scope.spawn(move || {
                let mut client = node.client();
                for round in 0..20 {
                    let requests: Vec<Request> = (0..20)
                        .map(|number| Request::new(ECHO, format!("{thread}/{round}/{number}")))
                        .collect();
                    for (request, reply) in requests.iter().zip(client.exchange_all(&requests)) {
                        assert_eq!(reply.done().body, request.body);
                    }
                }
            });
        }
    });
    node.until_quiet();
}
