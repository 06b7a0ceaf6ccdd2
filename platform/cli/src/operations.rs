//! Small commands: log level, drain, configuration.

use std::io;
use std::process::ExitCode;

use gantry_settings::Settings;
use gantry_supervisor::protocol::Request;
use serde_json::Value;

use crate::arguments::{LevelArgument, LogCommand};
use crate::client::ask;
use crate::output::print;
use crate::table::bytes;

/// `gantry log level LEVEL`
pub(crate) fn log(settings: &Settings, command: &LogCommand, json: bool) -> anyhow::Result<ExitCode> {
    let LogCommand::Level { level } = command;
    let level = match level {
        LevelArgument::Debug => "debug",
        LevelArgument::Warn => "warn",
        LevelArgument::Error => "error",
    };
    let result = ask(settings, &Request::Log { level: level.to_owned() })?;
    say(json, &result, || format!("the log level is {level}"))?;
    Ok(ExitCode::SUCCESS)
}

/// `gantry drain`
pub(crate) fn drain(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let result = ask(settings, &Request::Drain)?;
    say(json, &result, || match result["in_flight"].as_u64() {
        Some(0) | None => "the node is drained: nothing is in flight".to_owned(),
        Some(count) => format!("the node takes nothing new; {count} requests are still in flight"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `gantry undrain`
pub(crate) fn undrain(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let result = ask(settings, &Request::Undrain)?;
    say(json, &result, || "the node serves".to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// `gantry config reload`
pub(crate) fn reload(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let result = ask(settings, &Request::Reload)?;
    let keys = |name: &str| -> Vec<&str> {
        result[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    say(json, &result, || {
        let (applied, waiting) = (keys("applied"), keys("needs_restart"));
        let applied = if applied.is_empty() { "nothing".to_owned() } else { applied.join(", ") };
        let waiting = if waiting.is_empty() {
            String::new()
        } else {
            format!("\nwaits for a restart: {}", waiting.join(", "))
        };
        format!("took effect: {applied}{waiting}")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `gantry config check`: the file is sound, or this is not reached.
pub(crate) fn check(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let understood = serde_json::to_value(settings)?;
    say(json, &understood, || summary(settings))?;
    Ok(ExitCode::SUCCESS)
}

fn summary(settings: &Settings) -> String {
    let join = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let tcp = settings.listen.tcp.iter().map(ToString::to_string);
    let unix = settings.listen.unix.iter().map(|path| path.display().to_string());
    let data = settings.data.iter().map(|(name, source)| format!("{name} ({})", source.driver().as_str()));
    let libraries = settings.service.libraries.iter().map(|library| match library {
        gantry_settings::LibraryName::Bare(name) => name.clone(),
        gantry_settings::LibraryName::File(path) => path.display().to_string(),
    });
    let lines = [
        ("file", settings.file.display().to_string()),
        ("node", settings.node.name.clone()),
        ("state folder", settings.node.state_dir.display().to_string()),
        ("listens on", join(tcp.chain(unix).collect())),
        ("workers", format!("{} read, {} write", settings.workers.read, settings.workers.write)),
        (
            "requests at once",
            format!(
                "{} (read queue {}, write queue {})",
                settings.ipc.slots, settings.ipc.read_queue, settings.ipc.write_queue
            ),
        ),
        ("blocks", bytes(settings.blocks_bytes())),
        ("data sources", join(data.collect())),
        ("libraries", join(libraries.collect())),
        ("log", format!("{} in {}", settings.log.level.as_str(), settings.log.dir.display())),
    ];
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines.map(|(name, value)| format!("{name:width$}  {value}"));
    format!("{}\nthe configuration is sound (every key with its value: --json)", lines.join("\n"))
}

/// Prints a result as JSON or in words.
pub(crate) fn say(json: bool, result: &Value, words: impl FnOnce() -> String) -> io::Result<()> {
    if json { print(result) } else { print(words().trim_end_matches('\n')) }
}
