//! What must hold between keys.

use crate::data::{DataSettings, Driver};
use crate::quantity::{duration_text, size_text};
use crate::reader::{Reader, Section};
use crate::{FaultKind, Settings, keys, limits};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Notes every pair of values that do not go together.
pub(crate) fn together(settings: &Settings, reader: &mut Reader<'_>) {
    listeners(settings, reader);
    sockets(settings, reader);
    bodies(settings, reader);
    queues(settings, reader);
    times(settings, reader);
    processes(settings, reader);
    database_files(settings, reader);
    main_source(settings, reader);
}

/// Notes when this binary cannot open a source of `driver`, when the key that says where its database is
/// is missing, and each key that belongs to another driver.
pub(crate) fn driver(driver: Driver, section: &Section<'_, '_>, reader: &mut Reader<'_>) {
    let owned: &[&str] = match driver {
        Driver::Sqlite => &["path", "busy_timeout", "synchronous"],
        Driver::Odbc => &["connection"],
        Driver::MongoDb => &["uri", "transactions"],
    };
    let known = |name: &str| keys::ALL.iter().any(|key| key.section() == "data.*" && key.name() == name);
    for (name, span, value) in section.names() {
        let path = format!("{}.{name}", section.path);
        if name == "driver" && !driver.is_built() {
            let built: Vec<_> =
                Driver::BUILT.iter().map(|driver| format!("\"{}\"", driver.as_str())).collect();
            let problem = format!("driver {} is not built into this binary", driver.as_str());
            let remedy = format!("write {}", built.join(" or "));
            reader.fault(value.span(), &path, FaultKind::Unavailable, problem, remedy);
        } else if name != "driver" && known(name) && !owned.contains(&name) {
            let problem = format!("driver {} has no \"{name}\"", driver.as_str());
            let remedy =
                format!("its keys are {}; take this one away or change the driver", owned.join(", "));
            reader.fault(span, &path, FaultKind::Conflict, problem, remedy);
        }
    }
    let needed = match driver {
        Driver::Sqlite => return,
        Driver::Odbc => &keys::DATA_CONNECTION,
        Driver::MongoDb => &keys::DATA_URI,
    };
    if section.names().all(|(name, _, _)| name != needed.name) {
        let named = format!("{}.driver", section.path);
        let problem = format!("driver {} needs the key \"{}\"", driver.as_str(), needed.name);
        reader.conflict(&[&named], problem, format!("write {} = {}", needed.name, needed.kind.example));
    }
}

/// Requests, serial numbers and money are rows of `main`.
fn main_source(settings: &Settings, reader: &mut Reader<'_>) {
    if settings.data.get("main").is_some_and(DataSettings::keeps_documents) {
        let remedy = "write driver = \"sqlite\" or \"odbc\", and name the source of documents otherwise, such as [data.passages]";
        reader.conflict(
            &["data.main.driver"],
            "the platform keeps tables in main, and mongodb has none",
            remedy,
        );
    }
}

fn listeners(settings: &Settings, reader: &mut Reader<'_>) {
    if settings.listen.tcp.is_empty() && settings.listen.unix.is_empty() {
        let remedy = "write an address, such as tcp = [\"127.0.0.1:7800\"], or a path under unix";
        reader.conflict(&["listen.tcp", "listen.unix"], "no client could connect", remedy);
    }
}

/// The kernel cuts nothing off: a path that does not fit `sockaddr_un` could not be bound at all.
fn sockets(settings: &Settings, reader: &mut Reader<'_>) {
    let bytes_max = limits::SOCKET_PATH_BYTES_MAX;
    let too_long = |path: &Path| path.as_os_str().as_bytes().len() > bytes_max;
    let admin = settings.admin_socket();
    if too_long(&admin) {
        let problem = format!("{} is longer than the {bytes_max} bytes of a socket's path", admin.display());
        reader.conflict(&["node.state_dir"], problem, "write a shorter path");
    }
    for path in &settings.listen.unix {
        if too_long(path) {
            let problem =
                format!("{} is longer than the {bytes_max} bytes of a socket's path", path.display());
            reader.conflict(&["listen.unix", "node.state_dir"], problem, "write a shorter path");
        }
        if *path == admin {
            let problem = format!("{} is the socket of the operator's commands", path.display());
            reader.conflict(&["listen.unix", "node.state_dir"], problem, "write another path");
        }
    }
    let twice = first_repeated(settings.listen.unix.iter());
    if let Some(path) = twice {
        reader.conflict(&["listen.unix"], format!("{} is there twice", path.display()), "take one away");
    }
}

