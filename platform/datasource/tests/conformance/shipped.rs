//! Every statement of the platform and of every service, executed on a real server.

use crate::collect::{collect, columns_of_parameters};
use crate::profile::{LIMIT, Profile};
use crate::server_profile::OnServer;
use gantry_datasource::{Connection, ErrorKind, Mode, PortableStatement, ValueRef};
use std::collections::BTreeMap;

pub(crate) fn every_statement_of_platform_and_services_runs(profile: &OnServer) {
    let collected = collect();
    let database = profile.database();
    let mut connection = database.writer();
    let mut faults = Vec::new();
    let mut types = BTreeMap::new();
    for definition in &collected.definitions {
        if let Err(error) = connection.execute(&definition.text, &[], LIMIT) {
            faults.push(format!("{}: {error}\n{}", definition.place, definition.text));
        }
        for line in definition.text.lines() {
            let mut words =
                line.trim().trim_start_matches("ALTER TABLE passage ADD COLUMN ").split_whitespace();
            if let (Some(column), Some(column_type)) = (words.next(), words.next()) {
                types.insert(column.to_owned(), column_type.to_owned());
            }
        }
    }
    for statement in &collected.statements {
        let parameters =
            PortableStatement::rewrite(&statement.text, connection.dialect()).unwrap().parameters();
        let columns = columns_of_parameters(&statement.text);
        let params: Vec<_> = (0..parameters).map(|index| value(columns.get(index), &types)).collect();
        if let Err(fault) = run(&mut *connection, &statement.text, &params) {
            faults.push(format!("{}: {fault}\n{}", statement.place, statement.text));
        }
    }
    assert!(collected.statements.len() > 50, "the collector finds them");
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// A value of the type of the parameter's column: one that every bound takes.
fn value(column: Option<&String>, types: &BTreeMap<String, String>) -> ValueRef<'static> {
    let column = column.map_or("", |column| column.rsplit('.').next().unwrap_or(""));
    match types.get(column).map_or("", String::as_str) {
        text if text.starts_with("VARCHAR") => ValueRef::Text("1"),
        "{blob" => ValueRef::Null,
        _ => ValueRef::I64(1),
    }
}

/// Runs it in a transaction that is undone. A constraint that the values break shows that it was executed.
fn run(connection: &mut dyn Connection, text: &str, params: &[ValueRef<'_>]) -> Result<(), String> {
    connection.begin(Mode::Write, LIMIT).map_err(|error| error.to_string())?;
    let outcome = if text.starts_with("SELECT") || text.starts_with("WITH") {
        connection.query(text, params, 1_000, LIMIT).map(drop)
    } else {
        connection.execute(text, params, LIMIT).map(drop)
    };
    connection.rollback().map_err(|error| error.to_string())?;
    match outcome {
        Err(error) if !matches!(error.kind, ErrorKind::Constraint(_)) => Err(error.to_string()),
        _ => Ok(()),
    }
}
