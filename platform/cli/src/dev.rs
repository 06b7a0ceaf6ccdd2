//! `gantry dev`: whoever writes a service saves and builds, and the running node serves the new build.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use gantry_settings::Settings;
use gantry_supervisor::protocol::ServiceRequest;
use serde_json::{Value, json};

use crate::arguments::DevArguments;
use crate::failure::Failure;
use crate::output::{complain, print};
use crate::service;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(150);

/// A file that is watched.
struct Watched {
    path: PathBuf,
    /// What it looked like at the last look.
    seen: Option<Looks>,
    /// What was deployed, or tried to be.
    tried: Option<Looks>,
    /// There was no node to deploy it to.
    is_waiting: bool,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Looks {
    modified: SystemTime,
    bytes: u64,
}

/// Watches until it is interrupted. A build that is refused is told and waited for the next one of.
pub(crate) fn run(settings: &Settings, arguments: DevArguments, json: bool) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for library in arguments.libraries {
        let path = std::path::absolute(library)?;
        if !path.exists() {
            complain(format_args!("{} is not there yet; it is deployed when it is", path.display()));
        }
        files.push(Watched { path, seen: None, tried: None, is_waiting: false });
    }
    loop {
        for file in &mut files {
            let looks = looks_of(&file.path);
            // A linker writes for a while: what changed since the last look is not whole yet.
            let is_still = looks.is_some() && looks == file.seen;
            file.seen = looks;
            if is_still && file.tried != looks {
                let outcome = deploy(settings, &file.path);
                // A node that is not there, or not yet, is asked again; the words are said once.
                let is_asked_again = outcome.as_ref().is_err_and(|error| error.is::<Failure>());
                file.tried = looks.filter(|_| !is_asked_again);
                if !is_asked_again || !file.is_waiting {
                    tell(&file.path, outcome, json)?;
                }
                file.is_waiting = is_asked_again;
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn looks_of(path: &Path) -> Option<Looks> {
    let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(Looks { modified: file.modified().ok()?, bytes: file.len() })
}

fn deploy(settings: &Settings, library: &Path) -> anyhow::Result<Value> {
    let request = ServiceRequest::Deploy {
        library: library.to_owned(),
        canary_ppm: None,
        promote_after_ms: None,
        unless_in_force: true,
        wait_ms: None,
        why: "gantry dev".to_owned(),
    };
    match service::change(settings, request)? {
        (receipt, None) => Ok(receipt),
        (receipt, Some(lagging)) => bail!("{lagging}\n{}", service::receipt(&receipt)),
    }
}

fn tell(path: &Path, outcome: anyhow::Result<Value>, json: bool) -> std::io::Result<()> {
    match (outcome, json) {
        (Ok(receipt), false) => print(service::receipt(&receipt)),
        (Err(error), false) => {
            complain(format_args!("{}: {error:#}", path.display()));
            Ok(())
        }
        (Ok(receipt), true) => print(json!({ "file": path, "ok": true, "receipt": receipt })),
        (Err(error), true) => print(json!({ "file": path, "ok": false, "error": format!("{error:#}") })),
    }
}
