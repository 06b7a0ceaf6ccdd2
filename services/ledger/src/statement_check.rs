//! Holds the statements of a service against its tables, on an in-memory SQLite database. Compiled into
//! the unit tests of each crate that has statements.

use rusqlite::Connection;

/// Makes the tables of `migrations` and prepares each statement on them, so that no typing error and no
/// missing column passes. Then asks for the plan of each: none may read a whole table or sort, except
/// those named in `scans`.
pub(crate) fn check(migrations: &[&str], statements: &[(&str, &str)], scans: &[&str]) {
    let database = Connection::open_in_memory().unwrap();
    for migration in migrations {
        for statement in migration.split(";\n") {
            database.execute_batch(statement).unwrap_or_else(|error| panic!("{error} in {statement}"));
        }
    }
    for (name, text) in statements {
        assert!(text.is_ascii() && !text.contains(';'), "{name} is one portable statement");
        let text = without_escapes(text);
        let parameters =
            database.prepare(&text).unwrap_or_else(|error| panic!("{name}: {error}")).parameter_count();
        assert_eq!(parameters, text.matches('?').count(), "{name}");
        let plan = plan(&database, &text);
        let is_slow = plan.iter().any(|step| reads_a_table(step) || step.contains("TEMP B-TREE"));
        assert_eq!(is_slow, scans.contains(name), "{name}: {plan:#?}");
    }
}

/// Whether a step of a plan reads a whole table, and not just the rows of a `VALUES`.
fn reads_a_table(step: &str) -> bool {
    step.starts_with("SCAN") && !step.ends_with("VALUES CLAUSE") && step != "SCAN CONSTANT ROW"
}

/// The statement as SQLite understands it.
fn without_escapes(text: &str) -> String {
    text.replace("{for update}", "").replace("{limit ?}", "LIMIT ?")
}

fn plan(database: &Connection, text: &str) -> Vec<String> {
    let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    let parameters = vec![rusqlite::types::Null; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(parameters), |row| row.get("detail")).unwrap();
    steps.map(Result::unwrap).collect()
}
