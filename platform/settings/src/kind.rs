//! The kinds of single values: how each is read and what it may be.

use crate::FaultKind;
use crate::quantity::{duration_text, parse_duration, parse_size, size_text};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// What is wrong with one value, before its file and line are known.
pub(crate) struct Wrong {
    /// Where it stands, in bytes of the text.
    pub(crate) span: Range<usize>,
    pub(crate) kind: FaultKind,
    pub(crate) problem: String,
    /// What to write instead; `None`: the kind's own form and range say it.
    pub(crate) remedy: Option<String>,
}

impl Wrong {
    pub(crate) fn new(value: &Spanned<DeValue<'_>>, kind: FaultKind, problem: String) -> Self {
        Self { span: value.span(), kind, problem, remedy: None }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Everything wrong with one value; lists can have several faults.
pub(crate) type Wrongs = Vec<Wrong>;

/// One kind of value.
pub(crate) trait Kind: Sync {
    /// What it is read into.
    type Value;

    /// What to write, as in "write `a size in quotes`".
    fn form(&self) -> String;

    /// Which values are allowed, with their unit.
    fn range(&self) -> String;

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Self::Value, Wrongs>;
}

/// A whole number of `unit`.
pub(crate) struct Count {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) unit: &'static str,
    /// What it must be a multiple of; 1 for any number.
    pub(crate) multiple_of: u32,
}

impl Kind for Count {
    type Value = u32;

    fn form(&self) -> String {
        "a whole number".to_owned()
    }

    fn range(&self) -> String {
        let multiple = match self.multiple_of {
            1 => String::new(),
            of => format!(", a multiple of {of}"),
        };
        format!("{} to {} {}{multiple}", self.min, self.max, self.unit)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u32, Wrongs> {
        let number = integer(value)?;
        match u32::try_from(number) {
            Ok(count) if (self.min..=self.max).contains(&count) => {
                if count.is_multiple_of(self.multiple_of) {
                    return Ok(count);
                }
                let problem = format!("{count} is no multiple of {}", self.multiple_of);
                Err(vec![Wrong::new(value, FaultKind::Range, problem)])
            }
            Ok(_) | Err(_) => Err(out_of_range(value)),
        }
    }
}

/// A size in bytes: text with a unit, or plain bytes.
pub(crate) struct Size {
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) power_of_two: bool,
    /// What zero means, where zero is allowed beside the range.
    pub(crate) zero: Option<&'static str>,
}

impl Size {
    pub(crate) const fn of(min: u64, max: u64) -> Self {
        Self { min, max, power_of_two: false, zero: None }
    }

    fn allows(&self, bytes: u64) -> bool {
        (bytes == 0 && self.zero.is_some())
            || ((self.min..=self.max).contains(&bytes) && (!self.power_of_two || bytes.is_power_of_two()))
    }
}

impl Kind for Size {
    type Value = u64;

    fn form(&self) -> String {
        "a size in quotes".to_owned()
    }

    fn range(&self) -> String {
        let power = if self.power_of_two { ", a power of two" } else { "" };
        let zero = self.zero.map(|meaning| format!(", or 0 {meaning}")).unwrap_or_default();
        format!("{} to {}{power}{zero}", size_text(self.min), size_text(self.max))
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Wrongs> {
        let bytes = match value.get_ref() {
            DeValue::String(text) => parse_size(text).ok_or_else(|| {
                let units = "its units are B, KiB, MiB and GiB, without a space or a point";
                unreadable(value, &format!("is no size: {units}"))
            })?,
            DeValue::Integer(_) => u64::try_from(integer(value)?).map_err(|_| out_of_range(value))?,
            _ => return Err(wrong_type(value, "a size")),
        };
        if self.allows(bytes) {
            return Ok(bytes);
        }
        if self.power_of_two && (self.min..=self.max).contains(&bytes) {
            return Err(vec![Wrong::new(
                value,
                FaultKind::Range,
                format!("{} is no power of two", shown(value)),
            )]);
        }
        Err(out_of_range(value))
    }
}

/// A duration: text with a unit.
pub(crate) struct Span {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    /// What zero means, where zero is allowed beside the range.
    pub(crate) zero: Option<&'static str>,
}

impl Span {
    /// From `min` to `max` milliseconds.
    pub(crate) const fn of_ms(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max), zero: None }
    }
}

impl Kind for Span {
    type Value = Duration;

    fn form(&self) -> String {
        "a duration in quotes".to_owned()
    }

