//! A bank's result file as it was received: taken apart, its frame checked.

use gantry_abi::ServiceError;
use gantry_ledger::Day;

use crate::charset::Charset;
use crate::configuration;
use crate::line::{self, FieldFault, LINE_BYTES, ReadLine};

/// What a result file begins with.
const FORMAT: &[u8; 8] = b"GBRESLT1";

/// A result file whose header, trailer, totals and checksum are right.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) charset: Charset,
    pub(crate) bank: String,
    pub(crate) date: String,
    pub(crate) file_no: i64,
    pub(crate) result_no: i64,
    /// The records by their lines, from line 2; an error is a record that cannot be read.
    pub(crate) records: Vec<Result<Record, FieldFault>>,
}

/// What became of a debit.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) sequence: i64,
    pub(crate) account: String,
    pub(crate) run: i64,
    pub(crate) amount_fen: i64,
    pub(crate) is_accepted: bool,
    pub(crate) reason_code: String,
}

impl Received {
    /// Reads a file.
    ///
    /// # Errors
    /// `bad_request` that names the field and says the line, if the header or the trailer is wrong.
    pub(crate) fn read(file: &[u8]) -> Result<Self, ServiceError> {
        let lines = lines(file)?;
        let [header, records @ .., trailer] = lines.as_slice() else {
            return Err(refuse(1, "header", "the file has less than a header and a trailer"));
        };
        let last = lines.len();
        let header_line =
            frame(header, b'H').ok_or_else(|| refuse(1, "header", "is no header of 200 bytes"))?;
        let mut received =
            Self::read_header(header_line).map_err(|fault| refuse(1, fault.field, &fault.message))?;
        let trailer_line =
            frame(trailer, b'T').ok_or_else(|| refuse(last, "trailer", "is no trailer of 200 bytes"))?;
        let before = &file[..file.len() - line::FULL_LINE_BYTES];
        let declared = Declared::read(trailer_line, before)
            .map_err(|fault| refuse(last, fault.field, &fault.message))?;
        declared.check(records).map_err(|fault| refuse(last, fault.field, &fault.message))?;
        received.records = records.iter().map(|record| Record::read(record, received.charset)).collect();
        Ok(received)
    }

    fn read_header(header: ReadLine<'_>) -> Result<Self, FieldFault> {
        if header.bytes(line::FORMAT) != FORMAT {
            return Err(FieldFault::new(line::FORMAT, "is not GBRESLT1"));
        }
        let name = header.text(line::CHARSET, Charset::Utf8)?;
        let charset =
            Charset::of(&name).ok_or_else(|| FieldFault::new(line::CHARSET, "is neither UTF-8 nor GBK"))?;
        let bank = header.text(line::BANK, charset)?;
        if configuration::check_code(&bank).is_err() {
            return Err(FieldFault::new(line::BANK, "is no code of a bank"));
        }
        let date = header.text(line::DATE, charset)?;
        let day = Day::parse(&date)
            .ok_or_else(|| FieldFault::new(line::DATE, "is no day; write it like 2026-05-01"))?;
        let file_no = header.number(line::FILE_NO)?;
        let result_no = header.number(line::RESULT_NO)?;
        if result_no == 0 {
            return Err(FieldFault::new(line::RESULT_NO, "is 0; results of a file count from 1"));
        }
        Ok(Self { charset, bank, date: day.to_string(), file_no, result_no, records: Vec::new() })
    }
}

/// What the trailer says of the file.
struct Declared {
    count: i64,
    total_fen: i64,
}

impl Declared {
    fn read(trailer: ReadLine<'_>, before: &[u8]) -> Result<Self, FieldFault> {
        let checksum = format!("{:08x}", crc32c::crc32c(before));
        if trailer.bytes(line::CHECKSUM) != checksum.as_bytes() {
            return Err(FieldFault::new(line::CHECKSUM, "is not the CRC-32C of the bytes before this line"));
        }
        Ok(Self { count: trailer.number(line::COUNT)?, total_fen: trailer.number(line::TOTAL)? })
    }

    fn check(&self, records: &[&[u8]]) -> Result<(), FieldFault> {
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        if self.count != count {
            return Err(FieldFault::new(
                line::COUNT,
                format!("is {}; there are {count} records", self.count),
            ));
        }
        let amount = |record: &&[u8]| ReadLine::new(record).and_then(|read| read.number(line::AMOUNT).ok());
        let amounts: Vec<i64> = records.iter().filter_map(amount).collect();
        let sum: i64 = amounts.iter().sum();
        // A record whose amount cannot be read is reported by its line; the others must then stay below the total.
        let ties = if amounts.len() == records.len() { sum == self.total_fen } else { sum <= self.total_fen };
        if ties {
            Ok(())
        } else {
            Err(FieldFault::new(line::TOTAL, format!("is {} fen; the records have {sum}", self.total_fen)))
        }
    }
}

impl Record {
    fn read(bytes: &[u8], charset: Charset) -> Result<Self, FieldFault> {
        let Some(record) = frame(bytes, b'R') else {
            let message = format!("is no result record of {LINE_BYTES} bytes that begins with R");
            return Err(FieldFault::new(line::LINE_KIND, message));
        };
        let outcome = record.bytes(line::OUTCOME);
        if outcome != b"A" && outcome != b"R" {
            return Err(FieldFault::new(line::OUTCOME, "is neither A (accepted) nor R (rejected)"));
        }
        // The text is for people; that it is one is checked, since a wrong charset shows there first.
        record.text(line::REASON, charset)?;
        let reason_code = record.text(line::REASON_CODE, charset)?;
        if !reason_code.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(FieldFault::new(line::REASON_CODE, "is not letters and digits of ASCII"));
        }
        Ok(Self {
            sequence: record.number(line::SEQUENCE)?,
            account: record.text(line::ACCOUNT, charset)?,
            run: record.number(line::RUN)?,
            amount_fen: record.number(line::AMOUNT)?,
            is_accepted: outcome == b"A",
            reason_code,
        })
    }
}

