//! Finds what is to be collected for a day and puts it into files.

use gantry_abi::{ServiceError, Sql, params};

use crate::charset::Charset;
use crate::configuration::Configuration;
use crate::debit_file::{Debit, Head, Wanted};
use crate::sql;

/// The reason of a debit whose customer cannot be written in the bank's charset.
const CHARSET_REASON: &str = "CHARSET";
/// What a debit is whose bank was not asked, or did not pay.
pub(crate) const REJECTED: &str = "rejected";

/// Makes the files that a day lacks; none if there is nothing new, except that the first file of a bank and day is made
/// empty then. Nothing is done if the file is there by the time the day is locked.
pub(crate) fn build(
    sql: &Sql<'_>,
    configuration: &Configuration,
    wanted: &Wanted,
    now_ms: i64,
) -> Result<(), ServiceError> {
    lock(sql, wanted)?;
    if Head::read(sql, wanted)?.is_some() {
        return Ok(());
    }
    let (bank, date) = (&wanted.bank, &wanted.date);
    let before = sql.query_one(sql::SELECT_FILES_COUNT, params![bank, date], |row| row.i64(0))?;
    let charset = configuration.charset(bank);
    let values = params![wanted.day.from_ms(), wanted.day.until_ms(), date, date];
    sql.execute(sql::INSERT_DEBITS, values)?;
    let made = fill(sql, wanted, before, configuration.records_max(), charset)?;
    let has_records = made.iter().any(|file| file.records > 0);
    if before > 0 && !has_records {
        // What no file can hold is found again by every build, and makes none by itself.
        return Ok(());
    }
    let made = if made.is_empty() { vec![Made::default()] } else { made };
    let files_count = before + i64::try_from(made.len()).unwrap_or(i64::MAX);
    for (file_no, file) in (before + 1..).zip(&made) {
        let values = params![bank, date, file_no, files_count, charset.name(), file.left_out, now_ms];
        sql.execute(sql::INSERT_FILE, values)?;
    }
    Ok(())
}

/// Locks the day for the build that begins, and gives it its number.
fn lock(sql: &Sql<'_>, wanted: &Wanted) -> Result<(), ServiceError> {
    let (bank, date) = (&wanted.bank, &wanted.date);
    match sql.query_opt(sql::LOCK_DAY, params![date], |row| row.i64(0))? {
        Some(runs) => sql.execute(sql::UPDATE_DAY, params![bank, runs + 1, date])?,
        None => match sql.execute(sql::INSERT_DAY, params![date, bank, 1]) {
            Err(error) if error.is_unique() => {
                // Whoever was faster has committed: the day is there now.
                return Err(ServiceError::again(format!("another request builds the first file of {date}")));
            }
            other => other?,
        },
    };
    Ok(())
}

/// A file that was filled.
#[derive(Default)]
struct Made {
    records: usize,
    left_out: i64,
}

/// Puts what was found into files of at most `records_max`, by account.
fn fill(
    sql: &Sql<'_>,
    wanted: &Wanted,
    before: i64,
    records_max: u32,
    charset: Charset,
) -> Result<Vec<Made>, ServiceError> {
    let (bank, date) = (&wanted.bank, &wanted.date);
    let mut made = Vec::new();
    let mut after = String::new();
    for file_no in before + 1.. {
        let values = params![bank, date, &after, i64::from(records_max)];
        let accounts = sql.query_all(sql::SELECT_UNFILED, values, |row| Ok(row.text(0)?.to_owned()))?;
        let Some(last) = accounts.into_iter().next_back() else { break };
        sql.execute(sql::UPDATE_FILE_NO, params![file_no, bank, date, &after, &last])?;
        made.push(leave_out(sql, wanted, file_no, charset)?);
        after = last;
    }
    Ok(made)
}

/// Takes out of a file what cannot be written in its charset, so that the rest can go on.
fn leave_out(sql: &Sql<'_>, wanted: &Wanted, file_no: i64, charset: Charset) -> Result<Made, ServiceError> {
    let debits = Debit::read_file(sql, &wanted.bank, &wanted.date, file_no)?;
    let mut made = Made { records: debits.len(), left_out: 0 };
    for debit in debits {
        if debit.line(1, charset).is_err() {
            let values = params![REJECTED, CHARSET_REASON, 0, &wanted.date, &debit.account, debit.run];
            sql.execute(sql::UPDATE_DEBIT, values)?;
            made.records -= 1;
            made.left_out += 1;
        }
    }
    Ok(made)
}
