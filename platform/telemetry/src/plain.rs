//! A record as plain text, for people who look at standard error.

use crate::json::word;
use crate::values::{MESSAGE, Value, Values};
use jiff::Timestamp;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes records as `TIME LEVEL role[pid] target: message name=value`.
pub(crate) struct PlainLine {
    process: String,
}

impl PlainLine {
    pub(crate) fn new(role: &str, pid: u32) -> Self {
        Self { process: format!("{role}[{pid}]") }
    }
}

impl<S, N> FormatEvent<S, N> for PlainLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let (mut message, mut fields) = (String::new(), String::new());
        event.record(&mut Values::new(|name, value| match (name, value) {
            (MESSAGE, Value::Text(text) | Value::Bare(text)) => visible(&mut message, text),
            (name, Value::Bare(bare)) => fields.push_str(&format!(" {name}={bare}")),
            (name, Value::Text(text)) => fields.push_str(&format!(" {name}={text:?}")),
        }));
        let (level, target) = (word(*metadata.level()), metadata.target());
        writeln!(line, "{:.3} {level} {} {target}: {message}{fields}", Timestamp::now(), self.process)
    }
}

/// Text without control characters: a record must neither break its line nor steer the terminal.
fn visible(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}
