//! `gantry start` and `gantry restart`: the supervisor as a daemon.

use std::cell::RefCell;
use std::fs::{DirBuilder, File};
use std::io::{PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::rc::Rc;

use anyhow::{Context, bail};
use daemonize::{Daemonize, Outcome, Stdio};
use gantry_settings::Settings;
use gantry_supervisor::Purpose;
use gantry_sys::lock::Holder;
use gantry_sys::process::own_executable;

use crate::failure::words;
use crate::output::print;
use crate::{client, doctor, run};

/// What the daemon writes to its starter when it serves.
const READY: &str = "ready";
/// Bytes of the end of the daemon's standard error that are shown when it ended without a word.
const TAIL_BYTES: u64 = 4 << 10;

/// Starts the node; returns when it serves.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    run::refuse_second(&settings)?;
    let stderr_path = stderr_file(&settings)?;
    let stderr = File::options().append(true).create(true).mode(0o600).open(&stderr_path);
    let stderr = stderr.with_context(|| format!("cannot open {}", stderr_path.display()))?;
    let tail_from = stderr.metadata()?.len();
    let (reader, writer) = std::io::pipe()?;
    // The configuration's path is absolute, so the daemon may live in the root, which no one unmounts. No thread has
    // been started yet: the child of a fork would not have it.
    let daemon = Daemonize::new().working_directory("/").umask(0o077).stdout(Stdio::devnull()).stderr(stderr);
    match daemon.execute() {
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            let name = settings.node.name.clone();
            wait_until_ready(reader, &name, &settings, &stderr_path, tail_from)
        }
        Outcome::Child(Ok(_)) => {
            drop(reader);
            Ok(be_daemon(settings, writer))
        }
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => {
            Err(error).context("this process cannot become a daemon")
        }
    }
}

/// Stops the node if it runs, and starts it. What would keep it from starting is looked for before it is stopped.
pub(crate) fn restart(settings: Settings) -> anyhow::Result<ExitCode> {
    if client::holder(&settings)? != Holder::Nobody {
        let obstacles = doctor::obstacles(&settings);
        if !obstacles.is_empty() {
            bail!(
                "\"{}\" runs on as it is, since it could not be started again: {}",
                settings.node.name,
                obstacles.join("; ")
            );
        }
    }
    // Also what a dead supervisor left. A process of its own, since it becomes the supervisor of that.
    if client::holder(&settings)? != Holder::Nobody || !client::living(&settings).is_empty() {
        let executable = own_executable().context("the path of this program cannot be found")?;
        let stopped = Command::new(executable).arg("-c").arg(&settings.file).arg("stop").status()?;
        if !stopped.success() {
            bail!("\"{}\" could not be stopped; it is not started again", settings.node.name);
        }
    }
    run(settings)
}

/// The daemon's own life. What it says to its starter ends when it is ready; afterwards there is only the log.
fn be_daemon(settings: Settings, starter: PipeWriter) -> ExitCode {
    let starter = Rc::new(RefCell::new(Some(starter)));
    let tell = {
        let starter = Rc::clone(&starter);
        move |text: &str| {
            if let Some(mut pipe) = starter.borrow_mut().take() {
                // A starter that was ended meanwhile is no reason to stop.
                let _told = pipe.write_all(text.as_bytes());
            }
        }
    };
    let ready = {
        let tell = tell.clone();
        Box::new(move || tell(READY))
    };
    match run::supervise(settings, Purpose::Run, None, ready) {
        Ok(code) => code,
        Err(error) => {
            tell(&words(&error));
            crate::failure::report(&error)
        }
    }
}

/// Waits for the daemon's word: that it is ready, or why it is not.
fn wait_until_ready(
    mut reader: PipeReader,
    name: &str,
    settings: &Settings,
    stderr_path: &Path,
    tail_from: u64,
) -> anyhow::Result<ExitCode> {
    let mut word = String::new();
    reader.read_to_string(&mut word).context("the daemon cannot be heard")?;
    match word.as_str() {
        READY => {
            match client::holder(settings)? {
                Holder::Process(pid) => print(format_args!("{name} is ready (process {pid})"))?,
                Holder::Nobody | Holder::Starting => print(format_args!("{name} is ready"))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        "" => bail!(
            "the supervisor ended without a word; its standard error says:\n{}",
            tail(stderr_path, tail_from).unwrap_or_else(|error| error.to_string())
        ),
        reason => bail!("{reason}\n(the log is in {})", settings.log.dir.display()),
    }
}

/// Where the daemon's standard error goes. Its folder is made as the supervisor would make it.
fn stderr_file(settings: &Settings) -> anyhow::Result<PathBuf> {
    let folder = &settings.log.dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder.join("supervisor.stderr"))
}

fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(bytes.saturating_sub(TAIL_BYTES)).min(bytes)))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_what_was_written_since_and_not_too_much_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.stderr");
        std::fs::write(&path, "from before\nnew\n").unwrap();
        assert_eq!(tail(&path, 12).unwrap(), "new");
        assert_eq!(tail(&path, 99).unwrap(), "");
        std::fs::write(&path, "x".repeat(10_000)).unwrap();
        assert_eq!(tail(&path, 0).unwrap().len() as u64, TAIL_BYTES);
    }
}
