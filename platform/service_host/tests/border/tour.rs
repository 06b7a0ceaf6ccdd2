//! Everything that is lent, through the safe side of the contract and back.

use std::sync::Arc;
use std::time::Duration;

use gantry_service_host::{Instance, Level, Library, LoadError, Loader, Outcome};

use crate::bench::{Bench, REPLY_BYTES_MAX, number, tour};

fn library() -> Arc<Library> {
    Arc::new(Loader::open(&tour()).unwrap())
}

fn create(config: &str) -> Result<Instance, LoadError> {
    Instance::create(&library(), number(39_200_001), config)
}

/// One request, done, and its reply as text.
fn ask(bench: &mut Bench, request: &str) -> String {
    String::from_utf8(bench.done(&create("tour").unwrap(), request.as_bytes())).unwrap()
}

#[test]
fn descriptor_made_by_the_macro_says_what_was_written() {
    let library = library();
    let description = library.description();
    let service = &description.services[0];
    assert_eq!((description.name.as_str(), description.build.as_str()), ("api_tour", "tour-1"));
    assert_eq!(
        (service.timeout_ms, service.sources.as_slice()),
        (2000, &["main".into(), "passages".into()][..])
    );
    assert_eq!((service.example.as_str(), service.example_reply.as_str()), (r#"{"do":"facts"}"#, ""));
    let step = &description.migrations[0];
    assert_eq!((step.source.as_str(), step.schema.as_str(), step.version), ("main", "tour", 1));
    assert_eq!(step.sql.split(";\n").count(), 2);
}

#[test]
fn service_that_refuses_or_panics_in_create_is_not_loaded_and_says_why() {
    let refused = create("refuse").unwrap_err().to_string();
    assert!(refused.contains("39200001") && refused.contains("the configuration says so"), "{refused}");
    let panicked = create("panic").unwrap_err().to_string();
    assert!(panicked.contains("the configuration says panic"), "{panicked}");
}

#[test]
fn panic_while_an_instance_is_destroyed_stays_inside() {
    drop(create("panic in drop").unwrap());
    create("and on it goes").unwrap();
}

#[test]
fn facts_of_the_call_reach_the_service() {
    let mut bench = Bench::new();
    bench.time_left = Duration::from_millis(1234);
    assert_eq!(
        ask(&mut bench, r#"{"do":"facts"}"#),
        r#"{"caller":"toll-server-7","cancelled":false,"name":"tour","number":39200001,"request_id":"bench-000000000000000001","time_left_ms":1234}"#
    );
    bench.time_left = Duration::ZERO;
    assert!(ask(&mut bench, r#"{"do":"facts"}"#).contains(r#""cancelled":true"#));
}

#[test]
fn reply_written_in_pieces_keeps_every_byte_up_to_the_limit() {
    let mut bench = Bench::new();
    for bytes in [0, 1, 63, 64, 65, 4097, REPLY_BYTES_MAX] {
        let reply = ask(&mut bench, &format!(r#"{{"do":"write","bytes":{bytes}}}"#));
        assert_eq!(reply.len(), bytes);
        assert!(reply.bytes().enumerate().all(|(index, byte)| byte == b'0' + (index % 10) as u8));
    }
    let request = format!(r#"{{"do":"write","bytes":{}}}"#, REPLY_BYTES_MAX + 1);
    let reason = bench.failed(&create("").unwrap(), request.as_bytes());
    assert!(reason.contains("no room for a reply"), "{reason}");
}

#[test]
fn reply_given_last_counts_and_none_is_empty() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, r#"{"do":"shrink"}"#), "abc");
    assert_eq!(ask(&mut bench, r#"{"do":"nothing"}"#), "");
}

#[test]
fn values_of_every_type_cross_both_ways() {
    assert_eq!(
        ask(&mut Bench::new(), r#"{"do":"values"}"#),
        r#"[-9223372036854775808,0.5,"收费",[0,255],1,null,true,null,12,"BadValue","BadValue","BadStatement"]"#
    );
    assert_eq!(ask(&mut Bench::new(), r#"{"do":"many params"}"#), "5050");
}

#[test]
fn rows_are_read_while_the_reply_is_written_and_other_statements_run() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, r#"{"do":"rows","count":4}"#), "2,4,6,8,columns 1");
    // More open results than allowed would need more than 64 at a time; 1000 one after the other are fine.
    assert!(ask(&mut bench, r#"{"do":"rows","count":1000}"#).ends_with("2000,columns 1"));
}

#[test]
fn query_for_one_row_tells_none_and_many_apart() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, r#"{"do":"one","count":0}"#), "NoRow");
    assert_eq!(ask(&mut bench, r#"{"do":"one","count":1}"#), "1");
    assert_eq!(ask(&mut bench, r#"{"do":"one","count":2}"#), "TooManyRows");
}

#[test]
fn constraint_becomes_the_business_error_that_the_service_makes_of_it() {
    let mut bench = Bench::new();
    bench.migrate(&library());
    let (outcome, _) = bench.call(&create("").unwrap(), br#"{"do":"unique"}"#);
    let (code, message) = ("duplicate".to_owned(), "the plate exists".to_owned());
    assert_eq!(outcome, Outcome::Business { code, field: None, message });
}

#[test]
fn serials_are_drawn_one_or_many_and_wrong_types_are_told_apart() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, r#"{"do":"serials","type":"recharge","count":1}"#), r#""R00000001""#);
    let many = ask(&mut bench, r#"{"do":"serials","type":"recharge","count":10000}"#);
    assert!(many.starts_with(r#"["R00000002","#) && many.ends_with(r#""R00010001"]"#), "{many}");
    let tour = create("").unwrap();
    let field = bench.bad_request(&tour, br#"{"do":"serials","type":"moon","count":2}"#);
    assert_eq!(field, "type");
    for count in [0, 10_001] {
        let request = format!(r#"{{"do":"serials","type":"recharge","count":{count}}}"#);
        assert_eq!(bench.bad_request(&tour, request.as_bytes()), "count");
    }
    let reason = bench.failed(&tour, br#"{"do":"serials","type":"moon","count":1}"#);
    assert!(reason.contains("moon"), "{reason}");
}

#[test]
fn log_records_reach_the_platform_by_level() {
    let mut bench = Bench::new();
    ask(&mut bench, r#"{"do":"log"}"#);
    assert_eq!(bench.log, [(Level::Error, "an error".to_owned())]);
}

#[test]
fn panic_after_a_reply_is_a_failure_all_the_same() {
    let mut bench = Bench::new();
    let tour = create("").unwrap();
    let reason = bench.failed(&tour, br#"{"do":"drop panics"}"#);
    assert!(reason.contains("the first panic"), "{reason}");
    let (outcome, _) = bench.call(&tour, br#"{"do":"refuse"}"#);
    assert!(matches!(outcome, Outcome::Business { code, .. } if code == "card_blocked"));
}
