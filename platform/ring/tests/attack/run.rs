//! Everything, shared out among the processors, with a word on each part.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use gantry_ring::mutants::{self, Mutant};

use crate::attacks::{OVERLAPS, Pair, SINGLES, Single, pairs};
use crate::methods::{self, Outcome};
use crate::processors::on_all_processors;
use crate::rows::{ROWS, Table};
use crate::scenes::Scene;
use crate::stale;
use crate::survivors::Who;

/// The rings' positions when an attack begins, in cells: at the start, and where the next push wraps.
const OFFSETS: [u32; 2] = [0, 7];
/// Every so many-th instruction is killed literally; with `GANTRY_SOAK` each.
const LITERAL_STRIDE: u64 = 3;
/// Points below which the attack has become too small to mean anything.
const POINTS_MIN: u64 = 20_000_000;

/// One attack in one way.
#[derive(Clone, Copy)]
enum Job {
    Single(&'static Single, u32),
    Resumed(&'static Single),
    Fenced(&'static Single),
    Pair(Pair),
    Nested(&'static Single),
    Overlap(&'static Pair),
    Literal(&'static Single),
}

impl Job {
    fn run(self, table: &Table) -> Outcome {
        match self {
            Self::Single(attack, offset) => methods::single(table, attack, offset),
            Self::Resumed(attack) => methods::resumed(attack),
            Self::Fenced(attack) => methods::fenced(attack),
            Self::Pair(attack) => methods::pair(&attack),
            Self::Nested(attack) => methods::nested(attack),
            Self::Overlap(attack) => methods::overlap(attack),
            Self::Literal(attack) => {
                let is_soak = std::env::var_os("GANTRY_SOAK").is_some();
                methods::literal(attack, if is_soak { 1 } else { LITERAL_STRIDE })
            }
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Single(..) => "single",
            Self::Resumed(_) => "resumed",
            Self::Fenced(_) => "fenced",
            Self::Pair(_) => "pair",
            Self::Nested(_) => "nested",
            Self::Overlap(_) => "overlap",
            Self::Literal(_) => "literal",
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(attack, offset) => {
                write!(
                    out,
                    "single   {} in {:?} at {offset}, {:?}",
                    attack.victim.name, attack.scene, attack.subject
                )
            }
            Self::Resumed(attack) | Self::Fenced(attack) | Self::Nested(attack) | Self::Literal(attack) => {
                write!(out, "{:<8} {} in {:?}", self.method(), attack.victim.name, attack.scene)
            }
            Self::Pair(attack) => write_pair(out, self.method(), attack),
            Self::Overlap(attack) => write_pair(out, self.method(), attack),
        }
    }
}

fn write_pair(out: &mut fmt::Formatter<'_>, method: &str, attack: &Pair) -> fmt::Result {
    write!(out, "{method:<8} {} × {} in {:?}", attack.victim.name, attack.peer.name, attack.scene)
}

/// Attacks that differ in their subject only are the same for the other ways.
fn distinct() -> impl Iterator<Item = &'static Single> {
    let is_first = |index: usize| {
        let this = &SINGLES[index];
        SINGLES[..index]
            .iter()
            .all(|other| (other.scene, other.victim.name) != (this.scene, this.victim.name))
    };
    SINGLES.iter().enumerate().filter(move |(index, _)| is_first(*index)).map(|(_, attack)| attack)
}

fn jobs() -> Vec<Job> {
    let singles = SINGLES.iter().flat_map(|attack| OFFSETS.map(|offset| Job::Single(attack, offset)));
    let resumed = distinct().filter(|attack| attack.victim.who != Who::Comm(2)).map(Job::Resumed);
    let is_served =
        |attack: &&Single| matches!(attack.scene, Scene::OneQueued(_)) && attack.victim.who == Who::WorkerA;
    let fenced = distinct().filter(is_served).map(Job::Fenced);
    let pairs = pairs().map(Job::Pair);
    let overlaps = OVERLAPS.iter().map(Job::Overlap);
    let nested = distinct().map(Job::Nested);
    singles
        .chain(resumed)
        .chain(fenced)
        .chain(overlaps)
        .chain(nested)
        .chain(pairs)
        .chain(distinct().map(Job::Literal))
        .collect()
}

/// The algorithm must survive everything, and every mutant must be found.
pub(crate) fn attack_everything() {
    let table = Table::read();
    assert_eq!(stale::attack(), Ok(()));
    attack_algorithm(&table);
    let found = on_all_processors(&mutants::ALL, |mutant| (mutant, hunt(&table, mutant)));
    let missed: Vec<Mutant> =
        found.iter().filter(|(_, found)| found.is_none()).map(|(mutant, _)| *mutant).collect();
    assert!(missed.is_empty(), "mutants that were not found: {missed:?}");
}

fn attack_algorithm(table: &Table) {
    let begin = Instant::now();
    let jobs = jobs();
    let outcomes = on_all_processors(&jobs, |job| {
        let begin = Instant::now();
        let outcome = job.run(table);
        let (points, worlds, took) = (outcome.points_count, outcome.worlds_count, begin.elapsed());
        println!("{points:>9} points {worlds:>7} worlds {:>6.1} s  {job}", took.as_secs_f64());
        if let Some(fault) = &outcome.fault {
            println!("FAULT in {job}: {fault}");
        }
        outcome
    });
    let faults: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.fault.as_ref()).collect();
    for method in ["single", "resumed", "fenced", "overlap", "nested", "pair", "literal"] {
        let of_method = || jobs.iter().zip(&outcomes).filter(|(job, _)| job.method() == method);
        let points: u64 = of_method().map(|(_, outcome)| outcome.points_count).sum();
        let worlds: u64 = of_method().map(|(_, outcome)| outcome.worlds_count).sum();
        println!(
            "{points:>9} points {worlds:>7} worlds in {} attacks of the kind {method}",
            of_method().count()
        );
    }
    let points: u64 = outcomes.iter().map(|outcome| outcome.points_count).sum();
    let worlds: u64 = outcomes.iter().map(|outcome| outcome.worlds_count).sum();
    println!("the algorithm: {points} points, {worlds} worlds in {:.0} s", begin.elapsed().as_secs_f64());
    assert!(faults.is_empty(), "{faults:#?}");
    let met: BTreeSet<&str> = outcomes.iter().flat_map(|outcome| &outcome.rows).copied().collect();
    let unmet: Vec<&str> = ROWS.iter().map(|(id, _)| *id).filter(|id| !met.contains(id)).collect();
    assert!(unmet.is_empty(), "rows of README.md that no attack met: {unmet:?}");
    println!("rows of README.md that were met, and their fates checked: {}", met.len());
    assert!(points > POINTS_MIN, "the attack has become too small to mean anything");
}

/// Looks for a mutant in all attacks but the slow ones, the likely way first.
fn hunt(table: &Table, mutant: Mutant) -> Option<()> {
    let begin = Instant::now();
    mutants::activate(Some(mutant));
    let mut points_count = 0;
    let mut found = None;
    for job in jobs().into_iter().filter(|job| !matches!(job, Job::Literal(_))) {
        let outcome = job.run(table);
        points_count += outcome.points_count;
        if let Some(fault) = outcome.fault {
            let took = begin.elapsed().as_secs_f64();
            println!("{mutant:?}: found after {points_count} points in {took:.1} s by {job}: {fault}");
            found = Some(());
            break;
        }
    }
    if found.is_none()
        && let Err(fault) = stale::attack()
    {
        println!("{mutant:?}: found by a stale reference: {fault}");
        found = Some(());
    }
    let took = begin.elapsed().as_secs_f64();
    if found.is_none() {
        println!("{mutant:?}: NOT FOUND in {points_count} points, {took:.1} s");
    }
    mutants::activate(None);
    found
}
