//! Which configuration a command is about.

use std::path::Path;

use gantry_settings::{Settings, SettingsError};

/// What leads to a running node: where it is, what it is called, where its shared memory lies, how long its end may take.
const KEYS_OF_A_NODE: [(&str, &str); 6] = [
    ("node", "name"),
    ("node", "state_dir"),
    ("node", "drain_grace"),
    ("supervisor", "stop_timeout"),
    ("ipc", "backend"),
    ("ipc", "key"),
];

/// Reads the named file, or the first default one that is there.
pub(crate) fn load(named: Option<&Path>) -> Result<Settings, SettingsError> {
    match named {
        Some(file) => Settings::load(file),
        None => Settings::load(&Settings::default_path()?),
    }
}

/// The defaults, for commands that may do without a file; other programs of ours are told the empty one.
pub(crate) fn defaults() -> Result<Settings, SettingsError> {
    Settings::load(Path::new("/dev/null"))
}

/// Reads from a file with faults only what leads to a running node, for commands that ask it: a fault in the file must not
/// keep anybody from looking at the node or from stopping it. `None` when not even that can be read.
pub(crate) fn load_of_a_node(named: Option<&Path>) -> Option<Settings> {
    let file = match named {
        Some(file) => file.to_owned(),
        None => Settings::default_path().ok()?,
    };
    let file = std::path::absolute(file).ok()?;
    let text = String::from_utf8_lossy(&std::fs::read(&file).ok()?).into_owned();
    let mut kept = String::new();
    for (section, line) in lines_of_a_node(&text) {
        let with_it = format!("{kept}[{section}]\n{line}\n");
        // A section may stand only once, so that lines of one are put under its one header.
        let with_it = match kept.find(&format!("[{section}]\n")) {
            Some(at) => {
                let behind = at + section.len() + 3;
                format!("{}{line}\n{}", &kept[..behind], &kept[behind..])
            }
            None => with_it,
        };
        // A line that is itself the fault is left out.
        if Settings::from_text(&with_it, &file).is_ok() {
            kept = with_it;
        }
    }
    Settings::from_text(&kept, &file).ok()
}

/// The lines that set one of the keys, each with its section. By lines and not by a parser, since the fault may be one that
/// ends every parser; none of these keys has a value of several lines.
fn lines_of_a_node(text: &str) -> Vec<(&'static str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = header.trim();
        }
        let Some((key, _)) = line.split_once('=') else { continue };
        let key = key.trim();
        if let Some((known, _)) = KEYS_OF_A_NODE.iter().find(|known| **known == (section, key)) {
            found.push((*known, line));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Option<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gantry.toml");
        std::fs::write(&file, text).unwrap();
        assert!(load(Some(&file)).is_err(), "the text is to have a fault");
        load_of_a_node(Some(&file))
    }

    #[test]
    fn a_file_with_faults_still_leads_to_its_node() {
        let settings = load_text(
            "[node]\nname = \"gate\"   # the name\nstate_dir = \"/x/state\"\n[workers]\nread = \"many\"\n[listen\ntcp = [\n\
             [ipc]\nkey = 4096\nslots = 0\n[node]\ndrain_grace = \"7 parsecs\"\n",
        );
        let settings = settings.unwrap();
        assert_eq!((settings.node.name.as_str(), settings.ipc.key), ("gate", Some(4096)));
        assert_eq!(settings.node.state_dir, Path::new("/x/state"));
    }

    #[test]
    fn lines_of_one_section_are_put_together() {
        let text = "[node]\nname = \"a\"\n[ipc]\nbackend = \"posix\"\n[node]\nstate_dir = \"s\"\ncolor = 1\n";
        let settings = load_text(text).unwrap();
        assert_eq!(settings.node.name, "a");
        assert!(settings.node.state_dir.ends_with("s"));
        assert_eq!(settings.ipc.backend, gantry_settings::IpcBackend::Posix);
    }

    #[test]
    fn a_file_that_is_not_there_leads_to_nothing() {
        assert!(load_of_a_node(Some(Path::new("/nonexistent/gantry.toml"))).is_none());
    }
}
