//! The communication process: sockets on one side, shared memory on the other.
