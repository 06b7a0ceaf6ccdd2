//! 20000009: takes a bank's result file.

use gantry_abi::{Context, CreateError, Host, Service, ServiceError, Sql, params};
use gantry_ledger::{Account, Counterpart, Movement, MovementKind, SOURCE, refusal, time};
use serde::Serialize;

use crate::debit_file::known_charset;
use crate::filing::REJECTED;
use crate::line::{self, Field, FieldFault};
use crate::received::{Received, Record};
use crate::sql;

/// What the bank paid is booked; what it did not pay is free to be asked for again.
const ACCEPTED: &str = "accepted";
/// The bank has not answered yet.
const OPEN: &str = "open";
/// Bad records that a reply lists; the rest is counted.
const LISTED_MAX: usize = 1_000;

/// A record that is bad is reported by its line, and its debit stays open for a further result of the same file.
///
/// Each accepted debit takes five statements: lock the account, three to post, and note it; two more when the account is
/// no longer overdrawn.
pub(crate) struct ResultFile;

#[derive(Serialize)]
struct Taken {
    accepted: usize,
    rejected: usize,
    bad_count: usize,
    bad: Vec<Bad>,
}

/// A record that is not taken.
#[derive(Serialize)]
struct Bad {
    line: usize,
    field: &'static str,
    reason: String,
}

impl Service for ResultFile {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let received = Received::read(request)?;
        let sql = context.sql(SOURCE);
        lock(&sql, &received)?;
        let debits = Debit::read_file(&sql, &received)?;
        let (sound, mut bad) = sort_out(&received, debits);

        let accepted: Vec<&Sound<'_>> = sound.iter().filter(|one| one.record.is_accepted).collect();
        let serials = draw(context, accepted.len())?;
        let now_ms = time::now_ms();
        let mut taken = Taken { accepted: 0, rejected: 0, bad_count: 0, bad: Vec::new() };
        for (one, serial) in accepted.into_iter().zip(&serials) {
            match collect(&sql, &received, one.record, serial, now_ms) {
                // The balance would be beyond what there can be; nothing was written yet.
                Err(ServiceError::Business { message, .. }) => bad.push(one.bad(line::AMOUNT, message)),
                other => {
                    other?;
                    taken.accepted += 1;
                }
            }
        }
        for one in sound.iter().filter(|one| !one.record.is_accepted) {
            note(&sql, &received, one.record, REJECTED)?;
            taken.rejected += 1;
        }
        bad.sort_by_key(|bad| bad.line);
        taken.bad_count = bad.len();
        insert(&sql, &received, &taken, now_ms)?;
        bad.truncate(LISTED_MAX);
        taken.bad = bad;
        context.reply_json(&taken)
    }
}

/// Locks the file that the result is of; `duplicate` if this result was taken.
fn lock(sql: &Sql<'_>, received: &Received) -> Result<(), ServiceError> {
    let Received { bank, date, file_no, result_no, .. } = received;
    let charset =
        sql.query_opt(sql::LOCK_FILE, params![bank, date, *file_no], |row| Ok(row.text(0)?.to_owned()))?;
    let charset = charset.ok_or_else(|| {
        ServiceError::business("file_unknown", format!("there is no file {file_no} of {bank} for {date}"))
    })?;
    if known_charset(&charset)? != received.charset {
        let message = format!("line 1, `charset`: the file was written in {charset}");
        return Err(ServiceError::bad_request(line::CHARSET.name, message));
    }
    let values = params![bank, date, *file_no, *result_no];
    if sql.query_opt(sql::SELECT_RESULT, values, |row| row.i64(0))?.is_some() {
        return Err(twice(received));
    }
    Ok(())
}

fn twice(received: &Received) -> ServiceError {
    let Received { bank, date, file_no, result_no, .. } = received;
    refusal::duplicate(format!("result {result_no} of file {file_no} of {bank} for {date} was taken before"))
}

/// A debit of the file.
struct Debit {
    account: String,
    run: i64,
    amount_fen: i64,
    is_open: bool,
}

impl Debit {
    fn read_file(sql: &Sql<'_>, received: &Received) -> Result<Vec<Self>, ServiceError> {
        let values = params![&received.bank, &received.date, received.file_no];
        let debits = sql.query_all(sql::SELECT_DEBIT_STATES, values, |row| {
            Ok(Self {
                account: row.text(0)?.to_owned(),
                run: row.i64(1)?,
                amount_fen: row.i64(2)?,
                is_open: row.text(3)? == OPEN,
            })
        })?;
        Ok(debits)
    }
}

