//! Loads service libraries and calls the services in them.
