//! The configuration file, checked whole.
