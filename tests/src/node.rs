//! One node of the platform, run from the real binary with everything of its own.

mod cleanup;
mod outside;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::etc::ECHO;
use crate::processes::{Segment, is_running, segments, send_signal};
use crate::{Client, Database, NodeOptions, Output, Request, Status, run_command, until};
use cleanup::{STOP_WATCHDOG, wait_for};

/// A node with its own state folder, name and address. Dropping it stops it and removes what it left, also
/// when the test fails; then the logs stay and their tails are printed.
pub struct Node {
    folder: Option<TempDir>,
    /// The folder of everything this node has, for messages and searches after `folder` is gone.
    path: PathBuf,
    /// Its configuration file, by which its processes are known.
    config: PathBuf,
    name: String,
    address: SocketAddr,
    /// What `run` runs.
    executable: PathBuf,
    child: Option<Child>,
    /// What `run` adds to its environment.
    environment: Vec<(String, String)>,
    /// Ids of the System V segments it is known to have made.
    segments: Mutex<BTreeSet<u64>>,
    /// A failure prints where the logs are, not what they say.
    is_quiet: bool,
    /// Its database, to be removed with it.
    database: Option<(Database, String)>,
    /// The files stay although nothing panics: the test failed in its own way.
    is_kept: Mutex<bool>,
}

/// How many nodes this process has made.
static NODES_MADE: Mutex<u32> = Mutex::new(0);

impl Node {
    /// Starts `gantry run` and waits for its line `ready`.
    ///
    /// # Panics
    /// When the node does not get ready.
    #[must_use]
    #[track_caller]
    pub fn start(options: NodeOptions) -> Self {
        let mut node = Self::prepare(options);
        node.run();
        node
    }

