//! Thin safe wrappers over the operating system.
