//! Derby's command line, fed with a script.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const JARS: [&str; 2] = ["/usr/share/java/derby.jar", "/usr/share/java/derbytools.jar"];

/// A script, and the place in the sources of each of its steps.
pub(crate) struct Script {
    text: String,
    /// What each numbered step is: its place and its statement.
    steps: Vec<(String, String)>,
}

impl Script {
    pub(crate) fn new() -> Self {
        let text = "connect 'jdbc:derby:memory:gantry;create=true';\nautocommit off;\n".to_owned();
        Self { text, steps: Vec::new() }
    }

    /// Adds a statement that is run as it stands.
    pub(crate) fn define(&mut self, place: &str, statement: &str) {
        let code: Vec<&str> = statement.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
        let code = code.join(" ");
        self.mark(place, &code);
        writeln!(self.text, "{code};\ncommit;").unwrap();
    }

    /// Adds a statement that is prepared, run with these values, and undone.
    pub(crate) fn execute(&mut self, place: &str, statement: &str, values: &[&str]) {
        self.mark(place, statement);
        let number = self.steps.len();
        writeln!(self.text, "prepare s{number} as '{}';", statement.replace('\'', "''")).unwrap();
        if values.is_empty() {
            writeln!(self.text, "execute s{number};").unwrap();
        } else {
            let values = format!("VALUES ({})", values.join(", ")).replace('\'', "''");
            writeln!(self.text, "execute s{number} using '{values}';").unwrap();
        }
        writeln!(self.text, "remove s{number};\nrollback;").unwrap();
    }

    fn mark(&mut self, place: &str, statement: &str) {
        self.steps.push((place.to_owned(), statement.to_owned()));
        writeln!(self.text, "values 'step {}';", self.steps.len()).unwrap();
    }

    /// Runs the script; returns the steps that Derby refused. A constraint that the values break is no refusal: the
    /// statement was executed.
    pub(crate) fn run(&self) -> Vec<String> {
        let output = self.output();
        let mut faults = Vec::new();
        for (index, (place, statement)) in self.steps.iter().enumerate() {
            let begin = format!("values 'step {}';", index + 1);
            let end = format!("values 'step {}';", index + 2);
            let Some((_, after)) = output.split_once(&begin) else {
                faults.push(format!("{place}: Derby never got there:\n{statement}"));
                continue;
            };
            let said = after.split(&end).next().unwrap_or(after);
            let errors: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
            let was_executed = said.contains("rows inserted/updated/deleted")
                || said.contains("row inserted/updated/deleted")
                || said.contains("selected");
            let is_broken_constraint = |line: &&str| line.starts_with("ERROR 23");
            let is_fine =
                if errors.is_empty() { was_executed } else { errors.iter().all(is_broken_constraint) };
            if !is_fine {
                faults.push(format!("{place}: {}\n{statement}", errors.join("\n")));
            }
        }
        faults
    }

    fn output(&self) -> String {
        for jar in JARS {
            assert!(Path::new(jar).is_file(), "{}", missing("derby-tools"));
        }
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script.sql");
        fs::write(&script, format!("{}exit;\n", self.text)).unwrap();
        let output = Command::new("java")
            .args(["-cp", &JARS.join(":"), "org.apache.derby.tools.ij"])
            .arg(&script)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", missing("a Java runtime")));
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words}{}", String::from_utf8_lossy(&output.stderr));
        words
    }
}

fn missing(what: &str) -> String {
    format!("{what} is not installed; `cargo xtask setup` installs what the tests need")
}
