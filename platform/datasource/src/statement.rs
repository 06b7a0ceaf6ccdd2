//! From a portable text to a connection's own.

use crate::dialect::{Dialect, DialectError};
use crate::limits::{PARAMETERS_MAX, STATEMENT_BYTES_MAX};

/// What a statement does, read from its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `SELECT` or `VALUES`: it returns rows.
    Read,
    /// `WITH`: what follows decides.
    With,
    /// `INSERT`, `UPDATE`, `DELETE`, `MERGE`: it changes rows and counts them.
    Write,
    /// `CREATE`, `ALTER`, `DROP`: it changes tables and counts nothing.
    Define,
}

/// A statement in the words of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortableStatement {
    text: String,
    verb: Verb,
    parameters: usize,
}

impl PortableStatement {
    /// Rewrites a portable text. Literals, quoted names and comments are left as they are.
    ///
    /// # Errors
    /// The text is not one portable statement; see [`DialectError`].
    pub fn rewrite(text: &str, dialect: Dialect) -> Result<Self, DialectError> {
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(DialectError::TooLong { bytes: text.len(), bytes_max: STATEMENT_BYTES_MAX });
        }
        if let Some(offset) = text.find('\0') {
            return Err(DialectError::Zero { offset });
        }
        let verb = read_verb(text)?;
        let mut rewriter =
            Rewriter { text, at: 0, out: String::with_capacity(text.len() + 16), parameters: 0 };
        rewriter.run(dialect)?;
        if verb == Verb::Define && defines_table(text) {
            rewriter.out.push_str(dialect.table_options());
        }
        if rewriter.parameters > PARAMETERS_MAX {
            return Err(DialectError::TooManyParameters {
                parameters: rewriter.parameters,
                parameters_max: PARAMETERS_MAX,
            });
        }
        Ok(Self { text: rewriter.out, verb, parameters: rewriter.parameters })
    }

    /// The text for the database.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it does.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// How many parameters it takes.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }
}

struct Rewriter<'a> {
    text: &'a str,
    at: usize,
    out: String,
    parameters: usize,
}

impl Rewriter<'_> {
    fn run(&mut self, dialect: Dialect) -> Result<(), DialectError> {
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            if let Some(end) = skip_opaque(self.text, self.at)? {
                self.copy_to(end);
                continue;
            }
            match byte {
                b'?' => self.count_parameter()?,
                b'{' => self.rewrite_escape(dialect)?,
                b'}' => return Err(DialectError::Unbalanced { offset: self.at }),
                b'`' => return Err(DialectError::Backquote { offset: self.at }),
                b';' => return self.end_at_semicolon(),
                _ => {
                    let plain = self.text.as_bytes()[self.at + 1..]
                        .iter()
                        .position(|next| b"?{}`;'\"-/".contains(next))
                        .map_or(self.text.len(), |length| self.at + 1 + length);
                    self.copy_to(plain);
                }
            }
        }
        Ok(())
    }

    fn copy_to(&mut self, end: usize) {
        self.out.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    fn count_parameter(&mut self) -> Result<(), DialectError> {
        if self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            return Err(DialectError::NumberedParameter { offset: self.at });
        }
        self.parameters += 1;
        self.copy_to(self.at + 1);
        Ok(())
    }

    fn rewrite_escape(&mut self, dialect: Dialect) -> Result<(), DialectError> {
        let offset = self.at;
        let content = &self.text[offset + 1..];
        let length = content.find('}').ok_or(DialectError::Unbalanced { offset })?;
        let has_parameter = dialect
            .write_escape(&content[..length], &mut self.out)
            .ok_or(DialectError::UnknownEscape { offset })?;
        self.parameters += usize::from(has_parameter);
        self.at = offset + 1 + length + 1;
        Ok(())
    }

    /// One semicolon at the end is dropped, since some drivers refuse it; after it only blanks and comments may stand.
    fn end_at_semicolon(&mut self) -> Result<(), DialectError> {
        let offset = self.at;
        if skip_blank(self.text, offset + 1)? < self.text.len() {
            return Err(DialectError::SecondStatement { offset });
        }
        self.at = self.text.len();
        Ok(())
    }
}

/// The end of the literal, quoted name or comment that begins at `start`; `None` if none begins there.
fn skip_opaque(text: &str, start: usize) -> Result<Option<usize>, DialectError> {
    let rest = &text.as_bytes()[start..];
    let unbalanced = DialectError::Unbalanced { offset: start };
    let find = |needle: &str, from: usize| text[start + from..].find(needle).map(|at| start + from + at);
    match rest {
        [quote @ (b'\'' | b'"'), ..] => {
            // A doubled quote is a quote: it ends one literal and begins the next, which leaves the same bytes.
            let end = rest[1..].iter().position(|byte| byte == quote).ok_or(unbalanced)?;
            Ok(Some(start + 1 + end + 1))
        }
        [b'-', b'-', ..] => Ok(Some(find("\n", 2).map_or(text.len(), |at| at + 1))),
        [b'/', b'*', ..] => Ok(Some(find("*/", 2).ok_or(unbalanced)? + 2)),
        _ => Ok(None),
    }
}

