-- A day that a bank file was built for. The row is locked by every build of its day, so they happen one after
-- the other and no debit gets into two files. Its columns are what the statement that adds up selects.
CREATE TABLE bank_day (
    bank_date  VARCHAR(10) NOT NULL PRIMARY KEY,
    bank       VARCHAR(16) NOT NULL,
    runs_count INTEGER     NOT NULL
);
-- What a bank is asked to collect from a customer for a day. The run is the number of the build that found it; what
-- came late, and what a bank rejected, is found again by a later one. A file number of 0 is in no file (yet).
CREATE TABLE bank_debit (
    bank_date   VARCHAR(10) NOT NULL,
    account_id  VARCHAR(40) NOT NULL,
    run_no      INTEGER     NOT NULL,
    bank        VARCHAR(16) NOT NULL,
    file_no     INTEGER     NOT NULL,
    amount_fen  BIGINT      NOT NULL,
    debit_state VARCHAR(10) NOT NULL,
    reason_code VARCHAR(8)  NOT NULL,
    PRIMARY KEY (bank_date, account_id, run_no)
);
CREATE INDEX bank_debit_file ON bank_debit (bank, bank_date, file_no, account_id, run_no);
-- A file as it was built, so that it can be built again to the byte.
CREATE TABLE bank_file (
    bank           VARCHAR(16) NOT NULL,
    bank_date      VARCHAR(10) NOT NULL,
    file_no        INTEGER     NOT NULL,
    files_count    INTEGER     NOT NULL,
    charset        VARCHAR(8)  NOT NULL,
    left_out_count INTEGER     NOT NULL,
    created_ms     BIGINT      NOT NULL,
    PRIMARY KEY (bank, bank_date, file_no)
);
-- A result file that was taken; its primary key refuses it a second time.
CREATE TABLE bank_result (
    bank           VARCHAR(16) NOT NULL,
    bank_date      VARCHAR(10) NOT NULL,
    file_no        INTEGER     NOT NULL,
    result_no      INTEGER     NOT NULL,
    accepted_count INTEGER     NOT NULL,
    rejected_count INTEGER     NOT NULL,
    bad_count      INTEGER     NOT NULL,
    taken_ms       BIGINT      NOT NULL,
    PRIMARY KEY (bank, bank_date, file_no, result_no)
);
