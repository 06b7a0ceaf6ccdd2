//! Database servers.

use crate::process::{self, PATIENCE, command, missing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Connections that a server of [`Server::start`] takes; few, so that a test can use them all.
pub const CONNECTIONS_MAX: usize = 24;

/// MariaDB's password of the user `gantry`, with what a connection string must quote.
const PASSWORD: &str = "ga};ntry";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

impl Kind {
    /// `postgres` or `mariadb`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Postgres, Self::MariaDb].into_iter().find(|kind| kind.name() == name)
    }

    /// The connection string for ODBC of a database on a server at this place.
    #[must_use]
    pub fn connection(self, host: Ipv4Addr, port: u16, database: &str) -> String {
        let (driver, extra) = match self {
            Self::Postgres => ("PostgreSQL Unicode", String::new()),
            Self::MariaDb => ("MariaDB Unicode", format!("Pwd={{{}}};", PASSWORD.replace('}', "}}"))),
        };
        format!("Driver={{{driver}}};Server={host};Port={port};Database={database};Uid=gantry;{extra}")
    }

    /// Runs statements with the server's own client and returns the rows, columns parted by tabs.
    ///
    /// # Errors
    /// What the client says when it fails.
    pub fn sql(self, host: Ipv4Addr, port: u16, database: &str, text: &str) -> Result<String, String> {
        let mut client = match self {
            Self::Postgres => {
                let mut client = Command::new("psql");
                client.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-U", "gantry"]);
                client.args(["-h", &host.to_string(), "-p", &port.to_string(), "-c", text, database]);
                client
            }
            Self::MariaDb => {
                let mut client = Command::new("mariadb");
                client.args(["--no-defaults", "--batch", "--skip-column-names", "--user=gantry"]);
                client.arg(format!("--host={host}")).arg(format!("--port={port}"));
                client.args(["--connect-timeout=5", "-e", text, database]).env("MYSQL_PWD", PASSWORD);
                client
            }
        };
        let output = client.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", missing("the server's client")))?;
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(words(&output.stdout)) } else { Err(words(&output.stderr)) }
    }

    /// The database that is always there.
    #[must_use]
    pub fn first_database(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }

    fn at_death(self) -> Signal {
        // Both shut down at once on it, and PostgreSQL takes its System V segment with it.
        match self {
            Self::Postgres => Signal::SIGINT,
            Self::MariaDb => Signal::SIGTERM,
        }
    }

    fn command(self, program: &Path) -> Command {
        command(program, self.at_death().as_str().trim_start_matches("SIG"))
    }
}