/// The first place from `start` on that is neither blank nor comment.
fn skip_blank(text: &str, start: usize) -> Result<usize, DialectError> {
    let mut at = start;
    while let Some(byte) = text.as_bytes().get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
        } else if matches!(byte, b'-' | b'/') {
            match skip_opaque(text, at)? {
                Some(end) => at = end,
                None => return Ok(at),
            }
        } else {
            return Ok(at);
        }
    }
    Ok(at)
}

/// Whether the text begins with `CREATE TABLE`.
fn defines_table(text: &str) -> bool {
    let mut words = words(text);
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("CREATE"))
        && words.next().is_some_and(|word| word.eq_ignore_ascii_case("TABLE"))
}

/// The words of a portable text, without those in literals, quoted names, comments and escapes.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = text.as_bytes().get(at).copied() {
            if let Ok(Some(end)) = skip_opaque(text, at) {
                at = end;
            } else if byte == b'{' {
                at = text[at..].find('}').map_or(text.len(), |length| at + length + 1);
            } else if byte.is_ascii_alphabetic() || byte == b'_' {
                let start = at;
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                at += text.as_bytes()[at..].iter().take_while(|byte| is_part(byte)).count();
                return Some(&text[start..at]);
            } else {
                at += 1;
            }
        }
        None
    })
}

/// Whether one of `wanted` is among the words of a portable text.
#[cfg(any(feature = "odbc", test))]
pub(crate) fn has_word(text: &str, wanted: &[&str]) -> bool {
    words(text).any(|word| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted)))
}

fn read_verb(text: &str) -> Result<Verb, DialectError> {
    let start = skip_blank(text, 0)?;
    let word = text[start..].split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or("");
    if start == text.len() {
        return Err(DialectError::Empty);
    }
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if is(&["SELECT", "VALUES"]) {
        Ok(Verb::Read)
    } else if is(&["INSERT", "UPDATE", "DELETE", "MERGE"]) {
        Ok(Verb::Write)
    } else if is(&["WITH"]) {
        Ok(Verb::With)
    } else if is(&["CREATE", "ALTER", "DROP"]) {
        Ok(Verb::Define)
    } else {
        Err(DialectError::VerbNotAllowed)
    }
}

