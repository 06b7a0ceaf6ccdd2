//! A service's SQL in one place.

/// Declares the statements of a service, as constants with the crate's visibility, and for its tests
/// `ALL`: every statement with its name, so that none escapes the test that prepares them.
///
/// The texts are portable SQL, and meant to run unchanged on SQLite, DB2, PostgreSQL and MariaDB: `?`
/// parameters, `{limit ?}`, `{for update}` on a single table, no functions but `COUNT`, `SUM`, `MAX` and
/// `COALESCE`, names that no database reserves.
///
/// ```
/// gantry_ledger::statements! {
///     /// The balance of an account.
///     BALANCE = "SELECT balance_fen FROM customer_account WHERE account_id = ?";
/// }
/// # fn main() { assert!(BALANCE.starts_with("SELECT")); }
/// ```
#[macro_export]
macro_rules! statements {
    ($($(#[$documentation:meta])+ $name:ident = $text:expr;)+) => {
        $($(#[$documentation])+ pub(crate) const $name: &str = $text;)+

        /// Every statement above with its name.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}
