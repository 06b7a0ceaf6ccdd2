//! What deployments cost those who call: 64 connections, reads and ledger writes, one request each in flight, without
//! and with libraries being replaced; every reply is checked against what was in force.
//!
//! `cargo xtask build && cargo bench -p gantry-benches --bench deploy -- [DEPLOYMENTS]`

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gantry_sys::atomic::{AtomicBool, Ordering};
use gantry_tests::etc::{customer, recharge};
use gantry_tests::{Client, Node, NodeOptions, Request, compile_plugin, gantry_binary, repository_root};

/// The library `versioned` of the tests: answers with its version.
const READ: u32 = 19_900_001;
const CONNECTIONS: usize = 64;
/// Of these so many write.
const WRITERS: usize = 16;
/// Each round measures once without and once with its share of the deployments.
const ROUNDS: usize = 5;
const QUIET: Duration = Duration::from_secs(6);

/// Which version may answer now.
#[derive(Debug, Clone, Default)]
struct InForce {
    version: String,
    /// One that is being deployed: until the receipt, either may answer.
    next: Option<String>,
}

impl InForce {
    fn allows(&self, version: &str) -> bool {
        self.version == version || self.next.as_deref() == Some(version)
    }
}

/// What one phase measured.
struct Phase {
    latencies_us: Vec<u64>,
    elapsed: Duration,
}

impl Phase {
    fn rate(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    fn quantile_us(&self, share: f64) -> u64 {
        let index = ((self.latencies_us.len() as f64 * share) as usize).min(self.latencies_us.len() - 1);
        self.latencies_us[index]
    }
}

fn main() {
    let deployments =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200_usize);
    let node = Node::start(NodeOptions::business().set("workers.read", 2).text("log.level", "warn"));
    let reads = ["1.0", "1.1"].map(|version| (version.to_owned(), versioned(&node, version)));
    let cards = ["a", "b"].map(|mark| marked_card(&node, mark));
    let in_force = Arc::new(RwLock::new(InForce { version: "1.0".to_owned(), next: None }));
    deploy(&node, &reads[0].1);
    let accounts: Vec<String> = (0..WRITERS).map(|_| customer(&mut node.client(), 0).1).collect();
    println!(
        "{CONNECTIONS} connections, {WRITERS} of them recharge; {deployments} deployments in {ROUNDS} rounds"
    );
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut done = 0;
    for round in 1..=ROUNDS {
        without.push(measure(&node, &accounts, &in_force, || std::thread::sleep(QUIET)));
        with.push(measure(&node, &accounts, &in_force, || {
            while done < deployments * round / ROUNDS {
                done += 1;
                replace(&node, &in_force, &reads, &cards, done);
            }
        }));
    }
    println!("every reply 000, each of a version that was in force; {done} deployments");
    tell("without", &without);
    tell("with deployments", &with);
    let ratios: Vec<f64> =
        without.iter().zip(&with).map(|(without, with)| with.rate() / without.rate()).collect();
    println!("throughput with / without: median {:.3}, {}", median(&ratios), spread(&ratios));
}

/// One deployment: of the reads' library and of the cards' in turn.
fn replace(
    node: &Node,
    in_force: &RwLock<InForce>,
    reads: &[(String, PathBuf); 2],
    cards: &[PathBuf; 2],
    number: usize,
) {
    if number.is_multiple_of(2) {
        return deploy(node, &cards[number / 2 % 2]);
    }
    let (version, library) = &reads[number.div_ceil(2) % 2];
    in_force.write().expect("no thread panics while it writes").next = Some(version.clone());
    deploy(node, library);
    *in_force.write().expect("no thread panics while it writes") =
        InForce { version: version.clone(), next: None };
}

fn measure(node: &Node, accounts: &[String], in_force: &Arc<RwLock<InForce>>, work: impl FnOnce()) -> Phase {
    let is_over = Arc::new(AtomicBool::new(false));
    let threads: Vec<JoinHandle<Vec<u64>>> = (0..CONNECTIONS)
        .map(|number| {
            let mut client = node.client();
            let (is_over, in_force) = (Arc::clone(&is_over), Arc::clone(in_force));
            let card = accounts.get(number).cloned();
            std::thread::spawn(move || call_until(&mut client, card.as_deref(), &is_over, &in_force))
        })
        .collect();
    let began = Instant::now();
    work();
    is_over.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let mut latencies_us: Vec<u64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("every reply is as it should be"))
        .collect();
    latencies_us.sort_unstable();
    Phase { latencies_us, elapsed }
}

/// Calls one after the other and checks each reply.
fn call_until(
    client: &mut Client,
    card: Option<&str>,
    is_over: &AtomicBool,
    in_force: &RwLock<InForce>,
) -> Vec<u64> {
    let look = || in_force.read().expect("no thread panics while it writes").clone();
    let mut latencies_us = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let before = look();
        let began = Instant::now();
        match card {
            Some(card) => drop(recharge(client, card, 1)),
            None => {
                let version = client.exchange(&Request::new(READ, "0")).done().text();
                let after = look();
                assert!(
                    before.allows(&version) || after.allows(&version),
                    "{version} answered where {before:?} and then {after:?} was in force"
                );
            }
        }
        latencies_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    latencies_us
}

fn versioned(node: &Node, version: &str) -> PathBuf {
    let source = repository_root().join("tests/plugins/versioned.c");
    compile_plugin(&source, &node.folder().join(version), &[&format!("-DVERSION=\"{version}\"")])
}

/// Another build of the library that recharges: bytes behind the end of the file change nothing but its hash.
fn marked_card(node: &Node, mark: &str) -> PathBuf {
    let shipped = gantry_binary().with_file_name("libgantry_card.so");
    let mut bytes = std::fs::read(shipped).expect("the library ships");
    bytes.extend_from_slice(mark.as_bytes());
    let folder = node.folder().join(mark);
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let library = folder.join("libgantry_card.so");
    std::fs::write(&library, bytes).expect("a file can be written");
    library
}

fn deploy(node: &Node, library: &Path) {
    let deployed = node.gantry(&["service", "deploy", &library.to_string_lossy()]);
    deployed.expect_code(0);
}

fn tell(name: &str, phases: &[Phase]) {
    let rates: Vec<f64> = phases.iter().map(Phase::rate).collect();
    println!("{name}: {:.0} replies/s, {}", median(&rates), spread(&rates));
    for (label, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let values: Vec<f64> = phases.iter().map(|phase| phase.quantile_us(share) as f64 / 1_000.0).collect();
        println!("    {label:6} {:.2} ms, {}", median(&values), spread(&values));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn spread(values: &[f64]) -> String {
    let (least, most) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    format!("from {least:.3} to {most:.3}")
}
