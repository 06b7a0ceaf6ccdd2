//! Whole-system tests over real processes; this library is their harness.