    fn range(&self) -> String {
        let zero = self.zero.map(|meaning| format!(", or 0s {meaning}")).unwrap_or_default();
        format!("{} to {}{zero}", duration_text(self.min), duration_text(self.max))
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrongs> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(wrong_type(value, "a duration"));
        };
        let duration = parse_duration(text).ok_or_else(|| {
            unreadable(value, "is no duration: it needs a whole number and a unit, us, ms, s, m, h or d")
        })?;
        let zero = duration.is_zero() && self.zero.is_some();
        if zero || (self.min..=self.max).contains(&duration) {
            Ok(duration)
        } else {
            Err(out_of_range(value))
        }
    }
}

/// A share of a whole.
pub(crate) struct Share {
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Kind for Share {
    type Value = f64;

    fn form(&self) -> String {
        "a number".to_owned()
    }

    fn range(&self) -> String {
        format!("{:.2} to {:.2}", self.min, self.max)
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<f64, Wrongs> {
        let share = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().map_err(|_| out_of_range(value))?,
            // 0 and 1 may be written without a point; any other whole number is out of range anyway.
            DeValue::Integer(_) => match integer(value)? {
                0 => 0.0,
                1 => 1.0,
                _ => return Err(out_of_range(value)),
            },
            _ => return Err(wrong_type(value, "a number")),
        };
        if (self.min..=self.max).contains(&share) { Ok(share) } else { Err(out_of_range(value)) }
    }
}

/// One of a few words.
pub(crate) struct Word<T: 'static> {
    pub(crate) words: &'static [(&'static str, T)],
}

impl<T: Copy + Sync> Kind for Word<T> {
    type Value = T;

    fn form(&self) -> String {
        "one of these words in quotes".to_owned()
    }

    fn range(&self) -> String {
        let quoted: Vec<_> = self.words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match quoted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    }

    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Wrongs> {
        let text = text(value)?;
        let found = self.words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| unreadable(value, "is not one of the words"))
    }
}

/// The text of a string.
pub(crate) fn text<'v>(value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, Wrongs> {
    value.get_ref().as_str().ok_or_else(|| wrong_type(value, "text"))
}

/// The elements of a list, of which there may be at most `count_max`.
pub(crate) fn list<'v, 't>(
    value: &'v Spanned<DeValue<'t>>,
    count_max: usize,
) -> Result<&'v [Spanned<DeValue<'t>>], Wrongs> {
    match value.get_ref().as_array() {
        None => Err(wrong_type(value, "a list")),
        Some(items) if items.len() > count_max => {
            let problem = format!("it has {} elements, and {count_max} is the most", items.len());
            Err(vec![Wrong::new(value, FaultKind::Range, problem).remedy("write fewer")])
        }
        Some(items) => Ok(items),
    }
}

/// Reads each element of a list and collects what is wrong with any of them.
pub(crate) fn each<'t, T>(
    items: &[Spanned<DeValue<'t>>],
    read: impl Fn(&Spanned<DeValue<'t>>) -> Result<T, Wrongs>,
) -> Result<Vec<T>, Wrongs> {
    let mut values = Vec::with_capacity(items.len());
    let mut wrongs = Vec::new();
    for item in items {
        match read(item) {
            Ok(value) => values.push(value),
            Err(more) => wrongs.extend(more),
        }
    }
    if wrongs.is_empty() { Ok(values) } else { Err(wrongs) }
}

/// A whole number that fits 64 bits; one that does not is out of every range here.
pub(crate) fn integer(value: &Spanned<DeValue<'_>>) -> Result<i64, Wrongs> {
    match value.get_ref() {
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| out_of_range(value))
        }
        _ => Err(wrong_type(value, "a whole number")),
    }
}

pub(crate) fn out_of_range(value: &Spanned<DeValue<'_>>) -> Wrongs {
    vec![Wrong::new(value, FaultKind::Range, format!("{} is out of range", shown(value)))]
}

pub(crate) fn unreadable(value: &Spanned<DeValue<'_>>, problem: &str) -> Wrongs {
    vec![Wrong::new(value, FaultKind::Type, format!("{} {problem}", shown(value)))]
}

pub(crate) fn wrong_type(value: &Spanned<DeValue<'_>>, wanted: &str) -> Wrongs {
    vec![Wrong::new(value, FaultKind::Type, format!("{wanted} is wanted here, not {}", shown(value)))]
}

/// The value as a message shows it; long ones only by their type.
pub(crate) fn shown(value: &Spanned<DeValue<'_>>) -> String {
    /// Characters of a text that are repeated in a message.
    const SHOWN_MAX: usize = 60;
    match value.get_ref() {
        DeValue::String(text) if text.chars().count() <= SHOWN_MAX => format!("{text:?}"),
        DeValue::String(text) => format!("a text of {} bytes", text.len()),
        DeValue::Integer(number) => format!("{number}"),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