/// A running server. Its user `gantry` may do everything.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    host: Ipv4Addr,
    connections: usize,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Sets a server up and starts it. It takes [`CONNECTIONS_MAX`] connections.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        Self::start_wide(kind, CONNECTIONS_MAX)
    }

    /// The same for so many connections.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start_wide(kind: Kind, connections: usize) -> Self {
        let folder = process::folder();
        set_up(kind, folder.path());
        let host = process::own_host();
        let child = launch(kind, folder.path(), host, connections);
        let mut server = Self { kind, host, connections, child, folder };
        assert!(server.comes_up(Instant::now()), "{kind:?} does not start:\n{}", server.log());
        server
    }

    /// Which server it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        port(self.kind)
    }

    /// The connection string for ODBC of a database on it.
    #[must_use]
    pub fn connection(&self, database: &str) -> String {
        self.kind.connection(self.host, self.port(), database)
    }

    /// The database that is always there.
    #[must_use]
    pub fn first_database(&self) -> &'static str {
        self.kind.first_database()
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn create_database(&self, name: &str) {
        self.sql(self.first_database(), &format!("CREATE DATABASE {name}"));
    }

    /// Runs statements past the platform and returns the rows, columns parted by tabs.
    ///
    /// # Panics
    /// When a statement fails.
    #[must_use]
    #[track_caller]
    pub fn rows(&self, database: &str, text: &str) -> Vec<String> {
        self.sql(database, text).lines().map(str::to_owned).collect()
    }

    /// The same as one text.
    ///
    /// # Panics
    /// When a statement fails.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        let outcome = self.kind.sql(self.host, self.port(), database, text);
        outcome.unwrap_or_else(|words| panic!("{:?} refuses {text}: {words}", self.kind))
    }

    /// `kill -9` of the server and its sessions: PostgreSQL's are processes that would end what they are doing.
    ///
    /// # Panics
    /// When it is dead already.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().expect("our child");
    }

    /// Starts it again after [`kill`](Server::kill), at the same place and on the same files.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let began = Instant::now();
        loop {
            self.child = launch(self.kind, self.folder.path(), self.host, self.connections);
            if self.comes_up(began) {
                return;
            }
            // What was left of the killed one may not be gone yet.
            assert!(began.elapsed() < PATIENCE, "{:?} does not start again:\n{}", self.kind, self.log());
        }
    }

    /// Sends the server and its sessions a signal.
    ///
    /// # Panics
    /// When it is dead.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        process::send(&self.child, signal);
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // It may be gone already, which is as good.
            let _gone = kill(Pid::from_raw(child), signal);
        }
    }

    /// `false`: it ended instead.
    fn comes_up(&mut self, began: Instant) -> bool {
        loop {
            if self.child.try_wait().expect("our child").is_some() {
                return false;
            }
            match self.kind.sql(self.host, self.port(), self.first_database(), "SELECT 1") {
                Ok(_) => return true,
                Err(words) if began.elapsed() < PATIENCE => {
                    assert!(!words.contains("is not installed"), "{words}");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(words) => panic!("{:?} does not answer: {words}\n{}", self.kind, self.log()),
            }
        }
    }

    fn log(&self) -> String {
        process::log(self.folder.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::end(&mut self.child, self.kind.at_death());
    }
}

fn port(kind: Kind) -> u16 {
    match kind {
        Kind::Postgres => 5432,
        Kind::MariaDb => 3306,
    }
}

fn set_up(kind: Kind, folder: &Path) {
    let data = folder.join("data");
    let mut set_up = match kind {
        Kind::Postgres => {
            let mut initdb = kind.command(&postgres("initdb"));
            initdb.arg("-D").arg(&data);
            initdb.args(["-U", "gantry", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
            initdb
        }
        Kind::MariaDb => {
            let mut install = kind.command(&mariadb("mariadb-install-db"));
            install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            install.arg(format!("--datadir={}", data.display()));
            install
        }
    };
    let output = set_up.current_dir(folder).output().expect("setpriv of util-linux");
    assert!(
        output.status.success(),
        "{kind:?} cannot be set up:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if kind == Kind::MariaDb {
        let words = format!(
            "CREATE USER IF NOT EXISTS 'gantry'@'127.%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO 'gantry'@'127.%';\n"
        );
        fs::write(folder.join("users.sql"), words).expect("the folder is ours");
    }
}

fn launch(kind: Kind, folder: &Path, host: Ipv4Addr, connections: usize) -> Child {
    let data = folder.join("data");
    let port = port(kind).to_string();
    let server = match kind {
        Kind::Postgres => {
            let mut server = kind.command(&postgres("postgres"));
            server.arg("-D").arg(&data).args(["-p", &port, "-k"]).arg(folder);
            for setting in [
                format!("listen_addresses={host}"),
                format!("max_connections={connections}"),
                "superuser_reserved_connections=0".to_owned(),
                // A killed server keeps what it has written; only a machine that loses power would not.
                "fsync=off".to_owned(),
                "shared_buffers=32MB".to_owned(),
            ] {
                server.arg("-c").arg(setting);
            }
            server
        }
        Kind::MariaDb => {
            let mut server = kind.command(&mariadb("mariadbd"));
            server.args(["--no-defaults", "--skip-name-resolve"]);
            server.arg(format!("--bind-address={host}")).arg(format!("--port={port}"));
            server.arg(format!("--datadir={}", data.display()));
            server.arg(format!("--socket={}", folder.join("socket").display()));
            server.arg(format!("--pid-file={}", folder.join("pid").display()));
            server.arg(format!("--init-file={}", folder.join("users.sql").display()));
            server.arg(format!("--max-connections={connections}"));
            server.args(["--max-allowed-packet=256M", "--innodb-flush-log-at-trx-commit=2"]);
            // As with PostgreSQL: what is written outlives the process, and no machine loses power here.
            server.args(["--innodb-flush-method=nosync", "--sync-frm=0"]);
            server.args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=256M"]);
            server
        }
    };
    process::spawn(server, folder)
}

/// The newest PostgreSQL's program.
fn postgres(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|entries| entries.flatten().collect::<Vec<_>>());
    let newest = versions.unwrap_or_default().into_iter().map(|entry| entry.path().join("bin").join(program));
    let found = newest.filter(|path| path.is_file()).max();
    found.unwrap_or_else(|| panic!("{}", missing("postgresql")))
}

fn mariadb(program: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin"].iter().map(|folder| Path::new(folder).join(program));
    let found = found.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{}", missing("mariadb-server")))
}
