//! The sockets that clients connect to. The supervisor makes and holds them, so that they outlive the communication
//! process, which accepts on them.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use gantry_settings::Settings;
use gantry_sys::socket::{listen_tcp, listen_unix};

use crate::SupervisorError;

/// The listeners of a node, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<(&'static str, OwnedFd)>,
    /// Files of the Unix sockets, removed with them.
    files: Vec<PathBuf>,
}

impl Listeners {
    /// Opens every address of the configuration.
    pub(crate) fn open(settings: &Settings) -> Result<Self, SupervisorError> {
        let backlog = i32::try_from(settings.comm.listen_backlog).unwrap_or(i32::MAX);
        let listen = |cause| SupervisorError::Listen { cause };
        let mut listeners = Self { sockets: Vec::new(), files: Vec::new() };
        for address in &settings.listen.tcp {
            listeners.sockets.push(("tcp", listen_tcp(*address, backlog).map_err(listen)?));
        }
        for path in &settings.listen.unix {
            let socket = listen_unix(path, settings.comm.unix_mode, backlog).map_err(listen)?;
            listeners.sockets.push(("unix", socket));
            listeners.files.push(path.clone());
        }
        Ok(listeners)
    }

    /// The descriptors that the communication process inherits.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.sockets.iter().map(|(_, socket)| socket)
    }

    /// As the communication process is told: `tcp:5,unix:6`.
    pub(crate) fn argument(&self) -> String {
        let mut text = String::new();
        for (kind, socket) in &self.sockets {
            let comma = if text.is_empty() { "" } else { "," };
            write!(text, "{comma}{kind}:{}", socket.as_raw_fd()).expect("writing to a string does not fail");
        }
        text
    }
}

impl Drop for Listeners {
    /// A socket's file whose listener is gone only misleads clients.
    fn drop(&mut self) {
        for file in &self.files {
            if let Err(error) = std::fs::remove_file(file) {
                tracing::warn!(file = %file.display(), %error, "the file of a socket cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_listened_on_and_socket_files_go_with_the_listeners() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[node]\nstate_dir = \".\"\n[listen]\ntcp = [\"127.0.0.1:0\"]\nunix = [\"frames.sock\"]\n";
        let settings = Settings::from_text(text, &folder.path().join("gantry.toml")).unwrap();
        let listeners = Listeners::open(&settings).unwrap();
        let numbers: Vec<i32> = listeners.descriptors().map(AsRawFd::as_raw_fd).collect();
        assert_eq!(listeners.argument(), format!("tcp:{},unix:{}", numbers[0], numbers[1]));
        assert!(settings.listen.unix[0].exists());
        drop(listeners);
        assert!(!settings.listen.unix[0].exists());
    }

    #[test]
    fn an_address_in_use_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = format!("[listen]\ntcp = [\"{address}\"]\n");
        let settings = Settings::from_text(&text, &folder.path().join("gantry.toml")).unwrap();
        let error = Listeners::open(&settings).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("change [listen]"), "{error}");
    }
}
