//! Every class of fault, by its whole text.

use super::{good, read, refused};
use crate::{Driver, FaultKind, Settings, SettingsError, limits};
use std::path::Path;

/// Holds the message of `text` against `expected`, one line for each fault.
#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let message = refused(text);
    assert_eq!(message.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn fault_has_file_line_column_key_problem_and_remedy() {
    let error = read("# first\n[comm]\nthreads = 99\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/srv/gantry/config/gantry.toml:3:11: comm.threads: 99 is out of range; \
         write a whole number: 1 to 16 threads, such as threads = 1"
    );
    let SettingsError::Invalid { faults } = error else { panic!() };
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert_eq!(
        (fault.line, fault.column, fault.key.as_str(), fault.kind),
        (3, 11, "comm.threads", FaultKind::Range)
    );
}

#[test]
fn column_counts_characters_and_not_bytes() {
    says(
        "[listen]\ntcp = [\"号\", \"127.0.0.1:1\", \"x\"]\n",
        &[
            "2:8: listen.tcp: \"号\" is no address and port (names are not looked up); write a number and a port, \
             such as \"127.0.0.1:7800\", \"0.0.0.0:7800\" or \"[::]:7800\"",
            "2:28: listen.tcp: \"x\" is no address and port (names are not looked up); write a number and a port, \
             such as \"127.0.0.1:7800\", \"0.0.0.0:7800\" or \"[::]:7800\"",
        ],
    );
}

#[test]
fn unknown_key_names_the_nearest_one() {
    says(
        "[comm]\nthread = 4\n",
        &["2:1: comm.thread: [comm] has no key \"thread\"; did you mean \"threads\"?"],
    );
    says(
        "[admission]\nread_treshold = 0.5\n",
        &[
            "2:1: admission.read_treshold: [admission] has no key \"read_treshold\"; did you mean \"read_threshold\"?",
        ],
    );
}

#[test]
fn unknown_key_of_another_section_names_that_one() {
    says("[comm]\nslots = 64\n", &["2:1: comm.slots: [comm] has no key \"slots\"; it belongs under [ipc]"]);
}

#[test]
fn unknown_key_like_no_other_gets_the_list() {
    says(
        "[log]\ncolour = true\n",
        &["2:1: log.colour: [log] has no key \"colour\"; its keys are level, redis, dir, rotate, keep"],
    );
}

#[test]
fn unknown_key_in_a_named_section_is_found_too() {
    says(
        "[data.main]\npth = \"x\"\n",
        &["2:1: data.main.pth: [data.main] has no key \"pth\"; did you mean \"path\"?"],
    );
    says(
        "[serial.types.card]\nfromat = \"{seq:1}\"\n",
        &[
            "2:1: serial.types.card.fromat: [serial.types.card] has no key \"fromat\"; did you mean \"format\"?",
        ],
    );
    says(
        "[service]\ntimeot = \"1s\"\n",
        &["2:1: service.timeot: [service] has no key \"timeot\"; did you mean \"timeout\"?"],
    );
}

#[test]
fn unknown_section_names_the_nearest_one() {
    says("[worker]\nread = 1\n", &["1:2: worker: there is no section [worker]; did you mean [workers]?"]);
    says(
        "[network]\n",
        &[
            "1:2: network: there is no section [network]; the sections are node, listen, comm, workers, ipc, admission, \
           service, idempotency, data, serial, log, supervisor",
        ],
    );
}

#[test]
fn key_outside_of_every_section_is_told_where_it_belongs() {
    says(
        "slots = 4\n",
        &["1:1: slots: the key \"slots\" stands outside of every section; write it under [ipc]"],
    );
    says(
        "redis = \"\"\n",
        &["1:1: redis: the key \"redis\" stands outside of every section; write it under [serial] or [log]"],
    );
    says(
        "x = 1\n",
        &[
            "1:1: x: the key \"x\" stands outside of every section; every key belongs under a section such as [comm]",
        ],
    );
}

#[test]
fn section_written_as_a_key_or_a_list_is_refused() {
    says(
        "comm = 4\n[[workers]]\n",
        &[
            "1:8: comm: \"comm\" is a section, not a key; write [comm], once and in single brackets, and its keys below",
            "2:1: workers: \"workers\" is a section, not a key; write [workers], once and in single brackets, and its keys below",
        ],
    );
    says(
        "[serial]\ntypes = 1\n",
        &[
            "2:9: serial.types: \"types\" is a section, not a key; write [serial.types], once and in single brackets, and its keys below",
        ],
    );
    says(
        "[data]\npath = \"x\"\n",
        &[
            "2:1: data.path: [data] holds sections, and \"path\" is a key; put it into a section such as [data.main]",
        ],
    );
}

#[test]
fn value_of_another_type_says_what_is_wanted() {
    says(
        "[comm]\nthreads = \"4\"\nheader_timeout = 15\nbody_max = true\n",
        &[
            "2:11: comm.threads: a whole number is wanted here, not \"4\"; write a whole number: 1 to 16 threads, such as threads = 1",
            "3:18: comm.header_timeout: a duration is wanted here, not 15; write a duration in quotes: 10ms to 1h, such as header_timeout = \"10s\"",
            "4:12: comm.body_max: a size is wanted here, not true; write a size in quotes: 1KiB to 64MiB, such as body_max = \"1MiB\"",
        ],
    );
    says(
        "[listen]\ntcp = \"127.0.0.1:1\"\n[log]\nlevel = 1\n[admission]\nread_share = \"0.5\"\n",
        &[
            "2:7: listen.tcp: a list is wanted here, not \"127.0.0.1:1\"; write a list of addresses: 0 to 16 of \"ADDRESS:PORT\", such as tcp = [\"127.0.0.1:7800\"]",
            "4:9: log.level: text is wanted here, not 1; write one of these words in quotes: \"debug\", \"warn\" or \"error\", such as level = \"warn\"",
            "6:14: admission.read_share: a number is wanted here, not \"0.5\"; write a number: 0.05 to 1.00, such as read_share = 0.75",
        ],
    );
}

#[test]
fn text_that_cannot_be_read_says_how_to_write_it() {
    says(
        "[comm]\nbody_max = \"1 MB\"\nidle_timeout = \"15\"\n[log]\nlevel = \"info\"\n[node]\nname = \"My Node\"\nstate_dir = \"\"\n",
        &[
            "2:12: comm.body_max: \"1 MB\" is no size: its units are B, KiB, MiB and GiB, without a space or a point; write a size in quotes: 1KiB to 64MiB, such as body_max = \"1MiB\"",
            "3:16: comm.idle_timeout: \"15\" is no duration: it needs a whole number and a unit, us, ms, s, m, h or d; write a duration in quotes: 10ms to 30d, or 0s for never, such as idle_timeout = \"0s\"",
            "5:9: log.level: \"info\" is not one of the words; write one of these words in quotes: \"debug\", \"warn\" or \"error\", such as level = \"warn\"",
            "7:8: node.name: \"My Node\" is no name; write a name in quotes: 1 to 32 of a-z 0-9 _ -, such as name = \"gantry\"",
            "8:13: node.state_dir: \"\" is no path; write a path in quotes: an absolute or relative path, such as state_dir = \"../var\"",
        ],
    );
    says(
        "[serial.types.card]\nformat = \"{seq:4}{time}\"\n[service]\nlibraries = [\"a b\"]\n",
        &[
            "2:10: serial.types.card.format: \"{seq:4}{time}\" is no format: there is no placeholder {time}; write a format in quotes: literal text, {date} and one {seq:N} with N from 1 to 18, such as format = \"{seq:16}\"",
            "4:14: service.libraries: \"a b\" is no library; write X for libX.so beside the executable or in /usr/lib/gantry, or the path of a .so file",
        ],
    );
}

#[test]
fn value_out_of_its_range_says_the_range() {
    says(
        "[comm]\nconnections_max = 0\nbody_max = \"65MiB\"\nheader_timeout = \"9ms\"\nunix_mode = 600\nreceive_buffer = \"12KiB\"\n",
        &[
            "2:19: comm.connections_max: 0 is out of range; write a whole number: 1 to 1000000 connections, such as connections_max = 40000",
            "3:12: comm.body_max: \"65MiB\" is out of range; write a size in quotes: 1KiB to 64MiB, such as body_max = \"1MiB\"",
            "4:18: comm.header_timeout: \"9ms\" is out of range; write a duration in quotes: 10ms to 1h, such as header_timeout = \"10s\"",
            "5:13: comm.unix_mode: 600 is out of range; write permission bits in octal: 0o600 to 0o777, with read and write for the owner, such as unix_mode = 0o600",
            "6:18: comm.receive_buffer: \"12KiB\" is no power of two; write a size in quotes: 8KiB to 1MiB, a power of two, such as receive_buffer = \"16KiB\"",
        ],
    );
    says(
        "[admission]\nread_threshold = 1.5\nread_share = nan\n[ipc]\nkey = 0\nslots = 99999999999999999999999\nread_queue = -5\n",
        &[
            "2:18: admission.read_threshold: 1.5 is out of range; write a number: 0.01 to 1.00, such as read_threshold = 0.80",
            "3:14: admission.read_share: nan is out of range; write a number: 0.05 to 1.00, such as read_share = 0.75",
            "5:7: ipc.key: 0 is out of range; write a whole number: 0x1 to 0x7fffff00",
            "6:9: ipc.slots: 99999999999999999999999 is out of range; write a whole number: 16 to 65536 requests, such as slots = 4096",
            "7:14: ipc.read_queue: -5 is out of range; write a whole number: 1 to 65536 requests, such as read_queue = 2048",
        ],
    );
}

#[test]
fn entries_that_do_not_fill_the_rows_of_the_window_are_refused() {
    says(
        "[idempotency]\nentries = 1001\n",
        &[
            "2:11: idempotency.entries: 1001 is no multiple of 8; write a whole number: 16 to 16777216 entries, a multiple of 8, such as entries = 65536",
        ],
    );
}

#[test]
fn slots_above_the_limit_of_the_state_word_are_refused() {
    assert!(read("[ipc]\nslots = 65536\n").is_ok());
    says(
        "[ipc]\nslots = 65537\n",
        &[
            "2:9: ipc.slots: 65537 is out of range; write a whole number: 16 to 65536 requests, such as slots = 4096",
        ],
    );
}

#[test]
fn classes_of_blocks_are_checked_one_by_one() {
    let such = "such as blocks = [{ size = \"4KiB\", count = 4096 }, { size = \"64KiB\", count = 256 }, { size = \"1MiB\", count = 16 }]";
    let form = "write a list of classes: 1 to 8 classes, ascending; size 1KiB to 1GiB, a power of two; count 1 to 1048576";
    let says_of = |blocks: &str, expected: &[String]| {
        let message = refused(&format!("[ipc]\nblocks = {blocks}\n"));
        assert_eq!(message.lines().collect::<Vec<_>>(), expected);
    };
    let with_form = |problem: &str| format!("{problem}; {form}, {such}");
    says_of("[]", &[with_form("2:10: ipc.blocks: a list is empty: no request could be held")]);
    says_of(
        "[{ size = \"3KiB\", count = 1 }, { size = \"1MiB\", count = 0 }]",
        &[
            with_form("2:20: ipc.blocks: \"3KiB\" is out of range"),
            with_form("2:66: ipc.blocks: 0 is out of range"),
        ],
    );
    says_of(
        "[{ size = \"1MiB\", cuont = 1 }]",
        &[
            "2:11: ipc.blocks: the class has no count; write { size = \"4KiB\", count = 4096 }".to_owned(),
            "2:28: ipc.blocks: a class has no \"cuont\"; write { size = \"4KiB\", count = 4096 }".to_owned(),
        ],
    );
    says_of(
        "[{ size = \"1MiB\", count = 1 }, { size = \"1MiB\", count = 1 }]",
        &["2:41: ipc.blocks: its blocks are not larger than those of the class before; order the classes by size, each size once".to_owned()],
    );
    says_of(
        "[{ size = \"1GiB\", count = 65 }]",
        &["2:10: ipc.blocks: all blocks together have 66560 MiB; write fewer or smaller ones, 64GiB at the most".to_owned()],
    );
    says_of("[4096]", &[with_form("2:11: ipc.blocks: a class is wanted here, not 4096")]);
}

#[test]
fn what_this_version_lacks_is_said_clearly() {
    says(
        "[listen]\nhttp = [\"0.0.0.0:80\"]\nmetrics = [\"0.0.0.0:9100\"]\n[log]\nredis = \"redis://h\"\n",
        &[
            "2:8: listen.http: HTTP/JSON is not available in this version; leave the key out or its value empty",
            "3:11: listen.metrics: metrics are not available in this version; leave the key out or its value empty",
            "5:9: log.redis: shipping logs by Redis is not available in this version; leave the key out or its value empty",
        ],
    );
}

#[test]
fn driver_that_is_not_built_is_refused_with_those_that_are() {
    let built: Vec<_> = Driver::BUILT.iter().map(|driver| format!("\"{}\"", driver.as_str())).collect();
    let built = built.join(" or ");
    let file = "[data.main]\ndriver = \"odbc\"\nconnection = \"Driver={DB2};\"\n[data.passages]\ndriver = \"mongodb\"\nuri = \"mongodb://h\"\n";
    let expected: Vec<String> = [(Driver::Odbc, "2:10: data.main"), (Driver::MongoDb, "5:10: data.passages")]
        .into_iter()
        .filter(|(driver, _)| !driver.is_built())
        .map(|(driver, place)| {
            format!("{place}.driver: driver {} is not built into this binary; write {built}", driver.as_str())
        })
        .collect();
    if expected.is_empty() {
        good(file);
    } else {
        says(file, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    says(
        "[data.main]\ndriver = \"oracle\"\n",
        &[
            "2:10: data.main.driver: \"oracle\" is not one of the words; write one of these words in quotes: \"sqlite\", \"odbc\" or \"mongodb\", such as driver = \"sqlite\"",
        ],
    );
}

#[test]
fn names_that_the_file_chooses_are_checked() {
    says(
        "[data.Main]\n[data.1st]\n[serial.types.a-b]\n[service.\"Card Service\"]\n[service._card]\n[service.\"\"]\n",
        &[
            "1:7: data.Main: \"Main\" is no name; write a lowercase letter, then letters, digits or _, 32 in all",
            "2:7: data.1st: \"1st\" is no name; write a lowercase letter, then letters, digits or _, 32 in all",
            "3:15: serial.types.a-b: \"a-b\" is no name; write a lowercase letter, then letters, digits or _, 32 in all",
            "4:10: service.Card Service: \"Card Service\" is no name of a service; write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
            "5:10: service._card: \"_card\" is no name of a service; write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
            "6:10: service.: \"\" is no name of a service; write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
        ],
    );
    let many: String = (0..=limits::DATA_SOURCES_MAX).map(|n| format!("[data.d{n:02}]\n")).collect();
    says(&many, &["17:7: data.d16: this is one more than 16, the most there can be; take one away"]);
}

#[test]
fn sub_table_of_a_service_that_has_the_name_of_a_key_is_refused() {
    says(
        "[service.timeout]\nx = 1\n",
        &[
            "1:1: service.timeout: a duration is wanted here, not a table; write a duration in quotes: 1ms to 1d, such as timeout = \"15s\"",
        ],
    );
}

#[test]
fn sub_table_of_a_service_with_a_number_json_lacks_is_refused() {
    let tail = "the service gets this as JSON, which has no such number; write a finite number within 64 bits, or a text";
    says(
        "[service.card]\na = inf\nb = [1, 9223372036854775808]\nc = { d = nan }\n",
        &[
            &format!("2:5: service.card.a: {tail}"),
            &format!("3:9: service.card.b: {tail}"),
            &format!("4:11: service.card.c.d: {tail}"),
        ],
    );
}

#[test]
fn all_faults_of_a_file_come_together_in_its_order() {
    let message =
        refused("[log]\nlevel = \"x\"\n[nope]\n[comm]\nthreads = 0\nfoo = 1\n[workers]\nread = 200\n");
    let places: Vec<_> = message.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["2:9", "3:2", "5:11", "6:1", "8:8"]);
}

#[test]
fn syntax_fault_stands_alone_and_tells_of_missing_quotes() {
    let message = refused("[service]\ntimeout = 15s # long\npolicy = 1\n[nope]\n");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("2:1"), "{message}");
    assert!(message.ends_with("; text, sizes and durations stand in quotes: timeout = \"15s\""), "{message}");
    let message = refused("[service]\npolicy = kill\n");
    assert!(message.starts_with("2:10: "), "{message}");
    assert!(message.ends_with("policy = \"kill\""), "{message}");
}

#[test]
fn syntax_fault_of_another_kind_tells_the_form_of_a_file() {
    let form = "; write one `key = value` to a line, sections as [section], each key once (TOML, see https://toml.io)";
    for (text, place) in
        [("[comm\n", "1:6"), ("[comm]\nthreads = 1\nthreads = 2\n", "3:1"), ("threads\n", "1:8")]
    {
        let message = refused(text);
        assert!(message.starts_with(&format!("{place}: ")), "{message}");
        assert!(message.ends_with(form) || place == "3:1", "{message}");
    }
}

#[test]
fn file_that_is_not_there_is_named_with_its_cause() {
    let error = Settings::load(Path::new("/nowhere/gantry.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/gantry.toml: cannot be read: No such file or directory (os error 2); \
         name another file with -c FILE or make this one readable"
    );
}

#[test]
fn file_that_is_no_text_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gantry.toml");
    std::fs::write(&file, b"[node]\n# \xe5\x8f\xb7 \xff\n").unwrap();
    let message = Settings::load(&file).unwrap_err().to_string();
    assert_eq!(
        message,
        format!("{}:2:5: the byte here is not UTF-8; save the file as UTF-8", file.display())
    );
}

#[test]
fn file_above_the_limit_is_refused_before_it_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gantry.toml");
    let longest = "#".repeat(limits::FILE_BYTES_MAX as usize);
    std::fs::write(&file, &longest).unwrap();
    assert!(Settings::load(&file).is_ok());
    std::fs::write(&file, longest + "#").unwrap();
    assert!(matches!(Settings::load(&file), Err(SettingsError::TooLong { .. })));
}

#[cfg(feature = "mongodb")]
#[test]
fn main_source_must_keep_tables() {
    let text = "[data.main]\ndriver = \"mongodb\"\nuri = \"mongodb://127.0.0.1/x\"\n";
    let message = refused(text);
    assert!(message.contains("data.main.driver") && message.contains("[data.passages]"), "{message}");
    good("[data.passages]\ndriver = \"mongodb\"\nuri = \"mongodb://127.0.0.1/x\"\n");
}
