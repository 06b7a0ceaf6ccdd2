-- A customer's account. The row is locked by every write that concerns the account, so such writes
-- happen one after the other; balance and count are those after the last movement.
CREATE TABLE customer_account (
    account_id      VARCHAR(40)  NOT NULL PRIMARY KEY,
    customer_name   VARCHAR(256) NOT NULL,
    id_no           VARCHAR(64)  NOT NULL,
    balance_fen     BIGINT       NOT NULL,
    movements_count BIGINT       NOT NULL,
    opened_ms       BIGINT       NOT NULL
);
-- One line of an account's statement. Numbered from 1 within its account, in the order of booking,
-- so the primary key is also the order of the statement. The amount has the customer's sign.
CREATE TABLE ledger_movement (
    account_id  VARCHAR(40) NOT NULL,
    movement_no BIGINT      NOT NULL,
    kind        VARCHAR(16) NOT NULL,
    serial_no   VARCHAR(40) NOT NULL,
    card_id     VARCHAR(40) NOT NULL,
    amount_fen  BIGINT      NOT NULL,
    balance_fen BIGINT      NOT NULL,
    booked_ms   BIGINT      NOT NULL,
    PRIMARY KEY (account_id, movement_no)
);
-- A movement can be found by its serial, and no serial is ever booked twice.
CREATE UNIQUE INDEX ledger_movement_serial ON ledger_movement (serial_no, kind);
-- The two sides of a movement: 1 is debit, 2 is credit, both of the same amount, never negative.
CREATE TABLE ledger_entry (
    account_id     VARCHAR(40) NOT NULL,
    movement_no    BIGINT      NOT NULL,
    side           SMALLINT    NOT NULL,
    ledger_account VARCHAR(80) NOT NULL,
    amount_fen     BIGINT      NOT NULL,
    PRIMARY KEY (account_id, movement_no, side)
);
