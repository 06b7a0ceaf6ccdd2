//! Finds sections and keys that do not exist, and what was probably meant.

use crate::reader::{Reader, Section};
use crate::{FaultKind, keys};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// Notes a fault for every section and key that does not exist, and for every key where a section should be.
pub(crate) fn report(root: &Section<'_, '_>, reader: &mut Reader<'_>) {
    for (name, span, value) in root.names() {
        if !top_sections().contains(&name) {
            unknown_at_top(name, span, value, reader);
        } else if is_section(name, value, reader) {
            let section = root.inner(name);
            match name {
                "data" => report_named(&section, "data.*", reader),
                "serial" => report_serial(&section, reader),
                _ => report_keys(&section, name, reader),
            }
        }
    }
}

/// `[serial]` has keys of its own and the sections `[serial.types.NAME]`.
fn report_serial(section: &Section<'_, '_>, reader: &mut Reader<'_>) {
    report_keys(section, "serial", reader);
    for (name, _, value) in section.names() {
        if name == "types" && is_section("serial.types", value, reader) {
            report_named(&section.inner("types"), "serial.types.*", reader);
        }
    }
}

/// Sections whose names the file chooses.
fn report_named(section: &Section<'_, '_>, pattern: &str, reader: &mut Reader<'_>) {
    for (name, span, value) in section.names() {
        let path = format!("{}.{name}", section.path);
        if value.get_ref().is_table() {
            report_keys(&section.inner(name), pattern, reader);
        } else {
            let problem = format!("[{}] holds sections, and \"{name}\" is a key", section.path);
            let remedy = format!("put it into a section such as [{}.main]", section.path);
            reader.fault(span, &path, FaultKind::Type, problem, remedy);
        }
    }
}

fn report_keys(section: &Section<'_, '_>, pattern: &str, reader: &mut Reader<'_>) {
    for (name, span, value) in section.names() {
        let free = pattern == "service" && value.get_ref().is_table();
        let types = pattern == "serial" && name == "types";
        if free || types || names_in(pattern).any(|known| known == name) {
            continue;
        }
        let path = format!("{}.{name}", section.path);
        let problem = format!("[{}] has no key \"{name}\"", section.path);
        let remedy = suggestion(pattern, name);
        reader.fault(span, &path, FaultKind::Unknown, problem, remedy);
    }
}

fn unknown_at_top(name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) {
    if value.get_ref().is_table() {
        let sections = top_sections();
        let remedy = match nearest(name, sections.iter().copied()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => format!("the sections are {}", sections.join(", ")),
        };
        reader.fault(span, name, FaultKind::Unknown, format!("there is no section [{name}]"), remedy);
        return;
    }
    let homes: Vec<_> = keys::ALL.iter().filter(|key| key.name() == name).map(|key| key.section()).collect();
    let remedy = match homes.as_slice() {
        [] => "every key belongs under a section such as [comm]".to_owned(),
        homes => format!("write it under [{}]", homes.join("] or [")),
    };
    reader.fault(
        span,
        name,
        FaultKind::Unknown,
        format!("the key \"{name}\" stands outside of every section"),
        remedy,
    );
}

fn is_section(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool {
    let table = value.get_ref().is_table();
    if !table {
        let last = path.rsplit('.').next().unwrap_or(path);
        let problem = format!("\"{last}\" is a section, not a key");
        let remedy = format!("write [{path}], once and in single brackets, and its keys below");
        reader.fault(value.span(), path, FaultKind::Type, problem, remedy);
    }
    table
}

/// The names of the sections at the top of a file, in the order of the documentation.
fn top_sections() -> Vec<&'static str> {
    let mut sections = Vec::new();
    for key in keys::ALL {
        let top = key.section().split('.').next().unwrap_or_default();
        if !sections.contains(&top) {
            sections.push(top);
        }
    }
    sections
}

fn names_in(pattern: &str) -> impl Iterator<Item = &'static str> {
    keys::ALL.iter().filter(move |key| key.section() == pattern).map(|key| key.name())
}

/// What was meant by `name`: a key of this section, the same key of another one, or any of these.
fn suggestion(pattern: &str, name: &str) -> String {
    if let Some(near) = nearest(name, names_in(pattern)) {
        return format!("did you mean \"{near}\"?");
    }
    if let Some(home) = keys::ALL.iter().find(|key| key.name() == name) {
        return format!("it belongs under [{}]", home.section());
    }
    format!("its keys are {}", names_in(pattern).collect::<Vec<_>>().join(", "))
}

/// The known word nearest to `name`, if it is near enough to be meant: a third of its letters may differ.
fn nearest<'w>(name: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let near = words.map(|word| (distance(name, word), word)).min_by_key(|(letters, _)| *letters);
    near.filter(|(letters, word)| *letters <= word.len().div_ceil(3).min(4)).map(|(_, word)| word)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    /// Beyond this length no word is near a known one, and the table would only cost time.
    const LETTERS_MAX: usize = 64;
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len() > LETTERS_MAX {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let step = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped { step.min(rows[i - 2][j - 2] + 1) } else { step }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_each_kind_of_slip_once() {
        assert_eq!(distance("threads", "threads"), 0);
        assert_eq!(distance("thread", "threads"), 1);
        assert_eq!(distance("threeads", "threads"), 1);
        assert_eq!(distance("thraeds", "threads"), 1);
        assert_eq!(distance("", "slots"), 5);
        assert_eq!(distance(&"x".repeat(65), "slots"), usize::MAX);
    }

    #[test]
    fn nearest_refuses_words_that_share_little() {
        assert_eq!(nearest("thread", names_in("comm")), Some("threads"));
        assert_eq!(nearest("colour", names_in("comm")), None);
    }
}
