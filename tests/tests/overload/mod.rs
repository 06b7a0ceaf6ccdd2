//! More than a node can do: what it refuses, what it keeps serving, and what its memory does.

mod admission;
mod memory;
mod rules;
mod slow_reads;
