//! Passages: record and deduct, refund, list.
