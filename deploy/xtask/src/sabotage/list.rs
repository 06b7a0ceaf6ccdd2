//! The list of safeguards, `tests/sabotage.toml`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Where the list is, from the repository's root.
pub(super) const LIST: &str = "tests/sabotage.toml";
/// The package whose tests run nodes of the built binary.
const SYSTEM_TESTS: &str = "gantry-tests";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sabotage: Vec<Entry>,
}

/// One safeguard and how it is taken out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    /// What it protects from, in a sentence.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the reader of the list; a test looks that it is there")
    )]
    pub(super) safeguard: String,
    /// Where it is, from the repository's root.
    pub(super) file: String,
    /// What is replaced; it occurs once.
    pub(super) old: String,
    pub(super) new: String,
    /// Those that must notice. The first that fails is enough.
    pub(super) tests: Vec<NamedTest>,
}

/// One test.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedTest {
    pub(super) package: String,
    /// The name of its test target, or `lib` or `bin` for the unit tests.
    pub(super) binary: String,
    /// Its whole path in that target.
    pub(super) filter: String,
    /// Features that the package is built with.
    #[serde(default)]
    pub(super) features: Vec<String>,
    /// What is added to its environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
}

impl NamedTest {
    /// Whether it runs the built binary.
    pub(super) fn needs_platform(&self) -> bool {
        self.package == SYSTEM_TESTS
    }
}

impl fmt::Display for NamedTest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.package, self.binary, self.filter)
    }
}

pub(super) fn read(text: &str) -> Result<Vec<Entry>, String> {
    let document: Document = toml::from_str(text).map_err(|error| format!("{LIST}: {error}"))?;
    Ok(document.sabotage)
}

#[cfg(test)]
mod tests {
    use super::{Entry, LIST, NamedTest, read};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn entries() -> Vec<Entry> {
        read(&fs::read_to_string(root().join(LIST)).unwrap()).unwrap()
    }

    /// The folder of each package of the workspace, by the name in its manifest.
    fn folder_of(package: &str) -> Option<PathBuf> {
        let name = format!("name = \"{package}\"");
        let is_its = |folder: &PathBuf| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
            manifest.lines().any(|line| line == name)
        };
        let below = |folder: &str| {
            fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let mut folders = [below("platform"), below("services"), below("deploy")].concat();
        folders.extend([root().join("abi"), root().join("tests")]);
        folders.into_iter().find(is_its)
    }

    fn sources(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text.push_str(&sources(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
        text
    }

    fn exists(test: &NamedTest) -> bool {
        let name = test.filter.rsplit("::").next().unwrap_or_default();
        folder_of(&test.package).is_some_and(|folder| sources(&folder).contains(&format!("fn {name}(")))
    }

    #[test]
    fn every_sabotage_still_applies() {
        for Entry { name, file, old, new, .. } in entries() {
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            let count = text.matches(&old).count();
            assert_eq!(
                count, 1,
                "{LIST}, {name}: `old` occurs {count} times in {file}; it must be there once"
            );
            assert_ne!(old, new, "{LIST}, {name}: nothing is changed");
        }
    }

    #[test]
    fn every_sabotage_names_tests_that_exist() {
        let mut names = BTreeSet::new();
        for Entry { name, safeguard, tests, .. } in entries() {
            assert!(
                !safeguard.is_empty() && !tests.is_empty(),
                "{LIST}, {name}: say what it is and who finds it"
            );
            for test in &tests {
                assert!(exists(test), "{LIST}, {name}: there is no test {test}");
            }
            assert!(names.insert(name.clone()), "{LIST}: there are two entries {name}");
        }
    }
}
