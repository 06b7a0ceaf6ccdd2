//! Members of a request, checked. An error is `bad_request` with the member's name, or `amount_invalid`.
//!
//! Lengths are counted in bytes of UTF-8 (a Chinese character takes three), because that is what a
//! `VARCHAR(n)` holds on every database, and no member is longer than the column it goes to.

use std::ops::RangeInclusive;

use gantry_abi::ServiceError;
use gantry_abi::json::Body;

use crate::{refusal, time};

/// Longest account, card, tag or passage number, in bytes.
pub const ID_BYTES_MAX: usize = 40;
/// Longest name of a customer, in bytes.
pub const CUSTOMER_BYTES_MAX: usize = 256;
/// Longest number of an identity document, in bytes.
pub const ID_NO_BYTES_MAX: usize = 64;
/// Longest plate, in bytes.
pub const PLATE_BYTES_MAX: usize = 32;
/// Longest number of an on-board unit, in bytes.
pub const OBU_BYTES_MAX: usize = 64;
/// Longest name of a channel by which money comes in, in bytes.
pub const CHANNEL_BYTES_MAX: usize = 32;
/// Longest code of a road operator, in bytes.
pub const OPERATOR_BYTES_MAX: usize = 64;
/// Longest name of an entry or exit, in bytes.
pub const PLAZA_BYTES_MAX: usize = 128;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Largest amount of one movement: ten billion yuan.
pub const AMOUNT_FEN_MAX: i64 = 1_000_000_000_000;

/// A text: not empty, at most `bytes_max` bytes, no control characters, no blank at either end.
///
/// Databases disagree about all of these (one cannot hold a zero byte, another takes `A` and `A ` for equal), so
/// none of them gets that far.
///
/// # Errors
/// `bad_request` about this member.
pub fn text(body: &Body<'_>, name: &'static str, bytes_max: usize) -> Result<String, ServiceError> {
    let text: String = body.get(name)?;
    check_text(name, &text, bytes_max)?;
    Ok(text)
}

/// An account, card, tag or passage number, which is a text of at most [`ID_BYTES_MAX`] bytes.
///
/// # Errors
/// `bad_request` about this member.
pub fn id(body: &Body<'_>, name: &'static str) -> Result<String, ServiceError> {
    text(body, name, ID_BYTES_MAX)
}

/// A whole number within `range`.
///
/// # Errors
/// `bad_request` about this member.
pub fn whole(body: &Body<'_>, name: &'static str, range: RangeInclusive<i64>) -> Result<i64, ServiceError> {
    check_whole(name, body.get(name)?, range)
}

/// As [`whole`], or `default` if the member is not there.
///
/// # Errors
/// `bad_request` about this member.
pub fn whole_or(
    body: &Body<'_>,
    name: &'static str,
    range: RangeInclusive<i64>,
    default: i64,
) -> Result<i64, ServiceError> {
    check_whole(name, body.opt(name)?.unwrap_or(default), range)
}

/// An amount of money in fen, `least` to [`AMOUNT_FEN_MAX`].
///
/// # Errors
/// `bad_request` if it is no whole number, `amount_invalid` if it is out of range.
pub fn fen(body: &Body<'_>, name: &'static str, least: i64) -> Result<i64, ServiceError> {
    let amount: i64 = body.get(name)?;
    if !(least..=AMOUNT_FEN_MAX).contains(&amount) {
        let message = format!("`{name}` is {amount} fen; it goes from {least} to {AMOUNT_FEN_MAX}");
        return Err(refusal::amount_invalid(message));
    }
    Ok(amount)
}

/// A time in RFC 3339, as milliseconds since the epoch; see [`time::parse`].
///
/// # Errors
/// `bad_request` about this member.
pub fn time(body: &Body<'_>, name: &'static str) -> Result<i64, ServiceError> {
    let text: String = body.get(name)?;
    time::parse(&text).ok_or_else(|| {
        ServiceError::bad_request(
            name,
            format!("`{name}` is a time like 2026-05-01T16:30:00+08:00 (RFC 3339)"),
        )
    })
}

/// One of a few words.
///
/// # Errors
/// `bad_request` about this member.
pub fn one_of(
    body: &Body<'_>,
    name: &'static str,
    words: &[&'static str],
) -> Result<&'static str, ServiceError> {
    let text: String = body.get(name)?;
    let found = words.iter().find(|word| **word == text);
    found
        .copied()
        .ok_or_else(|| ServiceError::bad_request(name, format!("`{name}` is one of {}", words.join(", "))))
}

