//! Passages: record and deduct, refund, list.
//!
//! The records are in tables of the source `main`, or, on a node whose configuration has a document source `passages`,
//! in documents; the money is in `main` in either case. See `store.rs`, which also says why no death between the two
//! leaves a wrong list.
#![deny(unsafe_code)]

mod passages;
mod record;
mod refund;
mod sql;
mod store;

use gantry_abi::{GantryMigration, migration};
use gantry_ledger::{CARD_1, LEDGER_1, SOURCE};
use passages::Passages;
use record::Record;
use refund::Refund;

/// The passages and their refunds; needs the shared tables.
const PASSAGE_1: GantryMigration = migration(SOURCE, "passage", 1, sql::PASSAGE_1_SQL);
/// The part of a passage's time that is finer than a millisecond, and its place in the natural key. One statement to a
/// step, so that each is there whole or not at all on every database; between any two of them, and while workers of the
/// version before still run, passages are recorded as before.
const PASSAGE_2: GantryMigration = migration(SOURCE, "passage", 2, sql::PASSAGE_2_SQL);
const PASSAGE_3: GantryMigration = migration(SOURCE, "passage", 3, sql::PASSAGE_3_SQL);
const PASSAGE_4: GantryMigration = migration(SOURCE, "passage", 4, sql::PASSAGE_4_SQL);

gantry_abi::export_library! {
    name: "passage",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [LEDGER_1, CARD_1, PASSAGE_1, PASSAGE_2, PASSAGE_3, PASSAGE_4],
    services: [
        {
            number: 20000005,
            kind: Write,
            name: "passage.record",
            service: Record,
            description: "Records a passage and deducts its fee; a passage sent again gets its first reply.",
            example: r#"{"card":"C0000000001","operator":"G4","entry":"北京","exit":"涿州","at":"2026-05-01T16:30:00+08:00","fee":1500}"#,
            example_reply: r#"{"balance":8500,"serial":"P0000000001"}"#,
            sources: ["main", "passages?"],
        },
        {
            number: 20000006,
            kind: Write,
            name: "passage.refund",
            service: Refund,
            description: "Gives back the fee of a passage, once.",
            example: r#"{"serial":"P0000000001","reason":"charged twice at the plaza"}"#,
            example_reply: r#"{"balance":10000,"serial":"P0000000002"}"#,
            sources: ["main", "passages?"],
        },
        {
            number: 10000003,
            kind: Read,
            name: "passage.list",
            service: Passages,
            description: "Passages of a card, newest first, in pages.",
            example: r#"{"card":"C0000000001","limit":50}"#,
            example_reply: r#"{"passages":[{"serial":"P0000000001","operator":"G4","entry":"北京","exit":"涿州","at":"2026-05-01T08:30:00.000Z","fee":1500,"balance":8500,"refunded":true}]}"#,
            sources: ["main", "passages?"],
        },
    ],
}
