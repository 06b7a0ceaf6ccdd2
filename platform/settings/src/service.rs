//! `[service]`: what holds for every service, and the configuration texts of single ones.

use crate::print;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[service]`: what holds for services that say nothing else themselves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceSettings {
    /// How long a service may run.
    #[serde(serialize_with = "print::duration")]
    pub timeout: Duration,
    /// What happens to the worker of a service that ran longer.
    pub policy: TimeoutPolicy,
    /// Libraries that are deployed at the first start.
    pub libraries: Vec<LibraryName>,
    /// Public keys, `ed25519:` and 64 hexadecimal digits, of those who may sign libraries; empty: nobody has to.
    pub signers: Vec<String>,
    /// Deaths of workers within `quarantine_window` after which a service version is quarantined.
    pub quarantine_deaths: u32,
    /// The window in which the deaths are counted.
    #[serde(serialize_with = "print::duration")]
    pub quarantine_window: Duration,
    /// Workers that may die in a canary; with so many it is set aside.
    pub canary_deaths: u32,
    /// Requests of one service that a canary must have served before its errors and its latency are judged.
    pub canary_calls: u32,
    /// How much larger the share of errors of a canary may be than that of the build in force, chance left aside, 0 to 1.
    pub canary_errors: f64,
    /// How many times slower 95 % of a canary's answers may come than those of the build in force.
    pub canary_slowness: u32,
    /// The sub-tables `[service.NAME]`, each the configuration of the service or library of that name.
    #[serde(flatten)]
    pub configurations: BTreeMap<String, toml::Table>,
}

impl ServiceSettings {
    /// The configuration text for `create`: the sub-table `[service.NAME]` as a JSON object, `{}` when
    /// there is none. Dates and times become strings in RFC 3339 form.
    pub fn configuration_json(&self, name: &str) -> String {
        let object = self.configurations.get(name).map(json_object).unwrap_or_default();
        serde_json::Value::Object(object).to_string()
    }
}

/// What happens when a service runs longer than its time-out; the caller is answered 301 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeoutPolicy {
    /// The worker is killed and replaced.
    Kill,
    /// The worker is left to end by itself.
    Answer,
}

/// A library named in `service.libraries`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum LibraryName {
    /// A bare name `X`: `libX.so` beside the executable, then in `/usr/lib/gantry`.
    Bare(String),
    /// The file itself; absolute.
    File(#[serde(serialize_with = "print::path")] PathBuf),
}

fn json_object(table: &toml::Table) -> serde_json::Map<String, serde_json::Value> {
    table.iter().map(|(key, value)| (key.clone(), json_value(value))).collect()
}

/// TOML to JSON by hand: through serde a date would become an object with a private field name.
fn json_value(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => serde_json::Value::from(text.as_str()),
        toml::Value::Integer(number) => serde_json::Value::from(*number),
        toml::Value::Float(number) => serde_json::Value::from(*number),
        toml::Value::Boolean(yes) => serde_json::Value::from(*yes),
        toml::Value::Datetime(at) => serde_json::Value::from(at.to_string()),
        toml::Value::Array(items) => items.iter().map(json_value).collect(),
        toml::Value::Table(table) => serde_json::Value::Object(json_object(table)),
    }
}
