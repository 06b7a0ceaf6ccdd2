//! The shared tables.
//!
//! Each library that needs them carries these steps, and the first one deployed applies them, so the
//! libraries can be deployed in any order. The texts never change once released: what changes is a
//! further step with the next version.

use gantry_abi::{GantryMigration, migration};

/// Name of the data source that all services of this set use.
pub const SOURCE: &str = "main";

/// Accounts, movements and their entries.
pub const LEDGER_1: GantryMigration = migration(SOURCE, "ledger", 1, LEDGER_1_SQL);

/// Cards, tags and the blacklist; needs the tables of [`LEDGER_1`].
pub const CARD_1: GantryMigration = migration(SOURCE, "card", 1, CARD_1_SQL);

/// The passages and their refunds, step by step, as the library of the passages has them: for the libraries that add
/// them up.
pub const PASSAGES: [GantryMigration; 4] = [
    migration(SOURCE, "passage", 1, PASSAGE_SQL[0]),
    migration(SOURCE, "passage", 2, PASSAGE_SQL[1]),
    migration(SOURCE, "passage", 3, PASSAGE_SQL[2]),
    migration(SOURCE, "passage", 4, PASSAGE_SQL[3]),
];

/// An index over the time of passing, so that a day's passages are added up without reading all others; needs the tables
/// of [`PASSAGES`]. Its name comes after theirs, and so does its step.
pub const PASSAGE_DAY_1: GantryMigration = migration(SOURCE, "passage_day", 1, PASSAGE_DAY_1_SQL);

/// The texts of [`PASSAGES`].
pub const PASSAGE_SQL: [&str; 4] = [
    include_str!("../../passage/src/schema/passage.sql"),
    include_str!("../../passage/src/schema/passage_2.sql"),
    include_str!("../../passage/src/schema/passage_3.sql"),
    include_str!("../../passage/src/schema/passage_4.sql"),
];
/// The text of [`PASSAGE_DAY_1`].
pub const PASSAGE_DAY_1_SQL: &str = include_str!("schema/passage_day.sql");
/// The text of [`LEDGER_1`].
pub const LEDGER_1_SQL: &str = include_str!("schema/ledger.sql");
/// The text of [`CARD_1`].
pub const CARD_1_SQL: &str = include_str!("schema/card.sql");

#[cfg(test)]
mod tests {
    use super::{CARD_1_SQL, LEDGER_1_SQL};
    use crate::request;

    #[test]
    fn columns_hold_the_longest_text_that_a_request_may_bring() {
        let tables = format!("{LEDGER_1_SQL} {CARD_1_SQL}");
        let words: Vec<&str> = tables.split_whitespace().collect();
        for (column, bytes_max) in [
            ("account_id", request::ID_BYTES_MAX),
            ("card_id", request::ID_BYTES_MAX),
            ("customer_name", request::CUSTOMER_BYTES_MAX),
            ("id_no", request::ID_NO_BYTES_MAX),
            ("plate", request::PLATE_BYTES_MAX),
            ("obu", request::OBU_BYTES_MAX),
            ("claim_key", request::OBU_BYTES_MAX.max(request::PLATE_BYTES_MAX)),
            ("reason", request::REASON_BYTES_MAX),
        ] {
            let has = words.windows(2).any(|pair| pair == [column, &format!("VARCHAR({bytes_max})")]);
            assert!(has, "{column} is no VARCHAR({bytes_max})");
        }
    }
}
