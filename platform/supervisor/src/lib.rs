//! The supervisor: starts, watches, ends and revives the other processes.
//!
//! One thread around one poller: signals, a tick, the death of each child, the admin socket and the pipes of helper
//! processes. It is boring on purpose: it loads no library, touches no byte of a request and opens no database; what
//! needs one of those is done by short-lived helpers that it starts. It holds what must outlive its children: the
//! segments, the listening sockets and the wake-up descriptors.
//!
//! Children do not die with it. The next supervisor finds them in the process table and goes on with them: their deaths
//! are told by pidfds, and the listening sockets and wake-up descriptors are copied out of them.
//!
//! [`run`] runs a node to its end. [`protocol`] is what is said on the admin socket; [`find_segments`],
//! [`living_processes`], [`living_rows`], [`dimensions`] and [`backend`] are for the commands that look at a node from
//! outside.
//!
//! | module | is about |
//! |---|---|
//! | `run` | what the supervisor holds, its loop |
//! | `start`, `adopt`, `node_segments` | its start: fresh, or on a node whose supervisor died |
//! | `children`, `spawn`, `watch`, `reap` | the table of children: starting, watching, their deaths |
//! | `shutdown` | draining and stopping |
//! | `upgrade` | going on as another program |
//! | `helper`, `commands`, `publish` | changes of services, from the operator to the shared tables |
//! | `quarantine`, `back_off` | who is not started again, and when |
//! | `report` | what is written down when a worker dies inside a service |
#![forbid(unsafe_code)]

mod admin;
mod adopt;
mod back_off;
mod canary;
mod children;
mod commands;
mod corruption;
mod error;
mod folder;
mod helper;
pub mod limits;
mod listeners;
mod living;
mod load;
mod node_row;
mod node_segments;
mod notify;
mod pending;
pub mod protocol;
mod publish;
mod quarantine;
mod reap;
mod receipt;
mod reload;
mod replace;
mod report;
mod run;
mod shutdown;
mod snapshot;
mod spawn;
mod start;
mod status;
mod take_back;
#[cfg(test)]
mod testing;
mod time;
mod token;
mod upgrade;
mod watch;

pub use error::{PublishError, SupervisorError};
pub use folder::{forget_segments, pid_file};
pub use living::{LivingProcess, children_of, end_processes, living_processes};
pub use node_row::{level_code, level_of};
pub use node_segments::{are_removed, backend, dimensions, find_segments, unprocessed_count};
pub use run::{Exit, Purpose, SupervisorOptions};
pub use start::{block_signals, run};
pub use status::living_rows;
