//! The supervisor: starts, watches, ends and revives the other processes.
