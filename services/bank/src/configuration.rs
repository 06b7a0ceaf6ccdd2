//! `[service.bank]`: what holds for each bank.

use std::collections::BTreeMap;

use gantry_abi::{CreateError, ServiceError};
use serde::Deserialize;

use crate::charset::Charset;

/// Longest code of a bank, in bytes.
const BANK_BYTES_MAX: usize = 16;
/// Records of one file unless the configuration says otherwise: the file fits the largest body of a node as it comes.
const RECORDS_DEFAULT: u32 = 5_000;
/// Most records of one file: rows that one query may bring.
const RECORDS_MAX: u32 = 10_000;

/// The configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The charset of the banks that the table does not name.
    charset: Charset,
    records_max: u32,
    charsets: BTreeMap<String, Charset>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    charset: Option<String>,
    records_max: Option<u32>,
    #[serde(default)]
    banks: BTreeMap<String, Bank>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bank {
    charset: String,
}

impl Configuration {
    /// Reads the text that the platform hands over, JSON or nothing.
    pub(crate) fn read(text: &str) -> Result<Self, CreateError> {
        let text: Text = if text.trim().is_empty() {
            Text::default()
        } else {
            serde_json::from_str(text)
                .map_err(|error| CreateError::from(format!("[service.bank]: {error}")))?
        };
        let charset = |key: &str, name: &str| {
            Charset::of(name).ok_or_else(|| {
                CreateError::from(format!("[service.bank] {key} is {name:?}; write \"UTF-8\" or \"GBK\""))
            })
        };
        let records_max = text.records_max.unwrap_or(RECORDS_DEFAULT);
        if !(1..=RECORDS_MAX).contains(&records_max) {
            return Err(format!(
                "[service.bank] records_max is {records_max}; it goes from 1 to {RECORDS_MAX}"
            )
            .into());
        }
        let mut charsets = BTreeMap::new();
        for (code, bank) in &text.banks {
            if !is_code(code) {
                return Err(format!("[service.bank.banks.{code}]: {CODE_RULE}").into());
            }
            charsets.insert(code.clone(), charset(&format!("banks.{code}.charset"), &bank.charset)?);
        }
        let charset = text.charset.map_or(Ok(Charset::Utf8), |name| charset("charset", &name))?;
        Ok(Self { charset, records_max, charsets })
    }

    /// The charset of a bank's files.
    pub(crate) fn charset(&self, bank: &str) -> Charset {
        self.charsets.get(bank).copied().unwrap_or(self.charset)
    }

    /// Most records of one file.
    pub(crate) fn records_max(&self) -> u32 {
        self.records_max
    }
}

const CODE_RULE: &str = "a bank's code is 1 to 16 letters, digits, `-` and `_` of ASCII";

fn is_code(code: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=BANK_BYTES_MAX).contains(&code.len()) && code.bytes().all(is_letter)
}

/// Checks a bank's code.
pub(crate) fn check_code(code: &str) -> Result<(), ServiceError> {
    if is_code(code) { Ok(()) } else { Err(ServiceError::bad_request("bank", CODE_RULE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bank_has_its_charset() {
        let text = r#"{"charset":"gbk","records_max":3,"banks":{"ABC":{"charset":"UTF-8"}}}"#;
        let configuration = Configuration::read(text).unwrap();
        assert_eq!(configuration.charset("ABC"), Charset::Utf8);
        assert_eq!(configuration.charset("ICBC"), Charset::Gbk);
        assert_eq!(configuration.records_max(), 3);
        for nothing in ["", "{}"] {
            let configuration = Configuration::read(nothing).unwrap();
            assert_eq!((configuration.charset("ABC"), configuration.records_max()), (Charset::Utf8, 5_000));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            (r#"{"charset":"latin-1"}"#, "latin-1"),
            (r#"{"records_max":0}"#, "records_max"),
            (r#"{"records_max":10001}"#, "records_max"),
            (r#"{"charsets":{}}"#, "charsets"),
            (r#"{"banks":{"A B":{"charset":"gbk"}}}"#, "A B"),
            (r#"{"banks":{"A":{"charset":"x"}}}"#, "banks.A.charset"),
        ] {
            let error = Configuration::read(text).unwrap_err();
            assert!(format!("{error:?}").contains(word), "{error:?}");
        }
        assert!(check_code("ICBC-01_x").is_ok());
        for code in ["", "工商", "A B", "12345678901234567"] {
            assert!(check_code(code).is_err(), "{code}");
        }
    }
}
