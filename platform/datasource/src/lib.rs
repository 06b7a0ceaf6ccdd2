//! Data sources: one SQL interface over the database drivers.
