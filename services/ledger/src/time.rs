//! Times: RFC 3339 on the wire, milliseconds since 1970-01-01T00:00:00Z in tables.

use gantry_abi::{SqlError, SqlErrorKind};
use jiff::Timestamp;

/// The time now, in milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Reads a time as RFC 3339 writes it: `2026-05-01T16:30:00+08:00`, with any number of digits after the
/// seconds (what is finer than a millisecond is dropped) and any offset. `None` if it is anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let (second, rest) = text.split_at_checked("2026-05-01T16:30:00".len())?;
    let has_shape = second.bytes().zip("0000-00-00T00:00:00".bytes()).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(&shape),
    });
    let (fraction_ms, offset) = split_fraction(rest)?;
    if !has_shape || !is_offset(offset) {
        return None;
    }
    // The shape is checked here because jiff reads more than RFC 3339: other separators, no seconds, zones.
    let timestamp: Timestamp = format!("{second}{offset}").parse().ok()?;
    timestamp.as_millisecond().checked_add(fraction_ms)
}

/// Writes a time of a table as RFC 3339 in UTC: `2026-05-01T08:30:00Z`, with milliseconds only where
/// there are some.
///
/// # Errors
/// The table holds a time that no calendar has.
pub fn format(time_ms: i64) -> Result<String, SqlError> {
    let timestamp = Timestamp::from_millisecond(time_ms)
        .map_err(|error| SqlError::new(SqlErrorKind::BadValue, format!("a stored time is wrong: {error}")))?;
    Ok(timestamp.to_string())
}

/// The milliseconds after the seconds, and what follows them.
fn split_fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let tenths = fraction.bytes().take(digits).chain(std::iter::repeat(b'0'));
    let fraction_ms = tenths.take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some((fraction_ms, &fraction[digits..]))
}

/// `Z`, or hours and minutes that a clock has.
fn is_offset(text: &str) -> bool {
    let number = |digits: &[u8]| match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    };
    match text.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hours @ .., b':', tens, ones] => {
            number(hours).is_some_and(|hours| hours < 24)
                && number(&[*tens, *ones]).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-01T08:30:00Z.
    const MAY_DAY_MS: i64 = 1_777_624_200_000;

    #[test]
    fn one_instant_in_any_offset_is_one_number_and_replies_in_utc() {
        for text in [
            "2026-05-01T08:30:00Z",
            "2026-05-01t08:30:00z",
            "2026-05-01T16:30:00+08:00",
            "2026-04-30T23:30:00-09:00",
            "2026-05-01T08:30:00-00:00",
            "2026-05-01T08:30:00.000999999999999Z",
        ] {
            assert_eq!(parse(text), Some(MAY_DAY_MS), "{text}");
        }
        assert_eq!(format(MAY_DAY_MS).unwrap(), "2026-05-01T08:30:00Z");
    }

    #[test]
    fn milliseconds_are_kept_and_what_is_finer_is_dropped() {
        for (text, ms) in [(".5", 500), (".05", 50), (".123", 123), (".1239", 123), (".000", 0)] {
            assert_eq!(parse(&format!("2026-05-01T08:30:00{text}Z")), Some(MAY_DAY_MS + ms), "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59.999Z"), Some(-1));
        assert_eq!(format(-1).unwrap(), "1969-12-31T23:59:59.999Z");
        assert_eq!(format(MAY_DAY_MS + 50).unwrap(), "2026-05-01T08:30:00.05Z");
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "now",
            "2026-05-01",
            "2026-05-01T08:30:00",
            "2026-05-01 08:30:00Z",
            "2026-05-01T08:30Z",
            "20260501T083000Z",
            "2026-05-01T08:30:00.Z",
            "2026-05-01T08:30:00,5Z",
            "2026-05-01T08:30:00+0800",
            "2026-05-01T08:30:00+08",
            "2026-05-01T08:30:00+24:00",
            "2026-05-01T08:30:00+08:60",
            "2026-05-01T08:30:00+8:00",
            "2026-05-01T08:30:00+008:00",
            "2026-05-01T08:30:00Z[UTC]",
            "2026-05-01T08:30:00Z ",
            "2026-02-29T08:30:00Z",
            "2026-13-01T08:30:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01T08:60:00Z",
            "2026-05-01T08:30:61Z",
            "+002026-05-01T08:30:00Z",
            "９026-05-01T08:30:00Z",
            "2026-05-01T08:30:0京Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn ends_of_the_calendar_are_read_or_refused_without_panic() {
        assert!(parse("0000-01-01T00:00:00Z").is_some());
        assert!(parse("9999-12-30T00:00:00Z").is_some());
        assert_eq!(parse("9999-12-31T23:59:59-23:59"), None);
        assert!(format(i64::MAX).is_err());
        assert!(format(i64::MIN).is_err());
    }
}
