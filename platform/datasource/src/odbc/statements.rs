//! Texts that a connection knows, and the statements prepared for them.

use super::fetch::Answer;
use super::limits::STATEMENTS_PREPARED_MAX;
use crate::dialect::{Dialect, DialectError};
use crate::limits::TEXTS_REMEMBERED_MAX;
use crate::statement::{PortableStatement, Verb, has_word};
use gantry_odbc_cancel::Statement;
use std::collections::HashMap;
use std::sync::Arc;

/// What a text does, beyond its first word.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) portable: PortableStatement,
    /// It changes rows, also behind a `WITH` or inside a `SELECT`.
    pub(super) writes: bool,
    /// It returns rows.
    pub(super) returns_rows: bool,
}

impl Text {
    fn read(text: &str, dialect: Dialect) -> Result<Self, DialectError> {
        let portable = PortableStatement::rewrite(text, dialect)?;
        let changes = || has_word(text, &["INSERT", "UPDATE", "DELETE", "MERGE"]);
        let (writes, returns_rows) = match portable.verb() {
            // DB2 reads what a change inside of a `SELECT` left; `FOR UPDATE` without braces only locks.
            Verb::Read => (has_word(text, &["INSERT", "DELETE", "MERGE", "INTO"]), true),
            Verb::With => (changes(), !changes() || has_word(text, &["RETURNING"])),
            Verb::Write => (true, has_word(text, &["RETURNING"])),
            Verb::Define => (true, false),
        };
        Ok(Self { portable, writes, returns_rows })
    }
}

/// A statement that was prepared, and what is known of its answer.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) native: Statement,
    pub(super) answer: Answer,
    /// The driver's own limit, in seconds, as it was set last.
    pub(super) limit_sec: Option<usize>,
}

#[derive(Debug)]
struct Known {
    text: Arc<Text>,
    prepared: Option<Prepared>,
    /// Its answer must be read in parts.
    in_parts: bool,
    used: u64,
}

/// The texts of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    known: HashMap<Box<str>, Known>,
    prepared_count: usize,
    clock: u64,
}

impl Statements {
    /// What is known of a text, read at its first use.
    pub(super) fn text(&mut self, text: &str, dialect: Dialect) -> Result<Arc<Text>, DialectError> {
        if let Some(known) = self.known.get(text) {
            return Ok(Arc::clone(&known.text));
        }
        let read = Arc::new(Text::read(text, dialect)?);
        if self.known.len() >= TEXTS_REMEMBERED_MAX {
            self.forget_all();
        }
        self.known.insert(
            Box::from(text),
            Known { text: Arc::clone(&read), prepared: None, in_parts: false, used: 0 },
        );
        Ok(read)
    }

    /// Takes the statement out for a run; `None`: it is to be prepared.
    pub(super) fn take(&mut self, text: &str) -> Option<Prepared> {
        let prepared = self.known.get_mut(text)?.prepared.take()?;
        self.prepared_count -= 1;
        Some(prepared)
    }

    /// Notes that a text's answer must be read in parts, and forgets its statement, which cannot.
    pub(super) fn read_in_parts(&mut self, text: &str) {
        drop(self.take(text));
        if let Some(known) = self.known.get_mut(text) {
            known.in_parts = true;
        }
    }

    /// What is known of a text's answer before its statement is run for the first time.
    pub(super) fn answer(&self, text: &str) -> Answer {
        let in_parts = self.known.get(text).is_some_and(|known| known.in_parts);
        if in_parts { Answer::in_parts() } else { Answer::default() }
    }

    /// Keeps a statement for the next run.
    pub(super) fn keep(&mut self, text: &str, prepared: Prepared) {
        self.clock += 1;
        let clock = self.clock;
        if self.prepared_count >= STATEMENTS_PREPARED_MAX {
            let kept = self.known.values_mut().filter(|known| known.prepared.is_some());
            if let Some(oldest) = kept.min_by_key(|known| known.used) {
                oldest.prepared = None;
                self.prepared_count -= 1;
            }
        }
        if let Some(known) = self.known.get_mut(text) {
            known.used = clock;
            known.prepared = Some(prepared);
            self.prepared_count += 1;
        }
    }

    /// Forgets all statements: tables have changed.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.prepared_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_tells_whether_it_writes_and_whether_it_returns_rows() {
        let cases = [
            ("SELECT a FROM t {for update}", false, true),
            ("SELECT a FROM t FOR UPDATE", false, true),
            ("WITH a AS (SELECT 1) SELECT * FROM a {for update}", false, true),
            ("WITH a AS (DELETE FROM t RETURNING id) SELECT * FROM a", true, true),
            ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", true, false),
            ("SELECT * FROM FINAL TABLE (INSERT INTO t VALUES (1))", true, true),
            ("SELECT a INTO other FROM t", true, true),
            ("INSERT INTO t VALUES ('returning')", true, false),
            ("INSERT INTO t VALUES (1) returning a", true, true),
            ("DROP TABLE t", true, false),
        ];
        for (text, writes, returns_rows) in cases {
            let read = Text::read(text, Dialect::Postgres).unwrap();
            assert_eq!((read.writes, read.returns_rows), (writes, returns_rows), "{text}");
        }
    }
}
