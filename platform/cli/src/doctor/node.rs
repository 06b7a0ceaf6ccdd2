//! What the configuration names: folders, addresses, databases, libraries.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use gantry_datasource::{Access, Source, SqliteOptions, SqliteSource, configure, trap};
use gantry_segment::Segments;
use gantry_serials::ServerStatus;
use gantry_settings::{DataSettings, Settings};
use gantry_supervisor::{LivingProcess, backend, living_processes};
use gantry_sys::lock::Holder;
use gantry_sys::user::effective_uid;

use super::Finding;
use crate::failure::words;
use crate::table::bytes;
use crate::{client, libraries, serial};

/// Free space of the state folder below which a warning is due.
const SPACE_LOW_BYTES: u64 = 1 << 30;

/// Looks at what the configuration names.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let is_running = matches!(client::holder(settings), Ok(Holder::Process(_)));
    let mut findings =
        vec![running(settings), state_folder(&settings.node.state_dir), space(&settings.node.state_dir)];
    findings.push(segments(settings, is_running));
    findings.extend(addresses(settings, is_running));
    findings.extend(settings.data.iter().map(|(name, data)| data_source(name, data)));
    findings.push(sqlite());
    findings.extend(redis_servers(settings));
    findings.extend(libraries_found(settings));
    findings
}

fn running(settings: &Settings) -> Finding {
    let about = "supervisor";
    match client::holder(settings) {
        Ok(Holder::Process(pid)) => {
            Finding::ok(about, format!("\"{}\" runs: process {pid}", settings.node.name))
        }
        Ok(Holder::Starting) => Finding::ok(about, "the node is just starting"),
        Ok(Holder::Nobody) => match client::living(settings) {
            living if living.is_empty() => {
                Finding::ok(about, format!("\"{}\" does not run", settings.node.name))
            }
            living => Finding::warn(
                about,
                format!(
                    "the supervisor of \"{}\" is dead, and {} serve on without it; `gantry start` takes them over",
                    settings.node.name,
                    living.join(", ")
                ),
            ),
        },
        Err(error) => Finding::fail(about, error.to_string()),
    }
}

fn state_folder(folder: &Path) -> Finding {
    let about = "state folder";
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(found) if !found.is_dir() => {
            Finding::fail(about, format!("{shown} is no folder; move it away or change node.state_dir"))
        }
        Ok(found) if found.uid() != effective_uid() => Finding::fail(
            about,
            format!(
                "{shown} belongs to user {}, not to this one; run as its owner or `chown` it",
                found.uid()
            ),
        ),
        Ok(found) if found.mode() & 0o077 != 0 => Finding::warn(
            about,
            format!("{shown} is open to others (mode {:o}); the next start closes it", found.mode() & 0o777),
        ),
        Ok(_) => Finding::ok(about, format!("{shown}, for this user only")),
        Err(error) if error.kind() == ErrorKind::NotFound => match existing_parent(folder) {
            Some(parent) if is_writable(parent) => Finding::ok(about, format!("{shown} will be made")),
            _ => Finding::fail(about, format!("{shown} cannot be made; make it, or change node.state_dir")),
        },
        Err(error) => Finding::fail(about, format!("{shown}: {error}")),
    }
}

fn existing_parent(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|ancestor| ancestor.is_dir())
}

/// Asked of the kernel by the tool that does nothing else, since the answer depends on more than mode bits.
fn is_writable(folder: &Path) -> bool {
    Command::new("test").arg("-w").arg(folder).status().is_ok_and(|status| status.success())
}

/// By `df`, whose answer needs no system call of our own.
fn space(folder: &Path) -> Finding {
    let about = "free space";
    let place = existing_parent(folder).unwrap_or(Path::new("/"));
    let output = Command::new("df").args(["--output=avail", "-B1", "--"]).arg(place).output();
    let free = output.ok().and_then(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().nth(1)?.trim().parse::<u64>().ok()
    });
    match free {
        Some(free) if free < SPACE_LOW_BYTES => Finding::warn(
            about,
            format!("{} at {}; databases and logs grow there", bytes(free), place.display()),
        ),
        Some(free) => Finding::ok(about, format!("{} at {}", bytes(free), place.display())),
        None => Finding::warn(about, "it cannot be told; is `df` installed?"),
    }
}

fn segments(settings: &Settings, is_running: bool) -> Finding {
    let about = "segments";
    let found = Segments::look_up(backend(settings), &settings.node.name)
        .and_then(|handoff| handoff.as_ref().map(Segments::attach).transpose());
    match found {
        Ok(None) => Finding::ok(about, "none; the node makes them when it starts"),
        Ok(Some(_)) if is_running => Finding::ok(about, "the running node's"),
        Ok(Some(segments)) => {
            let living: Vec<String> =
                living_processes(segments.control()).iter().map(LivingProcess::name).collect();
            if living.is_empty() {
                Finding::ok(about, "of an earlier start; the next one goes on with what is in them")
            } else {
                let living = living.join(", ");
                Finding::fail(
                    about,
                    format!("a dead supervisor's processes live on them ({living}); `gantry stop --now`"),
                )
            }
        }
        Err(error) => Finding::fail(about, error.to_string()),
    }
}

