//! Bound parameters of statements.

use std::fmt;
use std::marker::PhantomData;

use crate::bytes::{GantryBytes, GantryText};
use crate::sql_table::{
    GANTRY_VALUE_BLOB, GANTRY_VALUE_F64, GANTRY_VALUE_I64, GANTRY_VALUE_NULL, GANTRY_VALUE_TEXT, GantryValue,
    GantryValueData,
};

/// A bound parameter, made with `Value::from` or [`params!`](crate::params). Laid out as a
/// [`GantryValue`], so a slice of them crosses the border as it is.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Value<'a> {
    raw: GantryValue,
    lent: PhantomData<&'a [u8]>,
}

impl Value<'_> {
    /// NULL.
    pub const NULL: Self = Self::of(GANTRY_VALUE_NULL, GantryValueData { i64_value: 0 });

    const fn of(tag: u32, data: GantryValueData) -> Self {
        Self { raw: GantryValue { tag, reserved: 0, data }, lent: PhantomData }
    }
}

impl fmt::Debug for Value<'_> {
    /// Shows the type only: values may be personal data and do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.raw.tag {
            GANTRY_VALUE_NULL => "NULL",
            GANTRY_VALUE_I64 => "integer",
            GANTRY_VALUE_F64 => "float",
            GANTRY_VALUE_TEXT => "text",
            _ => "blob",
        })
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::of(GANTRY_VALUE_I64, GantryValueData { i64_value: value })
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::of(GANTRY_VALUE_F64, GantryValueData { f64_value: value })
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::of(GANTRY_VALUE_TEXT, GantryValueData { text_value: GantryText::from_str(value) })
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::from(value.as_str())
    }
}

impl<'a> From<&'a std::borrow::Cow<'_, str>> for Value<'a> {
    fn from(value: &'a std::borrow::Cow<'_, str>) -> Self {
        Self::from(value.as_ref())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::of(GANTRY_VALUE_BLOB, GantryValueData { blob_value: GantryBytes::from_slice(value) })
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::from(value.as_slice())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NULL, Into::into)
    }
}

macro_rules! from_small_integers {
    ($($type:ty)*) => {$(
        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Self::from(i64::from(value))
            }
        }
    )*};
}

from_small_integers!(i8 i16 i32 u8 u16 u32 bool);

/// The parameters of a statement, in order: `params![card, amount, reason]`. Each is turned into a
/// [`Value`]: integers up to 64 bits signed, `bool` (0 or 1), `f64`, `&str`, `&String`, `&[u8]`,
/// and `Option` of them (`None` is NULL).
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*] as &[$crate::Value<'_>]
    };
}
