//! Lines of a bank file: fixed fields, counted in bytes. `README.md` has them in tables.

use std::ops::Range;

use crate::charset::Charset;

/// Bytes of a line without its end.
pub(crate) const LINE_BYTES: usize = 200;
/// The end of every line, the last one too.
pub(crate) const LINE_END: &[u8; 2] = b"\r\n";
/// Bytes of a line with its end.
pub(crate) const FULL_LINE_BYTES: usize = LINE_BYTES + LINE_END.len();

/// A field's place in its line. `from` counts from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) from: usize,
    pub(crate) bytes: usize,
}

const fn field(name: &'static str, from: usize, bytes: usize) -> Field {
    Field { name, from, bytes }
}

impl Field {
    fn range(self) -> Range<usize> {
        self.from..self.from + self.bytes
    }
}

/// What a line is: `H`, `D`, `R` or `T`.
pub(crate) const LINE_KIND: Field = field("line_kind", 0, 1);

/// The header.
pub(crate) const FORMAT: Field = field("format", 1, 8);
pub(crate) const CHARSET: Field = field("charset", 9, 8);
pub(crate) const BANK: Field = field("bank", 17, 16);
pub(crate) const DATE: Field = field("date", 33, 10);
pub(crate) const FILE_NO: Field = field("file", 43, 4);
pub(crate) const FILES_COUNT: Field = field("files", 47, 4);
pub(crate) const RESULT_NO: Field = field("result", 51, 4);
pub(crate) const CREATED: Field = field("created", 55, 14);

/// A debit, and the beginning of its result.
pub(crate) const SEQUENCE: Field = field("sequence", 1, 8);
pub(crate) const ACCOUNT: Field = field("account", 9, 40);
pub(crate) const RUN: Field = field("run", 49, 4);
pub(crate) const AMOUNT: Field = field("amount", 53, 15);
pub(crate) const ID_NO: Field = field("id_no", 68, 64);
pub(crate) const CUSTOMER: Field = field("customer", 132, 60);

/// The rest of a result.
pub(crate) const OUTCOME: Field = field("outcome", 68, 1);
pub(crate) const REASON_CODE: Field = field("reason_code", 69, 8);
pub(crate) const REASON: Field = field("reason", 77, 60);

/// The trailer.
pub(crate) const COUNT: Field = field("count", 1, 8);
pub(crate) const TOTAL: Field = field("total", 9, 18);
pub(crate) const LEFT_OUT: Field = field("left_out", 27, 8);
pub(crate) const CHECKSUM: Field = field("checksum", 35, 8);

/// A line that is being written; what no field covers is blank.
pub(crate) struct Line([u8; LINE_BYTES]);

impl Line {
    pub(crate) fn new(kind: u8) -> Self {
        let mut bytes = [b' '; LINE_BYTES];
        bytes[LINE_KIND.from] = kind;
        Self(bytes)
    }

    /// Writes a text from the left, cut between two characters if it is too long; the first character that the charset
    /// lacks is the error.
    pub(crate) fn text(&mut self, field: Field, text: &str, charset: Charset) -> Result<(), char> {
        let encoded = charset.encode(text, field.bytes)?;
        self.0[field.from..field.from + encoded.len()].copy_from_slice(&encoded);
        Ok(())
    }

    /// Writes ASCII from the left; what is too long is cut.
    pub(crate) fn ascii(&mut self, field: Field, text: &str) {
        for (to, from) in self.0[field.range()].iter_mut().zip(text.bytes()) {
            *to = from;
        }
    }

    /// Writes a number from the right with zeros before it. Numbers are below what their field holds.
    pub(crate) fn number(&mut self, field: Field, number: i64) {
        self.ascii(field, &format!("{number:0width$}", width = field.bytes));
    }

    /// Adds the line and its end to a file.
    pub(crate) fn push_to(&self, file: &mut Vec<u8>) {
        file.extend_from_slice(&self.0);
        file.extend_from_slice(LINE_END);
    }
}

/// Why a field could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    pub(crate) field: &'static str,
    pub(crate) message: String,
}

