//! Whole-system tests: real nodes of the built binary, clients that know only the contract.
//!
//! - `journey`: every service and every status on its ordinary way, and the command line. Runs once on each
//!   backend.
//! - `conformance`: bad input and bad clients; each gets its answer, and the others' requests go on.
//! - `overload`: admission, rules, slow services, and what memory does over many requests.
//! - `crash`: processes killed under load, time-outs, quarantine.
//! - `reload`: libraries deployed, stopped and replaced under load; libraries that are none.
//!
//! A bug that was found gets a test where its subject lives, with its issue's number in the name and one
//! line that tells what went wrong.
#![forbid(unsafe_code)]

mod conformance;
mod crash;
mod journey;
mod overload;
mod reload;
