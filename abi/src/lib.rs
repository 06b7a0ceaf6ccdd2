//! The contract between the platform and a service library.
