-- A card of an account. Its status is active, lost or cancelled.
CREATE TABLE etc_card (
    card_id       VARCHAR(40) NOT NULL PRIMARY KEY,
    account_id    VARCHAR(40) NOT NULL,
    plate         VARCHAR(32) NOT NULL,
    vehicle_class SMALLINT    NOT NULL,
    card_status   VARCHAR(16) NOT NULL,
    issued_ms     BIGINT      NOT NULL,
    FOREIGN KEY (account_id) REFERENCES customer_account (account_id)
);
-- The natural keys in use: to which card a plate or an on-board unit belongs now. A cancelled card
-- has none, so its vehicle can get another card and keep its unit.
CREATE TABLE card_claim (
    claim_kind VARCHAR(8)  NOT NULL,
    claim_key  VARCHAR(64) NOT NULL,
    card_id    VARCHAR(40) NOT NULL,
    PRIMARY KEY (claim_kind, claim_key),
    FOREIGN KEY (card_id) REFERENCES etc_card (card_id)
);
CREATE INDEX card_claim_card ON card_claim (card_id);
-- An on-board unit issued with a card.
CREATE TABLE card_tag (
    tag_id    VARCHAR(40) NOT NULL PRIMARY KEY,
    card_id   VARCHAR(40) NOT NULL,
    obu       VARCHAR(64) NOT NULL,
    issued_ms BIGINT      NOT NULL,
    FOREIGN KEY (card_id) REFERENCES etc_card (card_id)
);
CREATE INDEX card_tag_card ON card_tag (card_id);
-- The blacklist: one row for each card on it, whatever put it there (1 or 0 in each of the two
-- columns, at least one of them 1). The reason is the operator's, or else the word overdrawn.
CREATE TABLE card_listing (
    card_id     VARCHAR(40)  NOT NULL PRIMARY KEY,
    account_id  VARCHAR(40)  NOT NULL,
    overdrawn   SMALLINT     NOT NULL,
    by_operator SMALLINT     NOT NULL,
    reason      VARCHAR(512) NOT NULL,
    listed_ms   BIGINT       NOT NULL,
    FOREIGN KEY (card_id) REFERENCES etc_card (card_id)
);
CREATE INDEX card_listing_newest ON card_listing (listed_ms DESC, card_id DESC);
CREATE INDEX card_listing_account ON card_listing (account_id);
