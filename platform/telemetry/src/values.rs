//! The values of a record, as text of bounded length.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// Bytes that all values of one record may have together. With it the queue has a bound in bytes too.
pub(crate) const VALUES_BYTES_MAX: usize = 8 << 10;

/// What stands where a value was cut.
const CUT: char = '…';

/// A value as its format needs it.
pub(crate) enum Value<'v> {
    /// Text, to be quoted.
    Text(&'v str),
    /// A number, `true` or `false`, to be written as it stands.
    Bare(&'v str),
}

/// The name under which a record's message comes. It comes first, so what follows under this name is a field.
pub(crate) const MESSAGE: &str = "message";
/// What a field is called that has the name of the message.
const MESSAGE_FIELD: &str = "field.message";

/// Hands each value of a record on, cut where the record would become too long, and each under a name of its own:
/// nothing keeps a caller from giving two fields one name, or a field that of the message.
pub(crate) struct Values<F> {
    room: usize,
    text: String,
    names: Vec<Cow<'static, str>>,
    next: F,
}

impl<F: FnMut(&str, Value<'_>)> Values<F> {
    pub(crate) fn new(next: F) -> Self {
        Self { room: VALUES_BYTES_MAX, text: String::new(), names: Vec::new(), next }
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.write(value);
        self.hand_on(field, |text| Value::Text(text));
    }

    /// Numbers are never cut: they are short, and half a number would be another one.
    fn bare(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.text.clear();
        if self.text.write_fmt(value).is_ok() {
            self.room = self.room.saturating_sub(self.text.len());
        }
        self.hand_on(field, |text| Value::Bare(text));
    }

    fn hand_on(&mut self, field: &Field, kind: fn(&str) -> Value<'_>) {
        let name = self.own_name(field.name());
        (self.next)(&name, kind(&self.text));
        self.names.push(name);
    }

    /// `name`, or one made of it if it was handed on before.
    fn own_name(&self, name: &'static str) -> Cow<'static, str> {
        let is_free = |name: &str| self.names.iter().all(|taken| taken != name);
        if is_free(name) {
            return Cow::Borrowed(name);
        }
        let base = if name == MESSAGE { MESSAGE_FIELD } else { name };
        let numbered = (2_u64..).map(|number| Cow::Owned(format!("{base}.{number}")));
        let mut candidates = std::iter::once(Cow::Borrowed(base)).chain(numbered);
        candidates.find(|name| is_free(name)).unwrap_or(Cow::Borrowed(base))
    }

    fn write(&mut self, value: fmt::Arguments<'_>) {
        self.text.clear();
        let mut bounded = Bounded { text: &mut self.text, room: self.room };
        // An error here is a cut, or a `Display` that failed: either way the text so far is what there is.
        if bounded.write_fmt(value).is_err() {
            self.text.push(CUT);
        }
        self.room = self.room.saturating_sub(self.text.len());
    }
}

impl<F: FnMut(&str, Value<'_>)> Visit for Values<F> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, format_args!("{value}"));
    }

    /// JSON has no word for what is not finite; a number with a point or an exponent reads back as a float.
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, format_args!("{value:?}"));
        } else {
            self.text(field, format_args!("{value}"));
        }
    }

    /// An error with everything that caused it, from the outside in.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, format_args!("{}", Chain(value)));
    }
}

struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Takes text up to a number of bytes and refuses the rest.
struct Bounded<'t> {
    text: &'t mut String,
    room: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if more.len() <= self.room {
            self.room -= more.len();
            self.text.push_str(more);
            return Ok(());
        }
        let end = (0..=self.room).rev().find(|end| more.is_char_boundary(*end)).unwrap_or(0);
        self.text.push_str(more.get(..end).unwrap_or_default());
        self.room = 0;
        Err(fmt::Error)
    }
}
