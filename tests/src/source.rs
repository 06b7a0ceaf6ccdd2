//! Rust source as tokens with their lines: as much of a lexer as the house rules need, and no dependency.

/// One token: a word (identifier, keyword, lifetime or number) or a single punctuation character. Comments
/// and white space are left out, and every literal text is one token `"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The token's text.
    pub text: &'a str,
    /// Its line, from 1.
    pub line: usize,
}

/// One function and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The function's name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from its `fn` to its closing brace, both counted.
    pub lines: usize,
}

/// Splits source into tokens.
#[must_use]
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { source, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    tokens
}

/// The functions with bodies, nested ones included.
#[must_use]
pub fn functions(tokens: &[Token<'_>]) -> Vec<Function> {
    let mut functions = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        // `fn` without a name is a function pointer's type.
        let Some(name) = tokens.get(index + 1).filter(|name| token.text == "fn" && is_word(name.text)) else {
            continue;
        };
        if let Some(last_line) = body_end(&tokens[index + 2..]) {
            functions.push(Function {
                name: name.text.to_owned(),
                line: token.line,
                lines: last_line - token.line + 1,
            });
        }
    }
    functions
}

/// Whether the words follow each other anywhere in the tokens.
#[must_use]
pub fn find(tokens: &[Token<'_>], words: &[&str]) -> Option<usize> {
    let here = |window: &&[Token<'_>]| window.iter().map(|token| token.text).eq(words.iter().copied());
    tokens.windows(words.len()).find(here).map(|window| window[0].line)
}

/// The line of the brace that closes the function whose tokens after the name these are; `None` for one
/// without a body.
fn body_end(tokens: &[Token<'_>]) -> Option<usize> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for token in tokens {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if brackets == 0 && braces == 0 => return None,
            // A brace inside brackets before the body is a constant: `[u8; { N }]`.
            "{" if brackets == 0 || braces > 0 => braces += 1,
            "}" if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let line = self.line;
        let rest = self.rest();
        let first = rest.chars().next()?;
        let text = if let Some(hashes) = raw_text_hashes(rest) {
            self.skip_raw_text(hashes);
            "\""
        } else if let Some(quote) = text_quote(rest) {
            self.skip_text(quote);
            "\""
        } else if first == '\'' && is_character(rest) {
            self.skip_text(0);
            "\""
        } else {
            self.take(word_bytes(rest).unwrap_or(first.len_utf8()))
        };
        Some(Token { text, line })
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let text = &self.rest()[..bytes];
        self.line += text.matches('\n').count();
        self.at += bytes;
        text
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let bytes = if blank > 0 {
                blank
            } else if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                comment_bytes(rest)
            } else {
                return;
            };
            self.take(bytes);
        }
    }

    /// Skips a text or character whose quote stands `quote_at` bytes ahead, with its escapes.
    fn skip_text(&mut self, quote_at: usize) {
        let bytes = self.rest().as_bytes();
        let quote = bytes[quote_at];
        let mut end = quote_at + 1;
        while end < bytes.len() && bytes[end] != quote {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.take((end + 1).min(bytes.len()));
    }

    fn skip_raw_text(&mut self, hashes: usize) {
        let rest = self.rest();
        let closing = format!("\"{}", "#".repeat(hashes));
        let opening = rest.find('"').map_or(rest.len(), |quote| quote + 1);
        let end = rest[opening..].find(&closing).map_or(rest.len(), |end| opening + end + closing.len());
        self.take(end);
    }
}

/// Bytes of a block comment, which may contain others.
fn comment_bytes(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let two = rest.as_bytes().get(at..at + 2);
        if two == Some(b"/*") {
            depth += 1;
            at += 2;
        } else if two == Some(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// How many `#` a raw text has, if one begins here: `r"`, `br#"`, `cr##"`.
fn raw_text_hashes(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Where the quote of a text stands, if one begins here: `"`, `b"`, `c"`, `b'`.
fn text_quote(rest: &str) -> Option<usize> {
    if rest.starts_with('"') {
        Some(0)
    } else {
        ["b\"", "c\"", "b'"].iter().any(|prefix| rest.starts_with(prefix)).then_some(1)
    }
}

/// Whether the `'` here opens a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

/// Bytes of the word that begins here, a lifetime with its `'` included.
fn word_bytes(rest: &str) -> Option<usize> {
    let start = usize::from(rest.starts_with('\''));
    let end = rest[start..].find(|next: char| !(next.is_alphanumeric() || next == '_'));
    let bytes = start + end.unwrap_or(rest.len() - start);
    (bytes > start).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{find, functions, tokens};

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_texts_hide_their_content() {
        let source = "a // todo!()\n/* x /* y */ todo!() */ b \"todo!() \\\" }\" r#\"} \" \"# b\"}\" c";
        assert_eq!(texts(source), ["a", "b", "\"", "\"", "\"", "c"]);
    }

    #[test]
    fn lifetimes_are_words_and_characters_are_texts() {
        assert_eq!(texts(r"&'a str '{' '\'' '\n' b'}'"), ["&", "'a", "str", "\"", "\"", "\"", "\""]);
    }

    #[test]
    fn lines_go_on_counting_through_texts_and_comments() {
        let tokens = tokens("a\n\"x\ny\"\n/*\n\n*/ b");
        assert_eq!(tokens.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 2, 6]);
    }

    #[test]
    fn function_is_counted_from_its_name_to_its_closing_brace() {
        let source =
            "struct S;\nfn f(a: [u8; { N }]) -> [u8; 2]\nwhere A: B {\n  if a { b }\n}\ntrait T { fn g(); }";
        let functions = functions(&tokens(source));
        assert_eq!(functions.len(), 1, "{functions:?}");
        assert_eq!((functions[0].name.as_str(), functions[0].line, functions[0].lines), ("f", 2, 4));
    }

    #[test]
    fn function_pointers_are_no_functions_and_nested_functions_are() {
        let names: Vec<String> = functions(&tokens("fn outer(f: fn(u8)) { fn inner() {} }"))
            .into_iter()
            .map(|found| found.name)
            .collect();
        assert_eq!(names, ["outer", "inner"]);
    }

    #[test]
    fn words_are_found_in_order_only() {
        let tokens = tokens("x;\ntodo!()");
        assert_eq!(find(&tokens, &["todo", "!"]), Some(2));
        assert_eq!(find(&tokens, &["!", "todo"]), None);
    }
}
