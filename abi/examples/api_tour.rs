//! A service library that uses everything the platform lends, a little of each: read it to see how, and the
//! tests of the platform's side load it to see that it works.
//!
//! 39200001 takes `{"do":…}`; what each word does stands with it below.
#![deny(unsafe_code)]

use std::io::Write;

use gantry_abi::json::Body;
use gantry_abi::{
    Context, CreateError, Host, Level, SerialErrorKind, Service, ServiceError, SqlErrorKind, Value,
    migration, params,
};
use serde_json::{Value as Json, json};

/// The service. What changes between calls would be in a `Cell`: calls come one at a time.
struct Tour {
    /// The configuration's text, which this service takes for its own name.
    name: String,
}

impl Service for Tour {
    fn create(host: &Host<'_>, config: &str) -> Result<Self, CreateError> {
        host.log(Level::Debug, &format!("service {} on {}", host.number(), host.platform()));
        match config {
            "refuse" => Err("the configuration says so".into()),
            "panic" => panic!("the configuration says panic"),
            _ => Ok(Self { name: config.to_owned() }),
        }
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        match body.get("do")? {
            "facts" => self.tell_facts(context),
            "write" => write_in_pieces(context, body.get("bytes")?),
            "shrink" => {
                context.reply(&[b'x'; 1000])?;
                context.reply_buffer(3)?.copy_from_slice(b"abc");
                Ok(())
            }
            "values" => round_trip(context),
            "rows" => read_rows(context, body.get("count")?),
            "one" => expect_one_row(context, body.get("count")?),
            "many params" => bind_many(context),
            "unique" => meet_a_constraint(context),
            "serials" => draw(context, body.get("type")?, body.get("count")?),
            "log" => {
                context.log(Level::Error, "an error");
                if context.is_log_enabled(Level::Debug) {
                    context.log(Level::Debug, "dear to make, and not made");
                }
                Ok(())
            }
            "nothing" => Ok(()),
            "refuse" => Err(ServiceError::business("card_blocked", "the card is blocked")),
            "drop panics" => {
                context.reply(b"replied")?;
                let _bomb = Bomb;
                panic!("the first panic")
            }
            other => Err(ServiceError::bad_request("do", format!("`{other}` is not known"))),
        }
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        assert_ne!(self.name, "panic in drop");
    }
}

/// Looks around while a panic unwinds.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
    }
}

impl Tour {
    /// `facts`: what is known of the call.
    fn tell_facts(&self, context: &mut Context<'_>) -> Result<(), ServiceError> {
        let facts = json!({
            "name": self.name,
            "number": context.number(),
            "caller": context.caller(),
            "request_id": context.request_id(),
            "time_left_ms": u64::try_from(context.time_left().as_millis()).unwrap_or(u64::MAX),
            "cancelled": context.is_cancelled(),
        });
        context.reply_json(&facts)
    }
}

/// `write`: a reply of so many bytes, piece by piece, into memory that grows under it.
fn write_in_pieces(context: &mut Context<'_>, bytes: usize) -> Result<(), ServiceError> {
    let mut writer = context.writer();
    while writer.written() < bytes {
        let digit = b'0' + (writer.written() % 10) as u8;
        writer.write_all(&[digit])?;
    }
    Ok(())
}

/// `values`: every type, bound and read back.
fn round_trip(context: &mut Context<'_>) -> Result<(), ServiceError> {
    let sql = context.sql("main");
    let text = "收费".to_owned();
    let bytes = vec![0_u8, 255];
    let found: Json = sql.query_one(
        "SELECT ?, ?, ?, ?, ?, ?, ?",
        params![i64::MIN, 0.5, &text, &bytes, true, None::<i64>, "12.00"],
        |row| {
            let kind_of_text = row.i64(2).err().map(|error| format!("{:?}", error.kind));
            let kind_of_column = row.i64(7).err().map(|error| format!("{:?}", error.kind));
            let kind_of_null = row.text(5).err().map(|error| format!("{:?}", error.kind));
            Ok(json!([
                row.i64(0)?,
                row.f64(1)?,
                row.text(2)?,
                row.blob(3)?,
                row.i64(4)?,
                row.opt_i64(5)?,
                row.is_null(5)?,
                row.opt_text(5)?,
                row.i64(6)?,
                kind_of_text,
                kind_of_null,
                kind_of_column,
            ]))
        },
    )?;
    context.reply_json(&found)
}

