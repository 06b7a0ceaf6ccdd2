//! Members of a request, checked. An error is `bad_request` with the member's name, or `amount_invalid`; its message
//! says in the caller's words what the member is and what is taken.
//!
//! Lengths are counted in bytes of UTF-8 (a Chinese character takes three), because that is what a
//! `VARCHAR(n)` holds on every database, and no member is longer than the column it goes to.

use std::ops::RangeInclusive;

use gantry_abi::ServiceError;
use gantry_abi::json::Body;
use serde_json::value::RawValue;

use crate::refusal;
use crate::time::{self, Moment};

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
    let text = free_text(body, name)?;
    check_text(name, &text, bytes_max)?;
    Ok(text)
}

/// Any text, as it was sent.
///
/// # Errors
/// `bad_request` about this member.
pub fn free_text(body: &Body<'_>, name: &'static str) -> Result<String, ServiceError> {
    read_text(name, required(body, name)?)
}

/// As [`free_text`]; `None` if the member is not there or null.
///
/// # Errors
/// `bad_request` about this member.
pub fn free_text_opt(body: &Body<'_>, name: &'static str) -> Result<Option<String>, ServiceError> {
    optional(body, name)?.map(|value| read_text(name, value)).transpose()
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
    check_whole(name, required(body, name)?, &range)
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
    optional(body, name)?.map_or(Ok(default), |value| check_whole(name, value, &range))
}

/// `true` or `false`.
///
/// # Errors
/// `bad_request` about this member.
pub fn flag(body: &Body<'_>, name: &'static str) -> Result<bool, ServiceError> {
    match required(body, name)? {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(wrong(name, other, "true or false")),
    }
}

/// An amount of money in fen, `least` to [`AMOUNT_FEN_MAX`].
///
/// # Errors
/// `bad_request` if it is no whole number, `amount_invalid` if it is out of range, however far.
pub fn fen(body: &Body<'_>, name: &'static str, least: i64) -> Result<i64, ServiceError> {
    let value = required(body, name)?;
    match read_whole(value) {
        Whole::Fits(amount) if (least..=AMOUNT_FEN_MAX).contains(&amount) => Ok(amount),
        Whole::Fits(_) | Whole::Beyond => {
            let message =
                format!("`{name}` is {}; it goes from {least} to {AMOUNT_FEN_MAX} fen", shown(value));
            Err(refusal::amount_invalid(message))
        }
        Whole::None => Err(wrong(name, value, "a whole number of fen, in digits only")),
    }
}

/// A time in RFC 3339; see [`time::parse`].
///
/// # Errors
/// `bad_request` about this member.
pub fn time(body: &Body<'_>, name: &'static str) -> Result<Moment, ServiceError> {
    let text = free_text(body, name)?;
    time::parse(&text).map_err(|fault| ServiceError::bad_request(name, format!("the time `{name}` {fault}")))
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
    let text = free_text(body, name)?;
    let found = words.iter().find(|word| **word == text);
    found
        .copied()
        .ok_or_else(|| ServiceError::bad_request(name, format!("`{name}` is one of {}", words.join(", "))))
}

/// A member's value in JSON, without blanks around it; `None` if it is not there or null.
fn optional<'a>(body: &Body<'a>, name: &'static str) -> Result<Option<&'a str>, ServiceError> {
    Ok(body.opt::<&RawValue>(name)?.map(RawValue::get))
}

fn required<'a>(body: &Body<'a>, name: &'static str) -> Result<&'a str, ServiceError> {
    optional(body, name)?.ok_or_else(|| ServiceError::bad_request(name, format!("`{name}` is missing")))
}

fn read_text(name: &'static str, value: &str) -> Result<String, ServiceError> {
    if !value.starts_with('"') {
        return Err(wrong(name, value, "a text in quotes"));
    }
    serde_json::from_str(value).map_err(|_| {
        // The body was read, so its quotes and escapes are whole.
        ServiceError::bad_request(name, format!("`{name}` has a \\u escape that is half a character"))
    })
}

/// What a value is as a whole number.
enum Whole {
    Fits(i64),
    /// A number that 64 bits do not hold, whole or not.
    Beyond,
    /// No number, or one with a point or an exponent.
    None,
}

fn read_whole(value: &str) -> Whole {
    /// 2^63.
    const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;
    if let Ok(number) = value.parse() {
        return Whole::Fits(number);
    }
    if !value.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Whole::None;
    }
    // JSON's numbers are among those that this reads; what is beyond a double is read as infinite.
    match value.parse::<f64>() {
        Ok(number) if number.abs() >= BEYOND_I64 => Whole::Beyond,
        _ => Whole::None,
    }
}

fn check_whole(name: &'static str, value: &str, range: &RangeInclusive<i64>) -> Result<i64, ServiceError> {
    let (least, most) = (range.start(), range.end());
    match read_whole(value) {
        Whole::Fits(number) if range.contains(&number) => Ok(number),
        Whole::Fits(_) | Whole::Beyond => {
            let message = format!("`{name}` is {}; it goes from {least} to {most}", shown(value));
            Err(ServiceError::bad_request(name, message))
        }
        Whole::None => Err(wrong(name, value, &format!("a whole number from {least} to {most}"))),
    }
}

