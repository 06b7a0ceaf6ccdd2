//! Clearing: what each road operator is owed for the passages of a day.
#![deny(unsafe_code)]

mod report;
mod run;
mod sql;
#[cfg(test)]
mod tests;

use gantry_abi::{GantryMigration, migration};
use gantry_ledger::{PASSAGE_DAY_1, PASSAGES, SOURCE};
use report::ClearingReport;
use run::RunClearing;

/// The days and what was found for them; needs the passages.
const CLEARING_1: GantryMigration = migration(SOURCE, "clearing", 1, sql::CLEARING_1_SQL);

gantry_abi::export_library! {
    name: "clearing",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [CLEARING_1, PASSAGES[0], PASSAGES[1], PASSAGES[2], PASSAGES[3], PASSAGE_DAY_1],
    services: [
        {
            number: 30000003,
            kind: Other,
            name: "clearing.run",
            service: RunClearing,
            // It adds up a day's passages, of which there may be millions.
            timeout_ms: 120_000,
            description: "Clears a day that is over: what each operator is owed; run again, it adds only what came late.",
            example: r#"{"date":"2026-05-01"}"#,
            example_reply: r#"{"operators":[{"operator":"G4","count":1,"amount":1500}],"total":1500}"#,
            sources: ["main", "passages?"],
        },
        {
            number: 10000006,
            kind: Read,
            name: "clearing.report",
            service: ClearingReport,
            description: "What clearing found for a day.",
            example: r#"{"date":"2026-05-01"}"#,
            example_reply: r#"{"operators":[{"operator":"G4","count":1,"amount":1500}],"total":1500}"#,
            sources: ["main", "passages?"],
        },
    ],
}
