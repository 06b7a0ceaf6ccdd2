//! Trying a library out in a process of its own, before any worker loads it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use gantry_service_host::Description;
use gantry_settings::Settings;
use gantry_sys::process::{ExitState, Output, PidFd, Spawn, die_with, own_executable, reap, signal_group};
use gantry_sys::signal::Signal;
use gantry_telemetry::Level;
use gantry_worker::Equipment;

use crate::output::print;

/// How long a library may take to be loaded and to make an instance of each of its services.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes that the probe may print: a library of 1,024 services with long examples stays below.
const OUTPUT_BYTES_MAX: u64 = 128 << 20;
/// Bytes kept of what it says on standard error.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// Loads a library, makes an instance of each service unless it is only to be described, and prints the library's
/// description. Whatever the library does meanwhile (crash, hang, exit) is done to this process alone.
pub(crate) fn probe(
    settings: &Settings,
    path: &Path,
    only_describe: bool,
    parent: i32,
) -> anyhow::Result<ExitCode> {
    // A library that hangs must not outlive whoever would end it.
    die_with(parent)?;
    let _log = gantry_telemetry::init_stderr("probe", Level::Warn)?;
    let description = if only_describe {
        gantry_service_host::describe(path)?
    } else {
        gantry_service_host::probe(path, &Equipment(settings))?
    };
    // Behind a line feed, since the library may have printed something without one.
    print(format_args!("\n{}", serde_json::to_string(&description)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Has a library probed and gives what it says of itself. Blocks for at most half a minute.
pub(crate) fn run_probe(settings: &Settings, path: &Path) -> anyhow::Result<Description> {
    run(settings, path, &[])
}

/// The same, without an instance of anything: what it needs need not be there.
pub(crate) fn run_describe(settings: &Settings, path: &Path) -> anyhow::Result<Description> {
    run(settings, path, &["--describe"])
}

fn run(settings: &Settings, path: &Path, options: &[&str]) -> anyhow::Result<Description> {
    let executable =
        own_executable().context("the path of this program cannot be found; is /proc mounted?")?;
    let mut spawn = Spawn::new(executable);
    let parent = format!("--parent={}", std::process::id());
    spawn.arg("-c").arg(&settings.file).arg("helper-probe").arg(parent).args(options).arg("--").arg(path);
    let child = spawn.own_group().stdout(Output::Pipe).stderr(Output::Pipe).spawn()?;
    let pidfd = PidFd::from(child.pidfd);
    let output = child.stdout.map(|pipe| read_to_end(pipe, OUTPUT_BYTES_MAX));
    let error = child.stderr.map(|pipe| read_to_end(pipe, ERROR_BYTES_MAX));
    let is_over = pidfd.wait(Some(PROBE_LIMIT));
    // What the library started goes too; the process is not reaped yet, so the group's number is its own.
    let _gone = signal_group(child.pid, Signal::SIGKILL);
    let exit = if is_over || pidfd.wait(Some(PROBE_LIMIT)) { reap(child.pid) } else { ExitState::Running };
    let output = take(output)?;
    let said = String::from_utf8_lossy(&take(error)?).trim().to_owned();
    if !is_over {
        bail!("the library does not get ready within {} s{}", PROBE_LIMIT.as_secs(), quoted(&said));
    }
    match exit {
        ExitState::Exited { code: 0 } => description(&output),
        // The probe's own refusal.
        ExitState::Exited { code: 1 } if said.starts_with("gantry: ") => {
            Err(anyhow!(said.trim_start_matches("gantry: ").to_owned()))
        }
        exit => bail!("the library ended the process that tried it out: it {exit}{}", quoted(&said)),
    }
}

/// The description is the last line: the library may have printed before it.
fn description(output: &[u8]) -> anyhow::Result<Description> {
    let line = output.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let line = line.context("the library ended the process that tried it out, without a word")?;
    serde_json::from_slice(line)
        .context("the library ended the process that tried it out before it had described itself")
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; it said: {said}") }
}

/// Reads a pipe beside the wait; it ends when everybody who holds it has ended, or at the limit.
fn read_to_end(pipe: OwnedFd, bytes_max: u64) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        File::from(pipe).take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

fn take(reader: Option<JoinHandle<std::io::Result<Vec<u8>>>>) -> anyhow::Result<Vec<u8>> {
    match reader.map(JoinHandle::join) {
        None => Ok(Vec::new()),
        Some(Ok(bytes)) => bytes.context("the probe cannot be heard"),
        Some(Err(_)) => bail!("the thread that read the probe's output failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_the_last_line_whatever_the_library_printed() {
        let json = r#"{"name":"x","version":"1","build":"","abi":"1.0","services":[],"migrations":[]}"#;
        let text = format!("hello from a constructor\nno line feed\n{json}\n");
        assert_eq!(description(text.as_bytes()).unwrap().name, "x");
        assert!(description(b"").unwrap_err().to_string().contains("without a word"));
        assert!(
            description(b"exit(0) in a constructor")
                .unwrap_err()
                .to_string()
                .contains("before it had described")
        );
    }
}
