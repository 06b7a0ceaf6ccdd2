//! `gantry doctor`: what would keep the node from running well on this machine.

mod kernel;
mod node;

use std::process::ExitCode;

use gantry_settings::Settings;
use serde_json::{Value, json};

use crate::output::print;

/// How a thing that was looked at is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// The node runs, with a drawback.
    Warn,
    /// The node cannot run.
    Fail,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) about: &'static str,
    /// How it is, and what to do.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, about, text: text.into() }
    }

    pub(crate) fn warn(about: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Warn, about, text: text.into() }
    }

    pub(crate) fn fail(about: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fail, about, text: text.into() }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What keeps a node of this configuration from starting.
pub(crate) fn obstacles(settings: &Settings) -> Vec<String> {
    let failed = node::look(settings).into_iter().filter(|finding| finding.level == Level::Fail);
    failed.map(|finding| format!("{}: {}", finding.about, finding.text)).collect()
}

/// Looks at everything and prints a line for each.
pub(crate) fn run(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let mut findings = kernel::look(settings);
    findings.extend(node::look(settings));
    if json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "level": finding.level.name(), "about": finding.about, "text": finding.text }))
            .collect();
        print(Value::from(rows))?;
    } else {
        for finding in &findings {
            print(format_args!("{:<5} {:<18} {}", finding.level.name(), finding.about, finding.text))?;
        }
    }
    let has_failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
