//! Serial numbers: unique for ever, drawn from ranges leased in the database.
