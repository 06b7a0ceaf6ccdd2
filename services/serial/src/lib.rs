//! Serial numbers as a service.
