//! The promises of a document source, each held against a real server.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, also in the helpers outside of test functions"
)]

mod commands;
mod errors;
mod outages;
mod provoked;
mod support;
mod transactions;
mod values;
