//! Sections whose names the file chooses.

use crate::reader::{Reader, Section};
use crate::{FaultKind, keys};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest name of a data source or a type of serial numbers, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Longest name of a sub-table `[service.NAME]`, in bytes.
const SERVICE_NAME_BYTES_MAX: usize = 64;

/// The well-formed names of the tables in `section`, in order; a fault is noted for each other name, and
/// when there are more than `count_max`.
pub(crate) fn names(section: &Section<'_, '_>, reader: &mut Reader<'_>, count_max: usize) -> Vec<String> {
    let mut names = Vec::new();
    for (name, span, value) in section.names() {
        if !value.get_ref().is_table() {
            continue;
        }
        let path = format!("{}.{name}", section.path);
        if !is_name(name) {
            let remedy =
                format!("write a lowercase letter, then letters, digits or _, {NAME_BYTES_MAX} in all");
            reader.fault(span, &path, FaultKind::Range, format!("{name:?} is no name"), remedy);
        } else if names.len() == count_max {
            let problem = format!("this is one more than {count_max}, the most there can be");
            reader.fault(span, &path, FaultKind::Range, problem, "take one away");
        } else {
            names.push(name.to_owned());
        }
    }
    names
}

fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(rest)
}

/// The sub-tables `[service.NAME]`.
pub(crate) fn configurations(
    section: &Section<'_, '_>,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, toml::Table> {
    let mut tables = BTreeMap::new();
    for (name, span, value) in section.names() {
        // A table under the name of a key was reported when the key was taken.
        let is_key = keys::ALL.iter().any(|key| key.section() == "service" && key.name() == name);
        let Some(table) = value.get_ref().as_table().filter(|_| !is_key) else {
            continue;
        };
        let path = format!("service.{name}");
        if is_service_name(name) {
            let converted = table_of(table, &path, reader);
            tables.insert(name.to_owned(), converted);
        } else {
            let remedy = format!(
                "write 1 to {SERVICE_NAME_BYTES_MAX} of a-z 0-9 . _ -, beginning with a letter or digit"
            );
            reader.fault(span, &path, FaultKind::Range, format!("{name:?} is no name of a service"), remedy);
        }
    }
    tables
}

/// Whether a library or service can have this name: the ABI allows no others.
fn is_service_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= SERVICE_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
}

fn table_of(table: &DeTable<'_>, path: &str, reader: &mut Reader<'_>) -> toml::Table {
    let mut owned = toml::Table::new();
    for (key, value) in table.iter() {
        let path = format!("{path}.{}", key.get_ref());
        if let Some(value) = value_of(value, &path, reader) {
            owned.insert(key.get_ref().to_string(), value);
        }
    }
    owned
}

/// The value without its places in the file. The service gets it as JSON, so what JSON cannot say is a
/// fault here rather than a surprise there.
fn value_of(value: &Spanned<DeValue<'_>>, path: &str, reader: &mut Reader<'_>) -> Option<toml::Value> {
    let owned = match value.get_ref() {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            return or_fault(parsed.ok().map(toml::Value::Integer), value.span(), path, reader);
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().filter(|number: &f64| number.is_finite());
            return or_fault(parsed.map(toml::Value::Float), value.span(), path, reader);
        }
        DeValue::Boolean(yes) => toml::Value::Boolean(*yes),
        DeValue::Datetime(at) => toml::Value::Datetime(*at),
        DeValue::Array(items) => {
            let items = items.iter().filter_map(|item| value_of(item, path, reader));
            toml::Value::Array(items.collect())
        }
        DeValue::Table(table) => toml::Value::Table(table_of(table, path, reader)),
    };
    Some(owned)
}

fn or_fault(
    number: Option<toml::Value>,
    span: Range<usize>,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<toml::Value> {
    if number.is_none() {
        let problem = "the service gets this as JSON, which has no such number";
        reader.fault(
            span,
            path,
            FaultKind::Range,
            problem,
            "write a finite number within 64 bits, or a text",
        );
    }
    number
}