/// Whether there is anything in the text besides blanks and comments.
pub(crate) fn holds_statement(text: &str) -> bool {
    skip_blank(text, 0).map_or(true, |start| start < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(text: &str) -> Result<PortableStatement, DialectError> {
        PortableStatement::rewrite(text, Dialect::Sqlite)
    }

    #[test]
    fn escapes_become_the_words_of_each_database() {
        let text = "SELECT a FROM t WHERE b = ? ORDER BY a {limit ?} {for update}";
        let cases = [
            (Dialect::Sqlite, "SELECT a FROM t WHERE b = ? ORDER BY a LIMIT ? "),
            (
                Dialect::Db2,
                "SELECT a FROM t WHERE b = ? ORDER BY a FETCH FIRST ? ROWS ONLY FOR UPDATE WITH RS",
            ),
            (
                Dialect::Derby,
                "SELECT a FROM t WHERE b = ? ORDER BY a FETCH FIRST ? ROWS ONLY FOR UPDATE WITH RS",
            ),
            (Dialect::Postgres, "SELECT a FROM t WHERE b = ? ORDER BY a LIMIT ? FOR UPDATE"),
            (Dialect::MariaDb, "SELECT a FROM t WHERE b = ? ORDER BY a LIMIT ? FOR UPDATE"),
        ];
        for (dialect, expected) in cases {
            let statement = PortableStatement::rewrite(text, dialect).unwrap();
            assert_eq!((statement.text(), statement.parameters()), (expected, 2));
        }
        let blob = PortableStatement::rewrite("CREATE TABLE t (b { BLOB  64 })", Dialect::Db2).unwrap();
        assert_eq!(blob.text(), "CREATE TABLE t (b BLOB(64))");
        for dialect in [Dialect::Sqlite, Dialect::Db2, Dialect::Derby, Dialect::Postgres, Dialect::MariaDb] {
            let text = "CREATE INDEX i ON t (a) -- {identity key}";
            assert_eq!(PortableStatement::rewrite(text, dialect).unwrap().text(), text);
        }
    }

    #[test]
    fn tables_of_mariadb_compare_text_byte_by_byte() {
        let text = "-- a table\ncreate table t (a VARCHAR(4), b {timestamp type}, c {identity key});";
        let statement = PortableStatement::rewrite(text, Dialect::MariaDb).unwrap();
        assert_eq!(
            statement.text(),
            "-- a table\ncreate table t (a VARCHAR(4), b DATETIME(6), c BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY) \
             ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
        );
    }

    #[test]
    fn words_leave_out_literals_comments_and_escapes() {
        let text =
            "WITH a AS (SELECT 'insert' FROM \"update\" /* delete */) SELECT * FROM a {for update} -- merge";
        let found: Vec<&str> = words(text).collect();
        assert_eq!(found, ["WITH", "a", "AS", "SELECT", "FROM", "SELECT", "FROM", "a"]);
        assert!(has_word("select 收费 returning x", &["RETURNING"]) && !has_word(text, &["INSERT", "MERGE"]));
    }

    #[test]
    fn literals_names_and_comments_stay_as_they_are() {
        let text = "SELECT '{limit ?} ''? ;', \"a{b};?\" /* ? { */ FROM t -- ; ? }\n WHERE a = ?";
        let statement = sqlite(text).unwrap();
        assert_eq!((statement.text(), statement.parameters()), (text, 1));
        let chinese = "SELECT '收费{站}' FROM t {limit 5}";
        assert_eq!(sqlite(chinese).unwrap().text(), "SELECT '收费{站}' FROM t LIMIT 5");
    }

    #[test]
    fn wrong_texts_are_refused_with_their_place() {
        let cases = [
            ("SELECT {now}", DialectError::UnknownEscape { offset: 7 }),
            ("SELECT {limit 0}", DialectError::UnknownEscape { offset: 7 }),
            ("SELECT {limit -1}", DialectError::UnknownEscape { offset: 7 }),
            ("SELECT {limit 1 2}", DialectError::UnknownEscape { offset: 7 }),
            ("SELECT {}", DialectError::UnknownEscape { offset: 7 }),
            ("SELECT {limit ?", DialectError::Unbalanced { offset: 7 }),
            ("SELECT 1 }", DialectError::Unbalanced { offset: 9 }),
            ("SELECT 'abc", DialectError::Unbalanced { offset: 7 }),
            ("SELECT /* abc", DialectError::Unbalanced { offset: 7 }),
            ("SELECT ?1", DialectError::NumberedParameter { offset: 7 }),
            ("SELECT `a`", DialectError::Backquote { offset: 7 }),
            ("SELECT 1; DROP TABLE t", DialectError::SecondStatement { offset: 8 }),
            ("  -- nothing", DialectError::Empty),
            ("", DialectError::Empty),
            ("COMMIT", DialectError::VerbNotAllowed),
            ("/* a */ begin", DialectError::VerbNotAllowed),
            ("PRAGMA query_only = 0", DialectError::VerbNotAllowed),
            ("SAVEPOINT a", DialectError::VerbNotAllowed),
            ("ATTACH 'a' AS b", DialectError::VerbNotAllowed),
            ("; SELECT 1", DialectError::VerbNotAllowed),
            ("é SELECT", DialectError::VerbNotAllowed),
        ];
        for (text, error) in cases {
            assert_eq!(sqlite(text), Err(error), "{text}");
        }
        assert!(matches!(
            sqlite(&format!("SELECT {}", "?,".repeat(1000))),
            Err(DialectError::TooManyParameters { parameters: 1000, .. })
        ));
        assert!(matches!(sqlite(&" ".repeat(70_000)), Err(DialectError::TooLong { .. })));
    }

    #[test]
    fn one_semicolon_at_the_end_is_dropped() {
        assert_eq!(sqlite("SELECT 1 ; -- end\n").unwrap().text(), "SELECT 1 ");
    }

    #[test]
    fn verb_is_found_behind_comments_in_any_case() {
        assert_eq!(sqlite("-- a\n /* b */ insert into t values (1)").unwrap().verb(), Verb::Write);
        assert_eq!(sqlite("With a AS (SELECT 1) SELECT * FROM a").unwrap().verb(), Verb::With);
        assert_eq!(sqlite("create table t (a int)").unwrap().verb(), Verb::Define);
    }

    proptest::proptest! {
        /// No text panics, and one that is taken without an escape comes out as it went in.
        #[test]
        fn any_text_is_rewritten_or_refused(text in "(SELECT|insert|WITH)?[ -~é收\\n]{0,60}") {
            if let Ok(statement) = sqlite(&text)
                && !text.contains('{')
                && !text.contains(';')
            {
                proptest::prop_assert_eq!(statement.text(), text);
            }
        }
    }
}
