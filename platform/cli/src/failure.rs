//! How a command fails: its exit code and what is said on standard error.

use std::process::ExitCode;

use gantry_settings::SettingsError;

use crate::output::complain;

/// The command did not do what it was asked for.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no node to ask.
pub(crate) const NOT_RUNNING: u8 = 3;

/// A failure with an exit code of its own, or one that may pass; any other error ends with [`FAILED`].
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Nothing runs that could be asked.
    pub(crate) fn not_running(node: &str) -> Self {
        Self {
            code: NOT_RUNNING,
            text: format!("not running (no supervisor for \"{node}\"); start it with `gantry start`"),
        }
    }

    /// The supervisor is dead, and what it started runs on.
    pub(crate) fn orphans(node: &str, living: &[String]) -> Self {
        Self {
            code: NOT_RUNNING,
            text: format!(
                "the supervisor of \"{node}\" is dead; still running: {}. `gantry start` takes them over, `gantry stop` stops \
                 them",
                living.join(", ")
            ),
        }
    }

    /// The supervisor lives and does not answer.
    pub(crate) fn silent(node: &str, supervisor: Option<i32>, living: &[String]) -> Self {
        let (process, kill) = match supervisor {
            Some(pid) => (format!(" (process {pid})"), format!("kill -KILL {pid}")),
            None => (String::new(), "kill it".to_owned()),
        };
        let living = if living.is_empty() { "nothing else".to_owned() } else { living.join(", ") };
        Self {
            code: NOT_RUNNING,
            text: format!(
                "the supervisor of \"{node}\"{process} does not answer: it is stopped or hangs. Still running: {living}. They \
                 serve on without it; if it does not recover, `{kill}` and `gantry start`, which takes them over, or stop \
                 everything with `gantry stop`"
            ),
        }
    }

    /// Nothing listens at an address.
    pub(crate) fn nothing_listens(address: &str) -> Self {
        Self {
            code: NOT_RUNNING,
            text: format!(
                "not running (nothing listens on {address}); start it with `gantry start`, or see --addr"
            ),
        }
    }

    /// The node cannot do it now, and perhaps in a while.
    pub(crate) fn not_now(why: impl Into<String>) -> Self {
        Self { code: FAILED, text: why.into() }
    }

    /// Whether an error says that there is no supervisor, or none that answers.
    pub(crate) fn is_not_running(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some_and(|failure| failure.code == NOT_RUNNING)
    }

    /// The command line asks for what cannot be.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { code: USAGE, text: text.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// An error with its causes, each said once: many of ours quote their cause in their own text.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Says an error on standard error and gives the exit code that it means.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(settings) = error.downcast_ref::<SettingsError>() {
        // Its lines begin with FILE:LINE:COLUMN, as editors understand them.
        complain(settings);
        return ExitCode::from(USAGE);
    }
    complain(format_args!("gantry: {}", words(error)));
    ExitCode::from(error.downcast_ref::<Failure>().map_or(FAILED, |failure| failure.code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_said_once() {
        let error = anyhow!("no such file").context("cannot open x: no such file").context("not ready");
        assert_eq!(words(&error), "not ready: cannot open x: no such file");
        let error: anyhow::Result<()> = Err(Failure::usage("write HOST:PORT").into());
        assert_eq!(words(&error.context("call").unwrap_err()), "call: write HOST:PORT");
    }
}
