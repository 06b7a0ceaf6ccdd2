//! From a number to a serial number.

use crate::error::SerialError;
use crate::limits::{DIGITS_MAX, SERIAL_BYTES_MAX};
use std::fmt::Write;

const DATE_BYTES: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// A type's format, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    parts: Vec<Part>,
    digits: u32,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Date,
    Sequence,
}

impl Format {
    /// Takes a format apart: literals, `{date}` (yyyymmdd, UTC) and exactly one `{seq:N}`.
    pub(crate) fn parse(kind: &str, format: &str) -> Result<Self, SerialError> {
        let refuse =
            |problem| SerialError::BadFormat { kind: kind.to_owned(), format: format.to_owned(), problem };
        let mut parts = Vec::new();
        let mut digits = None;
        let mut bytes = 0;
        let mut rest = format;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if !literal.is_empty() {
                bytes += literal.len();
                parts.push(Part::Literal(literal.to_owned()));
            }
            if after.is_empty() {
                break;
            }
            let (escape, next) = after
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(|| refuse("a brace has no other half"))?;
            if escape == "date" {
                bytes += DATE_BYTES;
                parts.push(Part::Date);
            } else {
                let width = parse_width(escape).ok_or_else(|| refuse("an unknown part in braces"))?;
                if digits.replace(width).is_some() {
                    return Err(refuse("more than one {seq:N}"));
                }
                bytes += width as usize;
                parts.push(Part::Sequence);
            }
            rest = next;
        }
        let digits = digits.ok_or_else(|| refuse("no {seq:N}"))?;
        if bytes > SERIAL_BYTES_MAX {
            return Err(refuse("the result would be too long"));
        }
        Ok(Self { parts, digits, bytes })
    }

    pub(crate) fn digits(&self) -> u32 {
        self.digits
    }

    /// The largest number that its digits can show.
    pub(crate) fn number_max(&self) -> i64 {
        10_i64.pow(self.digits) - 1
    }

    /// Writes the serial number for `number`, at most [`number_max`](Format::number_max), at `now_ms`.
    pub(crate) fn write(&self, number: i64, now_ms: i64) -> String {
        let mut out = String::with_capacity(self.bytes);
        for part in &self.parts {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Date => write_date(&mut out, now_ms.div_euclid(DAY_MS)),
                Part::Sequence => write!(out, "{number:0width$}", width = self.digits as usize)
                    .expect("writing to a string does not fail"),
            }
        }
        out
    }
}

fn parse_width(escape: &str) -> Option<u32> {
    let width = escape.strip_prefix("seq:")?;
    let plain = !width.starts_with('0') && width.bytes().all(|byte| byte.is_ascii_digit());
    width.parse().ok().filter(|digits| plain && (1..=DIGITS_MAX).contains(digits))
}

/// Writes the day as yyyymmdd. `days` counts from 1970-01-01; years outside of 0 to 9999 are shown as the nearest.
///
/// The calendar repeats every 400 years of 146,097 days; counting years from March puts the leap day last.
fn write_date(out: &mut String, days: i64) {
    let days = days.clamp(-719_528, 2_932_896) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(out, "{year:04}{month:02}{day:02}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(days: i64) -> String {
        let mut out = String::new();
        write_date(&mut out, days);
        out
    }

    #[test]
    fn date_of_known_days_is_right() {
        let known = [
            (0, "19700101"),
            (-1, "19691231"),
            (11_016, "20000229"),
            (11_017, "20000301"),
            (19_722, "20231231"),
            (19_782, "20240229"),
            (20_454, "20260101"),
            (47_540, "21000228"),
            (47_541, "21000301"),
            (2_932_896, "99991231"),
            (i64::MAX / DAY_MS, "99991231"),
            (i64::MIN / DAY_MS, "00000101"),
        ];
        for (days, expected) in known {
            assert_eq!(date(days), expected, "day {days}");
        }
    }

    #[test]
    fn date_goes_up_by_one_day_for_four_centuries() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(date(days), format!("{year:04}{month:02}{day:02}"));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn write_puts_literals_date_and_padded_sequence_in_order() {
        let format = Format::parse("passage", "P-{date}/{seq:6}号").unwrap();
        let late_evening = 20_454 * DAY_MS + DAY_MS - 1;
        assert_eq!(format.write(42, late_evening), "P-20260101/000042号");
        assert_eq!(format.write(999_999, late_evening + 1), "P-20260102/999999号");
        assert_eq!((format.number_max(), format.digits()), (999_999, 6));
        assert_eq!(Format::parse("a", "{seq:18}").unwrap().number_max(), 999_999_999_999_999_999);
    }

    #[test]
    fn formats_that_cannot_be_unique_or_read_are_refused() {
        let long = format!("{}{{seq:5}}", "x".repeat(60));
        for format in [
            "",
            "abc",
            "{date}",
            "{seq:0}",
            "{seq:19}",
            "{seq:}",
            "{seq}",
            "{seq:+5}",
            "{seq:05}",
            "{seq:3}{seq:3}",
            "{seq:5",
            "seq:5}",
            "{{seq:5}}",
            "{time}{seq:5}",
            &long,
        ] {
            let error = Format::parse("card", format).unwrap_err();
            let SerialError::BadFormat { kind, .. } = &error else { panic!("{format}: {error}") };
            assert_eq!(kind, "card");
        }
    }
}
