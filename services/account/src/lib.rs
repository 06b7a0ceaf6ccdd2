//! Accounts: opening, balance, statement, trial balance.
