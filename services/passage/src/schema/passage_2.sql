-- Nanoseconds after passed_ms, 0 to 999999; -1 where they were not noted, which is the case for all that was
-- recorded before there was this column. Such a passage is the same as any other of its millisecond.
ALTER TABLE passage ADD COLUMN passed_ns INTEGER DEFAULT -1 NOT NULL;
