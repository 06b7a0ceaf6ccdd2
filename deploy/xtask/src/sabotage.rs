//! Takes one safeguard after the other out of a copy of the repository, and shows the test that then fails.
//!
//! The list is `tests/sabotage.toml`. A run begins with the copy as it is: every test that an entry names must pass
//! there, since a test that always fails catches everything.

mod list;
mod tree;
mod trial;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::steps::{Failure, Steps};
use crate::workspace::Workspace;
use list::{Entry, LIST, NamedTest};
use tree::Tree;
use trial::{Ended, Trial};

/// What became of an entry.
struct Row {
    name: String,
    verdict: Verdict,
    took: Duration,
}

enum Verdict {
    /// By this test.
    Caught(String),
    /// Every named test passed.
    NotCaught,
    /// A test fails in any case, the patch does not apply, or the code does not build with it; in words.
    Unusable(String),
}

/// Runs the entries of these names, or all.
pub(crate) fn sabotage(workspace: &Workspace, steps: &Steps, names: &[&str]) -> Result<(), Failure> {
    steps.banner("copying the repository");
    let tree = Tree::copy(&workspace.target("sabotage/tree"))?;
    let list = fs::read_to_string(LIST).map_err(|cause| Failure::Wrong(format!("{LIST}: {cause}")))?;
    let entries = choose(list::read(&list).map_err(Failure::Wrong)?, names)?;
    let secantusd = workspace.target("test-servers/secantus/bin/secantusd-py");
    let trial = Trial::new(tree.root(), &workspace.target("sabotage"), secantusd)?;
    eprintln!("    what compiler and tests say is in {}", trial.log().display());
    steps.banner("every named test passes while nothing is sabotaged");
    let failing = failing(&trial, &entries)?;
    let mut rows = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        steps.banner(&format!("{} of {}: {}", index + 1, entries.len(), entry.name));
        let begin = Instant::now();
        let verdict = match entry.tests.iter().find(|test| failing.contains(test)) {
            Some(test) => Verdict::Unusable(format!("{test} fails though nothing is sabotaged")),
            None => try_entry(&tree, &trial, entry),
        };
        rows.push(Row { name: entry.name.clone(), verdict, took: begin.elapsed() });
        if let Some(row) = rows.last() {
            eprintln!("    {}", row.words());
        }
    }
    print_table(&rows)
}

fn choose(all: Vec<Entry>, names: &[&str]) -> Result<Vec<Entry>, Failure> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|entry| entry.name != **name)) {
        let known: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
        let words = format!("{LIST} has no entry {unknown}; there are: {}", known.join(" "));
        return Err(Failure::Wrong(words));
    }
    let is_chosen = |entry: &Entry| names.is_empty() || names.contains(&entry.name.as_str());
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// The control: the named tests that fail though nothing is sabotaged, and so catch everything.
fn failing<'a>(trial: &Trial, entries: &'a [Entry]) -> Result<BTreeSet<&'a NamedTest>, Failure> {
    trial.record(b"==== nothing is sabotaged\n");
    let mut failing: BTreeSet<&NamedTest> = entries.iter().flat_map(|entry| &entry.tests).collect();
    let mut wrong = None;
    failing.retain(|test| {
        let begin = Instant::now();
        let ended = trial.run(test).unwrap_or_else(|words| {
            // Without a build, or without the test, nothing can be said of anything.
            wrong.get_or_insert(words.clone());
            Ended::Failed(words)
        });
        let took = begin.elapsed().as_secs_f64();
        match &ended {
            Ended::Passed => eprintln!("    {test}: passed in {took:.1} s"),
            Ended::Failed(why) => eprintln!("    {test}: FAILED in {took:.1} s: {why}"),
        }
        matches!(ended, Ended::Failed(_))
    });
    wrong.map_or(Ok(failing), |words| Err(Failure::Wrong(words)))
}

fn try_entry(tree: &Tree, trial: &Trial, entry: &Entry) -> Verdict {
    let tried = || -> Result<Verdict, String> {
        trial.record(format!("==== {}\n", entry.name).as_bytes());
        let _patch = tree.patch(&entry.file, &entry.old, &entry.new)?;
        for test in &entry.tests {
            if let Ended::Failed(why) = trial.run(test)? {
                return Ok(Verdict::Caught(format!("{test}: {why}")));
            }
        }
        Ok(Verdict::NotCaught)
    };
    tried().unwrap_or_else(Verdict::Unusable)
}

impl Row {
    fn words(&self) -> String {
        match &self.verdict {
            Verdict::Caught(by) => format!("CAUGHT by {by}"),
            Verdict::NotCaught => "NOT CAUGHT".to_owned(),
            Verdict::Unusable(why) => format!("UNUSABLE: {why}"),
        }
    }
}

fn print_table(rows: &[Row]) -> Result<(), Failure> {
    println!("\n| safeguard taken out | found by | seconds |\n|---|---|---|");
    for row in rows {
        let words = row.words().replace('\n', " ").replace('|', "/");
        println!("| {} | {words} | {:.0} |", row.name, row.took.as_secs_f64());
    }
    let is_caught = |row: &&Row| matches!(row.verdict, Verdict::Caught(_));
    let missed: Vec<&str> = rows.iter().filter(|row| !is_caught(row)).map(|row| row.name.as_str()).collect();
    if missed.is_empty() {
        println!("\nall {} are found", rows.len());
        return Ok(());
    }
    Err(Failure::Wrong(format!("{} of {} are not found: {}", missed.len(), rows.len(), missed.join(" "))))
}
