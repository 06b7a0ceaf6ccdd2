//! From text to settings: section by section, then what holds between keys.

use crate::data::{DataSettings, Driver, MongoSettings, OdbcSettings, SqliteSettings};
use crate::keys;
use crate::place::{Folder, Places};
use crate::reader::{Reader, Section, position};
use crate::sections::{
    AdmissionSettings, CommSettings, IdempotencySettings, IpcSettings, ListenSettings, LogSettings,
    NodeSettings, SupervisorSettings, WorkersSettings,
};
use crate::serial::{SerialFormat, SerialSettings, SerialType};
use crate::service::{LibraryName, ServiceSettings};
use crate::{Fault, FaultKind, Settings, SettingsError, check, limits, special, tables, unknown};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::de::DeTable;

/// Types of serial numbers that exist without the file naming them.
const SERIAL_TYPES: [&str; 5] = ["recharge", "passage", "card", "tag", "account"];

/// The data source there is when the file names none.
const DATA_MAIN: &str = "main";

pub(crate) fn settings(text: &str, path: &Path) -> Result<Settings, SettingsError> {
    let folder = Folder::of(path)?;
    let document = DeTable::parse(text).map_err(|error| {
        let fault = syntax_fault(text, path, &error);
        SettingsError::Invalid { faults: vec![fault] }
    })?;
    let root = Section { path: String::new(), table: Some(document.get_ref()) };
    let mut reader = Reader::new(path, text);
    unknown::report(&root, &mut reader);

    let node_section = root.inner("node");
    let places = folder.with_state_dir(&reader.take(&node_section, &keys::NODE_STATE_DIR));
    let settings = Settings {
        file: places.file().to_owned(),
        node: node(&node_section, &mut reader, &places),
        listen: listen(&root.inner("listen"), &mut reader, &places),
        comm: comm(&root.inner("comm"), &mut reader),
        workers: workers(&root.inner("workers"), &mut reader),
        ipc: ipc(&root.inner("ipc"), &mut reader),
        admission: admission(&root.inner("admission"), &mut reader),
        service: service(&root.inner("service"), &mut reader, &places),
        idempotency: idempotency(&root.inner("idempotency"), &mut reader),
        data: data(&root.inner("data"), &mut reader, &places),
        serial: serial(&root.inner("serial"), &mut reader),
        log: log(&root.inner("log"), &mut reader, &places),
        supervisor: supervisor(&root.inner("supervisor"), &mut reader),
    };
    check::together(&settings, &mut reader);
    match reader.into_faults() {
        faults if faults.is_empty() => Ok(settings),
        faults => Err(SettingsError::Invalid { faults }),
    }
}

fn syntax_fault(text: &str, path: &Path, error: &toml::de::Error) -> Fault {
    let start = error.span().map_or(0, |span| span.start);
    let (line, column) = position(text, start);
    Fault {
        file: path.to_owned(),
        line,
        column,
        key: String::new(),
        kind: FaultKind::Syntax,
        problem: error.message().trim().replace('\n', ", "),
        remedy: syntax_remedy(text.lines().nth(line - 1).unwrap_or_default()),
    }
}

/// The commonest slip is a word or a quantity without quotes; then the line to write can be shown whole.
fn syntax_remedy(line: &str) -> String {
    if let Some((key, value)) = line.split_once('=') {
        let value = value.split('#').next().unwrap_or_default().trim();
        let bare = |character: char| character.is_alphanumeric() || "._-/:".contains(character);
        if !value.is_empty() && value.chars().all(bare) {
            return format!("text, sizes and durations stand in quotes: {} = \"{value}\"", key.trim());
        }
    }
    "write one `key = value` to a line, sections as [section], each key once (TOML, see https://toml.io)"
        .to_owned()
}

fn node(section: &Section<'_, '_>, reader: &mut Reader<'_>, places: &Places) -> NodeSettings {
    NodeSettings {
        name: reader.take(section, &keys::NODE_NAME),
        state_dir: places.state_dir().to_owned(),
        drain_grace: reader.take(section, &keys::NODE_DRAIN_GRACE),
    }
}

fn listen(section: &Section<'_, '_>, reader: &mut Reader<'_>, places: &Places) -> ListenSettings {
    let unix = reader.take(section, &keys::LISTEN_UNIX);
    ListenSettings {
        tcp: reader.take(section, &keys::LISTEN_TCP),
        unix: unix.iter().map(|path| places.in_state_dir(path)).collect(),
        http: reader.take(section, &keys::LISTEN_HTTP),
        metrics: reader.take(section, &keys::LISTEN_METRICS),
    }
}

