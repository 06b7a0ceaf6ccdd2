-- What a vehicle owes for one way through one exit. The balance is the one after it, kept for when the
-- same passage is sent again; movement_no is its line in the account's statement.
CREATE TABLE passage (
    serial_no     VARCHAR(40)  NOT NULL PRIMARY KEY,
    card_id       VARCHAR(40)  NOT NULL,
    account_id    VARCHAR(40)  NOT NULL,
    operator_code VARCHAR(64)  NOT NULL,
    entry_name    VARCHAR(128) NOT NULL,
    exit_name     VARCHAR(128) NOT NULL,
    passed_ms     BIGINT       NOT NULL,
    fee_fen       BIGINT       NOT NULL,
    balance_fen   BIGINT       NOT NULL,
    movement_no   BIGINT       NOT NULL
);
-- The same card at the same exit of the same operator at the same time is the same passage.
CREATE UNIQUE INDEX passage_natural_key ON passage (card_id, passed_ms, exit_name, operator_code);
CREATE INDEX passage_newest ON passage (card_id, passed_ms DESC, movement_no DESC);
-- A passage that was refunded; its primary key lets that happen once.
CREATE TABLE passage_refund (
    serial_no     VARCHAR(40)  NOT NULL PRIMARY KEY,
    refund_serial VARCHAR(40)  NOT NULL,
    reason        VARCHAR(512) NOT NULL,
    refunded_ms   BIGINT       NOT NULL
);
