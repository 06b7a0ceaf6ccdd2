//! Licence expressions (SPDX) as far as crates use them: names joined by `OR`, `AND`, `/` and brackets.

/// Whether an expression can be met by licences that `accepted` takes.
///
/// `MIT/Apache-2.0` is how older crates write `OR`. A name with an exception (`X WITH Y`) is taken as one
/// name.
#[must_use]
pub fn is_acceptable(expression: &str, accepted: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, accepted);
    met && at == words.len()
}

/// Terms joined by `OR`, which binds weaker than `AND`.
fn any_of(words: &[&str], at: &mut usize, accepted: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all_of(words, at, accepted);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, accepted);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, accepted: &dyn Fn(&str) -> bool) -> bool {
    let mut met = term(words, at, accepted);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= term(words, at, accepted);
    }
    met
}

/// A name, a name with its exception, or an expression in brackets. Nothing at all is not met.
fn term(words: &[&str], at: &mut usize, accepted: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at, accepted);
        *at += 1;
        return met;
    }
    match words.get(*at..*at + 2) {
        Some(["WITH", exception]) => {
            *at += 2;
            accepted(&format!("{word} WITH {exception}"))
        }
        _ => accepted(word),
    }
}

#[cfg(test)]
mod tests {
    use super::is_acceptable;

    fn mit_only(expression: &str) -> bool {
        is_acceptable(expression, &|name| name == "MIT")
    }

    #[test]
    fn one_of_several_licences_is_enough() {
        assert!(mit_only("MIT OR GPL-3.0"));
        assert!(mit_only("Unlicense/MIT"));
        assert!(mit_only("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(!mit_only("GPL-3.0 OR Apache-2.0"));
    }

    #[test]
    fn licences_joined_by_and_must_all_be_taken() {
        assert!(!mit_only("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(mit_only("(MIT OR Apache-2.0) AND MIT"));
        assert!(mit_only("MIT OR Zlib AND GPL-3.0"));
    }

    #[test]
    fn what_is_no_expression_is_not_acceptable() {
        assert!(!mit_only(""));
        assert!(!mit_only("MIT MIT"));
        assert!(!mit_only("none"));
    }
}
