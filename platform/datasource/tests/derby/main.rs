//! Every statement of the platform and of every service, executed by Apache Derby, whose SQL is of DB2's family.
//!
//! The statements are found, not listed: each string in the sources that begins like one. So a new service is under
//! test from its first line.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod collect;
mod ij;
mod literals;

use collect::{Collected, Statement, collect};
use gantry_datasource::{Dialect, PortableStatement};
use std::collections::BTreeSet;

#[test]
fn every_statement_of_platform_and_services_runs_on_derby() {
    let collected = collect();
    for known in [
        "INSERT INTO gantry_request",
        "UPDATE gantry_serial SET",
        "INSERT INTO gantry_migration",
        "FROM ledger_entry",
        "FROM customer_account",
        "FROM card_listing",
        "INSERT INTO passage",
        "UPDATE diag_counter",
    ] {
        let is_found = collected.statements.iter().any(|statement| statement.text.contains(known));
        assert!(is_found, "the collector no longer finds `{known}`");
    }
    println!("{} definitions, {} statements", collected.definitions.len(), collected.statements.len());
    let faults = run(&collected);
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// The test above can fail.
#[test]
fn statement_that_derby_refuses_is_reported_with_its_place() {
    let mut collected = collect();
    let wrong = |text: &str| Statement { place: "here".to_owned(), text: text.to_owned() };
    collected.statements = vec![
        wrong("SELECT nothing FROM gantry_request"),
        wrong("SELECT caller FROM gantry_request {limit ?}"),
        wrong("SELECT caller FROM gantry_request WHERE created_ms = 'a' || ?"),
    ];
    let faults = run(&collected);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].contains("here") && faults[0].contains("42X04"), "{}", faults[0]);
}

/// Runs everything; returns what Derby refused, with place and reason.
fn run(collected: &Collected) -> Vec<String> {
    let blobs = collected.blob_columns();
    let mut faults = Vec::new();
    let mut script = ij::Script::new();
    for definition in &collected.definitions {
        match portable(definition) {
            Ok((text, _)) => script.define(&definition.place, &text),
            Err(fault) => faults.push(fault),
        }
    }
    for statement in &collected.statements {
        match portable(statement) {
            Ok((text, parameters)) => {
                let values = values(&statement.text, parameters, &blobs);
                script.execute(&statement.place, &text, &values);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(script.run());
    faults
}

/// The statement in Derby's words, which must be DB2's too, and its number of parameters.
fn portable(statement: &Statement) -> Result<(String, usize), String> {
    let rewrite = |dialect| {
        PortableStatement::rewrite(&statement.text, dialect)
            .map_err(|error| format!("{}: {error}\n{}", statement.place, statement.text))
    };
    let (derby, db2) = (rewrite(Dialect::Derby)?, rewrite(Dialect::Db2)?);
    if derby.text() != db2.text() {
        return Err(format!("{}: DB2 gets another text than Derby: {}", statement.place, db2.text()));
    }
    Ok((derby.text().to_owned(), derby.parameters()))
}

/// A value for each parameter: `'1'`, which is text and becomes any number; NULL where bytes are wanted.
fn values(text: &str, parameters: usize, blobs: &BTreeSet<String>) -> Vec<&'static str> {
    let columns = collect::columns_of_parameters(text);
    (0..parameters)
        .map(|index| {
            let is_blob = columns.get(index).is_some_and(|column| blobs.contains(column));
            if is_blob { "CAST(NULL AS BLOB(1))" } else { "'1'" }
        })
        .collect()
}
