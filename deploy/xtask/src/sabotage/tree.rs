//! The copy of the repository that is sabotaged.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::Failure;

/// A copy of everything that git tracks or would.
pub(super) struct Tree {
    root: PathBuf,
}

/// A file that is not as it should be, until this is dropped.
pub(super) struct Patch {
    path: PathBuf,
    original: String,
}

impl Tree {
    /// Makes the copy, or brings it up to date: only what differs is written, so that not all is compiled again.
    pub(super) fn copy(root: &Path) -> Result<Self, Failure> {
        let files = tracked()?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause: io::Error| Failure::Wrong(format!("{}: {cause}", path.display()))
        };
        for file in &files {
            let (from, to) = (Path::new(file), root.join(file));
            let content = fs::read(from).map_err(failed(from))?;
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            let folder = to.parent().unwrap_or(root);
            fs::create_dir_all(folder).map_err(failed(folder))?;
            fs::copy(from, &to).map_err(failed(&to))?;
        }
        remove_others(root, root, &files).map_err(failed(root))?;
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces `old` by `new` in a file, until the patch is dropped.
    pub(super) fn patch(&self, file: &str, old: &str, new: &str) -> Result<Patch, String> {
        let path = self.root.join(file);
        let original = fs::read_to_string(&path).map_err(|cause| format!("{file}: {cause}"))?;
        let count = original.matches(old).count();
        if count != 1 {
            return Err(format!("does not apply: `old` occurs {count} times in {file}"));
        }
        fs::write(&path, original.replacen(old, new, 1)).map_err(|cause| format!("{file}: {cause}"))?;
        Ok(Patch { path, original })
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        if let Err(cause) = fs::write(&self.path, &self.original) {
            // The next copy puts it right.
            eprintln!("xtask: {} stays sabotaged: {cause}", self.path.display());
        }
    }
}

/// What git tracks or would, as far as it is there.
fn tracked() -> Result<BTreeSet<String>, Failure> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output =
        command.output().map_err(|cause| Failure::NotStarted { line: "git ls-files".to_owned(), cause })?;
    if !output.status.success() {
        return Err(Failure::Ended { line: "git ls-files".to_owned(), status: output.status });
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_there = |name: &&str| Path::new(name).is_file();
    Ok(names.split_terminator('\0').filter(is_there).map(str::to_owned).collect())
}

/// Removes what the repository no longer has.
fn remove_others(root: &Path, folder: &Path, files: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root)
            && !files.contains(&*name.to_string_lossy())
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
