//! The ordinary way of every service, status and command.

mod account;
mod bank;
mod card;
mod clearing;
mod command_line;
mod data;
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
mod redis;
mod serial;
mod wire;
