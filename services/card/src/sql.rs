//! The statements of the card services.

gantry_ledger::statements! {
    /// Issues a card, active.
    INSERT_CARD = "
        INSERT INTO etc_card (card_id, account_id, plate, vehicle_class, card_status, issued_ms)
        VALUES (?, ?, ?, ?, 'active', ?)";

    /// Claims a plate for a card. The primary key refuses a plate that another card has.
    CLAIM_PLATE = "INSERT INTO card_claim (claim_kind, claim_key, card_id) VALUES ('plate', ?, ?)";

    /// Claims an on-board unit for a card; as [`CLAIM_PLATE`].
    CLAIM_OBU = "INSERT INTO card_claim (claim_kind, claim_key, card_id) VALUES ('obu', ?, ?)";

    /// Claims again the units of a card that was cancelled; as [`CLAIM_PLATE`].
    CLAIM_OBUS_AGAIN = "
        INSERT INTO card_claim (claim_kind, claim_key, card_id)
        SELECT 'obu', t.obu, t.card_id FROM card_tag t WHERE t.card_id = ?";

    /// Frees the plate and the units of a card.
    DELETE_CLAIMS = "DELETE FROM card_claim WHERE card_id = ?";

    /// Issues a tag.
    INSERT_TAG = "INSERT INTO card_tag (tag_id, card_id, obu, issued_ms) VALUES (?, ?, ?, ?)";

    /// A card's own row.
    SELECT_CARD_ROW = "SELECT account_id, card_status, plate FROM etc_card WHERE card_id = ?";

    /// Changes the status of a card.
    UPDATE_STATUS = "UPDATE etc_card SET card_status = ? WHERE card_id = ?";

    /// Whether a card is on the blacklist.
    SELECT_LISTING = "SELECT by_operator FROM card_listing WHERE card_id = ?";

    /// Puts a card on the blacklist at an operator's word.
    INSERT_LISTING = "
        INSERT INTO card_listing (card_id, account_id, overdrawn, by_operator, reason, listed_ms)
        VALUES (?, ?, 0, 1, ?, ?)";

    /// Notes an operator's word for a card that is on the blacklist already.
    UPDATE_LISTING = "UPDATE card_listing SET by_operator = 1, reason = ? WHERE card_id = ?";

    /// Takes a card off the blacklist that is there at an operator's word alone.
    DELETE_LISTING = "DELETE FROM card_listing WHERE card_id = ? AND overdrawn = 0";

    /// Leaves a card on the blacklist because its account is overdrawn, and for nothing else.
    LEAVE_OVERDRAWN = "
        UPDATE card_listing SET by_operator = 0, reason = 'overdrawn' WHERE card_id = ? AND overdrawn = 1";

    /// A card with its account's balance and its place on the blacklist, which is NULL if it has none.
    SELECT_CARD = "
        SELECT c.account_id, c.plate, c.card_status, a.balance_fen, l.card_id
        FROM etc_card c
        JOIN customer_account a ON a.account_id = c.account_id
        LEFT JOIN card_listing l ON l.card_id = c.card_id
        WHERE c.card_id = ?";

    /// A page of the blacklist, from below a time and a card on. The first condition alone bounds what
    /// is read from the index; the second only sorts out cards listed in the same millisecond.
    SELECT_BLACKLIST = "
        SELECT card_id, reason, listed_ms
        FROM card_listing
        WHERE listed_ms <= ? AND (listed_ms < ? OR card_id < ?)
        ORDER BY listed_ms DESC, card_id DESC {limit ?}";
}

#[cfg(test)]
#[path = "../../ledger/src/statement_check.rs"]
mod statement_check;

#[cfg(test)]
mod tests {
    use gantry_ledger::{CARD_1_SQL, LEDGER_1_SQL};

    #[test]
    fn every_statement_fits_the_tables_and_uses_an_index() {
        super::statement_check::check(&[LEDGER_1_SQL, CARD_1_SQL], super::ALL, &[]);
    }
}
