//! Redis from Debian's package: one, several behind Sentinel, a cluster. All end when the test does.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_for;

/// A free loopback port that leaves room for a cluster's bus, which is 10,000 above.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let lower = port % 20_000 + 20_000;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(lower) && is_free(lower + 10_000) {
            return lower;
        }
    }
}

/// One server process, in a folder of its own.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// A server that keeps nothing unless told to by `SAVE`.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> =
            ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
                .into_iter()
                .chain(options.iter().copied())
                .map(str::to_owned)
                .collect();
        arguments.extend(["--port".to_owned(), port.to_string()]);
        arguments.extend(["--dir".to_owned(), folder.path().display().to_string()]);
        let mut server = Self { port, folder, arguments, child: None };
        server.restart();
        server
    }

    /// A Sentinel that watches a master as `toll`.
    pub(crate) fn start_sentinel(master: u16) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor toll 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds toll 700\nsentinel failover-timeout toll 3000\n\
             sentinel parallel-syncs toll 1\n",
            folder.path().display()
        );
        fs::write(&file, text).unwrap();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let mut server = Self { port, folder, arguments, child: None };
        server.restart();
        server
    }

    /// Starts it, on the same port and in the same folder as before.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new("redis-server")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's redis-server is installed (cargo xtask test does it)");
        self.child = Some(child);
        wait_for("a Redis that answers", || self.try_ask(&["PING"]).is_some_and(|pong| pong == "PONG"));
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The file that `SAVE` writes.
    pub(crate) fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command and gives its answer as text.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|| panic!("port {}: {words:?} was not answered", self.port))
    }

    pub(crate) fn try_ask(&self, words: &[&str]) -> Option<String> {
        let info = format!("redis://127.0.0.1:{}/", self.port);
        let client = redis::Client::open(info).unwrap();
        let mut connection = client.get_connection_with_timeout(std::time::Duration::from_secs(2)).ok()?;
        connection.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut command = redis::cmd(words[0]);
        let value: redis::Value = command.arg(&words[1..]).query(&mut connection).ok()?;
        Some(show(&value))
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }

    pub(crate) fn is_master(&self) -> bool {
        self.try_ask(&["ROLE"]).is_some_and(|role| role.starts_with("master"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A stopped process is killed too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn show(value: &redis::Value) -> String {
    match value {
        redis::Value::Nil => "nil".to_owned(),
        redis::Value::Int(number) => number.to_string(),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(values) => values.iter().map(show).collect::<Vec<_>>().join(" "),
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Okay => "OK".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A master, a replica and three Sentinels.
pub(crate) struct Sentinels {
    pub(crate) servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let first = RedisServer::start();
        let second = RedisServer::start();
        second.ask(&["REPLICAOF", "127.0.0.1", &first.port.to_string()]);
        wait_for("a replica that follows", || {
            second.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::start_sentinel(first.port)).collect();
        for sentinel in &sentinels {
            // They look every ten seconds otherwise, which is long for a test.
            sentinel.ask(&[
                "SENTINEL",
                "DEBUG",
                "INFO-PERIOD",
                "300",
                "PUBLISH-PERIOD",
                "300",
                "PING-PERIOD",
                "200",
            ]);
        }
        let this = Self { servers: [first, second], sentinels };
        this.wait_until_whole();
        this
    }

    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(RedisServer::address).collect();
        format!("redis+sentinel://{}/toll", addresses.join(","))
    }

    /// Which of the two the Sentinels take for the master.
    pub(crate) fn master(&self) -> usize {
        let answer = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "toll"]);
        let port: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        self.servers.iter().position(|server| server.port == port).unwrap()
    }

    /// Waits until the Sentinels would let the other server take over.
    pub(crate) fn wait_until_whole(&self) {
        wait_for("Sentinels that know each other and the replica", || {
            self.sentinels.iter().all(|sentinel| {
                let master = sentinel.ask(&["SENTINEL", "MASTER", "toll"]);
                let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", "toll"]);
                let has = |text: &str| master.contains(text);
                has("num-slaves 1")
                    && has("num-other-sentinels 2")
                    && has("flags master ")
                    && replicas.contains("flags slave ")
                    && replicas.contains("master-link-status ok")
            })
        });
    }

    /// Waits until the Sentinels have made `index` the master.
    pub(crate) fn wait_for_master(&self, index: usize) {
        wait_for("a fail-over by Sentinel", || self.master() == index && self.servers[index].is_master());
    }
}

/// Three masters, each with a replica.
pub(crate) struct Cluster {
    pub(crate) members: Vec<RedisServer>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
        ];
        let members: Vec<_> = (0..6).map(|_| RedisServer::start_with(&options)).collect();
        let addresses: Vec<String> = members.iter().map(RedisServer::address).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let this = Self { members };
        this.wait_until_whole();
        this
    }

    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.members.iter().map(RedisServer::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    pub(crate) fn wait_until_whole(&self) {
        wait_for("a cluster in which all agree", || {
            self.members.iter().filter(|member| member.child.is_some()).all(|member| {
                let info = member.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:6")
                    && member.ask(&["CLUSTER", "NODES"]).matches(" slave ").count()
                        + member.ask(&["CLUSTER", "NODES"]).matches(",slave ").count()
                        >= 3
            })
        });
    }

    /// The member that has lists.
    pub(crate) fn holder(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            member.child.is_some()
                && member.is_master()
                && member.try_ask(&["KEYS", "gantry:serial:*"]).is_some_and(|keys| !keys.is_empty())
        })
    }
}
