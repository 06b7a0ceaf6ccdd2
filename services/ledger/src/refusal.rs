//! The business errors of these services, status 304. Their codes are part of the contract.

use gantry_abi::ServiceError;

/// There is no such account.
#[must_use]
pub fn account_unknown(account: &str) -> ServiceError {
    ServiceError::business("account_unknown", format!("there is no account {account}"))
}

/// There is no such card.
#[must_use]
pub fn card_unknown(card: &str) -> ServiceError {
    ServiceError::business("card_unknown", format!("there is no card {card}"))
}

/// The card's status forbids what was asked.
#[must_use]
pub fn card_blocked(card: &str, status: &str) -> ServiceError {
    ServiceError::business("card_blocked", format!("card {card} is {status}"))
}

/// There is no such passage.
#[must_use]
pub fn passage_unknown(serial: &str) -> ServiceError {
    ServiceError::business("passage_unknown", format!("there is no passage {serial}"))
}

/// The passage was refunded before.
#[must_use]
pub fn already_refunded(serial: &str) -> ServiceError {
    ServiceError::business("already_refunded", format!("passage {serial} was refunded before"))
}

/// The amount of money is out of range.
#[must_use]
pub fn amount_invalid(message: String) -> ServiceError {
    ServiceError::business("amount_invalid", message)
}

/// The passages are documents on this node, and what adds them up reads tables.
#[must_use]
pub fn passages_are_documents() -> ServiceError {
    ServiceError::business(
        "passages_are_documents",
        "the passages of this node are in [data.passages], and clearing and bank files are made from those in [data.main]",
    )
}

/// A natural key, such as a plate, belongs to something else already.
#[must_use]
pub fn duplicate(message: String) -> ServiceError {
    ServiceError::business("duplicate", message)
}
