//! `config/embedded.toml` is the documentation of every key, and must not drift from the code.

use super::good;
use crate::changes::leaves;
use crate::{DataSettings, Driver, Settings, changes, keys};
use std::path::Path;

fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/embedded.toml");
    std::fs::read_to_string(file).unwrap()
}

/// A key that the file shows: its section, name and value, and the comment above it.
struct Shown {
    section: String,
    name: String,
    value: String,
    comment: String,
}

/// Every key of the shipped file, those that are commented out too.
fn shown(text: &str) -> Vec<Shown> {
    let (mut section, mut comment, mut shown) = (String::new(), String::new(), Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some(words) = line.strip_prefix("# ") {
            comment.push_str(words);
            comment.push(' ');
        } else if let Some((name, value)) = line.trim_start_matches('#').split_once(" = ") {
            let (section, name, value) = (section.clone(), name.to_owned(), value.to_owned());
            shown.push(Shown { section, name, value, comment: std::mem::take(&mut comment) });
        } else {
            comment.clear();
        }
    }
    shown
}

/// The name of a section in the table of keys.
fn pattern(section: &str) -> String {
    section.replace("data.main", "data.*").replace("types.recharge", "types.*")
}

#[test]
fn shipped_file_as_it_stands_equals_the_defaults() {
    assert_eq!(leaves(&good(&shipped())), leaves(&good("")));
}

/// Method: take the # off every key. The example of `ipc.key` has no default, and that of a serial's format shows the
/// default of types that are not built in.
#[test]
fn shipped_file_with_every_key_written_out_equals_the_defaults() {
    let written: String = shipped()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', '#']) && !rest.is_empty() => format!("{rest}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let changes = changes(&good(""), &good(&written));
    assert!(changes.applicable.is_empty(), "{:?}", changes.applicable);
    assert_eq!(changes.needs_restart, ["ipc.key", "serial.types.recharge.format"]);
    let keys = written.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    assert_eq!(keys, shown(&written).len());
}

#[test]
fn shipped_file_shows_every_key_once_with_the_range_and_default_of_the_code() {
    let shown = shown(&shipped());
    for key in keys::ALL {
        let path = format!("{}.{}", key.section(), key.name());
        // Keys of drivers that are not built: named in the comment of `driver`.
        if ["data.*.connection", "data.*.uri", "data.*.transactions"].contains(&path.as_str()) {
            continue;
        }
        let lines: Vec<_> = shown
            .iter()
            .filter(|line| pattern(&line.section) == key.section() && line.name == key.name())
            .collect();
        let [line] = lines.as_slice() else {
            panic!("{path} is shown {} times", lines.len());
        };
        let range = format!("Range: {}. ", key.range());
        assert!(line.comment.contains(&range), "{path}: the comment lacks \"{range}\"");
        let default = match path.as_str() {
            "ipc.key" => "computed from node.name",
            "data.*.path" => "\"data.db\"",
            "serial.types.*.range" => "serial.range",
            _ => key.default(),
        };
        let stated = format!("Default: {default}. ");
        assert!(line.comment.contains(&stated), "{path}: the comment lacks \"{stated}\"");
        if !key.default().is_empty() {
            assert_eq!(line.value, key.default(), "{path}");
        }
        let live = key.change() == keys::Change::Live;
        assert_eq!(
            line.comment.contains("(live)"),
            live,
            "{path}: (live) is what the code applies by SIGHUP"
        );
    }
}

#[test]
fn shipped_file_shows_no_key_that_does_not_exist() {
    for line in shown(&shipped()) {
        let known =
            |key: &&&dyn keys::AnyKey| key.section() == pattern(&line.section) && key.name() == line.name;
        assert!(keys::ALL.iter().any(|key| known(&key)), "[{}] {}", line.section, line.name);
    }
}

#[test]
fn shipped_file_is_loaded_from_its_place() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/embedded.toml");
    let settings = Settings::load(&file).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    assert_eq!(settings.file, root.join("config/embedded.toml"));
    assert_eq!(settings.node.state_dir, root.join("var"));
}

/// The other shipped files show only what differs from the first; a binary without their driver says so.
#[test]
fn shipped_file_for_db2_is_good_wherever_its_driver_is_built() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/db2.toml");
    match Settings::load(&file) {
        Ok(settings) => {
            let DataSettings::Odbc(odbc) = &settings.data["main"] else { panic!("main is over ODBC") };
            assert!(odbc.connection.expose().contains("libdb2o.so;"));
            assert_ne!(settings.node, good("").node, "it can run beside a node of the first file");
        }
        Err(error) => {
            assert!(!Driver::Odbc.is_built(), "{error}");
            assert!(error.to_string().contains("driver odbc is not built into this binary"), "{error}");
        }
    }
}

/// Likewise the one for MongoDB.
#[test]
fn shipped_file_for_mongodb_is_good_wherever_its_driver_is_built() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/mongo.toml");
    match Settings::load(&file) {
        Ok(settings) => {
            assert!(!settings.data["main"].keeps_documents(), "money stays in SQL");
            let DataSettings::MongoDb(mongo) = &settings.data["passages"] else { panic!("not on MongoDB") };
            assert!(mongo.uri.expose().starts_with("mongodb://"));
            assert_eq!(mongo.transactions, crate::Transactions::Off);
            let unsaid = good("[data.passages]\ndriver = \"mongodb\"\nuri = \"mongodb://h/d\"\n");
            let DataSettings::MongoDb(mongo) = &unsaid.data["passages"] else { panic!("not on MongoDB") };
            assert_eq!(mongo.transactions, crate::Transactions::Detect);
            assert_ne!(settings.node, good("").node, "it can run beside a node of the first file");
        }
        Err(error) => {
            assert!(!Driver::MongoDb.is_built(), "{error}");
            assert!(error.to_string().contains("driver mongodb is not built into this binary"), "{error}");
        }
    }
}