fn comm(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> CommSettings {
    CommSettings {
        threads: reader.take(section, &keys::COMM_THREADS),
        connections_max: reader.take(section, &keys::COMM_CONNECTIONS_MAX),
        receive_buffer: reader.take(section, &keys::COMM_RECEIVE_BUFFER),
        receive_buffers: reader.take(section, &keys::COMM_RECEIVE_BUFFERS),
        large_body: reader.take(section, &keys::COMM_LARGE_BODY),
        body_max: reader.take(section, &keys::COMM_BODY_MAX),
        frames_in_flight_max: reader.take(section, &keys::COMM_FRAMES_IN_FLIGHT_MAX),
        bytes_in_flight_max: reader.take(section, &keys::COMM_BYTES_IN_FLIGHT_MAX),
        header_timeout: reader.take(section, &keys::COMM_HEADER_TIMEOUT),
        body_timeout: reader.take(section, &keys::COMM_BODY_TIMEOUT),
        idle_timeout: reader.take(section, &keys::COMM_IDLE_TIMEOUT),
        write_timeout: reader.take(section, &keys::COMM_WRITE_TIMEOUT),
        out_records: reader.take(section, &keys::COMM_OUT_RECORDS),
        listen_backlog: reader.take(section, &keys::COMM_LISTEN_BACKLOG),
        unix_mode: reader.take(section, &keys::COMM_UNIX_MODE),
        batch_max: reader.take(section, &keys::COMM_BATCH_MAX),
    }
}

fn workers(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> WorkersSettings {
    WorkersSettings {
        read: reader.take(section, &keys::WORKERS_READ),
        write: reader.take(section, &keys::WORKERS_WRITE),
        spare: reader.take(section, &keys::WORKERS_SPARE),
        versions_max: reader.take(section, &keys::WORKERS_VERSIONS_MAX),
        memory_max: reader.take(section, &keys::WORKERS_MEMORY_MAX),
        kill_grace: reader.take(section, &keys::WORKERS_KILL_GRACE),
        spin: reader.take(section, &keys::WORKERS_SPIN),
    }
}

fn ipc(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> IpcSettings {
    IpcSettings {
        backend: reader.take(section, &keys::IPC_BACKEND),
        key: reader.take_set(section, &keys::IPC_KEY),
        slots: reader.take(section, &keys::IPC_SLOTS),
        read_queue: reader.take(section, &keys::IPC_READ_QUEUE),
        write_queue: reader.take(section, &keys::IPC_WRITE_QUEUE),
        blocks: reader.take(section, &keys::IPC_BLOCKS),
        services_max: reader.take(section, &keys::IPC_SERVICES_MAX),
    }
}

fn admission(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> AdmissionSettings {
    AdmissionSettings {
        read_threshold: reader.take(section, &keys::ADMISSION_READ_THRESHOLD),
        read_resume: reader.take(section, &keys::ADMISSION_READ_RESUME),
        read_share: reader.take(section, &keys::ADMISSION_READ_SHARE),
        reply_share: reader.take(section, &keys::ADMISSION_REPLY_SHARE),
    }
}

fn service(section: &Section<'_, '_>, reader: &mut Reader<'_>, places: &Places) -> ServiceSettings {
    let library = |entry: String| {
        if special::is_library_file(&entry) {
            LibraryName::File(places.in_state_dir(&entry))
        } else {
            LibraryName::Bare(entry)
        }
    };
    ServiceSettings {
        timeout: reader.take(section, &keys::SERVICE_TIMEOUT),
        policy: reader.take(section, &keys::SERVICE_POLICY),
        libraries: reader.take(section, &keys::SERVICE_LIBRARIES).into_iter().map(library).collect(),
        signers: reader.take(section, &keys::SERVICE_SIGNERS),
        quarantine_deaths: reader.take(section, &keys::SERVICE_QUARANTINE_DEATHS),
        quarantine_window: reader.take(section, &keys::SERVICE_QUARANTINE_WINDOW),
        canary_deaths: reader.take(section, &keys::SERVICE_CANARY_DEATHS),
        canary_calls: reader.take(section, &keys::SERVICE_CANARY_CALLS),
        canary_errors: reader.take(section, &keys::SERVICE_CANARY_ERRORS),
        canary_slowness: reader.take(section, &keys::SERVICE_CANARY_SLOWNESS),
        configurations: tables::configurations(section, reader),
    }
}

fn idempotency(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> IdempotencySettings {
    IdempotencySettings {
        window: reader.take(section, &keys::IDEMPOTENCY_WINDOW),
        entries: reader.take(section, &keys::IDEMPOTENCY_ENTRIES),
        reply_bytes_max: reader.take(section, &keys::IDEMPOTENCY_REPLY_BYTES_MAX),
        retention: reader.take(section, &keys::IDEMPOTENCY_RETENTION),
    }
}

fn data(
    section: &Section<'_, '_>,
    reader: &mut Reader<'_>,
    places: &Places,
) -> BTreeMap<String, DataSettings> {
    let mut names = tables::names(section, reader, limits::DATA_SOURCES_MAX);
    if names.is_empty() {
        names.push(DATA_MAIN.to_owned());
    }
    let sources = names.into_iter().map(|name| {
        let source = data_source(&name, &section.inner(&name), reader, places);
        (name, source)
    });
    sources.collect()
}

fn data_source(
    name: &str,
    section: &Section<'_, '_>,
    reader: &mut Reader<'_>,
    places: &Places,
) -> DataSettings {
    let driver = reader.take(section, &keys::DATA_DRIVER);
    let path = reader.take_set(section, &keys::DATA_PATH);
    let busy_timeout = reader.take(section, &keys::DATA_BUSY_TIMEOUT);
    let synchronous = reader.take(section, &keys::DATA_SYNCHRONOUS);
    let connection = reader.take_set(section, &keys::DATA_CONNECTION);
    let uri = reader.take_set(section, &keys::DATA_URI);
    let transactions = reader.take(section, &keys::DATA_TRANSACTIONS);
    check::driver(driver, section, reader);
    match driver {
        Driver::Sqlite => {
            // `main` has the name the documentation promises; others must not share its file.
            let own = if name == DATA_MAIN { "data.db".to_owned() } else { format!("{name}.db") };
            let path = places.in_state_dir(&path.unwrap_or(own));
            DataSettings::Sqlite(SqliteSettings { path, busy_timeout, synchronous })
        }
        Driver::Odbc => DataSettings::Odbc(OdbcSettings { connection: connection.unwrap_or_default() }),
        Driver::MongoDb => {
            DataSettings::MongoDb(MongoSettings { uri: uri.unwrap_or_default(), transactions })
        }
    }
}

fn serial(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> SerialSettings {
    let redis = reader.take(section, &keys::SERIAL_REDIS);
    let standby = reader.take(section, &keys::SERIAL_STANDBY);
    let range = u64::from(reader.take(section, &keys::SERIAL_RANGE));
    let types_section = section.inner("types");
    let named = tables::names(&types_section, reader, limits::SERIAL_TYPES_MAX);
    let names: BTreeSet<_> = named.into_iter().chain(SERIAL_TYPES.map(str::to_owned)).collect();
    let types = names.into_iter().map(|name| {
        let section = types_section.inner(&name);
        let own = reader.take_set(&section, &keys::SERIAL_TYPE_RANGE).map(u64::from);
        let format = reader.take_set(&section, &keys::SERIAL_TYPE_FORMAT);
        let format = format.unwrap_or_else(|| default_format(&name));
        (name, SerialType { range: own.unwrap_or(range), format })
    });
    let types = types.collect();
    SerialSettings { redis, standby, range, types }
}

/// The types that are always there begin with a letter of their own, so that the serial of a recharge is never taken
/// for that of a passage.
fn default_format(name: &str) -> SerialFormat {
    let is_known = SERIAL_TYPES.contains(&name);
    let letter = name.chars().next().filter(|_| is_known).map(|letter| letter.to_ascii_uppercase());
    let text = letter.map_or_else(|| "{seq:16}".to_owned(), |letter| format!("{letter}{{seq:15}}"));
    SerialFormat::parse(&text).expect("a letter and a sequence are a format")
}

fn log(section: &Section<'_, '_>, reader: &mut Reader<'_>, places: &Places) -> LogSettings {
    LogSettings {
        level: reader.take(section, &keys::LOG_LEVEL),
        redis: reader.take(section, &keys::LOG_REDIS),
        dir: places.in_state_dir(&reader.take(section, &keys::LOG_DIR)),
        rotate: reader.take(section, &keys::LOG_ROTATE),
        keep: reader.take(section, &keys::LOG_KEEP),
    }
}

fn supervisor(section: &Section<'_, '_>, reader: &mut Reader<'_>) -> SupervisorSettings {
    SupervisorSettings {
        tick: reader.take(section, &keys::SUPERVISOR_TICK),
        heartbeat_timeout: reader.take(section, &keys::SUPERVISOR_HEARTBEAT_TIMEOUT),
        restart_backoff_max: reader.take(section, &keys::SUPERVISOR_RESTART_BACKOFF_MAX),
        ready_timeout: reader.take(section, &keys::SUPERVISOR_READY_TIMEOUT),
        stop_timeout: reader.take(section, &keys::SUPERVISOR_STOP_TIMEOUT),
    }
}
