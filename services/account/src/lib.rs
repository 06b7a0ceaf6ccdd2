//! Accounts: opening, balance, statement, trial balance.
#![deny(unsafe_code)]

mod balance;
mod open;
mod sql;
mod statement;
mod trial_balance;

use balance::Balance;
use gantry_ledger::LEDGER_1;
use open::OpenAccount;
use statement::Statement;
use trial_balance::TrialBalance;

gantry_abi::export_library! {
    name: "account",
    version: env!("CARGO_PKG_VERSION"),
    migrations: [LEDGER_1],
    services: [
        {
            number: 20000001,
            kind: Write,
            name: "account.open",
            service: OpenAccount,
            description: "Opens an account for a customer, with a balance of 0.",
            example: r#"{"customer":"李娜","id_no":"110105199001011234"}"#,
            example_reply: r#"{"account":"A0000000001"}"#,
            sources: ["main"],
        },
        {
            number: 10000002,
            kind: Read,
            name: "account.balance",
            service: Balance,
            description: "The balance of an account in fen.",
            example: r#"{"account":"A0000000001"}"#,
            example_reply: r#"{"balance":10000}"#,
            sources: ["main"],
        },
        {
            number: 10000004,
            kind: Read,
            name: "account.statement",
            service: Statement,
            description: "Movements on an account, newest first, in pages.",
            example: r#"{"account":"A0000000001","limit":50}"#,
            example_reply: r#"{"entries":[{"at":"2026-05-01T08:30:00.000Z","kind":"recharge","amount":10000,"balance":10000,"serial":"R0000000001"}]}"#,
            sources: ["main"],
        },
        {
            number: 10000007,
            kind: Read,
            name: "account.trial_balance",
            service: TrialBalance,
            // It adds up every entry there is, and tens of millions take more than the usual 15 s.
            timeout_ms: 120_000,
            description: "Sum of all debits and all credits in fen; they are equal, or something is wrong.",
            example: "{}",
            example_reply: r#"{"debit":10000,"credit":10000}"#,
            sources: ["main"],
        },
    ],
}
