//! What a caller would get.

use gantry_message::Status;
use serde_json::Value;

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 000, 304 or 306.
    pub status: Status,
    /// The body: the service's, or `{"error":…}` with 304, or empty.
    pub body: Vec<u8>,
    /// Why the call failed, with 306: what the platform would write to its log.
    pub failure: Option<String>,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is none; the message shows the reply.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The code of a business error, such as `card_unknown`.
    #[must_use]
    pub fn error_code(&self) -> Option<String> {
        let is_refusal = self.status == Status::BusinessError;
        is_refusal.then(|| self.json()["error"].as_str().unwrap_or_default().to_owned())
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:03} {}", self.status.code(), String::from_utf8_lossy(&self.body))?;
        self.failure.as_ref().map_or(Ok(()), |failure| write!(f, " ({failure})"))
    }
}
