-- A day's passages with all that adding them up asks for, so that the rows themselves, which lie all over a large
-- table, need not be read.
CREATE INDEX passage_day ON passage (passed_ms, operator_code, account_id, serial_no, fee_fen);
