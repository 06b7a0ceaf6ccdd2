//! 30000001: draws serial numbers.

use gantry_abi::json::Body;
use gantry_abi::serial_table::GANTRY_SERIALS_MAX;
use gantry_abi::{Context, CreateError, Host, SerialErrorKind, Service, ServiceError};
use gantry_ledger::request;
use serde::Serialize;

/// Longest name of a type of serial, in bytes.
const TYPE_BYTES_MAX: usize = 64;

pub(crate) struct NextSerials;

#[derive(Serialize)]
struct Drawn {
    serials: Vec<String>,
}

impl Service for NextSerials {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let (kind, count) = read(request)?;
        let serials = context.serials(&kind, count).map_err(|error| match error.kind {
            SerialErrorKind::UnknownType => ServiceError::bad_request("type", error.message),
            SerialErrorKind::BadCount => ServiceError::bad_request("count", error.message),
            _ => error.into(),
        })?;
        context.reply_json(&Drawn { serials })
    }
}

/// The type and the count that are asked for.
fn read(request: &[u8]) -> Result<(String, u32), ServiceError> {
    let body = Body::read(request)?;
    let kind = request::text(&body, "type", TYPE_BYTES_MAX)?;
    let count = request::whole(&body, "count", 1..=i64::from(GANTRY_SERIALS_MAX))?;
    Ok((kind, u32::try_from(count).unwrap_or(GANTRY_SERIALS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_outside_1_to_10000_and_missing_type_are_refused_by_name() {
        for (request, expected) in [
            (r#"{"type":"card","count":0}"#, "count"),
            (r#"{"type":"card","count":10001}"#, "count"),
            (r#"{"type":"card","count":-1}"#, "count"),
            (r#"{"type":"card","count":4294967297}"#, "count"),
            (r#"{"type":"card","count":"1"}"#, "count"),
            (r#"{"type":"card"}"#, "count"),
            (r#"{"count":1}"#, "type"),
            (r#"{"type":"","count":1}"#, "type"),
            ("[]", "body"),
        ] {
            match read(request.as_bytes()) {
                Err(ServiceError::Business { code, field, .. }) => {
                    assert_eq!((&*code, field.as_deref()), ("bad_request", Some(expected)), "{request}");
                }
                other => panic!("{request}: {other:?}"),
            }
        }
        assert_eq!(read(br#"{"type":"card","count":10000}"#).unwrap(), ("card".to_owned(), 10_000));
    }
}
