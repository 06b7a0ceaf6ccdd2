//! `gantry data seed`: fills a database with customers and passages.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gantry_datasource::limits::PARAMETERS_MAX;
use gantry_datasource::{Connection, Mode, ValueRef};
use gantry_seed::{Cell, PASSAGE, Plan, Rows, TABLES};
use gantry_settings::Settings;
use jiff::civil::Date;
use serde_json::json;

use crate::arguments::SeedArguments;
use crate::data::migrate;
use crate::failure::Failure;
use crate::output::{complain, print};
use crate::sources::Sources;

/// Accounts between two commits.
const ACCOUNTS_A_COMMIT: u64 = 5_000;
/// Accounts whose rows are held before whole statements of them are written.
const ACCOUNTS_A_BATCH: u64 = 500;
/// Rows of one statement, if its parameters are not too many then.
const ROWS_A_STATEMENT: usize = 100;
/// How long one statement may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
const DAY_MS: i64 = 86_400_000;
/// Days begin as in China.
const AHEAD_MS: i64 = 8 * 3_600_000;

/// Writes the rows, so many accounts to a transaction; what was committed when it is cut off has books that balance.
pub(super) fn run(settings: &Settings, arguments: &SeedArguments, json: bool) -> anyhow::Result<ExitCode> {
    migrate::prepare(settings, &arguments.source)?;
    let mut sources = Sources::new(settings);
    let connection = sources.connection(&arguments.source)?;
    let first = first_number(connection, arguments.append)?;
    let plan = plan(arguments, first);
    let began = Instant::now();
    write(connection, &plan)?;
    let seconds = began.elapsed().as_secs_f64();
    if json {
        print(json!({
            "source": arguments.source, "accounts": plan.accounts, "passages": plan.passages,
            "first_account": format!("SA{first:011}"), "seconds": seconds,
        }))?;
    } else {
        print(format_args!(
            "{} accounts from SA{first:011} on and {} passages in {seconds:.1} s",
            plan.accounts, plan.passages
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(arguments: &SeedArguments, first: u64) -> Plan {
    let until_ms = day_ms(arguments.until);
    Plan {
        accounts: arguments.accounts,
        passages: arguments.passages.unwrap_or(arguments.accounts.saturating_mul(5)),
        first,
        seed: arguments.seed,
        from_ms: until_ms - i64::from(arguments.days) * DAY_MS,
        until_ms,
    }
}

/// The first millisecond of a day.
fn day_ms(day: Date) -> i64 {
    day.duration_since(Date::constant(1970, 1, 1)).as_secs() * 1_000 - AHEAD_MS
}

/// The number of the first account to write.
fn first_number(connection: &mut dyn Connection, append: bool) -> anyhow::Result<u64> {
    let any = connection.query("SELECT account_id FROM customer_account {limit ?}", &[1.into()], 1, LIMIT)?;
    if any.rows() > 0 && !append {
        return Err(
            Failure::usage("the database has accounts already; give --append to add others to them").into()
        );
    }
    let text = "SELECT MAX(account_id) FROM customer_account WHERE account_id >= ? AND account_id < ?";
    let last = connection.query(text, &["SA".into(), "SB".into()], 1, LIMIT)?;
    match last.get(0, 0) {
        Some(ValueRef::Text(last)) => {
            let number = last.strip_prefix("SA").and_then(|digits| digits.parse::<u64>().ok());
            Ok(number.with_context(|| format!("{last} is no number of a seeded account"))? + 1)
        }
        Some(ValueRef::Null) | None => Ok(1),
        Some(other) => bail!("the last account's number is {other:?}"),
    }
}

fn write(connection: &mut dyn Connection, plan: &Plan) -> anyhow::Result<()> {
    let texts = Texts::new();
    let mut rows = Rows::default();
    let mut progress = Progress { began: Instant::now(), told: Instant::now(), passages: 0 };
    connection.begin(Mode::Write, LIMIT)?;
    for index in 0..plan.accounts {
        plan.account(index, &mut rows);
        let done = index + 1;
        let is_commit = done.is_multiple_of(ACCOUNTS_A_COMMIT) || done == plan.accounts;
        // One account may have more rows than a batch of others.
        let is_full = rows.count(PASSAGE) >= 20_000;
        if is_commit || is_full || done.is_multiple_of(ACCOUNTS_A_BATCH) {
            let outcome = flush(connection, &texts, &mut rows, is_commit, &mut progress);
            if let Err(error) = outcome {
                // The first error is the one to tell.
                let _undone = connection.rollback();
                return Err(error).context(format!(
                    "after {} accounts; what was committed stays, and --append goes on behind it",
                    index / ACCOUNTS_A_COMMIT * ACCOUNTS_A_COMMIT
                ));
            }
        }
        if is_commit {
            connection.commit()?;
            progress.tell(done, plan);
            if done < plan.accounts {
                connection.begin(Mode::Write, LIMIT)?;
            }
        }
    }
    Ok(())
}

/// Writes whole statements' worth of rows, or all before a commit. Accounts and cards are written to the last row each
/// time, since what is written behind them needs them.
fn flush(
    connection: &mut dyn Connection,
    texts: &Texts,
    rows: &mut Rows,
    is_commit: bool,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let waiting = rows.count(PASSAGE);
    for (index, table) in TABLES.iter().enumerate() {
        let is_last = is_commit || ["customer_account", "etc_card"].contains(&table.name);
        rows.drain(index, texts.rows[index], is_last, |cells| insert(connection, texts, index, cells))?;
    }
    progress.passages += waiting - rows.count(PASSAGE);
    Ok(())
}

fn insert(
    connection: &mut dyn Connection,
    texts: &Texts,
    table: usize,
    cells: &[Cell],
) -> anyhow::Result<()> {
    let values: Vec<ValueRef<'_>> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Number(number) => ValueRef::I64(*number),
            Cell::Text(text) => ValueRef::Text(text),
        })
        .collect();
    let columns = TABLES[table].columns.len();
    let whole = texts.rows[table] * columns;
    if values.len() == whole {
        connection.execute(&texts.whole[table], &values, LIMIT)?;
    } else {
        // A remainder goes row by row, with a text that is known.
        for row in values.chunks(columns) {
            connection.execute(&texts.single[table], row, LIMIT)?;
        }
    }
    Ok(())
}

/// The statements of each table: one for many rows, one for a single row.
struct Texts {
    rows: Vec<usize>,
    whole: Vec<String>,
    single: Vec<String>,
}

impl Texts {
    fn new() -> Self {
        let rows: Vec<usize> =
            TABLES.iter().map(|table| ROWS_A_STATEMENT.min(PARAMETERS_MAX / table.columns.len())).collect();
        let text = |index: usize, count: usize| {
            let table = &TABLES[index];
            let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
            format!(
                "INSERT INTO {} ({}) VALUES {}",
                table.name,
                table.columns.join(", "),
                vec![row; count].join(", ")
            )
        };
        Self {
            whole: rows.iter().enumerate().map(|(index, count)| text(index, *count)).collect(),
            single: (0..TABLES.len()).map(|index| text(index, 1)).collect(),
            rows,
        }
    }
}

/// What standard error is told now and then.
struct Progress {
    began: Instant,
    told: Instant,
    passages: usize,
}

impl Progress {
    fn tell(&mut self, accounts: u64, plan: &Plan) {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let seconds = self.began.elapsed().as_secs();
            complain(format_args!(
                "{accounts} of {} accounts, {} of {} passages after {seconds} s",
                plan.accounts, self.passages, plan.passages
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_stay_within_the_limit_of_parameters() {
        let texts = Texts::new();
        for (index, table) in TABLES.iter().enumerate() {
            assert_eq!(texts.whole[index].matches('?').count(), texts.rows[index] * table.columns.len());
            assert!(texts.whole[index].matches('?').count() <= PARAMETERS_MAX);
        }
    }

    #[test]
    fn days_begin_as_in_china() {
        assert_eq!(day_ms(Date::constant(1970, 1, 2)), DAY_MS - AHEAD_MS);
    }
}
