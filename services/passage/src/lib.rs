//! Passages: record and deduct, refund, list.
#![deny(unsafe_code)]

mod passages;
mod record;
mod refund;
mod sql;

use gantry_abi::{GantryMigration, migration};
use gantry_ledger::{CARD_1, LEDGER_1, SOURCE};
use passages::Passages;
use record::Record;
use refund::Refund;

/// The passages and their refunds; needs the shared tables.
const PASSAGE_1: GantryMigration = migration(SOURCE, "passage", 1, sql::PASSAGE_1_SQL);

gantry_abi::export_library! {
    name: "passage",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [LEDGER_1, CARD_1, PASSAGE_1],
    services: [
        {
            number: 20000005,
            kind: Write,
            name: "passage.record",
            service: Record,
            description: "Records a passage and deducts its fee; a passage sent again gets its first reply.",
            example: r#"{"card":"C0000000001","operator":"G4","entry":"北京","exit":"涿州","at":"2026-05-01T16:30:00+08:00","fee":1500}"#,
            example_reply: r#"{"balance":8500,"serial":"P0000000001"}"#,
            sources: ["main"],
        },
        {
            number: 20000006,
            kind: Write,
            name: "passage.refund",
            service: Refund,
            description: "Gives back the fee of a passage, once.",
            example: r#"{"serial":"P0000000001","reason":"charged twice at the plaza"}"#,
            example_reply: r#"{"balance":10000,"serial":"P0000000002"}"#,
            sources: ["main"],
        },
        {
            number: 10000003,
            kind: Read,
            name: "passage.list",
            service: Passages,
            description: "Passages of a card, newest first, in pages.",
            example: r#"{"card":"C0000000001","limit":50}"#,
            example_reply: r#"{"passages":[{"serial":"P0000000001","operator":"G4","entry":"北京","exit":"涿州","at":"2026-05-01T08:30:00Z","fee":1500,"balance":8500,"refunded":true}]}"#,
            sources: ["main"],
        },
    ],
}
