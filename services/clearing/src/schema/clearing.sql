-- A day that clearing was run for. The row is locked by every run of its day, so they happen one after the
-- other. The day's first millisecond, and the first one after it, stand here for the statement that adds up.
CREATE TABLE clearing_day (
    clearing_date VARCHAR(10) NOT NULL PRIMARY KEY,
    from_ms       BIGINT      NOT NULL,
    until_ms      BIGINT      NOT NULL,
    runs_count    INTEGER     NOT NULL
);
-- What a run found for an operator that no run before had: the first run the whole day, a later one what was
-- recorded or refunded since, which may be negative. Never changed once written.
CREATE TABLE clearing_amount (
    clearing_date  VARCHAR(10) NOT NULL,
    operator_code  VARCHAR(64) NOT NULL,
    run_no         INTEGER     NOT NULL,
    passages_count BIGINT      NOT NULL,
    amount_fen     BIGINT      NOT NULL,
    run_ms         BIGINT      NOT NULL,
    PRIMARY KEY (clearing_date, operator_code, run_no)
);
