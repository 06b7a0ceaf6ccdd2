//! `gantry service …`: the services of a running node.

mod canary;
mod self_test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use gantry_service_host::Description;
use gantry_settings::Settings;
use gantry_supervisor::protocol::{Request, ServiceRequest};
use serde_json::Value;

use crate::arguments::ServiceCommand;
use crate::client::ask_for_receipt;
use crate::helper::run_describe;
use crate::libraries;
use crate::operations::say;
use crate::service_new;
use crate::table::{Table, milliseconds};

/// Asks and prints.
pub(crate) fn run(settings: &Settings, command: ServiceCommand, json: bool) -> anyhow::Result<ExitCode> {
    let request = match command {
        ServiceCommand::Describe { library } => return describe(settings, &library, json),
        ServiceCommand::New(new) => return service_new::run(new, json),
        ServiceCommand::List => ServiceRequest::List,
        ServiceCommand::Show { number } => ServiceRequest::Show { number },
        ServiceCommand::Deploy { library, canary, promote_after, wait, why } => {
            let in_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let (promote_after_ms, wait_ms) = (promote_after.map(in_ms), wait.map(in_ms));
            let library = absolute(&library)?;
            ServiceRequest::Deploy {
                library,
                canary_ppm: canary,
                promote_after_ms,
                unless_in_force: false,
                wait_ms,
                why,
            }
        }
        ServiceCommand::Canary => ServiceRequest::Canary,
        ServiceCommand::Promote { name, why } => ServiceRequest::Promote { name, why },
        ServiceCommand::Abort { name, why } => ServiceRequest::Abort { name, why },
        ServiceCommand::Rollback { name, to, why } => ServiceRequest::Rollback { name, to, why },
        ServiceCommand::Unload { name, why } => ServiceRequest::Unload { name, why },
        ServiceCommand::Start { number } => ServiceRequest::Start { number },
        ServiceCommand::Stop { number, why } => ServiceRequest::Stop { number, why },
        ServiceCommand::Reload { name } => ServiceRequest::Reload { name },
        ServiceCommand::Rule { number, rules } => {
            ServiceRequest::Rule { number, set: rules.into_iter().collect() }
        }
    };
    let (result, lagging) = change(settings, request.clone())?;
    if let Some(lagging) = lagging {
        say(json, &result, || receipt(&result))?;
        bail!(lagging);
    }
    say(json, &result, || match request {
        ServiceRequest::List => list(&result),
        ServiceRequest::Show { .. } => show(&result),
        ServiceRequest::Canary => canary::table(&result),
        ServiceRequest::Abort { name, .. } => format!("the canary of {name} is set aside in all workers"),
        ServiceRequest::Start { number } => format!("service {number} serves"),
        ServiceRequest::Stop { number, .. } => format!("service {number} is stopped"),
        ServiceRequest::Unload { name, .. } => format!("library {name} is out of force in all workers"),
        ServiceRequest::Rule { number, .. } => format!("the rules of service {number} are in force"),
        ServiceRequest::Deploy { .. }
        | ServiceRequest::Promote { .. }
        | ServiceRequest::Reload { .. }
        | ServiceRequest::Rollback { .. } => receipt(&result),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, and tries out what came into force. Gives what was answered, and what is wrong where it is done and not in force
/// everywhere, or does not work.
pub(crate) fn change(
    settings: &Settings,
    request: ServiceRequest,
) -> anyhow::Result<(Value, Option<String>)> {
    let (mut result, lagging) = ask_for_receipt(settings, &Request::Service(request))?;
    let calls = result.as_object_mut().and_then(|result| result.remove("self_test"));
    let Some(calls) = calls.filter(|_| lagging.is_none()) else { return Ok((result, lagging)) };
    result["self_test"] = self_test::run(settings, &calls, &result["canary"]);
    let failed = self_test::failed(&result);
    Ok((result, failed))
}

/// What a library says of itself. Needs no node.
fn describe(settings: &Settings, library: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let path = libraries::find_path(&absolute(library)?)?;
    let description = run_describe(settings, &path)?;
    say(json, &serde_json::to_value(&description)?, || described(&description))?;
    Ok(ExitCode::SUCCESS)
}

fn described(library: &Description) -> String {
    let build = library.build.get(..16).unwrap_or(&library.build);
    let mut lines =
        vec![format!("{} {} (build id {build}, ABI {})", library.name, library.version, library.abi)];
    for service in &library.services {
        let sources = if service.sources.is_empty() { "none".to_owned() } else { service.sources.join(", ") };
        let time_out = if service.timeout_ms == 0 {
            "the node's".to_owned()
        } else {
            format!("{} ms", service.timeout_ms)
        };
        lines.push(format!(
            "\n{} {} ({}, time-out {time_out}, sources {sources}{})",
            service.number,
            service.name,
            service.kind.name(),
            if service.settings.is_empty() {
                String::new()
            } else {
                format!(", settings {}", service.settings.join(", "))
            }
        ));
        lines.push(format!("  {}", service.description));
        if !service.example.is_empty() {
            lines.push(format!(
                "  gantry call {} '{}'  ->  {}",
                service.number, service.example, service.example_reply
            ));
        }
    }
    for step in &library.migrations {
        lines.push(format!("\nschema {} step {} in {}", step.schema, step.version, step.source));
    }
    lines.join("\n")
}

/// A path counts from where the operator is, not from where the supervisor lives; a bare name stays one, unless a file
/// of that name is here.
fn absolute(library: &Path) -> std::io::Result<PathBuf> {
    let is_bare = library.components().count() == 1 && !library.exists();
    if is_bare { Ok(library.to_owned()) } else { std::path::absolute(library) }
}

fn list(services: &Value) -> String {
    let mut table = Table::new(&[
        "number", "name", "kind", "library", "version", "build", "state", ">timeout", ">calls", ">errors",
        ">mean",
    ]);
    for service in services.as_array().into_iter().flatten() {
        table.row([
            format!("{:08}", service["number"].as_u64().unwrap_or(0)),
            text(&service["name"]),
            text(&service["kind"]),
            text(&service["library"]),
            text(&service["version"]),
            short(&service["build"]),
            share(&service["canary"]).map_or_else(
                || state(service).to_owned(),
                |share| format!("{}, canary {share}", state(service)),
            ),
            service["timeout_ms"].as_u64().map_or_else(|| "-".to_owned(), milliseconds),
            figure(&service["calls"]),
            figure(&service["errors"]),
            service["latency_mean_us"].as_u64().map_or_else(|| "-".to_owned(), |mean| format!("{mean} us")),
        ]);
    }
    table.to_string()
}

fn show(service: &Value) -> String {
    let mut lines = vec![
        ("service", format!("{:08} {}", service["number"].as_u64().unwrap_or(0), text(&service["name"]))),
        ("state", state(service).to_owned()),
        ("kind", text(&service["kind"])),
        ("library", format!("{} {}", text(&service["library"]), text(&service["version"]))),
        ("build", text(&service["build"])),
        ("time-out", service["timeout_ms"].as_u64().map_or_else(|| "-".to_owned(), milliseconds)),
        ("after it", text(&service["policy"])),
        ("data sources", sources(&service["sources"])),
        ("takes effect once", text(&service["protection"])),
        ("rules", rules(&service["rule"])),
        ("calls", figure(&service["calls"])),
        ("errors", figure(&service["errors"])),
        ("business errors", figure(&service["business_errors"])),
        ("refusals", figure(&service["refusals"])),
        ("time-outs", figure(&service["timeouts"])),
    ];
    if let Some(share) = share(&service["canary"]) {
        let canary = &service["canary"];
        let (version, build) = (text(&canary["version"]), short(&canary["build"]));
        lines.push(("canary", format!("{version} build {build} on {share} of the requests")));
    }
    for (name, key) in [("does", "description"), ("example", "example"), ("reply", "example_reply")] {
        if let Some(words) = service[key].as_str().filter(|words| !words.is_empty()) {
            lines.push((name, words.to_owned()));
        }
    }
    for kept in service["kept"].as_array().into_iter().flatten() {
        let aside = if kept["set_aside"] == true { ", rolled back" } else { "" };
        lines.push(("kept", format!("{} build {}{aside}", text(&kept["version"]), short(&kept["build"]))));
    }
    lines.extend(service["history"].as_array().into_iter().flatten().map(|event| ("history", told(event))));
    lines.into_iter().map(|(name, value)| format!("{name:<18}{value}\n")).collect()
}

/// A line of a library's history.
fn told(event: &Value) -> String {
    let at = event["at_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    let number = event["number"].as_u64().map_or_else(String::new, |number| format!(" {number:08}"));
    let before = event["before"].as_str().filter(|before| !before.is_empty());
    let before = before.map_or_else(String::new, |before| match event["action"].as_str() {
        Some("canary") => format!(" beside {before}"),
        Some("abort") => format!(", {before} serves all"),
        Some("unload") => String::new(),
        _ => format!(" in place of {before}"),
    });
    let why = event["why"]
        .as_str()
        .filter(|why| !why.is_empty())
        .map_or_else(String::new, |why| format!(": {why}"));
    let (what, version, by) = (text(&event["action"]), text(&event["version"]), text(&event["asker"]));
    format!("{at} {what}{number} {version} {}{before} by {by}{why}", short(&event["build"]))
}

pub(crate) fn receipt(result: &Value) -> String {
    let numbers: Vec<String> =
        result["services"].as_array().into_iter().flatten().map(|number| format!("{number:0>8}")).collect();
    let what = format!("{} {}", text(&result["library"]), text(&result["version"]));
    if result["changed"] == false {
        return format!("{what} was in force already (build {})", short(&result["build"]));
    }
    let share = result["canary"]["share_ppm"].as_u64().map(|ppm| ppm as f64 / 10_000.0);
    let workers = || result["workers"].as_array().into_iter().flatten();
    let how = match share {
        _ if workers().any(|worker| worker["cannot_load"] == true) => {
            "cannot be loaded by all workers".to_owned()
        }
        _ if result["replaced_by"].is_string() => {
            format!("was replaced meanwhile by {}", text(&result["replaced_by"]))
        }
        _ if result["in_force"] == false => {
            "is in the registry, and not in force in all workers yet".to_owned()
        }
        None => "is in force in all workers".to_owned(),
        Some(share) => {
            format!("serves {share} % of the requests in all workers; `gantry service canary` compares")
        }
    };
    let mut lines =
        vec![format!("{what} {how} (build {}): services {}", short(&result["build"]), numbers.join(", "))];
    lines.extend(workers().map(worker));
    lines.extend(self_test::lines(result));
    lines.join("\n")
}

/// What a worker serves, in a receipt.
fn worker(worker: &Value) -> String {
    let what = match (worker["in_force"].as_bool(), worker["running"].as_u64()) {
        (Some(true), _) => format!("build {}, no request on an older one", short(&worker["build"])),
        _ if worker["cannot_load"] == true => {
            "cannot load it, the build before serves; see its log".to_owned()
        }
        (_, Some(number)) if worker["requests_on_older"] == 0 => {
            format!("still the build before, until {number:08} has ended")
        }
        (_, Some(number)) => format!("still the build before; it runs {number:08} on it"),
        (_, None) => "still the build before".to_owned(),
    };
    format!("  {} {}: {what}", text(&worker["worker"]), worker["pid"])
}

fn state(service: &Value) -> &'static str {
    match (&service["quarantined"], &service["enabled"], &service["fallen_back"]) {
        (Value::Bool(true), ..) => "quarantined",
        (_, Value::Bool(false), _) => "stopped",
        (.., Value::Bool(true)) => "fallen back",
        _ => "serving",
    }
}

/// The share of the requests that a canary gets, exact to a millionth.
fn share(canary: &Value) -> Option<String> {
    let millionths = (canary["share"].as_f64()? * 1e6).round();
    Some(format!("{} %", millionths / 1e4))
}

fn sources(sources: &Value) -> String {
    let names: Vec<&str> = sources.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn rules(rule: &Value) -> String {
    let set =
        rule.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null() && **value != false);
    let set: Vec<String> = set
        .map(|(key, value)| match (value.as_str(), value.as_f64()) {
            (Some(word), _) => format!("{key}={word}"),
            // Without the `.0` of a whole number.
            (None, Some(figure)) => format!("{key}={figure}"),
            (None, None) => format!("{key}={value}"),
        })
        .collect();
    if set.is_empty() { "none".to_owned() } else { set.join(" ") }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

pub(crate) fn figure(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |figure| figure.to_string())
}

/// The beginning of a build's hash, enough to tell two apart.
pub(crate) fn short(build: &Value) -> String {
    build.as_str().map_or_else(|| "-".to_owned(), |build| build.chars().take(12).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bare_name_stays_bare_and_a_path_becomes_absolute() {
        assert_eq!(absolute(Path::new("gantry_card")).unwrap(), Path::new("gantry_card"));
        assert!(absolute(Path::new("./libx.so")).unwrap().is_absolute());
        assert!(absolute(Path::new("a/libx.so")).unwrap().is_absolute());
        // A file here: tests run in the folder of their package.
        assert!(absolute(Path::new("Cargo.toml")).unwrap().is_absolute());
    }

    #[test]
    fn a_list_in_words_tells_state_and_counts() {
        let service = |number: u32, enabled: bool, quarantined: bool| {
            json!({"number": number, "name": "diag.echo", "kind": "read", "library": "diag", "version": "1.0.0",
                "build": "0123456789abcdef", "enabled": enabled, "quarantined": quarantined, "timeout_ms": 15000,
                "calls": 5, "errors": 1, "latency_mean_us": 80})
        };
        let list = list(&json!([
            service(19_000_001, true, false),
            service(19_000_002, false, false),
            service(19_000_003, true, true)
        ]));
        let lines: Vec<&str> = list.lines().collect();
        assert!(
            lines[1].contains("19000001")
                && lines[1].contains("serving")
                && lines[1].contains("0123456789ab ")
        );
        assert!(lines[2].contains("stopped") && lines[3].contains("quarantined"), "{list}");
    }

    #[test]
    fn only_rules_that_are_set_are_shown() {
        let rule =
            json!({"concurrency": null, "rate": 5.0, "refuse": true, "policy": "answer", "burst": null});
        assert_eq!(rules(&rule), "policy=answer rate=5 refuse=true");
        assert_eq!(rules(&json!({"refuse": false})), "none");
    }
}
