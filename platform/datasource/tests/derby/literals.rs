//! String literals of Rust sources.

/// A literal and the line it begins on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// All string literals of a source, their escapes resolved. Comments and characters are passed over.
pub(crate) fn literals(source: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut rest = source;
    let (mut line, mut counted) = (1, source);
    while let Some(letter) = rest.chars().next() {
        line += counted[..counted.len() - rest.len()].matches('\n').count();
        counted = rest;
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if let Some((text, after)) = raw(rest) {
            found.push(Literal { line, text: text.to_owned() });
            rest = after;
        } else if letter == '"' {
            let (text, after) = quoted(&rest[1..]);
            found.push(Literal { line, text });
            rest = after;
        } else if letter == '\'' {
            rest = after_character(rest);
        } else {
            // A whole word at once, so that the r of a name is not taken for a raw literal's.
            let word =
                rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            rest = &rest[word.max(letter.len_utf8())..];
        }
    }
    found
}

/// A raw literal at the beginning: `r"…"`, `r#"…"#`, `br"…"`.
fn raw(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    body.split_once(&format!("\"{}", "#".repeat(hashes)))
}

/// The content of a literal whose opening quote is gone, and what follows it.
fn quoted(rest: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &rest[at + 1..]),
            '\\' => match letters.next() {
                Some((at, '\n')) => {
                    // A line that goes on: its break and the next line's blanks are not in the text.
                    let skipped = rest[at..].len() - rest[at..].trim_start().len();
                    letters = rest[at + skipped..].char_indices();
                    let (more, after) = quoted(letters.as_str());
                    return (text + &more, after);
                }
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, other)) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    (text, "")
}

/// What follows a character or the quote of a lifetime.
fn after_character(rest: &str) -> &str {
    let body = &rest[1..];
    if let Some(escaped) = body.strip_prefix('\\') {
        let skipped = escaped.chars().next().map_or(0, char::len_utf8);
        return escaped[skipped..].split_once('\'').map_or("", |(_, after)| after);
    }
    let length = body.chars().next().map_or(0, char::len_utf8);
    body[length..].strip_prefix('\'').unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_among_comments_characters_and_lifetimes() {
        let source = "// \"no\"\nfn a<'x>(b: &'x str) -> char { '\"'; '\\''; /* \"no\" */ \"one \\\n   two\\n\\\"\" }\n\
                      const R: &str = r#\"raw \"x\" \\n\"#; var\"three\"";
        let texts: Vec<_> =
            literals(source).into_iter().map(|literal| (literal.line, literal.text)).collect();
        let expected = [(2, "one two\n\""), (4, "raw \"x\" \\n"), (4, "three")];
        assert_eq!(texts, expected.map(|(line, text)| (line, text.to_owned())));
    }
}
