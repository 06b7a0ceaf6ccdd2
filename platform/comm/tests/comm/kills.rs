//! The communication process is killed again and again under traffic whose every byte is checked.

use std::time::{Duration, Instant};

use gantry_comm::Counter;
use gantry_sys::signal::Signal;

use crate::client::{id, wait_until};
use crate::process::{CommProcess, keepers, reap_keepers};
use crate::steps::Steps;
use crate::traffic::{Manners, Random, Traffic};
use crate::world::{READ_ECHO, WRITE_ECHO, World};

#[test]
fn a_handed_over_node_loses_nothing() {
    let mut world = World::of_processes(&format!("{ROOM}[comm]\nthreads = 2\n"));
    let traffic = Traffic::start(world.address(), 1, &mixed());
    for _ in 0..20 {
        let before = traffic.answered();
        wait_until("traffic flows", || traffic.answered() > before + 50 || traffic.has_failed());
        world.hand_over();
    }
    assert!(traffic.end() > 1000);
    world.check_nothing_is_held();
    assert_eq!(keepers(world.control()).len(), 1);
    world.stop_process();
}

/// Memory for all that [`mixed`] may have in flight: up to 30 bodies over 64 KiB, of each of which request and reply hold a
/// block of the last class. So a refusal for want of memory (202), which is no answer that the clients accept, means that
/// something was lost. With the default of 16 such blocks 202 is right: clients that read slowly hold them all, by replies
/// that are done.
const ROOM: &str = r#"
[ipc]
blocks = [{ size = "4KiB", count = 4096 }, { size = "64KiB", count = 512 }, { size = "1MiB", count = 64 }]
[admission]
read_share = 1.0
"#;

fn mixed() -> Vec<Manners> {
    vec![
        Manners { window: 40, bytes_max: 30_000, piece: 0, sip: 0 },
        Manners { window: 8, bytes_max: 300_000, piece: 50_000, sip: 0 },
        Manners { window: 30, bytes_max: 5_000, piece: 700, sip: 0 },
        Manners { window: 4, bytes_max: 6_000, piece: 90, sip: 0 },
        Manners { window: 20, bytes_max: 200_000, piece: 0, sip: 9_000 },
        Manners { window: 1, bytes_max: 100, piece: 0, sip: 0 },
    ]
}

/// How a random test goes: a seed, and so many kills at least. The environment may give another seed and a time in
/// seconds for which it goes on.
struct Chosen {
    seed: u64,
    kills_min: u32,
    seconds_min: u64,
}

impl Chosen {
    fn new(seed: u64, kills_min: u32) -> Self {
        let told = |name: &str| std::env::var(name).ok()?.parse().ok();
        let seed = told("GANTRY_TEST_SEED").unwrap_or(seed);
        println!("GANTRY_TEST_SEED={seed}");
        Self { seed, kills_min, seconds_min: told("GANTRY_TEST_SECONDS").unwrap_or(0) }
    }

    fn goes_on(&self, kills: u32, started: Instant) -> bool {
        kills < self.kills_min || started.elapsed().as_secs() < self.seconds_min
    }
}

/// Lets the traffic come to its end. When a client has failed, the counters say why.
fn end(world: &World, traffic: Traffic, kills: u32) {
    if traffic.has_failed() {
        let closed = Counter::ALL.iter().map(|counter| (counter.name(), world.counted(*counter)));
        println!("{kills} kills: {:?}", closed.filter(|(_, count)| *count > 0).collect::<Vec<_>>());
    }
    let answered = traffic.end();
    println!("{kills} kills, {answered} replies");
}

/// Kills at random instants.
fn kill_under_traffic(settings: &str, chosen: &Chosen) {
    let mut world = World::of_processes(settings);
    let traffic = Traffic::start(world.address(), chosen.seed, &mixed());
    let (mut random, started, mut kills) = (Random::new(chosen.seed), Instant::now(), 0);
    while chosen.goes_on(kills, started) && !traffic.has_failed() {
        let pause = Instant::now();
        let wait = Duration::from_micros(random.below(30_000));
        wait_until("it is time", || pause.elapsed() >= wait);
        match random.below(8) {
            // The next one is killed while it takes over, and so may be the one after it.
            0 | 1 => {
                world.process.take().unwrap().kill();
                for _ in 0..=random.below(3) {
                    let next = CommProcess::start(&world, world.next_epoch());
                    let (pause, wait) = (Instant::now(), Duration::from_micros(random.below(12_000)));
                    wait_until("it is time", || pause.elapsed() >= wait);
                    next.kill();
                    kills += 1;
                }
                world.start_process();
            }
            // The keeper, and some time for another one.
            2 => {
                let old = keepers(world.control());
                old.iter().for_each(|(_, pidfd)| pidfd.signal(Signal::SIGKILL).unwrap());
                let is_new = |pid: i32| old.iter().all(|(before, _)| *before != pid);
                wait_until("the keeper is replaced", || {
                    keepers(world.control()).iter().any(|(pid, _)| is_new(*pid))
                });
            }
            _ => world.kill_and_replace(),
        }
        kills += 1;
        reap_keepers(world.process.as_ref().map(CommProcess::pid));
    }
    end(&world, traffic, kills);
    world.check_nothing_is_held();
    wait_until("one keeper is left", || keepers(world.control()).len() == 1);
    world.stop_process();
}