/// A record that fits its debit.
struct Sound<'a> {
    line: usize,
    record: &'a Record,
}

impl Sound<'_> {
    fn bad(&self, field: Field, reason: String) -> Bad {
        Bad { line: self.line, field: field.name, reason }
    }
}

/// Parts the records that can be taken from those that cannot. The former come in the order of the accounts, which is
/// the order in which accounts are locked.
fn sort_out(received: &Received, mut debits: Vec<Debit>) -> (Vec<Sound<'_>>, Vec<Bad>) {
    let mut sound = Vec::new();
    let mut bad = Vec::new();
    for (line, record) in (2..).zip(&received.records) {
        let fault = match record {
            Ok(record) => match check(record, &mut debits) {
                Ok(()) => {
                    sound.push(Sound { line, record });
                    continue;
                }
                Err(fault) => fault,
            },
            Err(fault) => FieldFault { field: fault.field, message: fault.message.clone() },
        };
        bad.push(Bad { line, field: fault.field, reason: fault.message });
    }
    sound.sort_by_key(|one| one.record.sequence);
    (sound, bad)
}

/// Holds a record against its debit, which is not open for another one afterwards.
fn check(record: &Record, debits: &mut [Debit]) -> Result<(), FieldFault> {
    let index = usize::try_from(record.sequence - 1).ok();
    let debit = index.and_then(|index| debits.get_mut(index));
    let debit = debit.ok_or_else(|| FieldFault::new(line::SEQUENCE, "is of no debit in the file"))?;
    if debit.account != record.account {
        return Err(FieldFault::new(line::ACCOUNT, format!("is not that of debit {}", record.sequence)));
    }
    if debit.run != record.run {
        return Err(FieldFault::new(line::RUN, format!("is {}; the debit has {}", record.run, debit.run)));
    }
    if debit.amount_fen != record.amount_fen {
        let message = format!("is {} fen; the debit has {}", record.amount_fen, debit.amount_fen);
        return Err(FieldFault::new(line::AMOUNT, message));
    }
    if !debit.is_open {
        return Err(FieldFault::new(line::SEQUENCE, "is of a debit that has its result already"));
    }
    debit.is_open = false;
    Ok(())
}

/// Draws the serials of what was collected.
fn draw(context: &mut Context<'_>, count: usize) -> Result<Vec<String>, ServiceError> {
    let count = u32::try_from(count)
        .map_err(|_| ServiceError::failed("a file has more records than there are serials"))?;
    if count == 0 { Ok(Vec::new()) } else { Ok(context.serials("recharge", count)?) }
}

/// Books what the bank collected: the bank owes it to us, the customer has it.
fn collect(
    sql: &Sql<'_>,
    received: &Received,
    record: &Record,
    serial: &str,
    now_ms: i64,
) -> Result<(), ServiceError> {
    let mut account = Account::lock(sql, &record.account)?;
    let movement = Movement {
        kind: MovementKind::Collection,
        serial,
        // The account is asked, not one of its cards.
        card: "-",
        amount_fen: record.amount_fen,
        counterpart: Counterpart::Bank(&received.bank),
        booked_ms: now_ms,
    };
    account.post(sql, &movement)?;
    note(sql, received, record, ACCEPTED)
}

fn note(sql: &Sql<'_>, received: &Received, record: &Record, state: &str) -> Result<(), ServiceError> {
    // Not every database keeps an empty text apart from none.
    let reason = if record.reason_code.is_empty() { "-" } else { record.reason_code.as_str() };
    let values = params![state, reason, received.file_no, &received.date, &record.account, record.run];
    sql.execute(sql::UPDATE_DEBIT, values)?;
    Ok(())
}

fn insert(sql: &Sql<'_>, received: &Received, taken: &Taken, now_ms: i64) -> Result<(), ServiceError> {
    let Received { bank, date, file_no, result_no, .. } = received;
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (accepted, rejected, bad) = (count(taken.accepted), count(taken.rejected), count(taken.bad_count));
    let values = params![bank, date, *file_no, *result_no, accepted, rejected, bad, now_ms];
    match sql.execute(sql::INSERT_RESULT, values) {
        Err(error) if error.is_unique() => Err(twice(received)),
        other => {
            other?;
            Ok(())
        }
    }
}
