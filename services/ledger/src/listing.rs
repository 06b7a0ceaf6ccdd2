//! The blacklist as far as the balance decides it.
//!
//! A card is on the list because a passage left its account overdrawn, because an operator put it
//! there, or both; its row says which. The balance only ever changes its own half. All of it happens
//! while the account is locked.

use gantry_abi::{Sql, SqlError, params};

use crate::sql;

/// Puts a card on the blacklist because its account is overdrawn, if it is not there for that already.
///
/// Two statements, one if it is.
///
/// # Errors
/// The statement failed.
pub fn list_overdrawn(sql: &Sql<'_>, card: &str, account: &str, now_ms: i64) -> Result<(), SqlError> {
    match sql.query_opt(sql::SELECT_OVERDRAWN, params![card], |row| row.i64(0))? {
        None => sql.execute(sql::INSERT_OVERDRAWN, params![card, account, now_ms])?,
        Some(0) => sql.execute(sql::MARK_OVERDRAWN, params![card])?,
        Some(_) => 0,
    };
    Ok(())
}

/// Takes the cards of an account that is no longer overdrawn off the blacklist, except those that an
/// operator put there.
pub(crate) fn lift_overdrawn(sql: &Sql<'_>, account: &str) -> Result<(), SqlError> {
    sql.execute(sql::DELETE_OVERDRAWN, params![account])?;
    sql.execute(sql::UNMARK_OVERDRAWN, params![account])?;
    Ok(())
}
