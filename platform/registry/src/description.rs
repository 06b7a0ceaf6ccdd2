//! What a library says of itself, as the probe process found it.

use crate::error::RegistryError;
use crate::limits::{
    DESCRIPTION_BYTES_MAX, EXAMPLE_BYTES_MAX, FILE_BYTES_MAX, NAME_BYTES_MAX, SERVICE_NUMBERS, SERVICES_MAX,
    SOURCES_MAX, TIMEOUT_MS, VERSION_BYTES_MAX,
};
use crate::record::ServiceKind;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A library that is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryDescription {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`, beginning with a letter or digit.
    pub name: String,
    /// Its version: 1 to 32 of letters, digits, `.`, `_`, `-`, `+`.
    pub version: String,
    /// SHA-256 of its file, 64 lowercase hexadecimal digits.
    pub build: String,
    /// Its staged file.
    pub file: PathBuf,
    /// What it brings, at least one.
    pub services: Vec<ServiceDescription>,
}

/// A service as its library describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDescription {
    /// Its number, 10000000 to 99999999.
    pub number: u32,
    /// Its name, 1 to 64 bytes.
    pub name: String,
    /// Which queue it goes to.
    pub kind: ServiceKind,
    /// Its time-out in milliseconds, at most one hour; 0: the platform's default.
    pub timeout_ms: u32,
    /// Whether running it twice does no harm.
    pub idempotent: bool,
    /// What it does, in one line of at most 400 bytes.
    pub description: String,
    /// An example of a body, at most 4,000 bytes.
    pub example: String,
    /// The reply to it, at most 4,000 bytes.
    pub example_reply: String,
    /// The data sources that it uses, at most 16.
    pub sources: Vec<String>,
}

impl LibraryDescription {
    /// Refuses what cannot be stored as it is, or would be dangerous as part of a path.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        check_name_and_version(&self.name, &self.version)?;
        let refuse =
            |problem: String| Err(RegistryError::BadDescription { library: self.name.clone(), problem });
        if self.build.len() != 64 || !self.build.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return refuse(format!("build `{}` is not 64 lowercase hexadecimal digits", self.build));
        }
        match self.file.to_str() {
            Some(file) if !file.is_empty() && file.len() <= FILE_BYTES_MAX => {}
            _ => {
                return refuse(format!(
                    "the path {} is not UTF-8 of 1 to {FILE_BYTES_MAX} bytes; move the state directory",
                    self.file.display()
                ));
            }
        }
        if !(1..=SERVICES_MAX).contains(&self.services.len()) {
            return refuse(format!(
                "it brings {} services; 1 to {SERVICES_MAX} are taken",
                self.services.len()
            ));
        }
        for (index, service) in self.services.iter().enumerate() {
            if let Err(problem) = service.check() {
                return refuse(format!("service {:08}: {problem}", service.number));
            }
            if self.services[..index].iter().any(|other| other.number == service.number) {
                return refuse(format!("service {:08} is there twice", service.number));
            }
        }
        Ok(())
    }
}

impl ServiceDescription {
    fn check(&self) -> Result<(), String> {
        if !SERVICE_NUMBERS.contains(&self.number) {
            return Err("a number is 10000000 to 99999999".to_owned());
        }
        let long = |what, text: &str, least, most| {
            if (least..=most).contains(&text.len()) {
                Ok(())
            } else {
                Err(format!("its {what} has {} bytes; {least} to {most} are taken", text.len()))
            }
        };
        long("name", &self.name, 1, NAME_BYTES_MAX)?;
        long("description", &self.description, 0, DESCRIPTION_BYTES_MAX)?;
        long("example", &self.example, 0, EXAMPLE_BYTES_MAX)?;
        long("example_reply", &self.example_reply, 0, EXAMPLE_BYTES_MAX)?;
        if self.timeout_ms != 0 && !TIMEOUT_MS.contains(&self.timeout_ms) {
            return Err(format!("a time-out of {} ms; at most one hour is taken", self.timeout_ms));
        }
        if self.sources.len() > SOURCES_MAX
            || !self.sources.iter().all(|source| {
                // The mark of a source that the service can do without.
                is_word(source.strip_suffix('?').unwrap_or(source), NAME_BYTES_MAX)
            })
        {
            return Err(format!(
                "data sources are at most {SOURCES_MAX} names of letters, digits, `_` and `-`"
            ));
        }
        Ok(())
    }
}

/// A library's name and version become part of a file's name.
pub(crate) fn check_name_and_version(name: &str, version: &str) -> Result<(), RegistryError> {
    let refuse = |problem| Err(RegistryError::BadDescription { library: name.to_owned(), problem });
    // The ABI takes a point for part of a name, as in `acme.card`; a leading one would hide the file.
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts_well || !is_word(&name.replace('.', "_"), NAME_BYTES_MAX) {
        return refuse(format!(
            "a name is 1 to {NAME_BYTES_MAX} of letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        ));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    if !(1..=VERSION_BYTES_MAX).contains(&version.len()) || !version.bytes().all(plain) {
        return refuse(format!(
            "version `{version}`: write 1 to {VERSION_BYTES_MAX} of letters, digits, `.`, `_`, `-` and `+`"
        ));
    }
    Ok(())
}

fn is_word(word: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
