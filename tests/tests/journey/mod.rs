//! The ordinary way of every service, status and command.

mod account;
mod card;
mod command_line;
mod deadline;
mod diag;
mod life;
mod locked;
mod money;
mod once;
mod outcome;
mod paging;
mod passage;
mod platform;
mod serial;
mod wire;