fn addresses(settings: &Settings, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in &settings.listen.tcp {
        let about = "address";
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::ok(about, format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_running => {
                Finding::ok(about, format!("{address} is the running node's"))
            }
            Err(error) => {
                Finding::fail(about, format!("{address}: {error}; stop what uses it, or change listen.tcp"))
            }
        });
    }
    for path in &settings.listen.unix {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let shown = path.display();
        // The state folder itself is made by the start.
        let is_fine = parent.is_dir() || parent.starts_with(&settings.node.state_dir);
        findings.push(if is_fine {
            Finding::ok("address", format!("{shown}"))
        } else {
            Finding::fail(
                "address",
                format!("{shown}: its folder is not there; make it, or change listen.unix"),
            )
        });
    }
    findings
}

/// Connects as a start does.
fn data_source(name: &str, data: &DataSettings) -> Finding {
    let about = "data source";
    if let DataSettings::Sqlite(sqlite) = data
        && !sqlite.path.exists()
    {
        // Opening it would make it.
        return Finding::ok(about, format!("{name}: {} will be made", sqlite.path.display()));
    }
    if let Some(trap) = trap(data) {
        return Finding::fail(about, format!("{name}: {trap}"));
    }
    if data.keeps_documents() {
        return document_source(name, data);
    }
    let connected = configure(name, data).and_then(|source| {
        source.connect(Access::ReadWrite)?;
        Ok(source.dialect())
    });
    match (connected, data) {
        (Ok(_), DataSettings::Sqlite(sqlite)) => {
            Finding::ok(about, format!("{name}: {}", sqlite.path.display()))
        }
        (Ok(dialect), _) => Finding::ok(about, format!("{name}: connected, and it speaks {dialect:?}")),
        (Err(error), _) => Finding::fail(about, error.to_string()),
    }
}

/// The Redis servers of the serial numbers; without any there is nothing to say.
fn redis_servers(settings: &Settings) -> Vec<Finding> {
    let about = "redis";
    if settings.serial.redis.is_empty() && settings.serial.standby.is_empty() {
        return Vec::new();
    }
    let servers = match serial::servers(settings) {
        Ok(servers) => servers,
        Err(error) => return vec![Finding::fail(about, words(&error))],
    };
    let finding = |server: &ServerStatus| {
        let name = server.name.as_str();
        match (&server.error, server.eviction.as_deref()) {
            (Some(error), _) => {
                Finding::warn(about, format!("{name}: away, so ranges come from the database: {error}"))
            }
            (None, Some("noeviction")) => Finding::ok(about, format!("{name}: serves, and evicts nothing")),
            (None, Some(policy)) => Finding::warn(
                about,
                format!(
                    "{name}: maxmemory-policy {policy} may throw serial numbers away; set noeviction, on an instance of \
                     its own"
                ),
            ),
            (None, None) => {
                Finding::warn(about, format!("{name}: serves, but does not tell its maxmemory-policy"))
            }
        }
    };
    servers.iter().map(finding).collect()
}

fn document_source(name: &str, data: &DataSettings) -> Finding {
    let about = "data source";
    let limit = gantry_document::limits::CONNECT_LIMIT;
    let connected = gantry_document::configure(name, data)
        .and_then(|source| source.connect(gantry_document::Access::ReadWrite, limit));
    match connected {
        Ok(connection) if connection.has_transactions() => {
            Finding::ok(about, format!("{name}: connected, and documents are written in transactions"))
        }
        Ok(_) => {
            Finding::ok(about, format!("{name}: connected, and each change of a document is kept at once"))
        }
        Err(error) => Finding::fail(about, error.to_string()),
    }
}

/// The bundled SQLite; versions below 3.51.3 can damage a database with a write-ahead log.
fn sqlite() -> Finding {
    let about = "SQLite";
    let folder = std::env::temp_dir().join(format!("gantry-doctor-{}", std::process::id()));
    let version = || -> anyhow::Result<String> {
        let source = SqliteSource::new("doctor", SqliteOptions::new(folder.join("version.db")));
        let mut connection = source.connect(Access::ReadWrite)?;
        let rows = connection.query("SELECT sqlite_version()", &[], 1, std::time::Duration::from_secs(5))?;
        Ok(rows.value(0, 0).as_text().unwrap_or("unknown").to_owned())
    };
    let made = std::fs::create_dir(&folder);
    let version = made.map_err(anyhow::Error::from).and_then(|()| version());
    // A folder of the temporary place that stays is no harm.
    let _removed = std::fs::remove_dir_all(&folder);
    match version {
        Ok(version) => Finding::ok(about, format!("{version}, bundled")),
        Err(error) => Finding::fail(about, words(&error)),
    }
}

fn libraries_found(settings: &Settings) -> Vec<Finding> {
    let find = |library| match libraries::find(library) {
        Ok(path) => Finding::ok("library", path.display().to_string()),
        Err(error) => {
            Finding::fail("library", format!("{}; build it, or change service.libraries", words(&error)))
        }
    };
    settings.service.libraries.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_state_folder_is_judged_by_what_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state");
        assert_eq!(state_folder(&folder).level, Level::Ok);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(state_folder(&folder).level, Level::Warn);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(state_folder(&folder).level, Level::Ok);
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state_folder(&file).level, Level::Fail);
    }

    #[test]
    fn the_bundled_sqlite_tells_its_version() {
        let finding = sqlite();
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
        assert!(finding.text.starts_with("3."), "{finding:?}");
    }

    #[test]
    fn free_space_is_told() {
        assert_ne!(space(Path::new("/tmp")).level, Level::Fail);
    }
}
