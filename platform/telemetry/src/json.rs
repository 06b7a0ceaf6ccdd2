//! A record as one line of JSON.

use crate::values::{MESSAGE, Value, Values};
use jiff::Timestamp;
use std::fmt::{self, Write};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes records as lines of JSON; `head` holds what is the same in all records of a process.
pub(crate) struct JsonLine {
    head: String,
}

impl JsonLine {
    /// `role` and `row` say which process this is; `row` is left out for processes that have none.
    pub(crate) fn new(role: &str, row: Option<u16>, pid: u32) -> Self {
        let row = row.map(|row| format!(r#""row":{row},"#)).unwrap_or_default();
        Self { head: format!(r#""role":"{role}",{row}"pid":{pid}"#) }
    }

    /// A record about the log itself, which no caller made.
    pub(crate) fn own_record(&self, message: &str) -> String {
        let mut line = String::new();
        let written = self.begin(&mut line, Level::ERROR, env!("CARGO_CRATE_NAME")).and_then(|()| {
            line.push_str(r#","message":"#);
            quote(&mut line, message)
        });
        written.expect("a String takes all text");
        line.push_str("}\n");
        line
    }

    fn begin(&self, line: &mut impl Write, level: Level, target: &str) -> fmt::Result {
        write!(
            line,
            r#"{{"time":"{:.3}","level":"{}",{},"target":"#,
            Timestamp::now(),
            word(level),
            self.head
        )?;
        quote(line, target)
    }
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        self.begin(&mut line, *metadata.level(), metadata.target())?;
        let (mut message, mut fields) = (String::new(), String::new());
        let mut result = Ok(());
        event.record(&mut Values::new(|name, value| {
            let written = if name == MESSAGE {
                quote_value(&mut message, value)
            } else {
                member(&mut fields, name, value)
            };
            result = result.and(written);
        }));
        result?;
        if !message.is_empty() {
            write!(line, r#","message":{message}"#)?;
        }
        if !fields.is_empty() {
            write!(line, r#","fields":{{{fields}}}"#)?;
        }
        spans(ctx, &mut line)?;
        line.write_str("}\n")
    }
}

/// The spans around a record, outermost first, each as `name{fields}`.
fn spans<S, N>(ctx: &FmtContext<'_, S, N>, line: &mut Writer<'_>) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let Some(scope) = ctx.event_scope() else {
        return Ok(());
    };
    let mut before = r#","spans":["#;
    for span in scope.from_root() {
        line.write_str(before)?;
        before = ",";
        let extensions = span.extensions();
        let fields =
            extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str()).unwrap_or_default();
        quote(line, &format!("{}{{{fields}}}", span.name()))?;
    }
    line.write_str("]")
}

fn member(object: &mut String, name: &str, value: Value<'_>) -> fmt::Result {
    if !object.is_empty() {
        object.push(',');
    }
    quote(object, name)?;
    object.push(':');
    quote_value(object, value)
}

fn quote_value(line: &mut impl Write, value: Value<'_>) -> fmt::Result {
    match value {
        Value::Text(text) => quote(line, text),
        Value::Bare(bare) => line.write_str(bare),
    }
}

/// A JSON string. Line ends are escaped like all control characters, so a record is always one line.
fn quote(line: &mut impl Write, text: &str) -> fmt::Result {
    line.write_char('"')?;
    let mut rest = text;
    while let Some(at) = rest.find(|character: char| character.is_control() || "\"\\".contains(character)) {
        let (plain, special) = rest.split_at(at);
        line.write_str(plain)?;
        let mut characters = special.chars();
        match characters.next() {
            Some(character @ ('"' | '\\')) => write!(line, "\\{character}")?,
            Some('\n') => line.write_str("\\n")?,
            Some('\t') => line.write_str("\\t")?,
            Some(control) => write!(line, "\\u{:04x}", u32::from(control))?,
            None => {}
        }
        rest = characters.as_str();
    }
    line.write_str(rest)?;
    line.write_char('"')
}

/// The level as the configuration writes it; libraries that know others keep theirs.
pub(crate) fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
