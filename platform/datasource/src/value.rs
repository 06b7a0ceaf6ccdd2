//! What a statement is given and what it answers with.

/// One value, owned.
///
/// Money is an [`I64`](Value::I64) of fen; a decimal column of another database arrives as exact
/// [`Text`](Value::Text), never as a float.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A whole number.
    I64(i64),
    /// A floating-point number; always finite.
    F64(f64),
    /// Text in UTF-8.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// The same value, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::I64(number) => ValueRef::I64(*number),
            Value::F64(number) => ValueRef::F64(*number),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

/// One value, borrowed: a parameter on its way to the database, or a cell of a [`ResultSet`](crate::ResultSet).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL NULL.
    Null,
    /// A whole number.
    I64(i64),
    /// A floating-point number. As a parameter it must be finite: databases disagree about the rest.
    F64(f64),
    /// Text in UTF-8.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> ValueRef<'a> {
    /// The number, if this is a whole number.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        if let ValueRef::I64(number) = self { Some(number) } else { None }
    }

    /// The number, if this is a floating-point number or a whole number that a float holds exactly.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            ValueRef::F64(number) => Some(number),
            // Databases hand a whole value of a floating-point column back as an integer. Above 2^53 the cast
            // would round, and a rounded value is not the one that was stored.
            #[expect(clippy::cast_precision_loss, reason = "exact in the range that the guard admits")]
            ValueRef::I64(number) if number.unsigned_abs() <= 1 << 53 => Some(number as f64),
            _ => None,
        }
    }

    /// The text, if this is text.
    #[must_use]
    pub fn as_text(self) -> Option<&'a str> {
        if let ValueRef::Text(text) = self { Some(text) } else { None }
    }

    /// The bytes, if these are bytes.
    #[must_use]
    pub fn as_blob(self) -> Option<&'a [u8]> {
        if let ValueRef::Blob(bytes) = self { Some(bytes) } else { None }
    }

    /// Whether this is SQL NULL.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self, ValueRef::Null)
    }

    /// The same value, owned.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::I64(number) => Value::I64(number),
            ValueRef::F64(number) => Value::F64(number),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

impl From<i64> for ValueRef<'_> {
    fn from(number: i64) -> Self {
        ValueRef::I64(number)
    }
}

impl From<i32> for ValueRef<'_> {
    fn from(number: i32) -> Self {
        ValueRef::I64(number.into())
    }
}

impl From<u32> for ValueRef<'_> {
    fn from(number: u32) -> Self {
        ValueRef::I64(number.into())
    }
}

impl From<bool> for ValueRef<'_> {
    /// Portable SQL has no boolean column: 1 is true, 0 is false.
    fn from(truth: bool) -> Self {
        ValueRef::I64(truth.into())
    }
}

impl From<f64> for ValueRef<'_> {
    fn from(number: f64) -> Self {
        ValueRef::F64(number)
    }
}

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(text: &'a str) -> Self {
        ValueRef::Text(text)
    }
}

impl<'a> From<&'a [u8]> for ValueRef<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        ValueRef::Blob(bytes)
    }
}

impl<'a, T: Into<ValueRef<'a>>> From<Option<T>> for ValueRef<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(ValueRef::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_f64_of_whole_number_is_exact_or_nothing() {
        assert_eq!(ValueRef::I64(1 << 53).as_f64(), Some(9_007_199_254_740_992.0));
        assert_eq!(ValueRef::I64((1 << 53) + 1).as_f64(), None);
        assert_eq!(ValueRef::I64(i64::MIN).as_f64(), None);
    }

    #[test]
    fn to_value_and_back_keeps_every_kind() {
        for value in [
            ValueRef::Null,
            ValueRef::I64(i64::MIN),
            ValueRef::F64(0.5),
            ValueRef::Text("收费"),
            ValueRef::Blob(&[0, 255]),
        ] {
            assert_eq!(value.to_value().as_ref(), value);
        }
    }

    #[test]
    fn parameter_from_option_is_null_when_absent() {
        assert_eq!(ValueRef::from(None::<i64>), ValueRef::Null);
        assert_eq!(ValueRef::from(Some("a")), ValueRef::Text("a"));
    }
}
