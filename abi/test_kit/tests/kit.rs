//! The kit on a small library: what is committed, rolled back, refused and lent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use gantry_abi::json::Body;
use gantry_abi::{Context, CreateError, Host, Service, ServiceError, migration, params};
use gantry_message::Status;
use gantry_test_kit::{Kit, KitError, Value};
use serde_json::json;

const SET: u32 = 29_990_001;
const GET: u32 = 19_990_001;
const SNEAK: u32 = 19_990_002;
const SERIAL: u32 = 39_990_001;

/// Writes a row, then does what the request says.
struct Set {
    greeting: String,
}

impl Service for Set {
    fn create(_: &Host<'_>, config: &str) -> Result<Self, CreateError> {
        match config {
            "bad" => Err(CreateError::from("the greeting is bad")),
            _ => Ok(Self { greeting: config.to_owned() }),
        }
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let body = Body::read(request)?;
        let (key, then): (&str, Option<String>) = (body.get("key")?, body.opt("then")?);
        context
            .sql("main")
            .execute("INSERT INTO note (id, words) VALUES (?, ?)", params![key, &self.greeting])?;
        match then.as_deref() {
            Some("refuse") => Err(ServiceError::business("not_today", "come again")),
            Some("fail") => Err(ServiceError::failed("for a reason")),
            Some("panic") => panic!("in the middle"),
            Some("late") if context.is_cancelled() => Err(ServiceError::failed("nobody waits")),
            _ => context.reply_json(&json!({ "caller": context.caller(), "number": context.number() })),
        }
    }
}

struct Get;

impl Service for Get {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, _request: &[u8]) -> Result<(), ServiceError> {
        let text = "SELECT COUNT(*) FROM note";
        let count: i64 = context.sql("main").query_one(text, params![], |row| row.i64(0))?;
        context.reply_json(&json!({ "count": count }))
    }
}

/// A read service that writes.
struct Sneak;

impl Service for Sneak {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, _request: &[u8]) -> Result<(), ServiceError> {
        context.sql("main").execute("DELETE FROM note", params![])?;
        Ok(())
    }
}

struct Draw;

impl Service for Draw {
    fn create(_: &Host<'_>, _config: &str) -> Result<Self, CreateError> {
        Ok(Self)
    }

    fn call(&self, context: &mut Context<'_>, request: &[u8]) -> Result<(), ServiceError> {
        let kind: String = Body::read(request)?.get("type")?;
        let serials = context.serials(&kind, 2)?;
        context.reply_json(&json!({ "serials": serials }))
    }
}