/// The lines without their ends. Neither charset has a line feed within a character.
fn lines(file: &[u8]) -> Result<Vec<&[u8]>, ServiceError> {
    let Some(whole) = file.strip_suffix(line::LINE_END) else {
        let last = file.iter().filter(|byte| **byte == b'\n').count() + 1;
        return Err(refuse(last, "trailer", "the last line does not end with CR LF"));
    };
    // A line that ends with a line feed alone keeps a wrong length, and is bad for that.
    Ok(whole.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect())
}

/// The line if it is one of this kind.
fn frame(bytes: &[u8], kind: u8) -> Option<ReadLine<'_>> {
    ReadLine::new(bytes).filter(|line| line.bytes(line::LINE_KIND) == [kind])
}

/// The whole file is refused.
fn refuse(line: usize, field: &'static str, message: &str) -> ServiceError {
    ServiceError::bad_request(field, format!("line {line}, `{field}`: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Field, Line};

    fn record(sequence: i64, amount_fen: i64) -> Line {
        let mut record = Line::new(b'R');
        record.number(line::SEQUENCE, sequence);
        record.ascii(line::ACCOUNT, "A1");
        record.number(line::RUN, 1);
        record.number(line::AMOUNT, amount_fen);
        record.ascii(line::OUTCOME, "A");
        record
    }

    fn header() -> Line {
        let mut header = Line::new(b'H');
        for (field, text) in [
            (line::FORMAT, "GBRESLT1"),
            (line::CHARSET, "GBK"),
            (line::BANK, "ICBC"),
            (line::DATE, "2026-05-01"),
        ] {
            header.ascii(field, text);
        }
        for field in [line::FILE_NO, line::FILES_COUNT, line::RESULT_NO] {
            header.number(field, 1);
        }
        header
    }

    /// A file of these lines with a trailer that says so.
    fn file(lines: &[Line], count: i64, total_fen: i64) -> Vec<u8> {
        let mut file = Vec::new();
        lines.iter().for_each(|line| line.push_to(&mut file));
        finish(file, count, total_fen)
    }

    fn finish(mut file: Vec<u8>, count: i64, total_fen: i64) -> Vec<u8> {
        let mut trailer = Line::new(b'T');
        trailer.number(line::COUNT, count);
        trailer.number(line::TOTAL, total_fen);
        trailer.number(line::LEFT_OUT, 0);
        trailer.ascii(line::CHECKSUM, &format!("{:08x}", crc32c::crc32c(&file)));
        trailer.push_to(&mut file);
        file
    }

    /// The field that a file is refused for, and its message.
    fn refused(file: &[u8]) -> (String, String) {
        match Received::read(file) {
            Err(ServiceError::Business { code, field: Some(field), message }) if code == "bad_request" => {
                (field.into_owned(), message)
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn bad_records_are_told_by_line_and_the_rest_is_read() {
        let mut bad = Vec::new();
        let mut outcome = record(2, 5);
        outcome.ascii(line::OUTCOME, "X");
        let mut amount = record(3, 0);
        amount.ascii(line::AMOUNT, "        1500.00");
        for one in [header(), record(1, 5), outcome, amount] {
            one.push_to(&mut bad);
        }
        bad.extend_from_slice(b"R short\r\n");
        record(5, 7).push_to(&mut bad);
        let received = Received::read(&finish(bad, 5, 1_000)).unwrap();
        let told: Vec<&str> = received
            .records
            .iter()
            .map(|record| record.as_ref().map_or_else(|fault| fault.field, |_| ""))
            .collect();
        assert_eq!(told, ["", "outcome", "amount", "line_kind", ""]);
        assert_eq!((received.bank.as_str(), received.date.as_str()), ("ICBC", "2026-05-01"));
    }

    #[test]
    fn file_with_a_broken_frame_is_refused_with_field_and_line() {
        let whole = file(&[header(), record(1, 5)], 1, 5);
        assert_eq!(Received::read(&whole).unwrap().records.len(), 1);
        assert_eq!(refused(b"").0, "trailer");
        assert_eq!(refused(b"\r\n").0, "header");
        assert_eq!(refused(&whole[..whole.len() - 2]).0, "trailer");
        assert_eq!(refused(&file(&[record(1, 5)], 0, 0)).0, "header");
        let (field, message) = refused(&file(&[header(), record(1, 5)], 2, 5));
        assert!(field == "count" && message.contains("line 3"), "{message}");
        assert_eq!(refused(&file(&[header(), record(1, 5)], 1, 6)).0, "total");
        let mut touched = whole.clone();
        touched[202 + 60] ^= 1;
        assert_eq!(refused(&touched).0, "checksum");
        let spoilt = |field: Field, text: &str| {
            let mut header = header();
            header.ascii(field, text);
            refused(&file(&[header, record(1, 5)], 1, 5))
        };
        for (field, text) in [
            (line::FORMAT, "GBDEBIT1"),
            (line::CHARSET, "BIG5"),
            (line::BANK, "A B"),
            (line::DATE, "2026-02-30"),
            (line::FILE_NO, "   1"),
            (line::RESULT_NO, "0000"),
        ] {
            let (found, message) = spoilt(field, text);
            assert!(found == field.name && message.contains("line 1"), "{message}");
        }
    }
}
