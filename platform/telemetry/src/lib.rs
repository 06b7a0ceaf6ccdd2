//! Log set-up and counters.
