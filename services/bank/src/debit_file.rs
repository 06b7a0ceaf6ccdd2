//! 30000002: builds a bank file.

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, params};
use gantry_ledger::{Day, SOURCE, refusal, request, time};

use crate::charset::Charset;
use crate::configuration::{self, Configuration};
use crate::filing;
use crate::line::{self, LINE_BYTES, LINE_END, Line};
use crate::sql;

/// What a file of debits begins with.
const FORMAT: &str = "GBDEBIT1";
/// Longest code of a bank in a request, before its letters are looked at.
const BANK_TEXT_BYTES_MAX: usize = 64;
/// Largest number of a file.
const FILE_NO_MAX: i64 = 9_999;

/// The first request for a day finds what is owed and makes the files of it; a file that was built is built again to the
/// byte. What came late is found by asking for the file behind the last one.
pub(crate) struct DebitFile {
    configuration: Configuration,
}

/// Which file is meant.
pub(crate) struct Wanted {
    pub(crate) bank: String,
    pub(crate) day: Day,
    pub(crate) date: String,
    pub(crate) file_no: i64,
}

impl Service for DebitFile {
    fn create(_: &Host<'_>, config: &str) -> Result<Self, CreateError> {
        Ok(Self { configuration: Configuration::read(config)? })
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let now_ms = time::now_ms();
        let wanted = Wanted::read(request, now_ms)?;
        if context.documents("passages").is_here() {
            return Err(refusal::passages_are_documents());
        }
        let sql = context.sql(SOURCE);
        let head = match Head::read(&sql, &wanted)? {
            Some(head) => head,
            None => {
                filing::build(&sql, &self.configuration, &wanted, now_ms)?;
                Head::read(&sql, &wanted)?.ok_or_else(|| unknown(&wanted))?
            }
        };
        let debits = Debit::read_file(&sql, &wanted.bank, &wanted.date, wanted.file_no)?;
        let file = write(&wanted, &head, &debits)?;
        context.reply(&file)
    }
}

/// There is no such file, and nothing new that would make it.
fn unknown(wanted: &Wanted) -> ServiceError {
    let Wanted { bank, date, file_no, .. } = wanted;
    ServiceError::business(
        "file_unknown",
        format!("there is no file {file_no} of {bank} for {date}, and nothing new to collect"),
    )
}

impl Wanted {
    fn read(request: &[u8], now_ms: i64) -> Result<Self, ServiceError> {
        let body = Body::read(request)?;
        let bank = request::text(&body, "bank", BANK_TEXT_BYTES_MAX)?;
        configuration::check_code(&bank)?;
        let file_no = request::whole_or(&body, "file", 1..=FILE_NO_MAX, 1)?;
        let day = Day::read_past(&body, now_ms)?;
        Ok(Self { bank, day, date: day.to_string(), file_no })
    }
}

/// What is kept of a file besides its debits.
pub(crate) struct Head {
    files_count: i64,
    charset: Charset,
    left_out_count: i64,
    created_ms: i64,
}

impl Head {
    pub(crate) fn read(sql: &Sql<'_>, wanted: &Wanted) -> Result<Option<Self>, ServiceError> {
        let values = params![&wanted.bank, &wanted.date, wanted.file_no];
        let found = sql.query_opt(sql::SELECT_FILE, values, |row| {
            Ok((row.i64(0)?, row.text(1)?.to_owned(), row.i64(2)?, row.i64(3)?))
        })?;
        let Some((files_count, charset, left_out_count, created_ms)) = found else { return Ok(None) };
        let charset = known_charset(&charset)?;
        Ok(Some(Self { files_count, charset, left_out_count, created_ms }))
    }
}

/// The charset that a file was written in.
pub(crate) fn known_charset(name: &str) -> Result<Charset, ServiceError> {
    Charset::of(name).ok_or_else(|| ServiceError::failed(format!("a file is kept with the charset {name:?}")))
}

/// What a customer is to pay.
pub(crate) struct Debit {
    pub(crate) account: String,
    pub(crate) run: i64,
    amount_fen: i64,
    id_no: String,
    customer: String,
}

