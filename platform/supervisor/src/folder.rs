//! The node's folders: made private, so that nobody else reaches the admin socket, the libraries or the databases.

use std::fs::{DirBuilder, File, Permissions, set_permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gantry_segment::Handoff;
use gantry_settings::Settings;
use gantry_sys::user::effective_uid;

use crate::SupervisorError;

/// Readable, writable and enterable by the owner only.
const MODE: u32 = 0o700;
/// What the state folder holds, besides files.
const SUB_FOLDERS: [&str; 3] = ["libraries", "spool", "reports"];

/// The pid file of a node.
#[must_use]
pub fn pid_file(settings: &Settings) -> PathBuf {
    settings.node.state_dir.join("gantry.pid")
}

/// The file that names the node's segments. Their key leads to them too, but not when somebody removed them under the
/// running node: then only their ids do, as long as anybody lives on them.
pub(crate) fn segments_file(settings: &Settings) -> PathBuf {
    settings.node.state_dir.join("segments")
}

/// Writes down which segments are the node's, whole or not at all.
pub(crate) fn note_segments(settings: &Settings, handoff: &Handoff) -> Result<(), SupervisorError> {
    let path = segments_file(settings);
    let failed = |problem| {
        let path = path.clone();
        move |cause| SupervisorError::Folder { path, problem, cause }
    };
    let fresh = path.with_extension("new");
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let written = file.and_then(|mut file| writeln!(file, "{handoff}"));
    written.map_err(failed("cannot be written"))?;
    std::fs::rename(&fresh, &path).map_err(failed("cannot be replaced"))
}

/// The segments that were written down last, if that can be read.
pub(crate) fn noted_segments(settings: &Settings) -> Option<Handoff> {
    std::fs::read_to_string(segments_file(settings)).ok()?.trim().parse().ok()
}

/// Forgets which segments were the node's: they are removed.
pub fn forget_segments(settings: &Settings) {
    // A file that names segments that are gone leads to nothing.
    let _gone = std::fs::remove_file(segments_file(settings));
}

/// Makes the state folder and what it holds, mode 0700.
pub(crate) fn make_folders(settings: &Settings) -> Result<(), SupervisorError> {
    let state = &settings.node.state_dir;
    make(state)?;
    for name in SUB_FOLDERS {
        make(&state.join(name))?;
    }
    make(&settings.log.dir)
}

/// Makes one folder, or takes one that is there and ours and closes it to others.
fn make(path: &Path) -> Result<(), SupervisorError> {
    let failed = |problem| move |cause| SupervisorError::Folder { path: path.to_owned(), problem, cause };
    DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(failed("cannot be made"))?;
    let found = std::fs::metadata(path).map_err(failed("cannot be looked at"))?;
    if found.uid() != effective_uid() {
        let cause = io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {}, this process runs as user {}", found.uid(), effective_uid()),
        );
        return Err(failed("cannot be used")(cause));
    }
    if found.mode() & 0o077 != 0 {
        set_permissions(path, Permissions::from_mode(MODE)).map_err(failed("cannot be made private"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_private_and_an_open_one_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let text = "[node]\nstate_dir = \"state\"\n";
        let settings = Settings::from_text(text, &root.path().join("gantry.toml")).unwrap();
        let state = &settings.node.state_dir;
        std::fs::create_dir(state).unwrap();
        set_permissions(state, Permissions::from_mode(0o755)).unwrap();
        make_folders(&settings).unwrap();
        for folder in [state.clone(), state.join("libraries"), settings.log.dir.clone()] {
            let mode = std::fs::metadata(&folder).unwrap().mode() & 0o777;
            assert_eq!(mode, MODE, "{}", folder.display());
        }
        make_folders(&settings).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let text = "[node]\nstate_dir = \"state\"\n";
        let settings = Settings::from_text(text, &root.path().join("gantry.toml")).unwrap();
        std::fs::write(&settings.node.state_dir, "").unwrap();
        let error = make_folders(&settings).unwrap_err().to_string();
        assert!(error.contains("state: cannot be made") && error.contains("may write there"), "{error}");
    }
}
