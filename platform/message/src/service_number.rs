//! The 8-digit number of a service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::MessageError;

/// The 8-digit number by which a request names a service, 0 to 99,999,999; it always prints 8 digits.
///
/// Numbers below 10,000,000 are the platform's own. In JSON and TOML it is a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceNumber(u32);

impl ServiceNumber {
    /// `00000000`: no service. Replies carry it when the request's number could not be read.
    pub const ZERO: ServiceNumber = ServiceNumber(0);
    /// `00000001`: the platform echoes the body.
    pub const PING: ServiceNumber = ServiceNumber(1);
    /// `00000002`: the platform says what became of an earlier request.
    pub const OUTCOME: ServiceNumber = ServiceNumber(2);
    /// `00000003`: the node's name, its load, and whether it drains.
    pub const NODE: ServiceNumber = ServiceNumber(3);
    /// `10000000`: the lowest number that a service may have.
    pub const SERVICE_MIN: ServiceNumber = ServiceNumber(10_000_000);
    /// `99999999`: the highest number.
    pub const MAX: ServiceNumber = ServiceNumber(99_999_999);

    /// Makes a service number of an integer, 0 to 99,999,999. Can be used in a `const`.
    ///
    /// # Errors
    /// [`MessageError::ServiceNumberTooLarge`] if the number has more than 8 digits.
    pub const fn new(number: u32) -> Result<ServiceNumber, MessageError> {
        if number > ServiceNumber::MAX.0 {
            return Err(MessageError::ServiceNumberTooLarge { number });
        }
        Ok(ServiceNumber(number))
    }

    /// The number as an integer, 0 to 99,999,999: the index into the directory.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the number is reserved for the platform (below 10,000,000), whether or not it is in use.
    pub const fn is_platform(self) -> bool {
        self.0 < ServiceNumber::SERVICE_MIN.0
    }
}

impl fmt::Display for ServiceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

impl fmt::Debug for ServiceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceNumber({self})")
    }
}

/// Reads 1 to 8 decimal digits and nothing else: people may leave out leading zeros, frames may not, and
/// `gantry-frame` sees to that.
impl FromStr for ServiceNumber {
    type Err = MessageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(index) = text.chars().position(|character| !character.is_ascii_digit()) {
            return Err(MessageError::ServiceNumberDigit { index });
        }
        if text.is_empty() || text.len() > 8 {
            return Err(MessageError::ServiceNumberLength { characters: text.len() });
        }
        let number = text.bytes().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        Ok(ServiceNumber(number))
    }
}

impl Serialize for ServiceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ServiceNumber::new(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn service_number_always_prints_eight_digits() {
        assert_eq!(ServiceNumber::PING.to_string(), "00000001");
        assert_eq!(ServiceNumber::MAX.to_string(), "99999999");
        assert_eq!(format!("{:?}", ServiceNumber::NODE), "ServiceNumber(00000003)");
    }

    #[test]
    fn service_number_over_eight_digits_is_refused() {
        assert_eq!(ServiceNumber::new(99_999_999), Ok(ServiceNumber::MAX));
        assert_eq!(
            ServiceNumber::new(100_000_000),
            Err(MessageError::ServiceNumberTooLarge { number: 100_000_000 })
        );
    }

    #[test]
    fn platform_numbers_end_below_ten_million() {
        assert!(ServiceNumber::new(9_999_999).unwrap().is_platform());
        assert!(!ServiceNumber::SERVICE_MIN.is_platform());
    }

    #[test]
    fn text_that_is_not_one_to_eight_digits_is_refused_with_the_place() {
        let parse = |text: &str| text.parse::<ServiceNumber>();
        assert_eq!(parse(""), Err(MessageError::ServiceNumberLength { characters: 0 }));
        assert_eq!(parse("123456789"), Err(MessageError::ServiceNumberLength { characters: 9 }));
        assert_eq!(parse("+1"), Err(MessageError::ServiceNumberDigit { index: 0 }));
        assert_eq!(parse("1000 001"), Err(MessageError::ServiceNumberDigit { index: 4 }));
        assert_eq!(parse("1٣"), Err(MessageError::ServiceNumberDigit { index: 1 }));
        assert_eq!(parse("2"), Ok(ServiceNumber::OUTCOME));
    }

    #[test]
    fn json_holds_a_plain_number_and_refuses_one_out_of_range() {
        assert_eq!(serde_json::to_string(&ServiceNumber::PING).unwrap(), "1");
        let number: ServiceNumber = serde_json::from_str("29000004").unwrap();
        assert_eq!(number.get(), 29_000_004);
        let error = serde_json::from_str::<ServiceNumber>("100000000").unwrap_err();
        assert!(error.to_string().contains("between 0 and 99999999"), "{error}");
    }

    proptest! {
        #[test]
        fn every_number_reads_back_from_its_text(number in 0..=99_999_999_u32) {
            let number = ServiceNumber::new(number).unwrap();
            prop_assert_eq!(number.to_string().parse(), Ok(number));
        }
    }
}
