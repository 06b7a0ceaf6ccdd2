//! Pages of a list, newest first.
//!
//! A cursor holds the key of the last row that was shown, and the next page begins right after that
//! key. So rows that are added while a client pages are neither shown twice nor push others out, and a
//! page far back costs what the first one costs.

use std::fmt::Write;

use gantry_abi::ServiceError;
use gantry_abi::json::Body;

use crate::request;

/// Most rows on a page.
const LIMIT_MAX: i64 = 500;
/// Rows on a page when the request does not say.
const LIMIT_DEFAULT: i64 = 50;
/// Hexadecimal digits of a number in a cursor.
const NUMBER_DIGITS: usize = 16;

/// Which list a cursor belongs to; a cursor of another list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The statement of an account.
    Statement,
    /// The passages of a card.
    Passages,
    /// The blacklist.
    Blacklist,
}

impl List {
    const fn letter(self) -> char {
        match self {
            Self::Statement => 's',
            Self::Passages => 'p',
            Self::Blacklist => 'b',
        }
    }
}

/// Where a page ended: the key of its last row, of `N` numbers and a text.
///
/// On the wire it is the list's letter, 16 hexadecimal digits for each number, and two for each byte of
/// the text. To clients it is opaque.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor<const N: usize> {
    /// The key's numbers.
    pub numbers: [i64; N],
    /// The key's text; empty where the numbers are enough.
    pub text: String,
}

impl<const N: usize> Cursor<N> {
    /// The key before the newest row there can be: where a first page begins.
    #[must_use]
    pub fn start() -> Self {
        Self { numbers: [i64::MAX; N], text: String::new() }
    }

    /// Writes the cursor of a key.
    #[must_use]
    pub fn encode(list: List, numbers: [i64; N], text: &str) -> String {
        let mut cursor = String::with_capacity(1 + N * NUMBER_DIGITS + 2 * text.len());
        cursor.push(list.letter());
        for number in numbers {
            push_hex(&mut cursor, &number.to_be_bytes());
        }
        push_hex(&mut cursor, text.as_bytes());
        cursor
    }

    /// Reads a cursor; `None` if it is none of this list.
    fn decode(list: List, cursor: &str) -> Option<Self> {
        let digits = cursor.strip_prefix(list.letter())?;
        let (numbers_digits, text_digits) = digits.split_at_checked(N * NUMBER_DIGITS)?;
        let mut numbers = [0; N];
        for (number, bytes) in numbers.iter_mut().zip(read_hex(numbers_digits)?.chunks_exact(8)) {
            *number = i64::from_be_bytes(bytes.try_into().ok()?);
        }
        Some(Self { numbers, text: String::from_utf8(read_hex(text_digits)?).ok()? })
    }
}

