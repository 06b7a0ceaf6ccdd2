//! The C++ library that ships as an example, compiled here and called through the border.

use std::sync::Arc;

use crate::bench::{Bench, compile, number, repository};
use gantry_service_host::{Instance, Library, Loader};

fn library(folder: &tempfile::TempDir) -> Arc<Library> {
    let source = repository().join("services/cpp_example/cpp_example.cpp");
    let library = compile(&source, folder.path(), &["-fno-gnu-unique"]);
    Arc::new(Loader::open(&library).unwrap())
}

#[test]
fn cpp_service_reverses_its_request_in_the_replys_memory() {
    let folder = tempfile::tempdir().unwrap();
    let reverse = Instance::create(&library(&folder), number(19_100_001), "").unwrap();
    let mut bench = Bench::new();
    assert_eq!(bench.done(&reverse, b"abc"), b"cba");
    assert_eq!(bench.done(&reverse, b""), b"");
    let long: Vec<u8> = (0..100_000_u32).map(|index| (index % 253) as u8).collect();
    let reversed: Vec<u8> = long.iter().rev().copied().collect();
    assert_eq!(bench.done(&reverse, &long), reversed);
    let reason = bench.failed(&reverse, &vec![0; crate::bench::REPLY_BYTES_MAX + 1]);
    assert_eq!(reason, "no room for the reply");
}

#[test]
fn cpp_service_keeps_rows_through_the_sql_interface() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(&folder);
    let note = Instance::create(&library, number(29_100_001), "").unwrap();
    let mut bench = Bench::new();
    let reason = bench.failed(&note, b"before the table is there");
    assert!(reason.contains("cpp_note"), "{reason}");
    bench.migrate(&library);
    assert_eq!(bench.done(&note, "过路费".as_bytes()), br#"{"count":1}"#);
    assert_eq!(bench.bad_request(&note, b""), "body");
    assert_eq!(bench.bad_request(&note, b"caf\xe9"), "body");
    // The platform runs a write once for each request id; a second run meets the table's key.
    let reason = bench.failed(&note, b"again under the same id");
    assert!(reason.contains("UNIQUE"), "{reason}");
}
