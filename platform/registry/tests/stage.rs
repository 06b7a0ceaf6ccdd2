//! Staging a library's file: by content, read-only, never over another.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gantry_registry::{LibraryRecord, RegistryError, Snapshot, hash_library, remove_forgotten, stage};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const CONTENT: &[u8] = b"\x7fELF and what follows";

struct Folders {
    source: PathBuf,
    libraries: PathBuf,
    _folder: tempfile::TempDir,
}

fn folders(content: &[u8]) -> Folders {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("libcard.so");
    fs::write(&source, content).unwrap();
    Folders { source, libraries: folder.path().join("state/libraries"), _folder: folder }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn stage_copies_under_a_name_of_its_content_readable_by_its_user_alone() {
    let at = folders(CONTENT);
    let staged = stage(&at.source, &at.libraries, "gantry_card", "1.2.0").unwrap();
    assert_eq!(staged.build, hash_library(&at.source).unwrap());
    assert_eq!(staged.build.len(), 64);
    let name = format!("gantry_card-1.2.0-{}.so", &staged.build[..16]);
    assert_eq!(staged.file, at.libraries.join(&name));
    assert_eq!(fs::read(&staged.file).unwrap(), CONTENT);
    assert_eq!(staged.file.metadata().unwrap().permissions().mode() & 0o777, 0o500);
    assert_eq!(at.libraries.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(names(&at.libraries), [name]);
}

#[test]
fn stage_of_the_same_content_uses_the_file_that_is_there() {
    let at = folders(CONTENT);
    let first = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
    let before = first.file.metadata().unwrap();
    assert_eq!(stage(&at.source, &at.libraries, "card", "1.0.0").unwrap(), first);
    let after = first.file.metadata().unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()), "not written again");
    assert_eq!(names(&at.libraries).len(), 1);

    fs::write(&at.source, [CONTENT, b"!"].concat()).unwrap();
    let second = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
    assert_ne!(second.build, first.build);
    assert_eq!(names(&at.libraries).len(), 2);
    assert_eq!(fs::read(&first.file).unwrap(), CONTENT, "the old one is left alone");
}

#[test]
fn only_what_the_registry_does_not_know_is_removed() {
    let at = folders(CONTENT);
    let known = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
    fs::write(&at.source, [CONTENT, b"!"].concat()).unwrap();
    stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
    let of_another = stage(&at.source, &at.libraries, "cards", "1.0.0").unwrap();
    fs::write(at.libraries.join("card-notes.so"), "somebody's").unwrap();
    let record = LibraryRecord {
        name: "card".to_owned(),
        version: "1.0.0".to_owned(),
        build: known.build.clone(),
        // As it was before the folder was moved.
        file: Path::new("/elsewhere").join(known.file.file_name().unwrap()),
        deployed_ms: 0,
        active: true,
        set_aside: false,
        canary: None,
    };
    let snapshot = Snapshot { generation: 1, libraries: vec![record], services: Vec::new() };
    assert_eq!(remove_forgotten(&at.libraries, "card", &snapshot).unwrap(), 1);
    assert!(known.file.exists() && of_another.file.exists());
    assert_eq!(names(&at.libraries).len(), 3);
}

#[test]
fn staged_file_that_was_changed_is_told_and_not_overwritten() {
    for damage in [&b"\x7fELF something else"[..], b"no library at all", b""] {
        let at = folders(CONTENT);
        let staged = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
        fs::remove_file(&staged.file).unwrap();
        fs::write(&staged.file, damage).unwrap();
        let error = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap_err();
        assert!(matches!(error, RegistryError::StagedDiffers { .. }), "{error}");
        assert_eq!(fs::read(&staged.file).unwrap(), damage);
        assert_eq!(names(&at.libraries).len(), 1, "nothing is left behind");
    }
}

#[test]
fn what_is_no_library_is_refused_and_leaves_nothing() {
    for content in [&b"#!/bin/sh\n"[..], b"", b"\x7fEL"] {
        let at = folders(content);
        let error = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap_err();
        assert!(matches!(error, RegistryError::NotALibrary { .. }), "{error}");
        assert!(names(&at.libraries).is_empty());
    }
    let at = folders(CONTENT);
    let missing = stage(Path::new("/nowhere/lib.so"), &at.libraries, "card", "1.0.0").unwrap_err();
    assert!(missing.to_string().starts_with("open /nowhere/lib.so"), "{missing}");
    let folder =
        stage(at.libraries.parent().unwrap().parent().unwrap(), &at.libraries, "card", "1.0.0").unwrap_err();
    assert!(matches!(folder, RegistryError::NotALibrary { .. }), "{folder}");
    for (name, version) in [("../card", "1"), ("card", "../1"), ("", "1"), ("card", ""), ("a b", "1")] {
        let error = stage(&at.source, &at.libraries, name, version).unwrap_err();
        assert!(matches!(error, RegistryError::BadDescription { .. }), "{error}");
    }
}

#[test]
fn file_over_the_bound_is_refused_before_it_is_read() {
    let at = folders(CONTENT);
    let bytes = gantry_registry::limits::LIBRARY_BYTES_MAX + 1;
    File::options().write(true).open(&at.source).unwrap().set_len(bytes).unwrap();
    let error = stage(&at.source, &at.libraries, "card", "1.0.0").unwrap_err();
    assert!(
        matches!(error, RegistryError::LibraryTooLarge { bytes: found, .. } if found == bytes),
        "{error}"
    );
}

#[test]
fn left_over_of_a_dead_process_goes_and_a_young_one_stays() {
    let at = folders(CONTENT);
    fs::create_dir_all(&at.libraries).unwrap();
    let (old, young) = (at.libraries.join(".staging-1-card"), at.libraries.join(".staging-2-card"));
    fs::write(&old, CONTENT).unwrap();
    fs::write(&young, CONTENT).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(7_200);
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    stage(&at.source, &at.libraries, "card", "1.0.0").unwrap();
    assert!(!old.exists() && young.exists());
}
