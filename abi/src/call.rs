//! Calling another service in the same worker.

use std::borrow::Cow;
use std::fmt;

use crate::bytes::{GantryBytes, GantryText};
use crate::call_table::{
    GANTRY_CALL_BUSINESS, GANTRY_CALL_DONE, GANTRY_CALL_REFUSED, GANTRY_CALL_UNKNOWN, GantryCalls,
};
use crate::error::ServiceError;
use crate::host::GantryCall;

/// Why a call of another service has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// That service refuses, as it would tell a caller with status 304.
    Business {
        /// Such as `card_unknown`.
        code: String,
        /// The member of the body that is wrong, if it names one.
        field: Option<String>,
        /// For people.
        message: String,
    },
    /// It failed; the text is for the log.
    Failed(String),
    /// This worker has no such service, or it is stopped or quarantined.
    Unknown(String),
    /// Not allowed: a read that calls a write, a service that is in the middle of a call, or too many calls inside each
    /// other.
    Refused(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Business { code, field: Some(field), message } => write!(f, "{code} ({field}): {message}"),
            Self::Business { code, field: None, message } => write!(f, "{code}: {message}"),
            Self::Failed(message) | Self::Unknown(message) | Self::Refused(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for CallError {}

/// A business error stays what it is, so that `?` passes it on to the caller; all else is a failure.
impl From<CallError> for ServiceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Business { code, field, message } => {
                Self::Business { code: Cow::Owned(code), field: field.map(Cow::Owned), message }
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Calls the service `number` and copies its reply.
///
/// # Safety
/// `call` is valid now.
pub(crate) unsafe fn call(
    table: Option<&GantryCalls>,
    call: *mut GantryCall,
    number: u32,
    body: &[u8],
) -> Result<Vec<u8>, CallError> {
    let Some(table) = table else {
        return Err(CallError::Refused("this platform cannot call services from services".to_owned()));
    };
    let mut reply = GantryBytes::EMPTY;
    // SAFETY: `call` is valid, the body is read before the function returns, and `reply` is ours.
    let code = unsafe { (table.call)(call, number, GantryBytes::from_slice(body), &mut reply) };
    if code == GANTRY_CALL_DONE {
        // SAFETY: the reply lives until the next call, and is copied here.
        return Ok(unsafe { reply.read() }.unwrap_or_default().to_vec());
    }
    let (mut told, mut field) = (GantryText::EMPTY, GantryText::EMPTY);
    // SAFETY: `call` is valid, and both places are ours.
    let message = unsafe { (table.last_error)(call, &mut told, &mut field) };
    // SAFETY: the texts live until the next call, and are copied here.
    let copy = |text: GantryText| unsafe { text.read() }.unwrap_or_default().to_owned();
    let message = copy(message);
    Err(match code {
        GANTRY_CALL_BUSINESS => {
            let field = Some(copy(field)).filter(|field| !field.is_empty());
            CallError::Business { code: copy(told), field, message }
        }
        GANTRY_CALL_UNKNOWN => CallError::Unknown(message),
        GANTRY_CALL_REFUSED => CallError::Refused(message),
        _ => CallError::Failed(message),
    })
}
