//! The persistent table of services and libraries.
