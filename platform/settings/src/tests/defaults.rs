//! The empty file, and the places that paths count from.

use super::{good, read};
use crate::changes::leaves;
use crate::kind::Kind;
use crate::{DataSettings, IpcBackend, LibraryName, LogLevel, Synchronous, TimeoutPolicy, keys};
use std::path::Path;
use std::time::Duration;

#[test]
fn empty_file_gives_the_defaults_of_the_contract() {
    let settings = good("");
    assert_eq!(settings.file, Path::new("/srv/gantry/config/gantry.toml"));
    assert_eq!(settings.node.name, "gantry");
    assert_eq!(settings.node.state_dir, Path::new("/srv/gantry/var"));
    assert_eq!(settings.node.drain_grace, Duration::from_secs(5));
    assert_eq!(settings.listen.tcp, ["127.0.0.1:7800".parse().unwrap()]);
    assert!(settings.listen.unix.is_empty() && settings.listen.http.is_empty());
    assert_eq!((settings.comm.threads, settings.comm.connections_max), (1, 40_000));
    assert_eq!((settings.comm.body_max, settings.comm.large_body), (1_048_576, 4096));
    assert_eq!((settings.comm.idle_timeout, settings.comm.unix_mode), (Duration::ZERO, 0o600));
    assert_eq!((settings.workers.read, settings.workers.write), (2, 1));
    assert_eq!((settings.workers.memory_max, settings.workers.spin), (0, Duration::ZERO));
    assert_eq!((settings.ipc.backend, settings.ipc.key), (IpcBackend::SysV, None));
    assert_eq!((settings.ipc.slots, settings.ipc.read_queue, settings.ipc.write_queue), (4096, 2048, 2048));
    let blocks: Vec<_> = settings.ipc.blocks.iter().map(|class| (class.size, class.count)).collect();
    assert_eq!(blocks, [(4096, 4096), (65_536, 256), (1_048_576, 16)]);
    assert_eq!((settings.admission.read_threshold, settings.admission.read_resume), (0.80, 0.65));
    assert_eq!(
        (settings.service.timeout, settings.service.policy),
        (Duration::from_secs(15), TimeoutPolicy::Kill)
    );
    assert_eq!(settings.service.libraries.first(), Some(&LibraryName::Bare("gantry_diag".to_owned())));
    assert_eq!((settings.service.quarantine_deaths, settings.service.libraries.len()), (5, 7));
    assert_eq!(settings.idempotency.retention, Duration::from_secs(7 * 86_400));
    assert_eq!((settings.log.level, settings.log.rotate), (LogLevel::Warn, 100 << 20));
    assert_eq!(settings.log.dir, Path::new("/srv/gantry/var/log"));
    assert_eq!(settings.supervisor.tick, Duration::from_millis(20));
}

#[test]
fn empty_file_has_sqlite_as_main_and_the_five_types_of_serials() {
    let settings = good("");
    let sources: Vec<_> = settings.data.iter().collect();
    let [(name, DataSettings::Sqlite(sqlite))] = sources.as_slice() else {
        panic!("{sources:?}");
    };
    assert_eq!((name.as_str(), sqlite.path.as_path()), ("main", Path::new("/srv/gantry/var/data.db")));
    assert_eq!((sqlite.busy_timeout, sqlite.synchronous), (Duration::from_secs(5), Synchronous::Full));
    let types: Vec<_> = settings.serial.types.keys().map(String::as_str).collect();
    assert_eq!(types, ["account", "card", "passage", "recharge", "tag"]);
    let formats: Vec<_> = settings.serial.types.values().map(|kind| kind.format.as_str()).collect();
    assert_eq!(formats, ["A{seq:15}", "C{seq:15}", "P{seq:15}", "R{seq:15}", "T{seq:15}"]);
    assert!(settings.serial.types.values().all(|kind| kind.range == 1000));
    let own = good("[serial.types.ticket]\n");
    assert_eq!(own.serial.types["ticket"].format.as_str(), "{seq:16}");
}

/// Goal: a default that nobody could write is caught here and not at a start. `default_of` relies on it.
#[test]
fn default_of_every_key_is_read_by_its_own_kind() {
    // The one default that only another driver's source takes.
    let is_mongo = |name: &str| name == keys::DATA_TRANSACTIONS.name;
    for key in keys::ALL.iter().filter(|key| !key.default().is_empty() && !is_mongo(key.name())) {
        let file = format!("[{}]\n{} = {}\n", key.section().replace('*', "name"), key.name(), key.default());
        let read = read(&file);
        // A type named `name` is fine; a data source too, with the sqlite keys.
        assert!(read.is_ok(), "{file}: {}", read.unwrap_err());
    }
}

