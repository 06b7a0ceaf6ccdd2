//! A MongoDB-compatible server: SecantusDB, from PyPI, in a virtual environment beside the build.

use crate::process::{self, PATIENCE, command, missing};
use nix::sys::signal::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The release that the tests were written against, and what it needs.
const PACKAGES: &str = include_str!("../secantus.txt");

/// A running server.
#[derive(Debug)]
pub struct MongoServer {
    address: SocketAddr,
    is_durable: bool,
    options: &'static [&'static str],
    child: Child,
    folder: TempDir,
}

impl MongoServer {
    /// Starts one that keeps its data in memory.
    ///
    /// # Panics
    /// When it is not there, cannot be installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::launch_new(false, &[])
    }

    /// The same with these arguments: `--standalone` is a server that belongs to no replica set, and
    /// `--enable-test-commands` one that takes `configureFailPoint`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &'static [&'static str]) -> Self {
        Self::launch_new(false, options)
    }

    /// Starts one that keeps its data in files, so that it can be [killed](Self::kill) and started again.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_durable() -> Self {
        Self::launch_new(true, &[])
    }

    fn launch_new(is_durable: bool, options: &'static [&'static str]) -> Self {
        let folder = process::folder();
        let address = SocketAddr::from((process::own_host(), 27_017));
        let child = launch(folder.path(), address, is_durable, options);
        let mut server = Self { address, is_durable, options, child, folder };
        server.wait_until_up();
        server
    }

    /// The URI of a database on it.
    #[must_use]
    pub fn uri(&self, database: &str) -> String {
        format!("mongodb://{}/{database}?directConnection=true", self.address)
    }

    /// `mongodb://ADDRESS:PORT`, without a database.
    #[must_use]
    pub fn place(&self) -> String {
        format!("mongodb://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it is no child of ours.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("our child");
    }

    /// Starts it again after [`kill`](Self::kill), at the same place, with the data of one that keeps it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = launch(self.folder.path(), self.address, self.is_durable, self.options);
        self.wait_until_up();
    }

    /// Sends it a signal: SIGSTOP makes it a server that does not answer.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        process::send(&self.child, signal);
    }

    fn wait_until_up(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let has_ended = self.child.try_wait().expect("our child").is_some();
            let words = process::log(self.folder.path());
            assert!(!has_ended && began.elapsed() < PATIENCE, "SecantusDB does not start:\n{words}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        // Asked to end, it now and then waits for a connection of its own for ever; and all that it leaves goes with its
        // folder.
        process::end(&mut self.child, Signal::SIGKILL);
    }
}

fn launch(folder: &Path, address: SocketAddr, is_durable: bool, options: &[&str]) -> Child {
    let storage = if is_durable { folder.join("data") } else { PathBuf::from(":memory:") };
    let mut server = command(&program(), "KILL");
    // It looks for a configuration there, and must not find ours.
    server.env("HOME", folder);
    // Data in memory are files that are removed at its end.
    server.env("TMPDIR", folder);
    server.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    server.arg("--storage-path").arg(storage).args(options);
    if is_durable {
        // What was acknowledged is there after a `kill -9`, as with a journal.
        server.arg("--sync-on-commit");
    }
    process::spawn(server, folder)
}

/// The server's program: `GANTRY_SECANTUSD`, or the one that `cargo xtask setup` put into the target folder.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("GANTRY_SECANTUSD") {
        return PathBuf::from(named);
    }
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = target_folder(&own).expect("this is built into a target folder").join("test-servers");
    let environment = folder.join("secantus");
    let wanted = format!("{}\n{PACKAGES}", environment.display());
    let is_whole = fs::read_to_string(folder.join("secantus.done")).is_ok_and(|there| there == wanted);
    assert!(is_whole, "{}", missing(&format!("SecantusDB in {}", environment.display())));
    environment.join("bin/secantusd-py")
}

/// Of `target/PROFILE/PROGRAM` or `target/PROFILE/deps/TEST`.
fn target_folder(program: &Path) -> Option<&Path> {
    let folder = program.parent()?;
    let profile = if folder.ends_with("deps") { folder.parent()? } else { folder };
    profile.parent()
}

#[cfg(test)]
mod tests {
    use super::target_folder;
    use std::path::Path;

    #[test]
    fn tests_and_programs_find_the_same_target_folder() {
        for program in ["/a/target/release/deps/test-0123", "/a/target/release/with-server"] {
            assert_eq!(target_folder(Path::new(program)), Some(Path::new("/a/target")), "{program}");
        }
    }
}
