//! Where relative paths count from.

use crate::SettingsError;
use std::path::{Component, Path, PathBuf};

/// The folder of the configuration file.
pub(crate) struct Folder {
    folder: PathBuf,
    file: PathBuf,
}

impl Folder {
    /// The folder of `file`, absolute and, where it exists, without symbolic links: so `..` in a path that
    /// counts from it means the folder above the real one, as the kernel would take it.
    pub(crate) fn of(file: &Path) -> Result<Self, SettingsError> {
        let parent = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        // A folder that is not there (only `from_text` can name one) is taken as it is written.
        let folder = match parent.canonicalize() {
            Ok(real) => real,
            Err(_) => {
                let absolute = std::path::absolute(parent);
                let no_current = |cause| SettingsError::NoCurrentFolder { file: file.to_owned(), cause };
                without_dots(&absolute.map_err(no_current)?)
            }
        };
        let name = file.file_name().unwrap_or_default();
        Ok(Self { file: folder.join(name), folder })
    }

    /// Adds the state folder, which counts from this one.
    pub(crate) fn with_state_dir(self, state_dir: &str) -> Places {
        Places { state_dir: without_dots(&self.folder.join(state_dir)), file: self.file }
    }
}

/// The absolute places of one configuration.
pub(crate) struct Places {
    state_dir: PathBuf,
    file: PathBuf,
}

impl Places {
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// A path that counts from the state folder.
    pub(crate) fn in_state_dir(&self, path: &str) -> PathBuf {
        without_dots(&self.state_dir.join(path))
    }
}

/// An absolute path with `.` and `..` resolved by their words alone.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_dots_removes_single_and_double_dots_and_stops_at_the_root() {
        assert_eq!(without_dots(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(without_dots(Path::new("/../../a")), Path::new("/a"));
    }

    #[test]
    fn folder_reached_by_a_symbolic_link_counts_from_the_real_one() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("deep/conf")).unwrap();
        std::os::unix::fs::symlink(real.join("deep/conf"), real.join("link")).unwrap();
        let places = Folder::of(&real.join("link/gantry.toml")).unwrap().with_state_dir("../var");
        assert_eq!(places.state_dir(), real.join("deep/var"));
        assert_eq!(places.file(), real.join("deep/conf/gantry.toml"));
        assert_eq!(places.in_state_dir("log"), real.join("deep/var/log"));
        assert_eq!(places.in_state_dir("/srv/log"), Path::new("/srv/log"));
    }
}