/// Goal: a key in the table that no field takes, or a field without a key, is noticed.
#[test]
fn every_key_has_a_field_and_every_field_a_key() {
    let settings = good("[ipc]\nkey = 1\n[serial.types.card]\nrange = 5\n");
    let fields = leaves(&settings);
    let named = |section: &str| section.replace("data.*", "data.main").replace("types.*", "types.card");
    let hidden = [&keys::DATA_CONNECTION.name, &keys::DATA_URI.name, &keys::DATA_TRANSACTIONS.name];
    for key in keys::ALL.iter().filter(|key| !hidden.contains(&&key.name())) {
        let path = format!("{}.{}", named(key.section()), key.name());
        assert!(fields.contains_key(&path), "no field for {path}");
    }
    for field in fields.keys() {
        let of_type = field.strip_prefix("serial.types.").and_then(|rest| rest.split_once('.'));
        let known = |key: &&dyn keys::AnyKey| match of_type {
            Some((_, name)) => key.section() == "serial.types.*" && key.name() == name,
            None => format!("{}.{}", named(key.section()), key.name()) == *field,
        };
        assert!(keys::ALL.iter().any(known), "no key for {field}");
    }
}

#[test]
fn key_table_names_no_key_twice() {
    let mut names: Vec<_> = keys::ALL.iter().map(|key| (key.section(), key.name())).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn range_of_a_key_names_its_unit() {
    assert_eq!(keys::COMM_THREADS.kind.range(), "1 to 16 threads");
    assert_eq!(keys::COMM_RECEIVE_BUFFER.kind.range(), "8KiB to 1MiB, a power of two");
    assert_eq!(keys::WORKERS_MEMORY_MAX.kind.range(), "16MiB to 1024GiB, or 0 for no limit");
    assert_eq!(keys::COMM_IDLE_TIMEOUT.kind.range(), "10ms to 30d, or 0s for never");
}

#[test]
fn paths_count_from_the_state_folder_and_absolute_ones_stay() {
    let settings = good(
        "[node]\nstate_dir = \"./state/../run\"\n[listen]\nunix = [\"a.sock\", \"/run/b.sock\"]\n\
         [data.main]\npath = \"db/main.db\"\n[data.passages]\n[log]\ndir = \"/var/log/gantry\"\n\
         [service]\nlibraries = [\"plugins/libx.so\", \"y\"]\n",
    );
    assert_eq!(settings.node.state_dir, Path::new("/srv/gantry/config/run"));
    assert_eq!(settings.listen.unix, [Path::new("/srv/gantry/config/run/a.sock"), Path::new("/run/b.sock")]);
    assert_eq!(settings.log.dir, Path::new("/var/log/gantry"));
    let file = LibraryName::File("/srv/gantry/config/run/plugins/libx.so".into());
    assert_eq!(settings.service.libraries, [file, LibraryName::Bare("y".to_owned())]);
    let path = |name: &str| match &settings.data[name] {
        DataSettings::Sqlite(sqlite) => sqlite.path.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(path("main"), Path::new("/srv/gantry/config/run/db/main.db"));
    assert_eq!(path("passages"), Path::new("/srv/gantry/config/run/passages.db"));
}

#[test]
fn relative_name_of_the_file_counts_from_the_current_folder() {
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let settings = crate::Settings::from_text("", Path::new("gantry.toml")).unwrap();
    assert_eq!(settings.file, here.join("gantry.toml"));
    assert_eq!(settings.node.state_dir, here.parent().unwrap().join("var"));
}

#[test]
fn figures_for_the_system_count_what_the_settings_ask_for() {
    let settings = good("[comm]\nconnections_max = 100\n[workers]\nread = 10\nwrite = 5\n");
    assert_eq!(settings.descriptors_needed(), 100 + 1 + 256 + 64);
    assert_eq!(settings.process_rows_needed(), 25);
    assert_eq!(settings.blocks_bytes(), (16 << 20) * 3);
    assert_eq!(settings.admin_socket(), Path::new("/srv/gantry/var/admin.sock"));
}
