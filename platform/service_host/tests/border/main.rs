//! Libraries loaded from files and called through the border: the diagnostic services, the C++ example,
//! the tour of all that is lent, swapping under a running worker, and whatever can be wrong with a library.
#![expect(clippy::unwrap_used, reason = "tests: a failed helper is a failed test")]

mod bench;
mod container;
mod cpp;
mod diag;
mod hostile;
mod tour;