    /// Writes the configuration of a node that does not run yet.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn prepare(options: NodeOptions) -> Self {
        let folder =
            tempfile::Builder::new().prefix("gantry-").tempdir().expect("a temporary folder can be made");
        let number = next_number();
        let path = folder.path().to_owned();
        let name = format!("t{}-{number}", std::process::id());
        let database = match options.existing_database() {
            Some(_) => None,
            None => Some((options.database(), database_name(&name))),
        };
        if let Some((kind, name)) = &database {
            kind.create(name);
        }
        let node = Self {
            folder: Some(folder),
            name,
            address: own_address(number),
            config: path.join("gantry.toml"),
            path,
            executable: gantry_binary(),
            child: None,
            environment: Vec::new(),
            segments: Mutex::default(),
            is_quiet: false,
            database,
            is_kept: Mutex::default(),
        };
        node.write_configuration(options);
        node
    }

    /// A node of a shipped configuration, `config/FILE`: a copy of it in `root/config`, its state where the file says. In the
    /// copy `changes` are made, and the address is the harness's; what is replaced must be there once. The name is the
    /// file's, so there is one such node at a time on a machine. `root` must outlive it.
    ///
    /// # Panics
    /// When the file is not what the changes expect.
    #[must_use]
    #[track_caller]
    pub fn prepare_shipped(root: &Path, file: &str, changes: &[(&str, &str)]) -> Self {
        let address = own_address(next_number());
        let shipped = repository_root().join("config").join(file);
        let mut text = fs::read_to_string(&shipped).expect("the configuration ships");
        let value = |text: &str, key: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")).map(str::to_owned));
            line.unwrap_or_else(|| panic!("{file} says nothing of {key}"))
        };
        let listens = (format!("tcp = {}", value(&text, "tcp")), format!("tcp = [\"{address}\"]"));
        let changes = changes.iter().copied().chain([(&*listens.0, &*listens.1)]);
        for (shipped, here) in changes {
            assert_eq!(text.matches(shipped).count(), 1, "{shipped} in config/{file}");
            text = text.replace(shipped, here);
        }
        let folder = root.join("config");
        fs::create_dir_all(&folder).expect("the folder can be made");
        let config = folder.join(file);
        fs::write(&config, &text).expect("the configuration can be written");
        let path = folder.join(value(&text, "state_dir").trim_matches('"'));
        fs::create_dir_all(&path).expect("the folder can be made");
        Self {
            folder: None,
            name: value(&text, "name").trim_matches('"').to_owned(),
            address,
            config,
            path: path.canonicalize().expect("it was just made"),
            executable: gantry_binary(),
            child: None,
            environment: Vec::new(),
            segments: Mutex::default(),
            is_quiet: false,
            database: None,
            is_kept: Mutex::default(),
        }
    }

    /// Writes the configuration anew; a running node takes it up when it is asked to.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write_configuration(&self, options: NodeOptions) {
        let own = database_name(&self.name);
        let data = match options.is_set("data.main.driver") {
            true => Vec::new(),
            false => options.database().keys(options.existing_database().unwrap_or(&own)),
        };
        let options =
            data.into_iter().fold(options, |options, (key, value)| options.set_default(key, &value));
        let options = match options.documents_uri(&own) {
            Some(uri) => options
                .set_default("data.passages.driver", "\"mongodb\"")
                .set_default("data.passages.uri", &format!("{uri:?}"))
                .set_default("data.passages.transactions", "\"off\""),
            None => options,
        };
        let options = options
            .text("node.name", &self.name)
            .text("node.state_dir", "state")
            .set("listen.tcp", format_args!("[\"{}\"]", self.address))
            .set("listen.unix", format_args!("[{:?}]", self.unix_socket()));
        fs::write(self.config(), options.to_toml()).expect("the configuration can be written");
    }

    /// Copies the binary and its libraries into the node's folder, from where `run` then runs it, and returns
    /// the copy: for tests of what happens when the file on disk is not what it was.
    ///
    /// # Panics
    /// When the files cannot be copied.
    #[must_use]
    pub fn copy_binary(&mut self) -> PathBuf {
        let original = gantry_binary();
        let from = original.parent().expect("a binary lies in a folder");
        let folder = self.path.join("bin");
        fs::create_dir(&folder).expect("a folder can be made");
        for entry in fs::read_dir(from).expect("the binary's folder can be read").flatten() {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let is_library = text.starts_with("libgantry_") && text.ends_with(".so");
            if is_library || entry.path() == original {
                fs::copy(entry.path(), folder.join(&name)).expect("a file can be copied");
            }
        }
        self.executable = folder.join(original.file_name().expect("a binary has a name"));
        self.executable.clone()
    }

    /// Has `run` start the node with this variable in its environment.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts `gantry run` as a child of this process and waits until it is ready.
    ///
    /// # Panics
    /// When the node does not get ready.
    #[track_caller]
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "this node runs already");
        let stderr = File::create(self.stderr_file()).expect("the file for stderr can be made");
        let mut command = Command::new(&self.executable);
        command
            .arg("-c")
            .arg(self.config())
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("gantry can be started");
        self.child = Some(child);
        self.wait_until_ready();
        self.status();
    }

    /// Has a failure print where the files of this node are and nothing of what stands in them: for tests whose own words
    /// would be drowned in it.
    pub fn be_quiet(&mut self) {
        self.is_quiet = true;
    }

    /// Keeps the files when the node is dropped, as a panic would, and says where they are.
    pub fn keep_files(&self) {
        *self.is_kept.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// A new connection over TCP.
    ///
    /// # Panics
    /// When the node does not accept it.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address).expect("the node accepts a connection")
    }

    /// A new connection over the Unix socket.
    ///
    /// # Panics
    /// When the node does not accept it.
    #[must_use]
    #[track_caller]
    pub fn unix_client(&self) -> Client {
        Client::connect_unix(&self.unix_socket()).expect("the node accepts a Unix connection")
    }

    /// Runs `gantry -c CONFIG ARGUMENTS` and returns what it printed.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn gantry(&self, arguments: &[&str]) -> Output {
        run_command(Command::new(gantry_binary()).arg("-c").arg(self.config()).args(arguments))
    }

    /// What `gantry status --json` says now.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn status(&self) -> Status {
        let status = Status(self.gantry(&["status", "--json"]).expect_code(0).json());
        self.remember_segments(&status);
        status
    }

    /// The pids of a role now; `read` and `write` name the workers of one queue.
    #[must_use]
    #[track_caller]
    pub fn pids(&self, role: &str) -> Vec<Pid> {
        self.status().of(role).iter().map(|process| process.pid).collect()
    }

    /// The one process of a role.
    ///
    /// # Panics
    /// When there is none or more than one.
    #[must_use]
    #[track_caller]
    pub fn pid(&self, role: &str) -> Pid {
        match *self.pids(role) {
            [pid] => pid,
            ref pids => panic!("one {role} was expected: {pids:?}"),
        }
    }

    /// Waits until another process than `before` has this role and is `idle`, and returns its pid.
    #[track_caller]
    pub fn successor(&self, role: &str, before: Pid) -> Pid {
        until(&format!("a new {role} takes the place of {before}"), || {
            let processes = self.status().of(role);
            let fresh = |pid: Pid| pid != before && is_running(pid);
            processes
                .into_iter()
                .find(|process| fresh(process.pid) && process.state != "starting")
                .map(|found| found.pid)
        })
    }

    /// Waits until every worker of a queue (`read` or `write`) runs a request.
    #[track_caller]
    pub fn until_busy(&self, queue: &str) {
        until(&format!("the {queue} workers are busy"), || {
            let workers = self.status().of(queue);
            (!workers.is_empty() && workers.iter().all(|worker| worker.state == "busy")).then_some(())
        });
    }

    /// Waits until nothing is in flight: every slot is free again.
    #[track_caller]
    pub fn until_quiet(&self) {
        until("every slot is free again", || {
            let status = self.status();
            (status.slots("free") == status.slots("total")).then_some(())
        });
    }

    /// Waits until a request over a new connection is answered 000: after a drain.
    #[track_caller]
    pub fn until_serving(&self) {
        until("the node serves again", || {
            let mut client = self.client();
            client.try_send(&Request::new(ECHO, "x")).ok()?;
            client.try_receive().ok().flatten().filter(|reply| reply.status == 0)
        });
    }

    /// Sends SIGTERM and waits until the node has drained and ended; returns its exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("this node runs");
        send_signal(pid_of(&child), Signal::SIGTERM);
        let ended = wait_for(&mut child, STOP_WATCHDOG);
        if ended.is_none() {
            self.child = Some(child);
            panic!("the node did not stop within {STOP_WATCHDOG:?}");
        }
        ended.flatten()
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens for frames over TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its Unix socket for frames.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        self.path.join("frames.sock")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.config.clone()
    }

    /// Its state folder.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The folder that holds everything of this node; tests may put files of theirs there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// What the supervisor wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.stderr_file()).unwrap_or_default()).into_owned()
    }

    /// The System V segments of this node that are there now.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let known = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments().into_iter().filter(|segment| known.contains(&segment.id)).collect()
    }

    fn stderr_file(&self) -> PathBuf {
        self.path.join("stderr.log")
    }

    /// Notes the segments by their ids while their maker lives: its pid may come back as somebody else's.
    fn remember_segments(&self, status: &Status) {
        let makers: Vec<Pid> = status.of("supervisor").iter().map(|process| process.pid).collect();
        let made = segments().into_iter().filter(|segment| makers.contains(&segment.creator));
        let mut known = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(made.map(|segment| segment.id));
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        until("the node writes `ready`", || {
            if self.stderr().lines().any(|line| line.trim() == "ready") {
                return Some(());
            }
            let child = self.child.as_mut().expect("the child was just started");
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none(),
                "gantry run ended with {ended:?} before it was ready:\n{}",
                self.stderr()
            );
            None
        });
    }
}

