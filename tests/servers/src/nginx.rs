//! nginx as a proxy of streams.

use crate::process::{self, PATIENCE, command, missing};
use nix::sys::signal::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    child: Child,
    /// Goes after the child.
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx with these top-level lines of a configuration, in which each `{listen}` is where it is to listen.
    ///
    /// # Panics
    /// When it is not installed, refuses the configuration or does not start.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        let program = Path::new("/usr/sbin/nginx");
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        assert!(program.is_file() && module.is_file(), "{}", missing("nginx with its stream module"));
        let folder = process::folder();
        let address = SocketAddr::from((process::own_host(), 7900));
        let pid = folder.path().join("pid");
        let text = format!(
            "load_module {};\npid {};\ndaemon off;\nworker_processes 1;\nerror_log stderr notice;\n\
             events {{ worker_connections 512; }}\n{}",
            module.display(),
            pid.display(),
            configuration.replace("{listen}", &address.to_string())
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, text).expect("the folder is ours");
        let mut nginx = command(program, "TERM");
        nginx.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(&file);
        let mut child = process::spawn(nginx, folder.path());
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let has_ended = child.try_wait().expect("our child").is_some();
            let words = process::log(folder.path());
            assert!(!has_ended && began.elapsed() < PATIENCE, "nginx does not start:\n{words}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, child, _folder: folder }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        process::end(&mut self.child, Signal::SIGTERM);
    }
}
