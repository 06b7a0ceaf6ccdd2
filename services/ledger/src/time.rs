//! Times: RFC 3339 on the wire, milliseconds since 1970-01-01T00:00:00Z in tables.

use gantry_abi::{SqlError, SqlErrorKind};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

/// 0000-01-01T00:00:00.000Z: the first millisecond that RFC 3339 can write in UTC.
const FIRST_MS: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z: the last one.
const LAST_MS: i64 = 253_402_300_799_999;
/// Where the count begins.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Digits after the second that can differ from 0: nanoseconds, which is what the finest common clocks write.
const FRACTION_DIGITS: usize = 9;

/// An instant, exactly as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Whole milliseconds since the epoch, rounded down.
    pub ms: i64,
    /// Nanoseconds after that millisecond, 0 to 999,999.
    pub ns: u32,
}

/// Why a text is no [`Moment`]. Its words complete the sentence "the time …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    /// Not what RFC 3339 calls a date and time, or a day or time that there is not.
    Form,
    /// A leap second: days have 86,400 seconds in the tables, so it could not be told from its neighbour.
    LeapSecond,
    /// A digit other than 0 beyond nanoseconds.
    TooFine,
    /// In UTC before year 0 or after year 9999, for which RFC 3339 has no digits.
    OutOfRange,
}

impl std::fmt::Display for TimeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "is not RFC 3339; write it like 2026-05-01T16:30:00+08:00",
            Self::LeapSecond => "is in a leap second, which is not taken; write second 59",
            Self::TooFine => "is finer than a nanosecond; write at most 9 digits after the second",
            Self::OutOfRange => "is outside the years 0000 to 9999 in UTC",
        })
    }
}

/// The time now, in milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Reads a time as RFC 3339 writes it: `2026-05-01T16:30:00+08:00`, with digits after the seconds or without, and
/// any offset.
///
/// # Errors
/// Why it is none, or none that can be kept exactly.
pub fn parse(text: &str) -> Result<Moment, TimeFault> {
    let (date_time, rest) = text.split_at_checked("2026-05-01T16:30:00".len()).ok_or(TimeFault::Form)?;
    let date_time = read_date_time(date_time)?;
    let (fraction, offset) = split_fraction(rest).ok_or(TimeFault::Form)?;
    let offset_seconds = read_offset(offset).ok_or(TimeFault::Form)?;
    let fraction_ns = read_fraction(fraction)?;
    let local_seconds = date_time.duration_since(EPOCH).as_secs();
    // Both are far from the ends of the type: years have four digits, and an offset is less than a day.
    let ms = (local_seconds - offset_seconds) * 1000 + i64::from(fraction_ns / 1_000_000);
    if !(FIRST_MS..=LAST_MS).contains(&ms) {
        return Err(TimeFault::OutOfRange);
    }
    Ok(Moment { ms, ns: fraction_ns % 1_000_000 })
}

/// Writes a time of a table as RFC 3339 in UTC, always with three digits after the second:
/// `2026-05-01T08:30:00.000Z`.
///
/// # Errors
/// The table holds a time that RFC 3339 cannot write.
pub fn format(time_ms: i64) -> Result<String, SqlError> {
    let wrong = || SqlError::new(SqlErrorKind::BadValue, format!("a stored time is wrong: {time_ms} ms"));
    if !(FIRST_MS..=LAST_MS).contains(&time_ms) {
        return Err(wrong());
    }
    let date_time = EPOCH.checked_add(SignedDuration::from_millis(time_ms)).map_err(|_| wrong())?;
    Ok(format!("{date_time:.3}Z"))
}

/// Reads `2026-05-01T16:30:00`. The shape is checked here because jiff reads more than RFC 3339: other separators, no
/// seconds, longer years.
fn read_date_time(text: &str) -> Result<DateTime, TimeFault> {
    let has_shape = text.bytes().zip("0000-00-00T00:00:00".bytes()).all(|(byte, shape)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(&shape),
    });
    if !has_shape {
        return Err(TimeFault::Form);
    }
    match text.strip_suffix(":60") {
        // jiff would take it for second 59, and one passage for another.
        Some(minute) => {
            format!("{minute}:59").parse::<DateTime>().map_err(|_| TimeFault::Form)?;
            Err(TimeFault::LeapSecond)
        }
        None => text.parse().map_err(|_| TimeFault::Form),
    }
}

/// The digits after the second, without their point, and what follows them.
fn split_fraction(rest: &str) -> Option<(&str, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some(("", rest)) };
    let end = fraction.find(|character: char| !character.is_ascii_digit()).unwrap_or(fraction.len());
    fraction.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())
}

/// The nanoseconds that the digits after a second stand for.
fn read_fraction(digits: &str) -> Result<u32, TimeFault> {
    let (kept, finer) = digits.split_at(digits.len().min(FRACTION_DIGITS));
    if finer.bytes().any(|digit| digit != b'0') {
        return Err(TimeFault::TooFine);
    }
    let padded = kept.bytes().chain(std::iter::repeat(b'0')).take(FRACTION_DIGITS);
    Ok(padded.fold(0, |ns, digit| ns * 10 + u32::from(digit - b'0')))
}

