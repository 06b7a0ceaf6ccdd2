//! Running one command after the other, with a banner and the time.

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};
use std::time::Instant;

/// Why a command of xtask ended early.
pub(crate) enum Failure {
    /// A command could not be started.
    NotStarted { line: String, cause: io::Error },
    /// A command ended with something else than success.
    Ended { line: String, status: ExitStatus },
    /// Something was found that is not as it should be; in words.
    Wrong(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { line, cause } => write!(formatter, "{line}: cannot be started: {cause}"),
            Self::Ended { line, status } => write!(formatter, "{line}: {status}"),
            Self::Wrong(words) => formatter.write_str(words),
        }
    }
}

/// The steps of one run.
pub(crate) struct Steps {
    begin: Instant,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { begin: Instant::now() }
    }

    /// Seconds since the run began, as words.
    pub(crate) fn elapsed(&self) -> String {
        format!("{:.1} s", self.begin.elapsed().as_secs_f64())
    }

    /// Says what comes next.
    pub(crate) fn banner(&self, title: &str) {
        eprintln!("\n==> [{}] {title}", self.elapsed());
    }

    /// Says what comes next, runs it, and fails when it fails.
    pub(crate) fn run(&self, title: &str, command: &mut Command) -> Result<(), Failure> {
        self.banner(title);
        let line = command_line(command);
        eprintln!("    {line}");
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Ended { line, status }),
            Err(cause) => Err(Failure::NotStarted { line, cause }),
        }
    }

    /// The same, tried once more when it fails: for what depends on the network.
    pub(crate) fn run_retried(&self, title: &str, command: &mut Command) -> Result<(), Failure> {
        self.run(title, command).or_else(|failure| {
            eprintln!("    {failure}; once more");
            self.run(title, command)
        })
    }
}

/// A command as one would type it, with the environment it sets.
pub(crate) fn command_line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = quoted(&value?.to_string_lossy());
        Some(format!("{}={value}", name.to_string_lossy()))
    });
    let program = std::iter::once(command.get_program()).chain(command.get_args());
    let words = program.map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as the shell needs it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::command_line;
    use std::process::Command;

    #[test]
    fn command_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("cargo");
        command.env("RUSTFLAGS", "--cfg loom").args(["test", r#"{"name":"O'Brien"}"#, ""]);
        assert_eq!(command_line(&command), r#"RUSTFLAGS='--cfg loom' cargo test '{"name":"O'\''Brien"}' ''"#);
    }
}
