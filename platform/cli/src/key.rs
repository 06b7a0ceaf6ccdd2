//! `gantry key …`: the keys that libraries are signed with.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use gantry_registry::hash_library;
use gantry_signature::SecretKey;
use serde_json::json;

use crate::helper::signature_path;
use crate::operations::say;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, in a file that its owner alone can read.
    ///
    /// Prints the public key, which goes into `service.signers` of the nodes that are to take what is signed with it.
    #[command(after_help = "Example:\n  gantry key new release.key")]
    New {
        /// The file to make; one that is there already is left alone.
        file: PathBuf,
    },
    /// Print the public key of a key.
    #[command(after_help = "Example:\n  gantry key show release.key")]
    Show {
        /// The key's file.
        file: PathBuf,
    },
    /// Sign libraries: writes LIBRARY.sig beside each.
    #[command(after_help = "Example:\n  gantry key sign release.key target/release/libgantry_card.so")]
    Sign {
        /// The key's file.
        file: PathBuf,
        /// The libraries.
        #[arg(required = true)]
        libraries: Vec<PathBuf>,
    },
}

/// Does it. Needs neither a configuration nor a node.
pub(crate) fn run(command: &KeyCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::New { file } => {
            let key = SecretKey::generate()?;
            write_new(file, &format!("{}\n", key.to_text()))?;
            let public = key.public().to_string();
            let told = json!({ "file": file, "public": public });
            say(json, &told, || {
                format!(
                    "{} holds the key; keep it secret. Add to the nodes' configuration:\nsigners = [\"{public}\"]",
                    file.display()
                )
            })?;
        }
        KeyCommand::Show { file } => {
            let public = read(file)?.public().to_string();
            say(json, &json!({ "public": public }), || public.clone())?;
        }
        KeyCommand::Sign { file, libraries } => {
            let key = read(file)?;
            for library in libraries {
                let build = hash_library(library)?;
                let path = signature_path(library);
                std::fs::write(&path, key.sign(&build.parse()?))
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                let told = json!({ "library": library, "build": build, "signature": path });
                say(json, &told, || format!("{} is signed (build {})", library.display(), &build[..16]))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_new(file: &Path, text: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("{} cannot be made", file.display()))?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all())?;
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<SecretKey> {
    let failed = || format!("key {}", file.display());
    let metadata = std::fs::metadata(file).with_context(failed)?;
    if metadata.mode() & 0o077 != 0 {
        bail!(
            "key {} can be read by others; run `chmod 600 {}`, and make a new one if they did",
            file.display(),
            file.display()
        );
    }
    std::fs::read_to_string(file).with_context(failed)?.parse().with_context(failed)
}