gantry_abi::export_library! {
    name: "kit_test",
    version: "1.0.0",
    migrations: [
        migration("main", "kit_test", 1, "CREATE TABLE note (id VARCHAR(20) NOT NULL PRIMARY KEY, words VARCHAR(40))"),
    ],
    services: [
        { number: 29990001, kind: Write, name: "kit_test.set", service: Set, description: "", example: r#"{"key":"a"}"#, sources: ["main"] },
        { number: 19990001, kind: Read, name: "kit_test.get", service: Get, description: "", example: "{}", sources: ["main"] },
        { number: 19990002, kind: Read, name: "kit_test.sneak", service: Sneak, description: "", sources: ["main"] },
        { number: 39990001, kind: Other, name: "kit_test.draw", service: Draw, description: "", sources: [] },
    ],
}

fn notes(kit: &mut Kit) -> Vec<Vec<Value>> {
    kit.rows("main", "SELECT id, words FROM note ORDER BY id", &[]).unwrap()
}

#[test]
fn what_a_call_did_is_there_if_it_ended_well_and_only_then() {
    let mut kit = Kit::with_config(|name| name.to_owned()).unwrap();
    let reply = kit.call(SET, br#"{"key":"kept"}"#);
    assert_eq!((reply.status, reply.json()), (Status::Done, json!({"caller": "anonymous", "number": SET})));
    let refused = kit.call(SET, br#"{"key":"a","then":"refuse"}"#);
    assert_eq!(refused.error_code().as_deref(), Some("not_today"));
    assert_eq!(refused.json(), json!({"error": "not_today", "message": "come again"}));
    let failed = kit.call(SET, br#"{"key":"b","then":"fail"}"#);
    assert_eq!((failed.status, &failed.body[..]), (Status::ServiceFailed, &b""[..]));
    assert_eq!(failed.failure.as_deref(), Some("for a reason"));
    let panicked = kit.call(SET, br#"{"key":"c","then":"panic"}"#);
    assert_eq!(panicked.status, Status::ServiceFailed);
    assert!(panicked.failure.unwrap().contains("in the middle"));
    let words = Value::Text("kit_test.set".into());
    assert_eq!(notes(&mut kit), [[Value::Text("kept".into()), words]]);
    assert_eq!(kit.call(GET, b"").json(), json!({"count": 1}));
}

#[test]
fn a_constraint_is_a_failure_and_a_missing_member_is_a_bad_request() {
    let mut kit = Kit::new().unwrap();
    assert_eq!(kit.execute("main", "INSERT INTO note (id) VALUES (?)", &["twice".into()]).unwrap(), 1);
    assert_eq!(kit.call(SET, br#"{"key":"twice"}"#).status, Status::ServiceFailed);
    let reply = kit.call(SET, b"{}");
    assert_eq!((reply.error_code().as_deref(), &reply.json()["field"]), (Some("bad_request"), &json!("key")));
}

#[test]
fn a_read_service_cannot_write() {
    let mut kit = Kit::new().unwrap();
    kit.execute("main", "INSERT INTO note (id) VALUES (?)", &["stays".into()]).unwrap();
    assert_eq!(kit.call(SNEAK, b"").status, Status::ServiceFailed);
    assert_eq!(notes(&mut kit).len(), 1);
}

#[test]
fn serials_are_drawn_in_order_and_never_twice() {
    let mut kit = Kit::new().unwrap();
    let draw = |kit: &mut Kit, body: &[u8]| kit.call(SERIAL, body).json();
    assert_eq!(
        draw(&mut kit, br#"{"type":"card"}"#),
        json!({"serials": ["C000000000000001", "C000000000000002"]})
    );
    assert_eq!(draw(&mut kit, br#"{"type":"card"}"#)["serials"][0], "C000000000000003");
    assert_eq!(draw(&mut kit, br#"{"type":"mine"}"#)["serials"][0], "0000000000000001");
}

#[test]
fn what_goes_wrong_in_production_can_be_made_to_go_wrong() {
    let mut kit = Kit::new().unwrap();
    kit.fail_statements(Some(1));
    assert_eq!(kit.call(SET, br#"{"key":"a"}"#).status, Status::Done);
    assert_eq!(kit.call(SET, br#"{"key":"b"}"#).status, Status::ServiceFailed);
    kit.fail_statements(None);
    kit.set_cancelled(true);
    assert_eq!(kit.call(SET, br#"{"key":"c","then":"late"}"#).failure.as_deref(), Some("nobody waits"));
    kit.set_cancelled(false);
    kit.set_time_left(Duration::ZERO);
    assert_eq!(kit.call(SET, br#"{"key":"d"}"#).status, Status::ServiceFailed);
    kit.set_time_left(Duration::from_secs(5));
    kit.set_caller("north".parse().unwrap());
    assert_eq!(kit.call(SET, br#"{"key":"e"}"#).json()["caller"], "north");
    assert_eq!(notes(&mut kit).len(), 2);
}

#[test]
fn examples_are_called_and_mistakes_of_the_test_are_said() {
    let mut kit = Kit::new().unwrap();
    let replies = kit.call_examples().unwrap();
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().all(|(_, reply)| reply.status == Status::Done));
    let unknown = kit.try_call(10, b"").unwrap_err();
    assert!(unknown.to_string().contains("has no service 10; it has 19990001, "), "{unknown}");
    let bad =
        Kit::with_config(|name| if name.ends_with(".set") { "bad" } else { "" }.to_owned()).unwrap_err();
    assert!(matches!(&bad, KitError::Load(_)) && bad.to_string().contains("the greeting is bad"), "{bad}");
    assert!(kit.execute("other", "DELETE FROM note", &[]).unwrap_err().to_string().contains("\"other\""));
}