/// Kills after so many system calls and instructions, also while it takes over.
fn kill_at_steps(settings: &str, chosen: &Chosen) {
    let mut world = World::of_processes(settings);
    let traffic = Traffic::start(world.address(), chosen.seed, &mixed());
    let (mut random, started, mut kills) = (Random::new(chosen.seed), Instant::now(), 0);
    while chosen.goes_on(kills, started) && !traffic.has_failed() {
        // Every other one is met at work, the others from their first instruction on.
        let process =
            world.process.take().unwrap_or_else(|| CommProcess::start_held(&world, world.next_epoch()));
        let pidfd = process.pidfd();
        if let Some(mut steps) = Steps::stop(process.pid(), &pidfd) {
            let (calls, instructions) = (random.below(250), random.below(5) * random.below(2000));
            let is_alive =
                (0..calls).all(|_| steps.next_call()) && (0..instructions).all(|_| steps.next_instruction());
            assert!(is_alive, "nobody but this test ends it");
            steps.kill(&pidfd);
        }
        process.kill();
        kills += 1;
        if random.below(2) == 0 {
            world.start_process();
        }
        reap_keepers(world.process.as_ref().map(CommProcess::pid));
    }
    if world.process.is_none() {
        world.start_process();
    }
    end(&world, traffic, kills);
    world.check_nothing_is_held();
    wait_until("one keeper is left", || keepers(world.control()).len() == 1);
    world.stop_process();
}

#[test]
fn every_byte_comes_once_at_whatever_step_the_process_is_killed() {
    kill_at_steps(ROOM, &Chosen::new(21, 60));
}

#[test]
fn every_byte_comes_once_whenever_the_process_is_killed() {
    kill_under_traffic(ROOM, &Chosen::new(11, 100));
}

#[test]
fn every_byte_comes_once_also_with_several_threads() {
    kill_under_traffic(&format!("{ROOM}[comm]\nthreads = 3\n"), &Chosen::new(12, 100));
}

/// Asks on every connection, so many at a time that none is refused.
fn ask_all(clients: &mut [crate::client::Client<std::net::TcpStream>], service: u32, first: u64) {
    for (round, clients) in clients.chunks_mut(500).enumerate() {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(service, id(first + (round as u64) * 500 + number as u64), b"all");
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.receive().body, b"all"));
    }
}

/// Also measures: `cargo nextest run --release -p gantry-comm -E 'test(ten_thousand)' --no-capture` prints the figures.
#[test]
fn ten_thousand_connections_go_on_after_a_kill() {
    const CONNECTIONS: u64 = 10_000;
    gantry_sys::limits::raise_nofile(CONNECTIONS + 500, CONNECTIONS + 500).unwrap();
    let mut world = World::of_processes("[comm]\nconnections_max = 12000\n");
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| world.client()).collect();
    ask_all(&mut clients, READ_ECHO, 0);
    let mut healed = Vec::new();
    for round in 1..=10 {
        let process = world.process.take().unwrap();
        let at = Instant::now();
        process.kill();
        let dead = at.elapsed();
        let probe = (round * 997 % CONNECTIONS) as usize;
        clients[probe].send(READ_ECHO, id(round << 20), b"probe");
        let process = CommProcess::start(&world, world.next_epoch());
        assert_eq!(clients[probe].receive().body, b"probe");
        healed.push(at.elapsed());
        let busy = process.cpu_time();
        println!(
            "dead after {dead:?}, first reply after {:?}, of which {busy:?} on a processor",
            at.elapsed()
        );
        world.process = Some(process);
    }
    healed.sort_unstable();
    println!(
        "{CONNECTIONS} connections: median {:?}, worst {:?}",
        healed[healed.len() / 2],
        healed[healed.len() - 1]
    );
    ask_all(&mut clients, WRITE_ECHO, 1 << 40);
    assert_eq!(u64::from(world.open_connections()), CONNECTIONS);
    world.check_nothing_is_held();
    world.stop_process();
}
