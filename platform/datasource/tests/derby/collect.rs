//! Finds every SQL statement in the sources of platform and services.

use crate::literals::literals;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Sources whose SQL is one database's own on purpose.
const OWN_WORDS: &[&str] = &[
    "platform/datasource/src/odbc",
    "platform/datasource/src/sqlite",
    "platform/cli/src/doctor",
    // A file of SQLite on every node, wherever the data is; its history has a column that MariaDB would not take.
    "platform/registry/src",
    // Inserts that are put together from the names of tables and columns.
    "platform/cli/src/data/seed.rs",
];

/// A portable statement and where it stands.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// Everything that was found; the definitions in an order in which they can be run.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) definitions: Vec<Statement>,
    pub(crate) statements: Vec<Statement>,
}

impl Collected {
    /// Names of the columns that hold bytes.
    #[allow(
        dead_code,
        reason = "the conformance suite, which includes this file too, asks for types instead"
    )]
    pub(crate) fn blob_columns(&self) -> BTreeSet<String> {
        let lines = self.definitions.iter().flat_map(|definition| definition.text.lines());
        let blobs = lines.filter(|line| line.contains("{blob"));
        blobs.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

/// Reads all sources.
pub(crate) fn collect() -> Collected {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap();
    let mut files = Vec::new();
    for area in ["platform", "services"] {
        for member in fs::read_dir(root.join(area)).unwrap() {
            walk(&member.unwrap().path().join("src"), &mut files);
        }
    }
    files.sort();
    let mut groups = Vec::new();
    let mut statements = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if OWN_WORDS.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        if name.ends_with(".sql") {
            groups.push(parts(&name, &source));
            continue;
        }
        for literal in literals(without_tests(&source)) {
            let place = format!("{name}:{}", literal.line);
            match first_word(&literal.text) {
                Some("CREATE" | "ALTER" | "DROP") => groups.push(parts(&place, &literal.text)),
                Some(_) => statements.push(Statement { place, text: one_line(&literal.text) }),
                None => {}
            }
        }
    }
    Collected { definitions: in_order(groups), statements }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            walk(&path, files);
        } else if !is_test && path.extension().is_some_and(|end| end == "rs" || end == "sql") {
            files.push(path);
        }
    }
}

/// The source up to its tests, which stand at its end.
fn without_tests(source: &str) -> &str {
    let is_module = |after: &str| {
        after.lines().skip(1).find(|line| !line.starts_with("#[")).unwrap_or("").starts_with("mod ")
    };
    let ends = ["\n#[cfg(test)]", "\n#[cfg(all(test"].iter().flat_map(|end| source.match_indices(end));
    let tests = ends.map(|(at, _)| at).filter(|at| is_module(&source[at + 1..])).min();
    &source[..tests.unwrap_or(source.len())]
}

/// The verb of a text that is a statement, and not a word or a message.
fn first_word(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let (word, after) = text.split_once(char::is_whitespace)?;
    let after = after.trim_start();
    let begins = |words: &[&str]| words.iter().any(|word| after.starts_with(word));
    let is_statement = match word {
        "SELECT" | "WITH" => !after.is_empty(),
        "INSERT" | "MERGE" => begins(&["INTO "]),
        "DELETE" => begins(&["FROM "]),
        "UPDATE" => after.contains(" SET ") || after.contains("\n"),
        "CREATE" => begins(&["TABLE ", "INDEX ", "UNIQUE "]),
        "ALTER" => begins(&["TABLE "]),
        "DROP" => begins(&["TABLE ", "INDEX "]),
        _ => false,
    };
    is_statement.then_some(word)
}

/// The statements of one step.
fn parts(place: &str, text: &str) -> Vec<Statement> {
    text.split(";\n")
        .map(|part| part.trim().trim_end_matches(';').to_owned())
        .filter(|part| part.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with("--")))
        .map(|text| Statement { place: place.to_owned(), text })
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Steps in the order of their names, each after those that make the tables it needs.
fn in_order(mut groups: Vec<Vec<Statement>>) -> Vec<Statement> {
    let mut made = BTreeSet::new();
    let mut ordered = Vec::new();
    while !groups.is_empty() {
        let next = groups.iter().position(|group| {
            let own: BTreeSet<String> = group.iter().filter_map(|part| made_by(&part.text)).collect();
            group
                .iter()
                .flat_map(|part| needs(&part.text))
                .all(|table| made.contains(&table) || own.contains(&table))
        });
        let Some(next) = next else {
            let left: Vec<_> = groups.iter().map(|group| &group[0].place).collect();
            panic!("these steps need tables that no step makes: {left:?}");
        };
        let group = groups.remove(next);
        made.extend(group.iter().filter_map(|part| made_by(&part.text)));
        ordered.extend(group);
    }
    ordered
}

fn words(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
    code.join(" ")
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The table that a definition makes.
fn made_by(text: &str) -> Option<String> {
    let words = words(text);
    let is_table = words.first().is_some_and(|word| word == "CREATE")
        && words.get(1).is_some_and(|word| word == "TABLE");
    if is_table { words.get(2).cloned() } else { None }
}

/// The tables that must be there before it.
fn needs(text: &str) -> Vec<String> {
    let words = words(text);
    let verb = words.first().map(String::as_str);
    let before = |index: usize, wanted: &str| index > 0 && words[index - 1] == wanted;
    let is_needed = |index: usize| match verb {
        Some("CREATE") => before(index, "REFERENCES") || (before(index, "ON") && words[1] != "TABLE"),
        Some("ALTER") => index == 2,
        Some("DROP") => before(index, "ON") || (words[1] == "TABLE" && index == 2),
        Some("INSERT") => before(index, "INTO"),
        _ => false,
    };
    (0..words.len()).filter(|index| is_needed(*index)).map(|index| words[index].clone()).collect()
}

/// The column that each parameter is for, as far as the text tells: the one of an `INSERT`'s list, or the word before
/// the comparison or assignment.
pub(crate) fn columns_of_parameters(text: &str) -> Vec<String> {
    if let Some((head, values)) = text.split_once("VALUES")
        && head.trim_start().starts_with("INSERT")
        && let Some((_, columns)) = head.split_once('(')
    {
        let columns: Vec<&str> = columns.trim().trim_end_matches(')').split(',').map(str::trim).collect();
        let values = values.split(['(', ')', ',']).map(str::trim).filter(|value| !value.is_empty());
        let places = values.enumerate().filter(|(_, value)| *value == "?");
        return places.map(|(index, _)| columns[index % columns.len()].to_owned()).collect();
    }
    let before = text.split('?').map(|part| part.trim_end().trim_end_matches(['=', '<', '>', ' ']));
    let mut columns: Vec<String> =
        before.map(|part| part.rsplit([' ', '(', ',']).next().unwrap_or("").to_owned()).collect();
    columns.pop();
    columns
}
