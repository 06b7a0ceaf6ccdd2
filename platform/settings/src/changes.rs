//! What differs between two configurations, and what of it can change while running.

use crate::keys::{self, Change};
use crate::{DataSettings, Secret, Settings};
use std::collections::BTreeMap;

/// The keys whose values differ between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that take effect by SIGHUP, sorted.
    pub applicable: Vec<String>,
    /// Keys that take effect at the next start, sorted.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.applicable.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two configurations key by key, by their values: a key written out at its default is no change.
pub fn changes(old: &Settings, new: &Settings) -> Changes {
    let (before, after) = (leaves(old), leaves(new));
    let mut differing: Vec<&String> =
        before.keys().filter(|key| before.get(*key) != after.get(*key)).collect();
    differing.extend(after.keys().filter(|key| !before.contains_key(*key)));
    differing.sort();
    let (applicable, needs_restart) = differing.into_iter().cloned().partition(|key| is_live(key));
    Changes { applicable, needs_restart }
}

fn is_live(key: &str) -> bool {
    let known = keys::ALL.iter().find(|known| format!("{}.{}", known.section(), known.name()) == key);
    known.is_some_and(|known| known.change() == Change::Live)
}

/// Every value of the settings by the full name of its key, in the words of the file.
pub(crate) fn leaves(settings: &Settings) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    let tree = serde_json::to_value(settings).expect("settings have text keys and finite numbers only");
    flatten(String::new(), &tree, &mut leaves);
    // The name of the file is not one of its keys.
    leaves.remove("file");
    // Serialised they all look alike, so that they cannot leak; here they are compared.
    for (key, secret) in secrets(settings) {
        leaves.insert(key, secret.expose().to_owned());
    }
    leaves
}

fn flatten(path: String, value: &serde_json::Value, leaves: &mut BTreeMap<String, String>) {
    let serde_json::Value::Object(members) = value else {
        leaves.insert(path, value.to_string());
        return;
    };
    for (name, member) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        flatten(path, member, leaves);
    }
}

fn secrets(settings: &Settings) -> Vec<(String, &Secret)> {
    let mut secrets = vec![
        ("serial.redis".to_owned(), &settings.serial.redis),
        ("serial.standby".to_owned(), &settings.serial.standby),
        ("log.redis".to_owned(), &settings.log.redis),
    ];
    for (name, source) in &settings.data {
        match source {
            DataSettings::Sqlite(_) => {}
            DataSettings::Odbc(odbc) => secrets.push((format!("data.{name}.connection"), &odbc.connection)),
            DataSettings::MongoDb(mongo) => secrets.push((format!("data.{name}.uri"), &mongo.uri)),
        }
    }
    secrets
}
