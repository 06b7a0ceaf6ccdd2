//! The operator's rules, from text.

use crate::error::RegistryError;
use crate::limits::{RULE_BURST, RULE_CONCURRENCY, RULE_RATE, RULE_THRESHOLD, TIMEOUT_MS};
use crate::record::{Policy, Rule};
use std::ops::RangeInclusive;
use std::str::FromStr;

const KEYS: &str = "the keys are concurrency, rate, burst, threshold, refuse, timeout and policy, \
     and the value `none` clears one";
const CONCURRENCY: &str = "concurrency is 1 to 65536 requests at once, or none";
const RATE: &str = "rate is 1 to 10000000 whole requests per second, or none";
const BURST: &str = "burst is 1 to 10000000 requests, or none";
const THRESHOLD: &str = "threshold is a fill of the read queue from 0 to 1, or none";
const REFUSE: &str = "refuse is true, false or none";
const TIMEOUT: &str = "timeout is 1ms to 1h, written as 300ms, 15s, 2m or 1h, or none";
const POLICY: &str = "policy is kill, answer or none";

impl Rule {
    /// Applies one `key=value`; `none` as the value clears the key.
    ///
    /// # Errors
    /// [`RegistryError::BadRule`] says which keys there are, or which values the key may have.
    pub fn assign(&mut self, assignment: &str) -> Result<(), RegistryError> {
        let refuse = |legal| RegistryError::BadRule { assignment: assignment.to_owned(), legal };
        let (key, value) = assignment.split_once('=').ok_or_else(|| refuse(KEYS))?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "concurrency" => {
                self.concurrency = optional(value, |value| number(value, &RULE_CONCURRENCY))
                    .ok_or_else(|| refuse(CONCURRENCY))?;
            }
            "rate" => {
                let rate = optional(value, |value| number(value, &RULE_RATE)).ok_or_else(|| refuse(RATE))?;
                self.rate = rate.map(f64::from);
            }
            "burst" => {
                self.burst =
                    optional(value, |value| number(value, &RULE_BURST)).ok_or_else(|| refuse(BURST))?;
            }
            "threshold" => {
                self.threshold = optional(value, |value| number(value, &RULE_THRESHOLD))
                    .ok_or_else(|| refuse(THRESHOLD))?;
            }
            "refuse" => {
                let flag = optional(value, |value| value.parse().ok()).ok_or_else(|| refuse(REFUSE))?;
                self.refuse = flag.unwrap_or(false);
            }
            "timeout" => {
                self.timeout_ms = optional(value, duration_ms).ok_or_else(|| refuse(TIMEOUT))?;
            }
            "policy" => {
                self.policy = optional(value, policy).ok_or_else(|| refuse(POLICY))?;
            }
            _ => return Err(refuse(KEYS)),
        }
        Ok(())
    }
}

/// `Some(None)` for `none`, `Some(Some(_))` for what `read` takes, `None` for the rest.
fn optional<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if value == "none" { Some(None) } else { read(value).map(Some) }
}

/// Not a number (NaN) is in no range, so it is refused like any other wrong value.
fn number<T: FromStr + PartialOrd>(value: &str, range: &RangeInclusive<T>) -> Option<T> {
    value.parse().ok().filter(|number| range.contains(number))
}

fn policy(value: &str) -> Option<Policy> {
    Policy::ALL.into_iter().find(|policy| policy.name() == value)
}

/// A whole number and a unit.
fn duration_ms(value: &str) -> Option<u32> {
    let unit_at = value.find(|letter: char| !letter.is_ascii_digit())?;
    let (count, unit) = value.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    count.parse::<u32>().ok()?.checked_mul(unit_ms).filter(|ms| TIMEOUT_MS.contains(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assign_sets_and_none_clears_each_key() {
        let mut rule = Rule::default();
        for assignment in [
            "concurrency=8",
            "rate=5",
            " burst = 20 ",
            "threshold=0.65",
            "refuse=true",
            "timeout=300ms",
            "policy=answer",
        ] {
            rule.assign(assignment).unwrap();
        }
        let all = Rule {
            concurrency: Some(8),
            rate: Some(5.0),
            burst: Some(20),
            threshold: Some(0.65),
            refuse: true,
            timeout_ms: Some(300),
            policy: Some(Policy::Answer),
        };
        assert_eq!(rule, all);
        for key in ["concurrency", "rate", "burst", "threshold", "refuse", "timeout", "policy"] {
            rule.assign(&format!("{key}=none")).unwrap();
        }
        assert_eq!(rule, Rule::default());
    }

    #[test]
    fn assign_refuses_with_the_legal_keys_or_values() {
        let cases = [
            ("", KEYS),
            ("rate", KEYS),
            ("speed=5", KEYS),
            ("Rate=5", KEYS),
            ("=5", KEYS),
            ("concurrency=0", CONCURRENCY),
            ("concurrency=65537", CONCURRENCY),
            ("concurrency=-1", CONCURRENCY),
            ("concurrency=2.5", CONCURRENCY),
            ("rate=0", RATE),
            ("rate=0.5", RATE),
            ("rate=NaN", RATE),
            ("rate=inf", RATE),
            ("rate=fast", RATE),
            ("burst=", BURST),
            ("threshold=1.01", THRESHOLD),
            ("threshold=-0.1", THRESHOLD),
            ("threshold=80%", THRESHOLD),
            ("refuse=yes", REFUSE),
            ("timeout=15", TIMEOUT),
            ("timeout=0ms", TIMEOUT),
            ("timeout=2h", TIMEOUT),
            ("timeout=1.5s", TIMEOUT),
            ("timeout=99999999999s", TIMEOUT),
            ("timeout=s", TIMEOUT),
            ("policy=wait", POLICY),
        ];
        for (assignment, expected) in cases {
            let mut rule = Rule::default();
            let error = rule.assign(assignment).unwrap_err();
            assert!(matches!(error, RegistryError::BadRule { legal, .. } if legal == expected), "{error}");
            assert_eq!(rule, Rule::default());
        }
    }

    #[test]
    fn duration_is_read_in_each_unit_to_its_bounds() {
        let cases = [("1ms", 1), ("15s", 15_000), ("2m", 120_000), ("1h", 3_600_000), ("60m", 3_600_000)];
        for (text, expected) in cases {
            assert_eq!(duration_ms(text), Some(expected));
        }
    }
}