/// `bad_request` about a member that is something else than asked for.
fn wrong(name: &'static str, value: &str, asked: &str) -> ServiceError {
    let found = match value.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        _ => shown(value),
    };
    ServiceError::bad_request(name, format!("`{name}` is {found}; write {asked}"))
}

/// A number or word as it was sent, or what it is if that would be long.
fn shown(value: &str) -> &str {
    /// Longer than every number of 64 bits, and than what a person takes in.
    const SHOWN_BYTES_MAX: usize = 32;
    if value.len() <= SHOWN_BYTES_MAX { value } else { "a number of many digits" }
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
        let digits = "9".repeat(1000);
        for (value, least) in [
            ("1000000000001", 1),
            ("0", 1),
            ("-0", 1),
            ("-1", 0),
            ("9223372036854775807", 1),
            ("9223372036854775808", 1),
            ("-9223372036854775809", 1),
            ("18446744073709551616", 1),
            ("1e+21", 1),
            ("-1.5e300", 1),
            ("1e999", 1),
            (&digits, 1),
        ] {
            let request = format!("{{\"fee\":{value}}}");
            let body = Body::read(request.as_bytes()).unwrap();
            assert_eq!(refused(fen(&body, "fee", least)), ("amount_invalid".to_owned(), None), "{value}");
        }
        for value in ["1.5", "1.0", "1e3", "\"1\"", "true", "null", "[1]", "{}"] {
            let request = format!("{{\"fee\": {value} }}");
            assert_eq!(
                refused(fen(&Body::read(request.as_bytes()).unwrap(), "fee", 1)),
                bad("fee"),
                "{value}"
            );
        }
        let body = Body::read(br#"{"most":1000000000000,"zero":0,"minus_zero":-0}"#).unwrap();
        assert_eq!(fen(&body, "most", 1).unwrap(), AMOUNT_FEN_MAX);
        assert_eq!(fen(&body, "zero", 0).unwrap(), 0);
        assert_eq!(fen(&body, "minus_zero", 0).unwrap(), 0);
        assert_eq!(refused(fen(&body, "missing", 1)), bad("missing"));
    }

    /// Callers know their request, not the types that it is read into.
    #[test]
    fn messages_say_what_the_member_is_and_what_is_taken() {
        let request = format!(
            r#"{{"text":"5","half":1.5,"list":[],"object":{{}},"yes":true,"huge":{},"surrogate":"\ud800","at":"now"}}"#,
            "9".repeat(100)
        );
        let body = Body::read(request.as_bytes()).unwrap();
        let message = |result: Result<(), ServiceError>| match result {
            Err(ServiceError::Business { message, .. }) => message,
            other => panic!("no business error: {other:?}"),
        };
        let count = |name| message(whole(&body, name, 1..=500).map(drop));
        let words = |name| message(text(&body, name, 40).map(drop));
        let amount = |name| message(fen(&body, name, 1).map(drop));
        for (found, expected) in [
            (count("text"), "`text` is a text; write a whole number from 1 to 500"),
            (count("half"), "`half` is 1.5; write a whole number from 1 to 500"),
            (count("yes"), "`yes` is true; write a whole number from 1 to 500"),
            (count("huge"), "`huge` is a number of many digits; it goes from 1 to 500"),
            (count("none"), "`none` is missing"),
            (words("list"), "`list` is a list; write a text in quotes"),
            (words("half"), "`half` is 1.5; write a text in quotes"),
            (words("surrogate"), "`surrogate` has a \\u escape that is half a character"),
            (message(flag(&body, "object").map(drop)), "`object` is an object; write true or false"),
            (amount("text"), "`text` is a text; write a whole number of fen, in digits only"),
            (amount("huge"), "`huge` is a number of many digits; it goes from 1 to 1000000000000 fen"),
            (
                message(time(&body, "at").map(drop)),
                "the time `at` is not RFC 3339; write it like 2026-05-01T16:30:00+08:00",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn numbers_words_and_times_are_held_to_their_range() {
        let body =
            Body::read(br#"{"class":6,"over":7,"status":"lost","word":"LOST","at":"1970-01-01T00:00:01Z","yes":true,"no":false}"#)
                .unwrap();
        assert_eq!(whole(&body, "class", 1..=6).unwrap(), 6);
        assert_eq!(refused(whole(&body, "over", 1..=6)), bad("over"));
        assert_eq!(refused(whole(&body, "missing", 1..=6)), bad("missing"));
        assert_eq!(whole_or(&body, "missing", 1..=6, 3).unwrap(), 3);
        assert_eq!(refused(whole_or(&body, "status", 1..=6, 3)), bad("status"));
        assert_eq!(one_of(&body, "status", &["active", "lost"]).unwrap(), "lost");
        assert_eq!(refused(one_of(&body, "word", &["active", "lost"])), bad("word"));
        assert_eq!(time(&body, "at").unwrap(), Moment { ms: 1000, ns: 0 });
        assert!(flag(&body, "yes").unwrap() && !flag(&body, "no").unwrap());
        assert_eq!(refused(flag(&body, "status")), bad("status"));
        assert_eq!(free_text_opt(&body, "missing").unwrap(), None);
        assert_eq!(free_text_opt(&body, "word").unwrap().as_deref(), Some("LOST"));
        assert_eq!(refused(free_text_opt(&body, "class")), bad("class"));
        assert_eq!(refused(time(&body, "status")), bad("status"));
    }
}
