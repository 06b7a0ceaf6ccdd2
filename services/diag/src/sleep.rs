//! Takes its time.

use std::time::Duration;

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError};
use gantry_ledger::request;
use serde_json::json;

/// Longest sleep: ten minutes, well beyond every time-out that a test sets.
const SLEEP_MS_MAX: i64 = 600_000;

/// 19000002 and 29000002: `{"ms":n}` → `{"slept_ms":n}`. One sleep, which nothing but the end of the worker
/// cuts short: it stands for a service that is slow and does not look at its time left.
pub(crate) struct Sleep;

impl Service for Sleep {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let ms = request::whole(&Body::read(request)?, "ms", 0..=SLEEP_MS_MAX)?;
        std::thread::sleep(Duration::from_millis(ms.unsigned_abs()));
        context.reply_json(&json!({ "slept_ms": ms }))
    }
}
