//! Where libraries are found.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gantry_settings::LibraryName;
use gantry_sys::process::own_executable;

/// Where libraries are installed, if not beside the executable.
const INSTALLED: &str = "/usr/lib/gantry";

/// The file of a library that the configuration names.
pub(crate) fn find(library: &LibraryName) -> anyhow::Result<PathBuf> {
    match library {
        LibraryName::Bare(name) => find_bare(name),
        LibraryName::File(path) if path.is_file() => Ok(path.clone()),
        LibraryName::File(path) => bail!("there is no library {}; see service.libraries", path.display()),
    }
}

/// The file of the library `X`: `libX.so` beside the executable, then in `/usr/lib/gantry`.
pub(crate) fn find_bare(name: &str) -> anyhow::Result<PathBuf> {
    let folders = folders()?;
    look_in(&folders, &[name]).with_context(|| missing(name, &folders))
}

/// The file of a library by its own name, which lacks the `gantry_` of its file where it is one that ships.
pub(crate) fn find_by_either_name(name: &str) -> anyhow::Result<PathBuf> {
    let folders = folders()?;
    let long = format!("gantry_{name}");
    look_in(&folders, &[name, &long]).with_context(|| missing(name, &folders))
}

/// The file of what an operator names: a path, or a bare name.
pub(crate) fn find_path(library: &Path) -> anyhow::Result<PathBuf> {
    match library.to_str() {
        Some(name) if !library.is_absolute() => find_bare(name),
        _ if library.is_file() => Ok(library.to_owned()),
        _ => bail!("there is no library {}", library.display()),
    }
}

fn look_in(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let mut files =
        folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(file_name(name))));
    files.find(|file| file.is_file())
}

fn missing(name: &str, folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    format!("there is no library {name}: {} is neither in {}", file_name(name), folders.join(" nor in "))
}

fn folders() -> anyhow::Result<Vec<PathBuf>> {
    let executable =
        own_executable().context("the path of this program cannot be found; is /proc mounted?")?;
    let beside = executable.parent().map(Path::to_owned);
    Ok(beside.into_iter().chain([PathBuf::from(INSTALLED)]).collect())
}

fn file_name(name: &str) -> String {
    format!("lib{name}.so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_it_wins_and_both_names_are_tried() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [first.path().to_owned(), second.path().to_owned()];
        std::fs::write(second.path().join("libgantry_card.so"), "").unwrap();
        assert_eq!(look_in(&folders, &["card"]), None);
        assert_eq!(
            look_in(&folders, &["card", "gantry_card"]),
            Some(second.path().join("libgantry_card.so"))
        );
        std::fs::write(first.path().join("libgantry_card.so"), "").unwrap();
        assert_eq!(look_in(&folders, &["gantry_card"]), Some(first.path().join("libgantry_card.so")));
    }

    #[test]
    fn what_is_not_there_is_named_with_where_it_was_looked_for() {
        let error = find_bare("no_such_library").unwrap_err().to_string();
        assert!(error.contains("libno_such_library.so") && error.contains(INSTALLED), "{error}");
        let error = find_path(Path::new("/no/such/lib.so")).unwrap_err().to_string();
        assert!(error.contains("/no/such/lib.so"), "{error}");
    }
}
