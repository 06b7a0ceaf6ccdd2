//! Debian's Redis, as one server.

use crate::process::{self, PATIENCE, command, missing};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running Redis that keeps nothing over its end.
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    child: Child,
    /// Goes after the child.
    folder: TempDir,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = process::folder();
        let address = SocketAddr::from((process::own_host(), 6379));
        let child = launch(folder.path(), address);
        let mut server = Self { address, child, folder };
        server.wait_until_up();
        server
    }

    /// What `[serial] redis` says of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it is no child of ours.
    pub fn kill(&mut self) {
        process::send(&self.child, Signal::SIGKILL);
        self.child.wait().expect("our child");
    }

    /// Starts it again after [`kill`](Self::kill), empty, at the same place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = launch(self.folder.path(), self.address);
        self.wait_until_up();
    }

    /// Keys that it holds.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn keys(&self) -> u64 {
        let answer = self.ask("DBSIZE").expect("it answers");
        answer.trim_start_matches(':').trim().parse().expect("a number")
    }

    /// One command without arguments, by hand: this crate needs no client for it.
    fn ask(&self, word: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{word}\r\n").as_bytes())?;
        let mut answer = [0; 64];
        let count = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
    }

    fn wait_until_up(&mut self) {
        let began = Instant::now();
        while !self.ask("PING").is_ok_and(|pong| pong.starts_with("+PONG")) {
            let has_ended = self.child.try_wait().expect("our child").is_some();
            let words = process::log(self.folder.path());
            assert!(!has_ended && began.elapsed() < PATIENCE, "Redis does not start:\n{words}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        process::end(&mut self.child, Signal::SIGKILL);
    }
}

fn launch(folder: &Path, address: SocketAddr) -> Child {
    let program = Path::new("/usr/bin/redis-server");
    assert!(program.is_file(), "{}", missing("Redis"));
    let mut redis = command(program, "KILL");
    redis.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    redis
        .args(["--save", "", "--maxmemory-policy", "noeviction", "--protected-mode", "no", "--dir"])
        .arg(folder);
    process::spawn(redis, folder)
}
