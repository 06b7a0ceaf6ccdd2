//! Words that every part of the platform shares: numbers, ids, statuses.