impl Debit {
    pub(crate) fn read_file(
        sql: &Sql<'_>,
        bank: &str,
        date: &str,
        file_no: i64,
    ) -> Result<Vec<Self>, ServiceError> {
        let debits = sql.query_all(sql::SELECT_FILE_DEBITS, params![bank, date, file_no], |row| {
            Ok(Self {
                account: row.text(0)?.to_owned(),
                run: row.i64(1)?,
                amount_fen: row.i64(2)?,
                id_no: row.text(3)?.to_owned(),
                customer: row.text(4)?.to_owned(),
            })
        })?;
        Ok(debits)
    }

    /// The record; the first character that the charset lacks is the error.
    pub(crate) fn line(&self, sequence: i64, charset: Charset) -> Result<Line, char> {
        let mut record = Line::new(b'D');
        record.number(line::SEQUENCE, sequence);
        record.text(line::ACCOUNT, &self.account, charset)?;
        record.number(line::RUN, self.run);
        record.number(line::AMOUNT, self.amount_fen);
        record.text(line::ID_NO, &self.id_no, charset)?;
        record.text(line::CUSTOMER, &self.customer, charset)?;
        Ok(record)
    }
}

/// Writes a file whose debits can all be written, as was found out when it was made.
fn write(wanted: &Wanted, head: &Head, debits: &[Debit]) -> Result<Vec<u8>, ServiceError> {
    let mut file = Vec::with_capacity((debits.len() + 2) * (LINE_BYTES + LINE_END.len()));
    header(wanted, head)?.push_to(&mut file);
    for (sequence, debit) in (1..).zip(debits) {
        let record = debit.line(sequence, head.charset).map_err(|lacking| {
            ServiceError::failed(format!(
                "the customer of {} changed: {lacking:?} cannot be written",
                debit.account
            ))
        })?;
        record.push_to(&mut file);
    }
    let total = debits.iter().map(|debit| debit.amount_fen).sum();
    trailer(&file, debits.len(), total, head.left_out_count).push_to(&mut file);
    Ok(file)
}

fn header(wanted: &Wanted, head: &Head) -> Result<Line, ServiceError> {
    let mut header = Line::new(b'H');
    header.ascii(line::FORMAT, FORMAT);
    header.ascii(line::CHARSET, head.charset.name());
    header.ascii(line::BANK, &wanted.bank);
    header.ascii(line::DATE, &wanted.date);
    header.number(line::FILE_NO, wanted.file_no);
    header.number(line::FILES_COUNT, head.files_count);
    header.number(line::RESULT_NO, 0);
    // RFC 3339 in UTC, without its punctuation.
    let created = time::format(head.created_ms)?;
    let digits: String = created.chars().filter(char::is_ascii_digit).collect();
    header.ascii(line::CREATED, &digits);
    Ok(header)
}

fn trailer(before: &[u8], count: usize, total_fen: i64, left_out: i64) -> Line {
    let mut trailer = Line::new(b'T');
    trailer.number(line::COUNT, i64::try_from(count).unwrap_or(i64::MAX));
    trailer.number(line::TOTAL, total_fen);
    trailer.number(line::LEFT_OUT, left_out);
    trailer.ascii(line::CHECKSUM, &format!("{:08x}", crc32c::crc32c(before)));
    trailer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debit(account: &str, amount_fen: i64, customer: &str) -> Debit {
        Debit {
            account: account.into(),
            run: 1,
            amount_fen,
            id_no: "110105199001011234".into(),
            customer: customer.into(),
        }
    }

    #[test]
    fn file_has_header_records_and_trailer_that_tie() {
        let day = Day::parse("2026-05-01").unwrap();
        let wanted = Wanted { bank: "ICBC".into(), day, date: day.to_string(), file_no: 2 };
        let head =
            Head { files_count: 3, charset: Charset::Gbk, left_out_count: 1, created_ms: day.until_ms() };
        let file = write(&wanted, &head, &[debit("A1", 1_500, "李娜"), debit("A2", 20, "王")]).unwrap();
        let lines: Vec<&[u8]> = file.chunks(LINE_BYTES + 2).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.ends_with(LINE_END)));
        assert!(
            lines[0].starts_with(b"HGBDEBIT1GBK     ICBC            2026-05-0100020003000020260501160000")
        );
        assert!(lines[1].starts_with(b"D00000001A1"));
        let (text, _, _) = encoding_rs::GBK.decode(&lines[1][132..140]);
        assert_eq!(text, "李娜    ");
        let checksum = format!("{:08x}", crc32c::crc32c(&file[..3 * 202]));
        assert!(lines[3].starts_with(format!("T0000000200000000000000152000000001{checksum}").as_bytes()));
    }
}