fn next_number() -> u32 {
    let mut made = NODES_MADE.lock().unwrap_or_else(PoisonError::into_inner);
    *made += 1;
    *made
}

/// The binary under test: `GANTRY_BIN`, or the release build in the target folder of this very program.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn gantry_binary() -> PathBuf {
    if let Some(named) = std::env::var_os("GANTRY_BIN") {
        let named = PathBuf::from(named);
        return named
            .canonicalize()
            .unwrap_or_else(|error| panic!("GANTRY_BIN {}: {error}", named.display()));
    }
    let own = std::env::current_exe().expect("a running program has a path");
    // A test is target/PROFILE/deps/TEST, a program of this package target/PROFILE/PROGRAM.
    let found = own.ancestors().map(|folder| folder.join("release/gantry")).find(|binary| binary.is_file());
    found.unwrap_or_else(|| {
        panic!("no release/gantry above {}: run `cargo xtask build`, or set GANTRY_BIN", own.display())
    })
}

/// The folder of the repository this test was built from.
#[must_use]
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A database's name for a node's.
fn database_name(node: &str) -> String {
    format!("gantry_{}", node.replace('-', "_"))
}

/// An address of this process alone. All of 127.0.0.0/8 is the loopback, so every node has its own address,
/// and its port can neither be taken by another test nor by an outgoing connection's source port.
fn own_address(node_number: u32) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = u8::try_from(1 + node_number % 250).expect("1 to 250 fits a byte");
    // From 127.128.0.0 on, since 127.0.x.x is where people run their own servers.
    SocketAddr::from((Ipv4Addr::new(127, 0x80 | high, low, host), 7800))
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid fits an i32"))
}
