//! After a deployment: the examples of the library's harmless reads, called like any request.

use std::time::Instant;

use gantry_message::{ServiceNumber, Status};
use gantry_settings::Settings;
use gantry_supervisor::protocol::{Request, ServiceRequest};
use serde_json::{Value, json};

use crate::call;
use crate::client::ask;

/// What a read that is tried may take, in milliseconds.
const BUDGET_MS: u32 = 5_000;
/// Ids that are drawn at most to find one that goes to the canary; one in a hundred thousand of its requests is found.
const IDS_MAX: u32 = 1_000_000;

/// Calls the reads that are idempotent by their author's word and that say what they reply. Writes are never tried.
pub(super) fn run(settings: &Settings, receipt: &Value) -> Value {
    let numbers = receipt["services"].as_array().into_iter().flatten();
    let canary_ppm = receipt["canary"]["share_ppm"].as_u64().and_then(|ppm| u32::try_from(ppm).ok());
    numbers
        .filter_map(|number| serde_json::from_value(number.clone()).ok())
        .filter_map(|number| try_out(settings, number, canary_ppm))
        .collect()
}

fn try_out(settings: &Settings, number: ServiceNumber, canary_ppm: Option<u32>) -> Option<Value> {
    let service = ask(settings, &Request::Service(ServiceRequest::Show { number })).ok()?;
    let said = |key: &str| service[key].as_str().filter(|text| !text.is_empty());
    let (example, _) = (said("example")?, said("example_reply")?);
    if service["kind"] != "read" || service["idempotent"] != true || service["enabled"] != true {
        return None;
    }
    let began = Instant::now();
    let outcome =
        id_for(canary_ppm).and_then(|id| call::exchange(settings, number, id, example.as_bytes(), BUDGET_MS));
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Some(match outcome {
        Ok(reply) => {
            let is_fine = matches!(reply.status(), Some(Status::Done | Status::BusinessError));
            json!({ "number": number, "ok": is_fine, "status": reply.header.status_code, "ms": ms })
        }
        Err(error) => json!({ "number": number, "ok": false, "error": format!("{error:#}"), "ms": ms }),
    })
}

/// An id that goes to the canary, if there is one.
fn id_for(canary_ppm: Option<u32>) -> anyhow::Result<gantry_message::RequestId> {
    let mut id = call::fresh_id()?;
    for _ in 0..IDS_MAX {
        if canary_ppm.is_none_or(|ppm| id.position_ppm() < ppm) {
            break;
        }
        id = call::fresh_id()?;
    }
    Ok(id)
}

/// The result in words; none where nothing was to be tried.
pub(super) fn lines(result: &Value) -> Vec<String> {
    let Some(tries) = result.as_array() else { return Vec::new() };
    if tries.is_empty() {
        return vec!["  self-test: it has no harmless read with an example, so none was called".to_owned()];
    }
    let line = |tried: &Value| {
        let how = match (tried["status"].as_u64(), tried["error"].as_str()) {
            (Some(status), _) => format!("{status:03} in {} ms", tried["ms"]),
            (None, error) => format!("no reply: {}", error.unwrap_or("-")),
        };
        let verdict =
            if tried["ok"] == true { "" } else { ": LOOK AT IT; `gantry service rollback` takes it back" };
        format!("  self-test: {:0>8} {how}{verdict}", tried["number"])
    };
    tries.iter().map(line).collect()
}