/// Seconds east of UTC: `Z`, or hours and minutes that a clock has.
fn read_offset(text: &str) -> Option<i64> {
    let number = |digits: &[u8]| match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    };
    match text.as_bytes() {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] => {
            let hours = number(hours).filter(|hours| *hours < 24)?;
            let minutes = number(&[*tens, *ones]).filter(|minutes| *minutes < 60)?;
            let seconds = (hours * 60 + minutes) * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-01T08:30:00Z.
    const MAY_DAY_MS: i64 = 1_777_624_200_000;

    fn may_day(ms: i64, ns: u32) -> Result<Moment, TimeFault> {
        Ok(Moment { ms: MAY_DAY_MS + ms, ns })
    }

    #[test]
    fn one_instant_in_any_offset_is_one_moment_and_replies_in_utc() {
        for text in [
            "2026-05-01T08:30:00Z",
            "2026-05-01t08:30:00z",
            "2026-05-01T16:30:00+08:00",
            "2026-04-30T23:30:00-09:00",
            "2026-05-01T08:30:00-00:00",
            "2026-05-01T08:30:00.000000000000000Z",
        ] {
            assert_eq!(parse(text), may_day(0, 0), "{text}");
        }
    }

    #[test]
    fn replies_always_have_three_digits_after_the_second() {
        for (ms, text) in [
            (MAY_DAY_MS, "2026-05-01T08:30:00.000Z"),
            (MAY_DAY_MS + 50, "2026-05-01T08:30:00.050Z"),
            (MAY_DAY_MS + 999, "2026-05-01T08:30:00.999Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (FIRST_MS, "0000-01-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format(ms).unwrap(), text);
            assert_eq!(parse(text), Ok(Moment { ms, ns: 0 }));
        }
    }

    #[test]
    fn digits_after_the_second_are_kept_to_the_nanosecond_and_finer_ones_refused() {
        for (text, ms, ns) in [
            (".5", 500, 0),
            (".05", 50, 0),
            (".123", 123, 0),
            (".123456", 123, 456_000),
            (".123456789", 123, 456_789),
            (".000000001", 0, 1),
            (".999999999000", 999, 999_999),
        ] {
            assert_eq!(parse(&format!("2026-05-01T08:30:00{text}Z")), may_day(ms, ns), "{text}");
        }
        // Rounded down, also before the epoch.
        assert_eq!(parse("1969-12-31T23:59:59.9999Z"), Ok(Moment { ms: -1, ns: 900_000 }));
        for digits in [".0000000001", ".1234567891", ".00000000000000000000000000000000000000009"] {
            let text = format!("2026-05-01T08:30:00{digits}Z");
            assert_eq!(parse(&text), Err(TimeFault::TooFine), "{text}");
        }
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
            "2026-00-01T08:30:00Z",
            "2026-05-00T08:30:00Z",
            "2026-13-01T08:30:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01T08:60:00Z",
            "2026-05-01T08:30:61Z",
            "2026-13-01T08:30:60Z",
            "+002026-05-01T08:30:00Z",
            "-2026-05-01T08:30:00Z",
            "９026-05-01T08:30:00Z",
            "2026-05-01T08:30:0京Z",
            "2026-05-01T08:30:00.京Z",
        ] {
            assert_eq!(parse(text), Err(TimeFault::Form), "{text}");
        }
        assert_eq!(parse("2016-12-31T23:59:60Z"), Err(TimeFault::LeapSecond));
    }

    /// The calendar is proleptic Gregorian, as RFC 3339 has it: year 0 is there, and is a leap year.
    #[test]
    fn every_year_of_four_digits_is_taken_and_what_is_beyond_in_utc_refused() {
        for (text, ms, ns) in [
            ("0000-01-01T00:00:00Z", FIRST_MS, 0),
            ("0000-01-01T23:59:00+23:59", FIRST_MS, 0),
            ("0000-02-29T00:00:00Z", FIRST_MS + 59 * 86_400_000, 0),
            ("9999-12-31T23:59:59.999999999Z", LAST_MS, 999_999),
            ("9999-12-31T00:00:59.999-23:59", LAST_MS, 0),
            ("9999-12-31T23:59:59.999+00:00", LAST_MS, 0),
        ] {
            assert_eq!(parse(text), Ok(Moment { ms, ns }), "{text}");
        }
        for text in ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59"] {
            assert_eq!(parse(text), Err(TimeFault::OutOfRange), "{text}");
        }
    }

    /// Method: instants all over the calendar, in any offset, against jiff's own reading where jiff reads them.
    #[test]
    fn instants_all_over_the_calendar_are_read_as_another_reader_does_and_written_back() {
        const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut state = SEED;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let span = u64::try_from(LAST_MS - FIRST_MS).unwrap();
        for _ in 0..20_000 {
            let ms = FIRST_MS + i64::try_from(next() % span).unwrap();
            let written = format(ms).unwrap();
            assert_eq!(parse(&written), Ok(Moment { ms, ns: 0 }), "{written}, seed {SEED}");
            let (hours, minutes, ns) = (next() % 24, next() % 60, next() % 1_000_000_000);
            let sign = if next() % 2 == 0 { '+' } else { '-' };
            let text = format!("{}.{ns:09}{sign}{hours:02}:{minutes:02}", &written[..19]);
            // jiff's calendar ends some days before RFC 3339's, and has offsets of days.
            if let (Ok(read), Ok(theirs)) = (parse(&text), text.parse::<Timestamp>()) {
                let ours = i128::from(read.ms) * 1_000_000 + i128::from(read.ns);
                assert_eq!(ours, theirs.as_nanosecond(), "{text}, seed {SEED}");
            } else {
                let inner = FIRST_MS + 86_400_000..=LAST_MS - 3 * 86_400_000;
                assert!(!inner.contains(&ms), "{text}, seed {SEED}");
            }
        }
    }

    #[test]
    fn stored_time_that_rfc_3339_cannot_write_is_an_error() {
        for ms in [i64::MIN, FIRST_MS - 1, LAST_MS + 1, i64::MAX] {
            assert_eq!(format(ms).unwrap_err().kind, SqlErrorKind::BadValue);
        }
    }
}