fn check_text(name: &'static str, text: &str, bytes_max: usize) -> Result<(), ServiceError> {
    let fault = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > bytes_max {
        format!("has {} bytes; at most {bytes_max} are taken", text.len())
    } else if text.chars().any(char::is_control) {
        "has a control character".to_owned()
    } else if text.trim() != text {
        "has a blank at its beginning or end".to_owned()
    } else {
        return Ok(());
    };
    Err(ServiceError::bad_request(name, format!("`{name}` {fault}")))
}

fn check_whole(name: &'static str, number: i64, range: RangeInclusive<i64>) -> Result<i64, ServiceError> {
    if range.contains(&number) {
        return Ok(number);
    }
    let message = format!("`{name}` is {number}; it goes from {} to {}", range.start(), range.end());
    Err(ServiceError::bad_request(name, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code and the field of the business error that `result` ends with.
    fn refused<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> (String, Option<String>) {
        match result {
            Err(ServiceError::Business { code, field, .. }) => (code.into(), field.map(Into::into)),
            other => panic!("no business error: {other:?}"),
        }
    }

    fn bad(name: &str) -> (String, Option<String>) {
        ("bad_request".to_owned(), Some(name.to_owned()))
    }

    #[test]
    fn texts_that_databases_disagree_about_are_refused() {
        let body = Body::read(
            br#"{"empty":"","zero":"a\u0000","line":"a\nb","before":" a","after":"a ","wide":"a\u3000","number":5}"#,
        )
        .unwrap();
        for name in ["empty", "zero", "line", "before", "after", "wide", "number", "missing"] {
            assert_eq!(refused(text(&body, name, 40)), bad(name));
        }
    }

    #[test]
    fn length_of_a_text_counts_bytes() {
        let body = Body::read(
            "{\"plate\":\"京A12345\",\"id\":\"0123456789012345678901234567890123456789\"}".as_bytes(),
        )
        .unwrap();
        assert_eq!(text(&body, "plate", 9).unwrap(), "京A12345");
        assert_eq!(refused(text(&body, "plate", 8)), bad("plate"));
        assert_eq!(id(&body, "id").unwrap().len(), ID_BYTES_MAX);
        assert_eq!(refused(text(&body, "id", ID_BYTES_MAX - 1)), bad("id"));
    }

    #[test]
    fn money_out_of_range_is_amount_invalid_and_no_money_is_bad_request() {
        let body = Body::read(
            br#"{"most":1000000000000,"over":1000000000001,"zero":0,"debt":-1,"float":1.5,"text":"1","huge":9223372036854775808}"#,
        )
        .unwrap();
        assert_eq!(fen(&body, "most", 1).unwrap(), AMOUNT_FEN_MAX);
        assert_eq!(fen(&body, "zero", 0).unwrap(), 0);
        for (name, least) in [("over", 1), ("zero", 1), ("debt", 0)] {
            assert_eq!(refused(fen(&body, name, least)), ("amount_invalid".to_owned(), None), "{name}");
        }
        for name in ["float", "text", "huge", "missing"] {
            assert_eq!(refused(fen(&body, name, 1)), bad(name));
        }
    }

    #[test]
    fn numbers_words_and_times_are_held_to_their_range() {
        let body =
            Body::read(br#"{"class":6,"over":7,"status":"lost","word":"LOST","at":"1970-01-01T00:00:01Z"}"#)
                .unwrap();
        assert_eq!(whole(&body, "class", 1..=6).unwrap(), 6);
        assert_eq!(refused(whole(&body, "over", 1..=6)), bad("over"));
        assert_eq!(refused(whole(&body, "missing", 1..=6)), bad("missing"));
        assert_eq!(whole_or(&body, "missing", 1..=6, 3).unwrap(), 3);
        assert_eq!(refused(whole_or(&body, "status", 1..=6, 3)), bad("status"));
        assert_eq!(one_of(&body, "status", &["active", "lost"]).unwrap(), "lost");
        assert_eq!(refused(one_of(&body, "word", &["active", "lost"])), bad("word"));
        assert_eq!(time(&body, "at").unwrap(), 1000);
        assert_eq!(refused(time(&body, "status")), bad("status"));
    }
}
