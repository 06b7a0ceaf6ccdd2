//! The shared-memory segments: who made them and what lies where.
