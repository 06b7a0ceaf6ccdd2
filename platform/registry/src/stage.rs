//! Putting a library's file in place: by content, whole or not at all, never over another.

use crate::description::check_name_and_version;
use crate::error::RegistryError;
use crate::limits::{LIBRARY_BYTES_MAX, STAGING_LEFT_AFTER};
use crate::record::Snapshot;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How the names of files begin that are not in place yet.
const STAGING_PREFIX: &str = ".staging-";
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// A library's file in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// `<libraries_dir>/<name>-<version>-<first 16 digits of the build>.so`; readable, never writable.
    pub file: PathBuf,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub build: String,
}

/// Copies a library into `libraries_dir` (made if it is missing) under a name made of its content.
///
/// The copy is written beside its place, synced, renamed, and the folder synced, so a power failure leaves nothing
/// or all of it under that name. A file that is there already is never written to: its content is compared, and
/// it is used. What is hashed is what was copied, so a source that changes meanwhile does no harm: compare `build`
/// with [`hash_library`] of what was probed before.
///
/// # Errors
/// [`BadDescription`](RegistryError::BadDescription): `name` or `version` cannot be part of a file's name.
/// [`NotALibrary`](RegistryError::NotALibrary), [`LibraryTooLarge`](RegistryError::LibraryTooLarge),
/// [`StagedDiffers`](RegistryError::StagedDiffers), [`File`](RegistryError::File).
pub fn stage(
    source: &Path,
    libraries_dir: &Path,
    name: &str,
    version: &str,
) -> Result<Staged, RegistryError> {
    check_name_and_version(name, version)?;
    let mut from = open_library(source)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(libraries_dir)
        .map_err(file_error("create folder", libraries_dir))?;
    remove_left_over(libraries_dir)?;

    let staging = libraries_dir.join(format!("{STAGING_PREFIX}{}-{name}", std::process::id()));
    let outcome = copy(&mut from, source, &staging).and_then(|build| {
        let file = libraries_dir.join(format!("{name}-{version}-{}.so", &build[..16]));
        put_in_place(&staging, &file, &build)?;
        Ok(Staged { file, build })
    });
    // After a rename it is gone; in every other case it must go.
    match fs::remove_file(&staging) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            outcome.and(Err(file_error("remove", &staging)(cause)))
        }
        _ => outcome,
    }
}

/// Removes the staged files of a library whose builds the registry does not know (any more): what a deployment left that
/// did not come to its end, and the oldest builds. Gives how many there were.
///
/// Nobody may be staging a library of this name meanwhile.
///
/// # Errors
/// [`File`](RegistryError::File); what could not be removed stays.
pub fn remove_forgotten(
    libraries_dir: &Path,
    name: &str,
    snapshot: &Snapshot,
) -> Result<usize, RegistryError> {
    let list = || file_error("list", libraries_dir);
    // By name, which is that of the content: the folder may have been moved, or be reached by another path.
    let is_known =
        |path: &Path| snapshot.libraries.iter().any(|library| library.file.file_name() == path.file_name());
    let mut removed_count = 0;
    for entry in fs::read_dir(libraries_dir).map_err(list())? {
        let path = entry.map_err(list())?.path();
        if is_staged_as(&path, name) && !is_known(&path) {
            fs::remove_file(&path).map_err(file_error("remove", &path))?;
            removed_count += 1;
        }
    }
    Ok(removed_count)
}

