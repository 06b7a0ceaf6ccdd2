//! What the tests need beside Rust. Nothing is installed that is there already.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::{Failure, Steps, command_line};
use crate::workspace::Workspace;

/// A Debian package, and a file, program or `import` of Python that shows that it is there. A `*` in a path is any one
/// folder.
struct Package {
    name: &'static str,
    shown_by: &'static str,
    reason: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "gcc",
        shown_by: "cc",
        reason: "links everything, compiles SQLite and the tests' libraries",
    },
    Package { name: "g++", shown_by: "c++", reason: "compiles the example service in C++" },
    Package { name: "cmake", shown_by: "cmake", reason: "builds what `gantry service new --lang cpp` makes" },
    Package { name: "make", shown_by: "make", reason: "the same" },
    Package { name: "libc6-dev", shown_by: "/usr/include/stdio.h", reason: "headers of both" },
    Package { name: "faketime", shown_by: "faketime", reason: "steps the clock of a node under test" },
    Package { name: "redis-server", shown_by: "redis-server", reason: "serial numbers, on ports of its own" },
    Package { name: "redis-sentinel", shown_by: "redis-sentinel", reason: "fails it over under test" },
    Package { name: "python3", shown_by: "python3", reason: "runs the README's first client" },
    Package { name: "python3-venv", shown_by: "import ensurepip", reason: "keeps a server from PyPI apart" },
    Package {
        name: "unixodbc-dev",
        shown_by: "/usr/include/sql.h",
        reason: "links the data sources over ODBC",
    },
    Package {
        name: "postgresql",
        shown_by: "/usr/lib/postgresql/*/bin/postgres",
        reason: "a database under test, on a port of its own",
    },
    Package { name: "odbc-postgresql", shown_by: "/usr/lib/*/odbc/psqlodbcw.so", reason: "its ODBC driver" },
    Package { name: "mariadb-server", shown_by: "/usr/sbin/mariadbd", reason: "another, likewise" },
    Package { name: "odbc-mariadb", shown_by: "/usr/lib/*/odbc/libmaodbc.so", reason: "its ODBC driver" },
    Package { name: "postgresql-client", shown_by: "psql", reason: "asks the first past the platform" },
    Package { name: "mariadb-client", shown_by: "mariadb", reason: "asks the second" },
    Package { name: "nginx", shown_by: "/usr/sbin/nginx", reason: "stands before two nodes" },
    Package {
        name: "libnginx-mod-stream",
        shown_by: "/usr/lib/nginx/modules/ngx_stream_module.so",
        reason: "lets it carry frames",
    },
    Package {
        name: "derby-tools",
        shown_by: "/usr/share/java/derbytools.jar",
        reason: "executes every statement in SQL of DB2's family",
    },
    Package { name: "default-jre-headless", shown_by: "java", reason: "runs Derby" },
];

/// What the virtual environment of the documents' server has in it, from the repository's root.
const SECANTUS: &str = "tests/servers/secantus.txt";

pub(crate) fn setup(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    steps.banner("looking for what the tests need");
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !is_there(package.shown_by)).collect();
    for package in &missing {
        eprintln!("    {} is missing: {}", package.name, package.reason);
    }
    if !missing.is_empty() {
        install(steps, &missing)?;
    }
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(Command::new("cargo").args([probe, "--version"])) {
            let mut command = Command::new("rustup");
            steps.run_retried(
                &format!("installing {component}"),
                command.args(["component", "add", component]),
            )?;
        }
    }
    install_secantus(workspace, steps)?;
    eprintln!("    everything is there");
    Ok(())
}

/// Makes the virtual environment that `gantry_test_servers::MongoServer` runs, in the target folder. Its programs name the
/// folder that they were installed in, so what says that it is whole names it too.
fn install_secantus(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    let failed = |what: &Path, cause| Failure::Wrong(format!("{}: {cause}", what.display()));
    let wanted = fs::read_to_string(SECANTUS).map_err(|cause| failed(Path::new(SECANTUS), cause))?;
    let folder = workspace.target("test-servers");
    let (environment, done) = (folder.join("secantus"), folder.join("secantus.done"));
    let wanted = format!("{}\n{wanted}", environment.display());
    if fs::read_to_string(&done).is_ok_and(|there| there == wanted) && environment.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(|cause| failed(&folder, cause))?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    steps.run("making a virtual environment for the documents' server", &mut make)?;
    let mut install = Command::new(environment.join("bin/pip"));
    // Nothing is compiled, and nothing is left outside the target folder.
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]);
    install.args(["--only-binary", ":all:", "--no-deps", "--requirement", SECANTUS]);
    steps.run_retried("installing the documents' server", &mut install)?;
    fs::write(&done, wanted).map_err(|cause| failed(&done, cause))
}

fn install(steps: &Steps, missing: &[&Package]) -> Result<(), Failure> {
    let mut update = Command::new("apt-get");
    update.arg("update");
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "--no-install-recommends"])
        .args(missing.iter().map(|package| package.name));
    if !is_root() {
        let words = format!("run as root: {} && {}", command_line(&update), command_line(&install));
        return Err(Failure::Wrong(words));
    }
    // The tests start servers of their own; nothing is to be started beside them.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    steps.run_retried("updating the list of packages", &mut update)?;
    steps.run_retried("installing packages", &mut install)
}

/// Whether a file is there (a path, `*` for any one folder), a module of Python (`import MODULE`), or a program in one of
/// the folders of `PATH` (a bare name).
fn is_there(name: &str) -> bool {
    if name.starts_with("import ") {
        return succeeds(Command::new("python3").args(["-c", name]));
    }
    let path = Path::new(name);
    if let Some((folder, rest)) = name.split_once("/*/") {
        let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
        return entries.unwrap_or_default().iter().any(|entry| entry.path().join(rest).is_file());
    }
    if path.is_absolute() {
        return path.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(path).is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a command can be run and likes its arguments; what it prints is nobody's business.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
