//! The fixed-format frame: bytes of a socket to message and back, as pure functions.