impl FieldFault {
    pub(crate) fn new(field: Field, message: impl Into<String>) -> Self {
        Self { field: field.name, message: message.into() }
    }
}

/// A line that was received: [`LINE_BYTES`] bytes.
#[derive(Clone, Copy)]
pub(crate) struct ReadLine<'a>(&'a [u8]);

impl<'a> ReadLine<'a> {
    /// `None` for bytes of another number.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() == LINE_BYTES).then_some(Self(bytes))
    }

    pub(crate) fn bytes(self, field: Field) -> &'a [u8] {
        &self.0[field.range()]
    }

    /// A text without the blanks at its right.
    pub(crate) fn text(self, field: Field, charset: Charset) -> Result<String, FieldFault> {
        let text = charset.decode(self.bytes(field)).filter(|text| !text.chars().any(char::is_control));
        let text = text.ok_or_else(|| FieldFault::new(field, format!("is no text in {}", charset.name())))?;
        Ok(text.trim_end_matches(' ').to_owned())
    }

    /// A number in digits that fill the field.
    pub(crate) fn number(self, field: Field) -> Result<i64, FieldFault> {
        let bytes = self.bytes(field);
        let digits = bytes.iter().all(u8::is_ascii_digit);
        // At most 18 digits, which 64 bits hold.
        let number =
            bytes.iter().fold(0, |number: i64, digit| number * 10 + i64::from(digit.wrapping_sub(b'0')));
        if digits {
            Ok(number)
        } else {
            Err(FieldFault::new(field, format!("is not {} digits", field.bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: fields neither overlap nor leave their line.
    #[test]
    fn fields_stand_one_after_the_other() {
        for fields in [
            &[LINE_KIND, FORMAT, CHARSET, BANK, DATE, FILE_NO, FILES_COUNT, RESULT_NO, CREATED][..],
            &[LINE_KIND, SEQUENCE, ACCOUNT, RUN, AMOUNT, ID_NO, CUSTOMER],
            &[LINE_KIND, SEQUENCE, ACCOUNT, RUN, AMOUNT, OUTCOME, REASON_CODE, REASON],
            &[LINE_KIND, COUNT, TOTAL, LEFT_OUT, CHECKSUM],
        ] {
            for pair in fields.windows(2) {
                assert_eq!(pair[0].from + pair[0].bytes, pair[1].from, "{pair:?}");
            }
            assert!(fields.iter().all(|field| field.from + field.bytes <= LINE_BYTES));
        }
    }

    /// The document that banks read says the same.
    #[test]
    fn readme_has_every_field_with_its_place() {
        let readme = include_str!("../README.md");
        for field in [
            LINE_KIND,
            FORMAT,
            CHARSET,
            BANK,
            DATE,
            FILE_NO,
            FILES_COUNT,
            RESULT_NO,
            CREATED,
            SEQUENCE,
            ACCOUNT,
            RUN,
            AMOUNT,
            ID_NO,
            CUSTOMER,
            OUTCOME,
            REASON_CODE,
            REASON,
            COUNT,
            TOTAL,
            LEFT_OUT,
            CHECKSUM,
        ] {
            let row = format!("| {} | {} | {} |", field.from, field.bytes, field.name);
            assert!(readme.contains(&row), "{row}");
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let mut line = Line::new(b'D');
        line.text(CUSTOMER, "李娜", Charset::Gbk).unwrap();
        line.number(AMOUNT, 1_500);
        let mut file = Vec::new();
        line.push_to(&mut file);
        assert_eq!(file.len(), FULL_LINE_BYTES);
        let read = ReadLine::new(&file[..LINE_BYTES]).unwrap();
        assert_eq!(read.text(CUSTOMER, Charset::Gbk).unwrap(), "李娜");
        assert_eq!(read.number(AMOUNT).unwrap(), 1_500);
        assert_eq!(read.bytes(AMOUNT), b"000000000001500");
        assert_eq!(read.number(RUN).unwrap_err(), FieldFault::new(RUN, "is not 4 digits"));
        assert_eq!(read.text(CUSTOMER, Charset::Utf8).unwrap_err().field, "customer");
    }
}
