//! Customers, cards and passages in any number, as rows of the tables of the ETC services, with books that balance.
//!
//! For trying out what a node does with the volumes of production. The rows are such as the services themselves would
//! have written: each movement with both its sides, running balances, statements without gaps, refunds, and cards that
//! are listed where the balance is below zero. Their numbers begin with `S`, so they never meet a serial number.
//!
//! The same [`Plan`] always gives the same rows. The first account is a haulier's, with a long statement; the others have
//! a few passages each.
//!
//! What it does not do: it knows no database. Whoever uses it writes the rows, in the order of [`TABLES`].
//!
//! ```
//! let plan = gantry_seed::Plan { accounts: 2, passages: 5, first: 1, seed: 7, from_ms: 0, until_ms: 86_400_000 };
//! let mut rows = gantry_seed::Rows::default();
//! for index in 0..plan.accounts {
//!     plan.account(index, &mut rows);
//! }
//! assert_eq!(rows.count(gantry_seed::PASSAGE), 5);
//! ```
#![forbid(unsafe_code)]

mod plan;
mod random;
mod rows;

pub use plan::Plan;
pub use rows::{Cell, PASSAGE, Rows, TABLES, Table};