/// `rows`: reads rows and writes the reply meanwhile, with a statement in between.
fn read_rows(context: &mut Context<'_>, count: i64) -> Result<(), ServiceError> {
    let sql = context.sql("main");
    let mut rows = sql.query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n",
        params![count],
    )?;
    let columns = rows.columns();
    let mut writer = context.writer();
    while let Some(row) = rows.next()? {
        let doubled = sql.query_one("SELECT ? * 2", params![row.i64(0)?], |row| row.i64(0))?;
        write!(writer, "{doubled},")?;
    }
    write!(writer, "columns {columns}")?;
    Ok(())
}

/// `one`: a query that must have one row, where there are `count`.
fn expect_one_row(context: &mut Context<'_>, count: i64) -> Result<(), ServiceError> {
    let outcome = context.sql("main").query_one(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n WHERE i <= ?",
        params![count],
        |row| row.i64(0),
    );
    match outcome {
        Ok(value) => context.reply_json(&value),
        Err(error) if matches!(error.kind, SqlErrorKind::NoRow | SqlErrorKind::TooManyRows) => {
            context.reply(format!("{:?}", error.kind).as_bytes())
        }
        Err(error) => Err(error.into()),
    }
}

/// `many params`: more parameters than the platform converts without allocating.
fn bind_many(context: &mut Context<'_>) -> Result<(), ServiceError> {
    let values: Vec<Value<'_>> = (1..=100_i64).map(Value::from).collect();
    let text = format!("SELECT {}", vec!["?"; values.len()].join(" + "));
    let sum = context.sql("main").query_one(&text, &values, |row| row.i64(0))?;
    context.reply_json(&sum)
}

/// `unique`: a constraint that is expected becomes a business error.
fn meet_a_constraint(context: &mut Context<'_>) -> Result<(), ServiceError> {
    let sql = context.sql("main");
    const INSERT: &str = "INSERT INTO tour (plate, note) VALUES (?, ?)";
    let touched = sql.execute(INSERT, params!["粤B12345", None::<&str>])?;
    assert_eq!(touched, 1);
    match sql.execute(INSERT, params!["粤B12345", "again"]) {
        Err(error) if error.is_unique() => Err(ServiceError::business("duplicate", "the plate exists")),
        Err(error) => Err(error.into()),
        Ok(_) => Err(ServiceError::failed("the constraint is missing")),
    }
}

/// `serials`: draws some; an unknown type is the caller's mistake.
fn draw(context: &mut Context<'_>, kind: &str, count: u32) -> Result<(), ServiceError> {
    if count == 1 {
        let serial = context.serial(kind)?;
        return context.reply_json(&serial);
    }
    match context.serials(kind, count) {
        Ok(serials) => context.reply_json(&serials),
        Err(error) if error.kind == SerialErrorKind::UnknownType => {
            Err(ServiceError::bad_request("type", error.message))
        }
        Err(error) if error.kind == SerialErrorKind::BadCount => {
            Err(ServiceError::bad_request("count", error.message))
        }
        Err(error) => Err(error.into()),
    }
}

gantry_abi::export_library! {
    name: "api_tour",
    version: env!("CARGO_PKG_VERSION"),
    build: "tour-1",
    migrations: [
        migration(
            "main",
            "tour",
            1,
            "CREATE TABLE tour (plate VARCHAR(16) NOT NULL PRIMARY KEY, note VARCHAR(64));\n\
             CREATE INDEX tour_note ON tour (note)",
        ),
    ],
    services: [
        {
            number: 39_200_001,
            kind: Other,
            name: "tour",
            service: Tour,
            timeout_ms: 2_000,
            idempotent: false,
            description: "Uses everything that is lent.",
            example: r#"{"do":"facts"}"#,
            example_reply: "",
            sources: ["main", "passages"],
        },
    ],
}