/// What a request says about its page: members `after` and `limit`.
#[derive(Debug)]
pub struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// Reads the members `limit` (1 to 500, 50 if it is missing) and `after`.
    ///
    /// # Errors
    /// `bad_request` about the member that is wrong.
    pub fn read(body: &Body<'_>) -> Result<Self, ServiceError> {
        let limit = request::whole_or(body, "limit", 1..=LIMIT_MAX, LIMIT_DEFAULT)?;
        Ok(Self {
            limit: usize::try_from(limit).unwrap_or_default(),
            after: request::free_text_opt(body, "after")?,
        })
    }

    /// Where the page begins: after this key.
    ///
    /// # Errors
    /// `bad_request` about `after`: no cursor of this list and of `text_bytes_max` bytes of text at most.
    pub fn after<const N: usize>(
        &self,
        list: List,
        text_bytes_max: usize,
    ) -> Result<Cursor<N>, ServiceError> {
        let Some(after) = &self.after else { return Ok(Cursor::start()) };
        Cursor::decode(list, after).filter(|cursor| cursor.text.len() <= text_bytes_max).ok_or_else(|| {
            ServiceError::bad_request("after", "`after` is a `next` that an earlier page of this list gave")
        })
    }

    /// Rows to ask the database for: one more than the page shows, to learn whether there is a next page.
    #[must_use]
    pub fn rows_count(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(LIMIT_MAX) + 1
    }

    /// Takes the row too many off `rows` and gives the cursor of the next page, if there is one.
    pub fn cut<T>(&self, rows: &mut Vec<T>, cursor_of: impl FnOnce(&T) -> String) -> Option<String> {
        if rows.len() <= self.limit {
            return None;
        }
        rows.truncate(self.limit);
        rows.last().map(cursor_of)
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

/// The bytes that lowercase hexadecimal digits stand for.
fn read_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(request: &str) -> Result<Page, ServiceError> {
        Page::read(&Body::read(request.as_bytes())?)
    }

    fn field_of(error: ServiceError) -> String {
        match error {
            ServiceError::Business { code, field: Some(field), .. } if code == "bad_request" => field.into(),
            other => panic!("no bad request: {other}"),
        }
    }

    #[test]
    fn limit_is_50_unless_it_is_said_and_1_to_500() {
        assert_eq!(page("{}").unwrap().rows_count(), 51);
        assert_eq!(page(r#"{"limit":null}"#).unwrap().rows_count(), 51);
        assert_eq!(page(r#"{"limit":1}"#).unwrap().rows_count(), 2);
        assert_eq!(page(r#"{"limit":500}"#).unwrap().rows_count(), 501);
        for limit in ["0", "501", "-1", "1.5", "\"5\"", "true", "99999999999999999999"] {
            assert_eq!(field_of(page(&format!("{{\"limit\":{limit}}}")).unwrap_err()), "limit", "{limit}");
        }
    }

    #[test]
    fn cursor_comes_back_as_the_key_it_was_made_of() {
        for (numbers, text) in
            [([0, 0], ""), ([i64::MAX, i64::MIN], "卡-1"), ([-1, 1_777_624_200_000], "C0001")]
        {
            let next = Cursor::encode(List::Blacklist, numbers, text);
            let page = page(&format!("{{\"after\":\"{next}\"}}")).unwrap();
            let expected = Cursor { numbers, text: text.to_owned() };
            assert_eq!(page.after(List::Blacklist, 40).unwrap(), expected);
        }
        assert_eq!(page("{}").unwrap().after::<1>(List::Statement, 0).unwrap(), Cursor::start());
    }

    #[test]
    fn what_is_no_cursor_of_the_list_is_refused() {
        let good = Cursor::encode(List::Statement, [7], "");
        assert!(page(&format!("{{\"after\":\"{good}\"}}")).unwrap().after::<1>(List::Statement, 0).is_ok());
        let wrong = [
            String::new(),
            "s".to_owned(),
            "garbage".to_owned(),
            good.to_uppercase(),
            good[1..].to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            format!("{good}41"),
            format!("s{}", "+".repeat(16)),
            format!("s{}", "é".repeat(8)),
            Cursor::encode(List::Passages, [7], ""),
            Cursor::encode(List::Statement, [7, 7], ""),
        ];
        for after in wrong {
            let page = page(&format!("{{\"after\":\"{after}\"}}")).unwrap();
            assert_eq!(field_of(page.after::<1>(List::Statement, 0).unwrap_err()), "after", "{after}");
        }
        assert_eq!(field_of(page(r#"{"after":5}"#).unwrap_err()), "after");
    }

    #[test]
    fn row_too_many_is_taken_off_and_announces_the_next_page() {
        let page = page(r#"{"limit":2}"#).unwrap();
        let cursor_of = |row: &i32| row.to_string();
        let mut rows = vec![9, 8, 7];
        assert_eq!((page.cut(&mut rows, cursor_of), rows), (Some("8".to_owned()), vec![9, 8]));
        let mut rows = vec![9, 8];
        assert_eq!((page.cut(&mut rows, cursor_of), rows), (None, vec![9, 8]));
        assert_eq!(page.cut(&mut Vec::new(), cursor_of), None);
    }
}
