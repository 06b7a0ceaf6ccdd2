//! The header that ships is what the Rust side says, and compiles as C and as C++.
#![expect(clippy::unwrap_used, reason = "tests: a failed helper is a failed test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The files with what crosses the border, in the order in which the header shows it.
const SOURCES: [&str; 9] = [
    "src/bytes.rs",
    "src/status.rs",
    "src/host.rs",
    "src/descriptor.rs",
    "src/sql_table.rs",
    "src/serial_table.rs",
    "src/log_table.rs",
    "src/document_table.rs",
    "src/call_table.rs",
];

/// The beginning of a file of checks that the C or C++ compiler runs.
const LAYOUT: &str = r#"
#include "gantry.h"
#include <stddef.h>
#ifdef __cplusplus
#define CHECK(condition) static_assert(condition, #condition)
#else
#define CHECK(condition) _Static_assert(condition, #condition)
#endif
"#;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join(source));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

/// Goal: the contract for C is never behind the one for Rust. To write it anew after a change of
/// `src/`: `GANTRY_WRITE_HEADER=1 cargo test -p gantry-abi --test header`.
#[test]
fn header_is_what_the_rust_side_generates() {
    let path = root().join("include/gantry.h");
    let generated = generate();
    if std::env::var_os("GANTRY_WRITE_HEADER").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert!(
        checked_in == generated,
        "abi/include/gantry.h is behind abi/src; write it anew with GANTRY_WRITE_HEADER=1 and review the change"
    );
}

/// cbindgen leaves constants of type `&str` out, so their copies in `cbindgen.toml` are compared here.
#[test]
fn interface_ids_are_the_same_on_both_sides() {
    use gantry_abi::host;
    let header = generate();
    for (name, id) in [
        ("SQL", host::GANTRY_INTERFACE_SQL),
        ("SERIAL", host::GANTRY_INTERFACE_SERIAL),
        ("LOG", host::GANTRY_INTERFACE_LOG),
        ("CALL", host::GANTRY_INTERFACE_CALL),
        ("DOCUMENT", host::GANTRY_INTERFACE_DOCUMENT),
        ("CACHE", host::GANTRY_INTERFACE_CACHE),
    ] {
        let line = format!("#define GANTRY_INTERFACE_{name} \"{id}\"\n");
        assert!(header.contains(&line), "missing: {line}");
    }
}

fn compile(compiler: &str, arguments: &[&str], file: &str, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join(file);
    std::fs::write(&source, text).unwrap();
    let object = folder.path().join("out.o");
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "-I"])
        .arg(root().join("include"))
        .arg("-o")
        .args([&object as &Path, &source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sizes and offsets as the Rust side has them, as checks for the C compiler.
fn layout_checks() -> String {
    use gantry_abi::bytes::{GantryBytes, GantryText};
    use gantry_abi::call_table::GantryCalls;
    use gantry_abi::document_table::{GantryDocument, GantryDocumentAnswer, GantryDocumentCommand};
    use gantry_abi::host::GantryHost;
    use gantry_abi::log_table::GantryLog;
    use gantry_abi::serial_table::GantrySerial;
    use gantry_abi::sql_table::{GantrySql, GantrySqlError, GantryValue};
    use gantry_abi::{GantryLibrary, GantryMigration, GantryService};
    use std::mem::{offset_of, size_of};

    let mut text = LAYOUT.to_owned();
    macro_rules! check {
        ($($type:ident { $($field:ident)* })*) => {$(
            text += &format!("CHECK(sizeof({0}) == {1});\n", stringify!($type), size_of::<$type>());
            $(text += &format!("CHECK(offsetof({0}, {1}) == {2});\n",
                stringify!($type), stringify!($field), offset_of!($type, $field));)*
        )*};
    }
    check! {
        GantryText { data bytes }
        GantryBytes { data bytes }
        GantryLibrary { struct_bytes abi_major abi_minor magic name version build services_count migrations_count services migrations }
        GantryService { struct_bytes number kind timeout_ms flags sources_count name description example example_reply sources create call destroy settings settings_count reserved }
        GantryMigration { struct_bytes version source schema sql }
        GantryHost { struct_bytes abi_major abi_minor platform get_interface request caller request_id number
            time_left_ns is_cancelled reply_reserve reply_commit business_error fail }
        GantryValue { tag reserved data }
        GantrySqlError { struct_bytes kind native_code sqlstate reserved message }
        GantrySql { struct_bytes execute query rows_columns rows_next rows_value rows_close last_error }
        GantrySerial { struct_bytes next last_message }
        GantryLog { struct_bytes is_enabled write }
        GantryCalls { struct_bytes reserved call last_error }
        GantryDocumentCommand { struct_bytes operation source collection filter documents options documents_max reserved }
        GantryDocumentAnswer { struct_bytes count matched modified documents }
        GantryDocument { struct_bytes source_kind run documents_next documents_close last_error }
    }
    text
}

#[test]
fn header_compiles_as_c11_with_the_same_layout() {
    compile("cc", &["-std=c11"], "layout.c", &layout_checks());
}

#[test]
fn header_compiles_as_cpp17_with_the_same_layout() {
    compile("c++", &["-std=c++17"], "layout.cpp", &layout_checks());
}

/// Goal: what was published once keeps its place for all of 1.x. Method: the figures of 1.0 on a
/// 64-bit machine, written out; a failure here means a new major version.
#[test]
fn places_published_with_1_0_have_not_moved() {
    use gantry_abi::host::GantryHost;
    use gantry_abi::sql_table::{GantrySql, GantrySqlError, GantryValue};
    use gantry_abi::{GantryLibrary, GantryMigration, GantryService};
    use std::mem::{offset_of, size_of};

    assert_eq!(offset_of!(GantryLibrary, magic), 8);
    assert_eq!(offset_of!(GantryLibrary, migrations), 80);
    assert_eq!(offset_of!(GantryService, destroy), 112);
    assert_eq!(offset_of!(GantryMigration, sql), 40);
    assert_eq!(offset_of!(GantryHost, fail), 104);
    assert_eq!(size_of::<GantryValue>(), 24);
    assert_eq!(offset_of!(GantrySqlError, message), 24);
    assert_eq!(offset_of!(GantrySql, last_error), 56);
}
