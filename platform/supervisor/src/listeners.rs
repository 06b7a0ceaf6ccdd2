//! The sockets that clients connect to. The supervisor makes and holds them, so that they outlive the communication
//! process, which accepts on them.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use gantry_settings::Settings;
use gantry_sys::socket::{SocketKind, kind, listen_tcp, listen_unix};

use crate::SupervisorError;

/// The listeners of a node, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<(&'static str, OwnedFd)>,
    /// Files of the Unix sockets, removed with them.
    files: Vec<PathBuf>,
}

/// What came of the sockets of an earlier supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Whether the communication process that runs listens on other sockets than these.
    pub(crate) is_any: bool,
}

impl Listeners {
    /// Goes on with those of `earlier` that the configuration still wants, and opens the others. With `does_serve`, an
    /// address that cannot be had is left out: the node serves on at the others.
    ///
    /// # Errors
    /// When an address cannot be had; of a node that serves, when none can.
    pub(crate) fn open(
        settings: &Settings,
        earlier: Vec<OwnedFd>,
        does_serve: bool,
    ) -> Result<(Self, Change), SupervisorError> {
        let mut listeners = Self { sockets: Vec::new(), files: Vec::new() };
        let mut earlier = Earlier::new(earlier);
        let mut failures = Vec::new();
        for address in &settings.listen.tcp {
            match earlier.take(|kind| listens_at(kind, *address), || open_tcp(settings, *address)) {
                Ok(socket) => listeners.sockets.push(("tcp", socket)),
                Err(error) => failures.push(error),
            }
        }
        for path in &settings.listen.unix {
            // A listener whose file is gone can be reached by nobody.
            let is_it = |kind: &SocketKind| matches!(kind, SocketKind::UnixListener(Some(at)) if at == path && path.exists());
            match earlier.take(is_it, || open_unix(settings, path)) {
                Ok(socket) => {
                    listeners.sockets.push(("unix", socket));
                    listeners.files.push(path.clone());
                }
                Err(error) => failures.push(error),
            }
        }
        let may_go_on = does_serve && !listeners.sockets.is_empty();
        for error in failures {
            if !may_go_on {
                return Err(error);
            }
            tracing::error!(%error, "the node serves on without this address");
        }
        Ok((listeners, Change { is_any: earlier.is_changed || !earlier.sockets.is_empty() }))
    }

    /// The descriptors that the communication process inherits.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.sockets.iter().map(|(_, socket)| socket)
    }

    /// As the communication process is told where it gets the numbers from `first` on: `tcp:5,unix:6`.
    pub(crate) fn argument(&self, first: RawFd) -> String {
        let words: Vec<String> =
            self.sockets.iter().zip(first..).map(|((kind, _), number)| format!("{kind}:{number}")).collect();
        words.join(",")
    }

    /// Leaves the sockets' files where they are: the next supervisor goes on with the sockets.
    pub(crate) fn keep_files(&mut self) {
        self.files.clear();
    }
}

/// The sockets of an earlier supervisor, each taken once.
struct Earlier {
    sockets: Vec<(SocketKind, OwnedFd)>,
    /// Another one had to be opened.
    is_changed: bool,
}

impl Earlier {
    fn new(sockets: Vec<OwnedFd>) -> Self {
        let told = |socket: OwnedFd| kind(&socket).ok().map(|kind| (kind, socket));
        Self { sockets: sockets.into_iter().filter_map(told).collect(), is_changed: false }
    }

    fn take(
        &mut self,
        is_it: impl Fn(&SocketKind) -> bool,
        open: impl FnOnce() -> Result<OwnedFd, SupervisorError>,
    ) -> Result<OwnedFd, SupervisorError> {
        if let Some(position) = self.sockets.iter().position(|(kind, _)| is_it(kind)) {
            return Ok(self.sockets.remove(position).1);
        }
        let socket = open()?;
        self.is_changed = true;
        Ok(socket)
    }
}

/// Whether it is the listener of a configured address; with port 0 any port of that host is.
fn listens_at(kind: &SocketKind, wanted: SocketAddr) -> bool {
    let SocketKind::TcpListener(at) = kind else { return false };
    *at == wanted || (wanted.port() == 0 && at.ip() == wanted.ip())
}

fn open_tcp(settings: &Settings, address: SocketAddr) -> Result<OwnedFd, SupervisorError> {
    listen_tcp(address, backlog(settings)).map_err(|cause| SupervisorError::Listen { cause })
}

fn open_unix(settings: &Settings, path: &Path) -> Result<OwnedFd, SupervisorError> {
    let mode = settings.comm.unix_mode;
    listen_unix(path, mode, backlog(settings)).map_err(|cause| SupervisorError::Listen { cause })
}

fn backlog(settings: &Settings) -> i32 {
    i32::try_from(settings.comm.listen_backlog).unwrap_or(i32::MAX)
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
        let (listeners, _) = Listeners::open(&settings, Vec::new(), false).unwrap();
        assert_eq!((listeners.argument(5).as_str(), listeners.descriptors().count()), ("tcp:5,unix:6", 2));
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
        let error = Listeners::open(&settings, Vec::new(), false).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("change [listen]"), "{error}");
    }

    #[test]
    fn wanted_sockets_go_on_and_a_change_of_addresses_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |tcp: &str, unix: &str| {
            let text = format!("[node]\nstate_dir = \".\"\n[listen]\ntcp = [{tcp}]\nunix = [{unix}]\n");
            Settings::from_text(&text, &folder.path().join("gantry.toml")).unwrap()
        };
        let both = settings("\"127.0.0.1:0\"", "\"a.sock\"");
        let (mut first, _) = Listeners::open(&both, Vec::new(), false).unwrap();
        first.keep_files();
        let taken = |listeners: &Listeners| -> Vec<OwnedFd> {
            listeners.descriptors().map(|socket| socket.try_clone().unwrap()).collect()
        };
        let kinds = |listeners: &Listeners| -> Vec<SocketKind> {
            listeners.descriptors().map(|socket| kind(socket).unwrap()).collect()
        };
        let mut again = taken(&first);
        again.reverse();
        let (mut second, change) = Listeners::open(&both, again, true).unwrap();
        second.keep_files();
        assert_eq!((kinds(&second), change.is_any), (kinds(&first), false));
        let (mut fewer, change) =
            Listeners::open(&settings("\"127.0.0.1:0\"", ""), taken(&first), true).unwrap();
        fewer.keep_files();
        assert_eq!((kinds(&fewer).len(), change.is_any), (1, true));
        let more = settings("\"127.0.0.1:0\"", "\"a.sock\", \"b.sock\"");
        let (more, change) = Listeners::open(&more, taken(&first), true).unwrap();
        assert_eq!((&kinds(&more)[..2], change.is_any), (&kinds(&first)[..], true));
        let SocketKind::TcpListener(address) = kinds(&first).remove(0) else { panic!("not a listener") };
        let busy = settings(&format!("\"{address}\""), "\"c.sock\"");
        let (busy, _) = Listeners::open(&busy, Vec::new(), true).unwrap();
        assert_eq!(kinds(&busy).len(), 1, "the address in use is left out");
    }
}
