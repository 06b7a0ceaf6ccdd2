-- The same card at the same exit of the same operator at the same time is the same passage.
CREATE UNIQUE INDEX passage_same ON passage (card_id, passed_ms, exit_name, operator_code, passed_ns);
