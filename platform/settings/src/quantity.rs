//! Sizes and durations as the file writes them: a whole number and a unit.

use std::time::Duration;

/// Units of size, largest first, so that the first that divides a size evenly is the one to print it in.
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of time in microseconds, largest first.
const TIMES: &[(&str, u64)] = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads `4KiB`, `1MiB`, `512B` or plain bytes. `None`: it is none of these or does not fit 64 bits.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = if unit.is_empty() { 1 } else { scale_of(SIZES, unit)? };
    number.checked_mul(scale)
}

/// Reads `300ms`, `15s`, `7d`. `None`: the unit is missing or unknown, or it does not fit.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    number.checked_mul(scale_of(TIMES, unit)?).map(Duration::from_micros)
}

/// Writes a size in the largest unit that divides it, so that it reads back as the same number.
pub(crate) fn size_text(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { text_in(SIZES, bytes) }
}

/// Writes a duration in the largest unit that divides it. Parts below a microsecond are cut: the file
/// cannot say them.
pub(crate) fn duration_text(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 { "0s".to_owned() } else { text_in(TIMES, micros) }
}

fn text_in(units: &[(&str, u64)], amount: u64) -> String {
    let fitting = units.iter().find(|(_, scale)| amount.is_multiple_of(*scale));
    fitting.map(|(unit, scale)| format!("{}{unit}", amount / scale)).unwrap_or_default()
}

fn scale_of(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

/// Splits `16KiB` into 16 and `KiB`. Signs, points and spaces are refused: each quantity has one way to
/// be written, so that two files can be compared by eye.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    digits.parse().ok().map(|number| (number, unit))
}
