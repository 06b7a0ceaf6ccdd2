//! Cards and tags: issuing, recharge, status, blacklist.
#![deny(unsafe_code)]

mod blacklist;
mod blacklist_page;
mod card;
mod issue_card;
mod issue_tag;
mod recharge;
mod sql;
mod status;

use blacklist::Blacklist;
use blacklist_page::BlacklistPage;
use card::ShowCard;
use gantry_ledger::{CARD_1, LEDGER_1};
use issue_card::IssueCard;
use issue_tag::IssueTag;
use recharge::Recharge;
use status::SetStatus;

gantry_abi::export_library! {
    name: "card",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [LEDGER_1, CARD_1],
    services: [
        {
            number: 20000002,
            kind: Write,
            name: "card.issue",
            service: IssueCard,
            description: "Issues a card of an account for a vehicle.",
            example: r#"{"account":"A0000000001","plate":"京A12345","vehicle_class":1}"#,
            example_reply: r#"{"card":"C0000000001"}"#,
            sources: ["main"],
        },
        {
            number: 20000003,
            kind: Write,
            name: "card.issue_tag",
            service: IssueTag,
            description: "Issues an on-board unit (OBU) with a card.",
            example: r#"{"card":"C0000000001","obu":"OBU-7F3A"}"#,
            example_reply: r#"{"tag":"T0000000001"}"#,
            sources: ["main"],
        },
        {
            number: 20000004,
            kind: Write,
            name: "card.recharge",
            service: Recharge,
            description: "Pays money into the account of a card.",
            example: r#"{"card":"C0000000001","amount":10000,"channel":"app"}"#,
            example_reply: r#"{"balance":10000,"serial":"R0000000001"}"#,
            sources: ["main"],
        },
        {
            number: 20000007,
            kind: Write,
            name: "card.status",
            service: SetStatus,
            description: "Makes a card active, lost or cancelled.",
            example: r#"{"card":"C0000000001","status":"lost"}"#,
            example_reply: "{}",
            sources: ["main"],
        },
        {
            number: 20000008,
            kind: Write,
            name: "card.blacklist",
            service: Blacklist,
            description: "Puts a card on the blacklist or takes it off.",
            example: r#"{"card":"C0000000001","listed":true,"reason":"police"}"#,
            example_reply: "{}",
            sources: ["main"],
        },
        {
            number: 10000001,
            kind: Read,
            name: "card.show",
            service: ShowCard,
            description: "A card, with the balance of its account and whether it is on the blacklist.",
            example: r#"{"card":"C0000000001"}"#,
            example_reply: r#"{"card":"C0000000001","account":"A0000000001","plate":"京A12345","status":"active","balance":10000,"listed":false}"#,
            sources: ["main"],
        },
        {
            number: 10000005,
            kind: Read,
            name: "card.blacklist_page",
            service: BlacklistPage,
            description: "The blacklist, newest first, in pages.",
            example: r#"{"limit":50}"#,
            example_reply: r#"{"cards":[{"card":"C0000000001","reason":"overdrawn","at":"2026-05-01T08:30:00.000Z"}]}"#,
            sources: ["main"],
        },
    ],
}
