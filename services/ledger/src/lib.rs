//! What the account, card and passage services share.
//!
//! - [`request`]: members of a request, checked, with errors that name them; [`time`]: RFC 3339;
//! - [`Page`] and [`Cursor`]: pages that stay right while rows are added;
//! - [`Account`]: the customer's account, locked, and the one way to move money on it, which books both
//!   sides of a movement;
//! - [`listing`]: the blacklist as far as a balance decides it; [`refusal`]: the business errors;
//! - [`Day`]: a day of the books;
//! - [`LEDGER_1`], [`CARD_1`] and [`PASSAGES`]: the shared tables; [`statements!`](crate::statements!): a service's SQL in one place.
//!
//! What it does not do: it is no service. The services that use it are compiled with their own copy,
//! and share nothing at run time but the tables.
#![forbid(unsafe_code)]

mod account;
mod day;
pub mod listing;
mod page;
pub mod refusal;
pub mod request;
mod schema;
mod sql;
mod statements;
pub mod time;

#[cfg(test)]
mod statement_check;

pub use account::{Account, Counterpart, Movement, MovementKind, Posted, Receipt};
pub use day::Day;
pub use page::{Cursor, List, Page};
pub use schema::{
    CARD_1, CARD_1_SQL, LEDGER_1, LEDGER_1_SQL, PASSAGE_DAY_1, PASSAGE_DAY_1_SQL, PASSAGE_SQL, PASSAGES,
    SOURCE,
};

/// The library that `services/README.md` shows is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
