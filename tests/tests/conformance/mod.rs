//! Bad input and bad clients: each gets the answer of the contract, and everybody else's requests go on.

mod checks;
mod crowds;
mod malformed;
mod slow;
