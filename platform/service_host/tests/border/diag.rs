//! The diagnostic services, loaded from the library that ships and called through the border.

use gantry_abi::descriptor::{GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR};
use std::sync::Arc;

use crate::bench::{Bench, REPLY_BYTES_MAX, diag, number};
use gantry_message::Kind;
use gantry_service_host::{Instance, Library, Loader, SqlErrorKind, business_body, describe};

fn library() -> Arc<Library> {
    Arc::new(Loader::open(&diag()).unwrap())
}

fn instance(of: u32) -> Instance {
    Instance::create(&library(), number(of), "").unwrap()
}

#[test]
fn probe_of_diag_describes_every_service() {
    let description = describe(&diag()).unwrap();
    let abi = format!("{GANTRY_ABI_MAJOR}.{GANTRY_ABI_MINOR}");
    assert_eq!((description.name.as_str(), &description.abi), ("diag", &abi));
    let found: Vec<_> =
        description.services.iter().map(|service| (service.number.get(), service.kind)).collect();
    let expected = [
        (19_000_001, Kind::Read),
        (29_000_001, Kind::Write),
        (19_000_002, Kind::Read),
        (29_000_002, Kind::Write),
        (19_000_003, Kind::Read),
        (29_000_003, Kind::Write),
        (29_000_004, Kind::Write),
        (19_000_004, Kind::Read),
    ];
    assert_eq!(found, expected);
    let add = &description.services[6];
    assert_eq!((add.sources.as_slice(), add.idempotent), (&["main".to_owned()][..], false));
    assert_eq!(description.migrations.len(), 1);
    let json = serde_json::to_string(&description).unwrap();
    assert_eq!(serde_json::from_str::<gantry_service_host::Description>(&json).unwrap(), description);
}

#[test]
fn echo_replies_the_same_bytes_of_any_length() {
    let mut bench = Bench::new();
    for of in [19_000_001, 29_000_001] {
        let echo = instance(of);
        for bytes in [0, 1, 64, 65, 4096, REPLY_BYTES_MAX] {
            let body: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
            assert_eq!(bench.done(&echo, &body), body);
        }
    }
}

#[test]
fn reply_over_the_limit_fails_the_call() {
    let reason = Bench::new().failed(&instance(19_000_001), &vec![0; REPLY_BYTES_MAX + 1]);
    assert!(reason.contains("1048577"), "{reason}");
}

#[test]
fn sleep_says_how_long_it_slept_and_refuses_what_is_no_duration() {
    let mut bench = Bench::new();
    let sleep = instance(19_000_002);
    assert_eq!(bench.done(&sleep, br#"{"ms":0,"unknown":[1]}"#), br#"{"slept_ms":0}"#);
    for request in [r#"{"ms":600001}"#, r#"{"ms":-1}"#, r#"{"ms":"5"}"#, r#"{"ms":1.5}"#, "{}"] {
        assert_eq!(bench.bad_request(&sleep, request.as_bytes()), "ms", "{request}");
    }
    for request in ["", "5", "[]", "{\"ms\":1", "\u{feff}{}"] {
        assert_eq!(bench.bad_request(&sleep, request.as_bytes()), "body", "{request}");
    }
}

/// Goal: a panic is one request's 306. Method: panic, then use the same instance, which is a fresh one then.
#[test]
fn panic_of_a_service_fails_its_call_and_the_next_one_works() {
    let mut bench = Bench::new();
    let fault = instance(19_000_003);
    for _ in 0..3 {
        let reason = bench.failed(&fault, br#"{"how":"panic"}"#);
        assert!(reason.contains("a panic was asked for") && reason.contains("fault.rs"), "{reason}");
        assert_eq!(bench.bad_request(&fault, br#"{"how":"dance"}"#), "how");
    }
    assert_eq!(bench.bad_request(&fault, b"{}"), "how");
    assert_eq!(bench.done(&fault, br#"{"how":"leak"}"#), br#"{"leaked_bytes":16777216}"#);
}

#[test]
fn counter_adds_and_reads_through_the_sql_interface() {
    let mut bench = Bench::new();
    bench.migrate(&library());
    let (add, read) = (instance(29_000_004), instance(19_000_004));
    assert_eq!(bench.done(&read, br#"{"key":"a"}"#), br#"{"value":0}"#);
    assert_eq!(bench.done(&add, br#"{"key":"a","add":40}"#), br#"{"value":40}"#);
    assert_eq!(bench.done(&add, br#"{"key":"a","add":-42}"#), br#"{"value":-2}"#);
    assert_eq!(bench.done(&add, "{\"key\":\"收费 \\\"x\\\"\",\"add\":7}".as_bytes()), br#"{"value":7}"#);
    assert_eq!(bench.done(&read, br#"{"key":"a"}"#), br#"{"value":-2}"#);
    assert_eq!(bench.done(&read, "{\"key\":\"收费 \\\"x\\\"\"}".as_bytes()), br#"{"value":7}"#);
}

#[test]
fn counter_at_the_end_of_its_range_refuses_and_keeps_its_value() {
    let mut bench = Bench::new();
    bench.migrate(&library());
    let (add, read) = (instance(29_000_004), instance(19_000_004));
    let most = format!(r#"{{"key":"a","add":{}}}"#, i64::MAX);
    bench.done(&add, most.as_bytes());
    assert_eq!(bench.bad_request(&add, br#"{"key":"a","add":1}"#), "add");
    assert_eq!(bench.bad_request(&add, br#"{"key":"a","add":9223372036854775808}"#), "add");
    assert_eq!(bench.bad_request(&add, br#"{"key":"a"}"#), "add");
    assert_eq!(bench.bad_request(&add, br#"{"add":1}"#), "key");
    assert_eq!(bench.bad_request(&read, br#"{"key":""}"#), "key");
    assert_eq!(bench.bad_request(&read, format!(r#"{{"key":"{}"}}"#, "k".repeat(65)).as_bytes()), "key");
    assert_eq!(bench.done(&read, br#"{"key":"a"}"#), br#"{"value":9223372036854775807}"#);
}

#[test]
fn sql_error_reaches_the_failure_with_its_facts() {
    let reason = Bench::new().failed(&instance(19_000_004), br#"{"key":"a"}"#);
    assert!(reason.contains(&format!("{:?}", SqlErrorKind::BadStatement)), "{reason}");
    assert!(reason.contains("diag_counter") && reason.contains("HY000"), "{reason}");
}

#[test]
fn panic_of_the_platforms_driver_fails_the_call_and_no_more() {
    let mut bench = Bench::new();
    bench.migrate(&library());
    let read = instance(19_000_004);
    bench.panics = true;
    let reason = bench.failed(&read, br#"{"key":"a"}"#);
    assert!(reason.contains("the driver lost its mind"), "{reason}");
    assert_eq!(bench.done(&read, br#"{"key":"a"}"#), br#"{"value":0}"#);
}

#[test]
fn body_of_a_business_error_has_the_members_of_the_contract() {
    let with = business_body("bad_request", Some("ms"), "say \"when\"\n");
    assert_eq!(with, br#"{"error":"bad_request","message":"say \"when\"\n","field":"ms"}"#);
    let without = business_body("card_unknown", None, "no such card");
    assert_eq!(without, br#"{"error":"card_unknown","message":"no such card"}"#);
}
