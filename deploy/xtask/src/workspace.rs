//! Where things are.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository and its target folder.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the repository this program was built from and the target folder cargo will use for it, and
    /// makes the repository's root the current folder: every command line is printed as it is typed there.
    pub(crate) fn enter() -> io::Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR");
        let manifest = manifest.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Counts from where cargo was called, and so do we.
            Some(target) => std::path::absolute(target)?,
            None => root.join("target"),
        };
        env::set_current_dir(&root)?;
        Ok(Self { root, target })
    }

    /// A file or folder of the target folder.
    pub(crate) fn target(&self, below: &str) -> PathBuf {
        self.target.join(below)
    }

    /// The platform's binary after `build`, below the repository's root where it can be.
    pub(crate) fn gantry(&self) -> PathBuf {
        let binary = self.target("release/gantry");
        binary.strip_prefix(&self.root).map(Path::to_owned).unwrap_or(binary)
    }

    /// `cargo ARGUMENTS` with the target folder of this run.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments);
        if env::var_os("CARGO_TARGET_DIR").is_some() {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        command
    }
}
