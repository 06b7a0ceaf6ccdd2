//! After a deployment: the examples of the library's harmless reads, called like any request.

use std::time::Instant;

use anyhow::bail;
use gantry_message::{RequestId, ServiceNumber, Status};
use gantry_settings::Settings;
use serde_json::{Value, json};

use super::text;
use crate::call;

/// What a read that is tried may take, in milliseconds.
const BUDGET_MS: u32 = 5_000;
/// Ids that are drawn at most to find one that goes to the canary: of a share of a millionth, one is found all the same.
const IDS_MAX: u32 = 20_000_000;

/// Makes the calls that the registry's helper says are harmless, to the canary if the build is one.
pub(super) fn run(settings: &Settings, calls: &Value, canary: &Value) -> Value {
    let canary_ppm = canary["share_ppm"].as_u64().and_then(|ppm| u32::try_from(ppm).ok());
    let calls = calls.as_array().into_iter().flatten().filter_map(|call| {
        let number = serde_json::from_value(call["number"].clone()).ok()?;
        Some((number, call["example"].as_str()?))
    });
    calls.map(|(number, example)| try_out(settings, number, example, canary_ppm)).collect()
}

fn try_out(settings: &Settings, number: ServiceNumber, example: &str, canary_ppm: Option<u32>) -> Value {
    let began = Instant::now();
    let outcome =
        id_for(canary_ppm).and_then(|id| call::exchange(settings, number, id, example.as_bytes(), BUDGET_MS));
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(reply) => {
            let is_fine = matches!(reply.status(), Some(Status::Done | Status::BusinessError));
            json!({ "number": number, "ok": is_fine, "status": reply.header.status_code, "ms": ms })
        }
        Err(error) => json!({ "number": number, "ok": false, "error": format!("{error:#}"), "ms": ms }),
    }
}

/// An id that goes to the canary, if there is one.
fn id_for(canary_ppm: Option<u32>) -> anyhow::Result<RequestId> {
    for _ in 0..IDS_MAX {
        let id = call::fresh_id()?;
        if canary_ppm.is_none_or(|ppm| id.position_ppm() < ppm) {
            return Ok(id);
        }
    }
    bail!("no request id was found that goes to the canary")
}

/// What is wrong with a build that came into force, or to its trial, and failed one of the calls.
pub(super) fn failed(receipt: &Value) -> Option<String> {
    let tries = receipt["self_test"].as_array().into_iter().flatten();
    let failed: Vec<String> =
        tries.filter(|tried| tried["ok"] != true).map(|tried| format!("{:0>8}", tried["number"])).collect();
    let what = if receipt["canary"].is_null() { "in force" } else { "being tried" };
    let words =
        || format!("it is {what}, and its self-test failed: {}; {}", failed.join(", "), undo(receipt));
    (!failed.is_empty()).then(words)
}

/// How the build is taken out of force again.
fn undo(receipt: &Value) -> String {
    let library = text(&receipt["library"]);
    match receipt["in_place_of"]["build"].as_str() {
        _ if !receipt["canary"].is_null() => format!("`gantry service abort {library}` sets it aside"),
        Some(before) => {
            let before = before.get(..12).unwrap_or(before);
            format!("`gantry service rollback {library} --to {before}` takes it back")
        }
        None => format!("`gantry service unload {library}` takes it back"),
    }
}

/// The result in words; none where nothing was to be tried.
pub(super) fn lines(receipt: &Value) -> Vec<String> {
    let Some(tries) = receipt["self_test"].as_array() else { return Vec::new() };
    if tries.is_empty() {
        return vec!["  self-test: it has no harmless read with an example, so none was called".to_owned()];
    }
    let line = |tried: &Value| {
        let how = match (tried["status"].as_u64(), tried["error"].as_str()) {
            (Some(status), _) => format!("{status:03} in {} ms", tried["ms"]),
            (None, error) => format!("no reply: {}", error.unwrap_or("-")),
        };
        let verdict = if tried["ok"] == true { String::new() } else { ": FAILED".to_owned() };
        format!("  self-test: {:0>8} {how}{verdict}", tried["number"])
    };
    tries.iter().map(line).collect()
}
