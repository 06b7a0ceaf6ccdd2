//! Takes keys out of a parsed file and gathers every fault on the way.

use crate::keys::Key;
use crate::kind::{Kind, Wrong};
use crate::{Fault, FaultKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One section of the file, or the place where it would be.
#[derive(Clone)]
pub(crate) struct Section<'d, 't> {
    /// Its full name, such as `data.main`.
    pub(crate) path: String,
    /// Its table; `None` when the file leaves it out.
    pub(crate) table: Option<&'d DeTable<'t>>,
}

impl<'d, 't> Section<'d, 't> {
    /// The section `name` inside this one. A value that is no table was reported as a fault before, and
    /// counts as left out here.
    pub(crate) fn inner(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        let table = self.table.and_then(|table| table.get(name)).and_then(|value| value.get_ref().as_table());
        Self { path, table }
    }

    /// The names in this section, with the place of each.
    pub(crate) fn names(
        &self,
    ) -> impl Iterator<Item = (&'d str, Range<usize>, &'d Spanned<DeValue<'t>>)> + use<'d, 't> {
        let entries = self.table.into_iter().flat_map(DeTable::iter);
        entries.map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
    }
}

/// Gathers values and faults of one file.
pub(crate) struct Reader<'t> {
    file: PathBuf,
    text: &'t str,
    faults: Vec<Fault>,
    /// Where each key of the file has its value, by full name.
    places: BTreeMap<String, Range<usize>>,
    /// Keys with a fault. They read as their default, so checks against other keys leave them out.
    faulty: BTreeSet<String>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(file: &Path, text: &'t str) -> Self {
        Self {
            file: file.to_owned(),
            text,
            faults: Vec::new(),
            places: BTreeMap::new(),
            faulty: BTreeSet::new(),
        }
    }

    /// The value of `key`, or its default when the file leaves it out or it has a fault.
    pub(crate) fn take<K: Kind>(&mut self, section: &Section<'_, '_>, key: &Key<K>) -> K::Value {
        self.take_set(section, key).unwrap_or_else(|| default_of(key))
    }

    /// The value of `key` if the file has it without a fault.
    pub(crate) fn take_set<K: Kind>(&mut self, section: &Section<'_, '_>, key: &Key<K>) -> Option<K::Value> {
        let value = section.table?.get(key.name)?;
        let path = format!("{}.{}", section.path, key.name);
        self.places.insert(path.clone(), value.span());
        match key.kind.read(value) {
            Ok(good) => Some(good),
            Err(wrongs) => {
                for wrong in wrongs {
                    self.wrong(&path, key, wrong);
                }
                None
            }
        }
    }

    fn wrong<K: Kind>(&mut self, path: &str, key: &Key<K>, wrong: Wrong) {
        let remedy = wrong.remedy.unwrap_or_else(|| {
            let asked = format!("write {}: {}", key.kind.form(), key.kind.range());
            match key.default {
                "" => asked,
                example => format!("{asked}, such as {} = {example}", key.name),
            }
        });
        self.fault(wrong.span, path, wrong.kind, wrong.problem, remedy);
    }

    /// Notes a fault at `span`, in bytes of the text.
    pub(crate) fn fault(
        &mut self,
        span: Range<usize>,
        key: &str,
        kind: FaultKind,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faulty.insert(key.to_owned());
        let (line, column) = position(self.text, span.start);
        self.faults.push(Fault {
            file: self.file.clone(),
            line,
            column,
            key: key.to_owned(),
            kind,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes that keys do not go together, at the first of them that the file sets. Says nothing when one of
    /// them has a fault already: its value here is a default that nobody wrote.
    pub(crate) fn conflict(&mut self, keys: &[&str], problem: impl Into<String>, remedy: impl Into<String>) {
        if keys.iter().any(|key| self.faulty.contains(*key)) {
            return;
        }
        let set = keys.iter().find_map(|key| self.places.get(*key).map(|span| (*key, span.clone())));
        let (key, span) = set.unwrap_or((keys.first().copied().unwrap_or_default(), 0..0));
        let (problem, remedy) = (problem.into(), remedy.into());
        self.fault(span, key, FaultKind::Conflict, problem, remedy);
        // A conflict spoils neither key for the other checks: both have the value the file gave.
        self.faulty.remove(key);
    }

    /// Every fault, in the order of the file.
    pub(crate) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        self.faults
    }
}

/// The default of a key that has one.
fn default_of<K: Kind>(key: &Key<K>) -> K::Value {
    let value = DeValue::parse(key.default).expect("a test parses the default of every key");
    match key.kind.read(&value) {
        Ok(good) => good,
        Err(_) => unreachable!("a test reads the default of every key, {}.{} too", key.section, key.name),
    }
}

/// Line and column of a byte of `text`, both from 1; the column counts characters.
pub(crate) fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).map_or(0, |part| part.chars().count()) + 1;
    (line, column)
}
