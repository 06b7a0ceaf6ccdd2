//! Bank files: a day's debits for a bank to collect, and what the bank made of them. `README.md` has the layout.
#![deny(unsafe_code)]

mod charset;
mod configuration;
mod debit_file;
mod filing;
mod line;
mod received;
mod result_file;
mod sql;

use debit_file::DebitFile;
use gantry_abi::{GantryMigration, migration};
use gantry_ledger::{CARD_1, LEDGER_1, PASSAGE_DAY_1, PASSAGES, SOURCE};
use result_file::ResultFile;

/// Debits, files and results; needs the passages and the shared tables.
const BANK_1: GantryMigration = migration(SOURCE, "bank", 1, sql::BANK_1_SQL);

gantry_abi::export_library! {
    name: "bank",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [BANK_1, LEDGER_1, CARD_1, PASSAGES[0], PASSAGES[1], PASSAGES[2], PASSAGES[3], PASSAGE_DAY_1],
    services: [
        {
            number: 30000002,
            kind: Other,
            name: "bank.build_file",
            service: DebitFile,
            // It adds up a day's passages, of which there may be millions.
            timeout_ms: 120_000,
            description: "The file of a day's debits for a bank, in fixed fields; the same again when asked again.",
            example: r#"{"date":"2026-05-01","bank":"ICBC"}"#,
            example_reply: "HGBDEBIT1UTF-8   ICBC            2026-05-010001000100002026050210000000…",
            sources: ["main", "passages?"],
        },
        {
            number: 20000009,
            kind: Write,
            name: "bank.take_result",
            service: ResultFile,
            // Each accepted debit is booked by itself, up to 10,000 of them.
            timeout_ms: 120_000,
            description: "Takes a bank's result file: books what was collected, notes what was rejected, and reports bad records by line.",
            example: "HGBRESLT1UTF-8   ICBC            2026-05-0100010001000120260503080000…",
            example_reply: r#"{"accepted":2,"rejected":1,"bad_count":1,"bad":[{"line":4,"field":"amount","reason":"is not 15 digits"}]}"#,
            sources: ["main"],
        },
    ],
}
