//! Time to heal: how long clients wait when a process is killed under them.
//!
//! Two contenders beside a calm node in the same run: the only write worker is killed, then a write is sent at once;
//! the communication process is killed, then a ping is sent at once on a connection that was open before. The clock
//! runs from the kill to the whole reply.
//!
//! `cargo xtask build && cargo bench -p gantry-benches --bench heal -- [ROUNDS [CONNECTIONS]]`

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use gantry_benches::Spread;
use gantry_tests::processes::{allow_open_files, kill_hard};
use gantry_tests::{Node, NodeOptions, Request, until};

const PING: u32 = 1;
const ECHO_WRITE: u32 = 29_000_001;
const HEADER_BYTES: usize = 64;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (rounds, connections) = (numbers.next().unwrap_or(50), numbers.next().unwrap_or(10_000));
    allow_open_files(connections as u64);
    let options = NodeOptions::business()
        .set("comm.connections_max", connections + 100)
        .text("log.level", "warn")
        .text("comm.idle_timeout", "1h");
    let node = Node::start(options);
    println!("median and 99th percentile of {rounds} rounds, times in ms; the machine is shared");
    let mut client = connect(&node);
    println!("{}", measure("calm: a write", rounds, || exchange(&mut client, ECHO_WRITE)));
    println!("{}", measure("calm: a ping", rounds, || exchange(&mut client, PING)));
    let killed = |round: &mut dyn FnMut() -> Duration| {
        settle(&node, 1);
        round()
    };
    let write_worker = measure("the only write worker killed: a write", rounds, || {
        killed(&mut || {
            let victim = node.pid("write");
            let started = Instant::now();
            kill_hard(victim);
            exchange(&mut client, ECHO_WRITE);
            started.elapsed()
        })
    });
    println!("{write_worker}   aim: 10 ms");
    for count in [100, connections] {
        let mut open: Vec<TcpStream> = (0..count).map(|_| connect(&node)).collect();
        let mut round = 0;
        let comm = measure(&format!("comm killed, {count} connections: a ping"), rounds, || {
            settle(&node, count as u64 + 1);
            let victim = node.pid("comm");
            // Another one in each round, from all over the table.
            round += 1;
            let index = round * 7919 % count;
            let started = Instant::now();
            kill_hard(victim);
            exchange(&mut open[index], PING);
            started.elapsed()
        });
        println!("{comm}   aim: 50 ms at 10,000 connections");
    }
}

/// Waits until everybody is there again and idle, so that a round begins as the first did.
fn settle(node: &Node, connections: u64) {
    until("the node is whole again", || {
        let status = node.status();
        let is_ready = status.processes().iter().all(|process| process.state != "starting");
        let is_whole = ["comm", "read", "write"].iter().all(|role| status.of(role).len() == 1);
        (is_ready && is_whole && status.connections() == connections).then_some(())
    });
}

fn connect(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(node.address()).expect("the node accepts");
    socket.set_nodelay(true).expect("a TCP socket takes the option");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out above zero can be set");
    socket
}

/// One request and its reply; how long it took.
fn exchange(socket: &mut TcpStream, service: u32) -> Duration {
    let request = Request::new(service, "heal");
    let started = Instant::now();
    socket.write_all(&request.encode()).expect("the connection lives");
    let mut reply = [0; HEADER_BYTES + 4];
    socket.read_exact(&mut reply).expect("the connection lives");
    assert_eq!(&reply[21..24], b"000", "status of {}", String::from_utf8_lossy(&reply));
    started.elapsed()
}

fn measure(name: &str, rounds: usize, mut round: impl FnMut() -> Duration) -> Spread {
    Spread::new(name, (0..rounds).map(|_| round()).collect())
}
