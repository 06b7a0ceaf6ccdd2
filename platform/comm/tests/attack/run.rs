//! Everything, shared out among the processors, with a word on each part.

use std::collections::BTreeSet;
use std::time::Instant;

use gantry_comm::mutants::{self, Mutant};

use crate::attack::{Outcome, attack};
use crate::processors::on_all_processors;
use crate::scenarios::{self, Scenario};

/// One of so many deaths has a successor that is killed after each of its instructions too.
const NESTED_STRIDE: u64 = 96;
/// Scenario after scenario it is a death that much later, so that early and late ones have their turn.
const NESTED_STEP: u64 = 29;
/// Instants below which the attack has become too small to mean anything.
const POINTS_MIN: u64 = 3_000_000;

/// Every mutant must be found; then every scenario must be survived, in both ways.
pub(crate) fn attack_everything() {
    let begin = Instant::now();
    let scenarios = scenarios::all();
    check_rows(&scenarios);
    hunt_all(&scenarios);
    attack_all(&scenarios);
    println!("all in {:.0} s", begin.elapsed().as_secs_f64());
}

fn attack_all(scenarios: &[Scenario]) {
    let begin = Instant::now();
    let numbered: Vec<(u64, &Scenario)> = (0..).zip(scenarios).collect();
    let outcomes = on_all_processors(&numbered, |(number, scenario)| {
        let begin = Instant::now();
        let (single, nested) = attack(scenario, number * NESTED_STEP, Some(NESTED_STRIDE));
        println!(
            "{:>8} points {:>4} worlds single, {:>8} points {:>5} worlds nested {:>5.1} s  {}",
            single.points_count,
            single.worlds_count,
            nested.points_count,
            nested.worlds_count,
            begin.elapsed().as_secs_f64(),
            scenario.name
        );
        if let Some(fault) = &single.fault {
            println!("FAULT in {}: {fault}", scenario.name);
        }
        (single, nested)
    });
    let (single, nested): (Vec<Outcome>, Vec<Outcome>) = outcomes.into_iter().unzip();
    let mut points = 0;
    for (kind, outcomes) in [("single", &single), ("nested", &nested)] {
        let points_count: u64 = outcomes.iter().map(|outcome| outcome.points_count).sum();
        let worlds_count: u64 = outcomes.iter().map(|outcome| outcome.worlds_count).sum();
        println!("{points_count:>9} points {worlds_count:>6} worlds of the kind {kind}");
        points += points_count;
    }
    let (scenarios_count, took) = (scenarios.len(), begin.elapsed().as_secs_f64());
    println!("the order of stores: {points} points in {scenarios_count} scenarios, {took:.0} s");
    let faults: Vec<&String> = single.iter().filter_map(|outcome| outcome.fault.as_ref()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(points > POINTS_MIN, "the attack has become too small to mean anything");
}

/// Each row of the table in `README.md` is attacked by a scenario, and each scenario names rows that there are.
fn check_rows(scenarios: &[Scenario]) {
    let ids = |line: &'static str| {
        let mut cells = line.split('|').map(str::trim);
        (cells.next()?, cells.next()?.strip_prefix('`')?.strip_suffix('`')?).into()
    };
    let rows = include_str!("../../README.md").lines().filter_map(ids).map(|(_, id): (&str, &str)| id);
    let rows: BTreeSet<&str> = rows.filter(|id| id.ends_with(|end: char| end.is_ascii_digit())).collect();
    let named: BTreeSet<&str> = scenarios.iter().flat_map(|scenario| scenario.rows).copied().collect();
    let unmet: Vec<_> = rows.difference(&named).collect();
    assert!(unmet.is_empty(), "rows of README.md that no scenario attacks: {unmet:?}");
    let unknown: Vec<_> = named.difference(&rows).collect();
    assert!(unknown.is_empty(), "rows that README.md does not have: {unknown:?}");
    println!("rows of README.md that scenarios attack: {}", rows.len());
}

/// Each mutant must be found by the scenario that is named for it.
fn hunt_all(scenarios: &[Scenario]) {
    let found = on_all_processors(&mutants::ALL, |mutant| {
        let begin = Instant::now();
        let scenario = scenarios.iter().find(|scenario| scenario.name == finder(mutant));
        let scenario = scenario.expect("the scenario that finds a mutant is one of those that there are");
        mutants::activate(Some(mutant));
        let (outcome, _) = attack(scenario, 0, None);
        mutants::activate(None);
        let took = begin.elapsed().as_secs_f64();
        let fault = outcome.fault.as_deref().unwrap_or("NOT FOUND");
        println!("{took:>5.1} s  {mutant:?} by {}: {fault}", scenario.name);
        (mutant, outcome.fault.is_some())
    });
    let missed: Vec<Mutant> =
        found.iter().filter(|(_, is_found)| !is_found).map(|(mutant, _)| *mutant).collect();
    assert!(missed.is_empty(), "mutants that were not found: {missed:?}");
    println!("mutants found: {}", found.len());
}

/// Name of the scenario that finds a mutant.
fn finder(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::ParsedBeforePublish
        | Mutant::SlotBeforeSend
        | Mutant::RecordBeforeSlot
        | Mutant::KernelNotAsked
        | Mutant::DecidedNotSkipped => "a small read",
        Mutant::LinkBeforeWhole => "two frames at once",
        Mutant::SlotBeforeRefusal => "a large wrong checksum",
        Mutant::WindowAfterRecord | Mutant::WindowNotSettled => "a small write",
        Mutant::RowOfSameGeneration => "a client that is gone while its request runs",
    }
}
