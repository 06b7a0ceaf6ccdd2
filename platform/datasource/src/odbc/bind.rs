//! Parameters as the driver takes them.

use super::failure::Failure;
use crate::dialect::Dialect;
use crate::error::ErrorKind;
use crate::value::ValueRef;
use odbc_api::DataType;
use odbc_api::parameter::{InputParameter, VarBinarySlice, VarCharSlice, VarWCharBox, WithDataType};
use std::num::NonZeroUsize;

/// Bytes of a value from which DB2 wants to hear of a long type.
const LONG_FROM_BYTES: usize = 8_000;

/// The parameters, borrowed where the driver takes them as they are.
pub(super) fn bind<'a>(
    dialect: Dialect,
    params: &[ValueRef<'a>],
) -> Result<Vec<Box<dyn InputParameter + 'a>>, Failure> {
    params.iter().enumerate().map(|(index, param)| bind_one(dialect, index + 1, *param)).collect()
}

fn bind_one<'a>(
    dialect: Dialect,
    place: usize,
    param: ValueRef<'a>,
) -> Result<Box<dyn InputParameter + 'a>, Failure> {
    Ok(match param {
        ValueRef::Null => Box::new(WithDataType::new(VarCharSlice::NULL, text_type(1))),
        ValueRef::I64(number) => Box::new(number),
        ValueRef::F64(number) if number.is_finite() => Box::new(number),
        ValueRef::F64(number) => {
            return Err(Failure::own(ErrorKind::BadValue, format!("parameter {place} is {number}")));
        }
        // PostgreSQL has no such text, and its driver would send what comes before it.
        ValueRef::Text(text) if dialect == Dialect::Postgres && text.contains('\0') => {
            let message =
                format!("parameter {place} is text with a zero in it, which PostgreSQL cannot keep");
            return Err(Failure::own(ErrorKind::BadValue, message));
        }
        // IBM's driver takes bytes for text of the locale's character set.
        ValueRef::Text(text) if dialect == Dialect::Db2 => {
            let data_type = wide_type(text.len());
            Box::new(WithDataType::new(VarWCharBox::from_str_slice(text), data_type))
        }
        ValueRef::Text(text) => {
            Box::new(WithDataType::new(VarCharSlice::new(text.as_bytes()), text_type(text.len())))
        }
        ValueRef::Blob(bytes) => {
            Box::new(WithDataType::new(VarBinarySlice::new(bytes), binary_type(bytes.len())))
        }
    })
}

/// Drivers refuse a type of length 0, which an empty value would have.
fn at_least_one(bytes: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(bytes.max(1))
}

fn text_type(bytes: usize) -> DataType {
    let length = at_least_one(bytes);
    if bytes > LONG_FROM_BYTES { DataType::LongVarchar { length } } else { DataType::Varchar { length } }
}

fn wide_type(bytes: usize) -> DataType {
    let length = at_least_one(bytes);
    if bytes > LONG_FROM_BYTES { DataType::WLongVarchar { length } } else { DataType::WVarchar { length } }
}

fn binary_type(bytes: usize) -> DataType {
    let length = at_least_one(bytes);
    if bytes > LONG_FROM_BYTES { DataType::LongVarbinary { length } } else { DataType::Varbinary { length } }
}
