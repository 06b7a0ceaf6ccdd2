//! Crash-safe slots, blocks and queues in a shared segment.