fn bodies(settings: &Settings, reader: &mut Reader<'_>) {
    let (comm, ipc) = (&settings.comm, &settings.ipc);
    let half = comm.receive_buffer / 2;
    if comm.large_body > half {
        let problem = format!(
            "{} is more than half of comm.receive_buffer, so a small body would not fit beside the next header",
            size_text(comm.large_body)
        );
        let remedy = format!("write {} or less, or a larger receive_buffer", size_text(half));
        reader.conflict(&["comm.large_body", "comm.receive_buffer"], problem, remedy);
    }
    let largest = ipc.blocks.last().map_or(0, |class| class.size);
    if largest < comm.body_max {
        let problem = format!(
            "the largest block has {}, and comm.body_max is {}",
            size_text(largest),
            size_text(comm.body_max)
        );
        let needed = size_text(comm.body_max.next_power_of_two());
        let remedy = format!("add a class of {needed}, or write body_max = \"{}\"", size_text(largest));
        reader.conflict(&["ipc.blocks", "comm.body_max"], problem, remedy);
    }
    if comm.bytes_in_flight_max < 2 * comm.body_max {
        let problem = format!(
            "{} is less than a request and a reply of comm.body_max = {} each",
            size_text(comm.bytes_in_flight_max),
            size_text(comm.body_max)
        );
        let remedy = format!("write {} or more, or a smaller body_max", size_text(2 * comm.body_max));
        reader.conflict(&["comm.bytes_in_flight_max", "comm.body_max"], problem, remedy);
    }
    let recorded = settings.idempotency.reply_bytes_max;
    if recorded > largest {
        let problem =
            format!("{} is more than the largest block, {}", size_text(recorded), size_text(largest));
        let remedy = format!("write {} or less", size_text(largest));
        reader.conflict(&["idempotency.reply_bytes_max", "ipc.blocks"], problem, remedy);
    }
}

fn queues(settings: &Settings, reader: &mut Reader<'_>) {
    let ipc = &settings.ipc;
    for (key, limit) in [("ipc.read_queue", ipc.read_queue), ("ipc.write_queue", ipc.write_queue)] {
        if limit > ipc.slots {
            let problem = format!("{limit} requests cannot be queued in ipc.slots = {}", ipc.slots);
            let remedy = format!("write {} or less, or more slots", ipc.slots);
            reader.conflict(&[key, "ipc.slots"], problem, remedy);
        }
    }
    let admission = &settings.admission;
    if admission.read_resume >= admission.read_threshold {
        let problem = format!(
            "reads would be admitted again at {}, which is not below read_threshold = {}",
            admission.read_resume, admission.read_threshold
        );
        let remedy = "write less than read_threshold, such as read_resume = 0.65 for read_threshold = 0.80";
        reader.conflict(&["admission.read_resume", "admission.read_threshold"], problem, remedy);
    }
}

fn times(settings: &Settings, reader: &mut Reader<'_>) {
    let (window, retention) = (settings.idempotency.window, settings.idempotency.retention);
    if retention < window {
        let problem = format!(
            "rows would be gone after {}, before their entries in the window ({})",
            duration_text(retention),
            duration_text(window)
        );
        let remedy = format!("write {} or more, or a shorter window", duration_text(window));
        reader.conflict(&["idempotency.retention", "idempotency.window"], problem, remedy);
    }
    let (tick, heartbeat) = (settings.supervisor.tick, settings.supervisor.heartbeat_timeout);
    if heartbeat <= tick {
        let problem = format!(
            "{} is not longer than supervisor.tick = {}, so every child would look dead",
            duration_text(heartbeat),
            duration_text(tick)
        );
        let remedy = "write a time of many ticks, such as heartbeat_timeout = \"10s\"";
        reader.conflict(&["supervisor.heartbeat_timeout", "supervisor.tick"], problem, remedy);
    }
}

fn processes(settings: &Settings, reader: &mut Reader<'_>) {
    let needed = settings.process_rows_needed();
    if needed > limits::PROCESS_ROWS_MAX {
        let workers_max = limits::PROCESS_ROWS_MAX - limits::PROCESS_ROWS_RESERVED;
        let problem = format!(
            "{} workers and {} other processes need {needed} rows, and the process table has {}",
            settings.workers.read + settings.workers.write,
            limits::PROCESS_ROWS_RESERVED,
            limits::PROCESS_ROWS_MAX
        );
        let remedy = format!("write read and write so that they are {workers_max} together at the most");
        reader.conflict(&["workers.read", "workers.write"], problem, remedy);
    }
}

/// Two sources on one file would be two connections that lock each other out within one request.
fn database_files(settings: &Settings, reader: &mut Reader<'_>) {
    let registry = settings.node.state_dir.join("registry.db");
    let mut taken: Vec<(&str, &PathBuf)> = vec![("the registry", &registry)];
    for (name, source) in &settings.data {
        let DataSettings::Sqlite(sqlite) = source else {
            continue;
        };
        if let Some((owner, _)) = taken.iter().find(|(_, path)| **path == sqlite.path) {
            let problem = format!("{} is the file of {owner} already", sqlite.path.display());
            reader.conflict(&[&format!("data.{name}.path")], problem, "write another path");
        }
        taken.push((name, &sqlite.path));
    }
}

fn first_repeated<'p>(mut paths: impl Iterator<Item = &'p PathBuf> + Clone) -> Option<&'p PathBuf> {
    while let Some(path) = paths.next() {
        if paths.clone().any(|later| later == path) {
            return Some(path);
        }
    }
    None
}