/// Whether a file has the name of a staged library: `NAME-VERSION-BUILD.so`.
fn is_staged_as(path: &Path, name: &str) -> bool {
    let file_name = path.file_name().and_then(|file_name| file_name.to_str());
    let rest = file_name
        .and_then(|file_name| file_name.strip_suffix(".so"))
        .and_then(|stem| stem.strip_prefix(name))
        .and_then(|rest| rest.strip_prefix('-'));
    let build = rest.and_then(|rest| rest.rsplit_once('-')).map(|(_, build)| build);
    build.is_some_and(|build| build.len() == 16 && build.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// SHA-256 of a library's file, 64 hexadecimal digits: its build.
///
/// # Errors
/// [`NotALibrary`](RegistryError::NotALibrary), [`LibraryTooLarge`](RegistryError::LibraryTooLarge),
/// [`File`](RegistryError::File).
pub fn hash_library(path: &Path) -> Result<String, RegistryError> {
    let mut file = open_library(path)?;
    read_through(&mut file, path, |_| Ok(()))
}

/// Opens a file and checks that it can be a library.
fn open_library(path: &Path) -> Result<File, RegistryError> {
    let file = File::open(path).map_err(file_error("open", path))?;
    let metadata = file.metadata().map_err(file_error("examine", path))?;
    if !metadata.is_file() {
        return Err(RegistryError::NotALibrary { path: path.to_owned() });
    }
    if metadata.len() > LIBRARY_BYTES_MAX {
        return Err(RegistryError::LibraryTooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    Ok(file)
}

/// Reads a library to its end, gives each part to `take`, and returns the hash of it all.
fn read_through(
    from: &mut File,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), RegistryError>,
) -> Result<String, RegistryError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut head: Vec<u8> = Vec::with_capacity(ELF_MAGIC.len());
    let mut bytes: u64 = 0;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(file_error("read", path)(cause)),
        };
        let part = &buffer[..length];
        // It may have grown since its size was looked at.
        bytes += part.len() as u64;
        if bytes > LIBRARY_BYTES_MAX {
            return Err(RegistryError::LibraryTooLarge { path: path.to_owned(), bytes });
        }
        head.extend(part.iter().take(ELF_MAGIC.len() - head.len()));
        hasher.update(part);
        take(part)?;
    }
    if head != ELF_MAGIC {
        return Err(RegistryError::NotALibrary { path: path.to_owned() });
    }
    let mut build = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(build, "{byte:02x}").expect("writing to a string does not fail");
    }
    Ok(build)
}

/// Writes the copy, read-only and on disk when it returns.
fn copy(from: &mut File, source: &Path, staging: &Path) -> Result<String, RegistryError> {
    match fs::remove_file(staging) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(file_error("remove", staging)(cause));
        }
        _ => {}
    }
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(staging)
        .map_err(file_error("create", staging))?;
    let build = read_through(from, source, |part| to.write_all(part).map_err(file_error("write", staging)))?;
    to.set_permissions(Permissions::from_mode(0o500)).map_err(file_error("make read-only", staging))?;
    to.sync_all().map_err(file_error("sync", staging))?;
    Ok(build)
}

fn put_in_place(staging: &Path, file: &Path, build: &str) -> Result<(), RegistryError> {
    match file.try_exists() {
        Ok(true) => {
            let found = match hash_library(file) {
                Err(RegistryError::NotALibrary { .. }) => "of no library".to_owned(),
                outcome => outcome?,
            };
            if found != build {
                let (path, expected) = (file.to_owned(), build.to_owned());
                return Err(RegistryError::StagedDiffers { path, found, expected });
            }
        }
        // Another process that puts the same name in place meanwhile puts the same content there.
        Ok(false) => fs::rename(staging, file).map_err(file_error("rename to", file))?,
        Err(cause) => return Err(file_error("examine", file)(cause)),
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error("sync folder", folder))
}

/// Removes what a process that died while it staged has left. Young files may be at work.
fn remove_left_over(libraries_dir: &Path) -> Result<(), RegistryError> {
    let list = || file_error("list", libraries_dir);
    let oldest = SystemTime::now().checked_sub(STAGING_LEFT_AFTER).unwrap_or(SystemTime::UNIX_EPOCH);
    for entry in fs::read_dir(libraries_dir).map_err(list())? {
        let entry = entry.map_err(list())?;
        if !entry.file_name().as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let outcome = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .and_then(|modified| if modified < oldest { fs::remove_file(&path) } else { Ok(()) });
        match outcome {
            // Its owner finished, or another process removed it.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(file_error("remove", &path)(cause)),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |cause| RegistryError::File { operation, path, cause }
}
