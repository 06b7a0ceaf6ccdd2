//! Serial numbers through Redis, and `gantry serial status | switch | raise`.

use std::collections::HashSet;

use gantry_test_servers::RedisServer;
use gantry_tests::etc::SERIALS;
use gantry_tests::{Client, Database, Node, NodeOptions, until};
use serde_json::{Value, json};

/// Numbers drawn so far, none of them twice.
#[derive(Default)]
struct Drawn(HashSet<String>);

impl Drawn {
    #[track_caller]
    fn draw(&mut self, client: &mut Client, count: usize) {
        let reply = client.call_json(SERIALS, json!({"type": "passage", "count": count}));
        self.note(&reply.done().json());
    }

    /// Draws what is left, until there is nothing; gives the status of the refusal.
    #[track_caller]
    fn draw_until_refused(&mut self, client: &mut Client) -> u16 {
        for _ in 0..200 {
            let reply = client.call_json(SERIALS, json!({"type": "passage", "count": 500}));
            if reply.status != 0 {
                return reply.status;
            }
            self.note(&reply.json());
        }
        panic!("a database that went back leases without end");
    }

    #[track_caller]
    fn note(&mut self, reply: &Value) {
        for serial in reply["serials"].as_array().expect("a list") {
            let serial = serial.as_str().expect("a text").to_owned();
            assert!(self.0.insert(serial.clone()), "{serial} came twice");
        }
    }

    /// The highest number, without its letter.
    fn highest(&self) -> i64 {
        self.0.iter().filter_map(|serial| serial[1..].parse().ok()).max().expect("some were drawn")
    }
}

fn options(primary: &RedisServer, standby: &RedisServer) -> NodeOptions {
    let options =
        NodeOptions::business().on(Database::Sqlite).set("workers.write", 2).set("serial.range", 500);
    options.text("serial.redis", &primary.url()).text("serial.standby", &standby.url())
}

#[track_caller]
fn status(node: &Node) -> Value {
    node.gantry(&["serial", "status", "--json"]).expect_code(0).json()
}

#[track_caller]
fn of_type(status: &Value, kind: &str) -> Value {
    let types = status["types"].as_array().expect("a list of types");
    types.iter().find(|found| found["type"] == kind).expect("the type is configured").clone()
}

#[test]
fn numbers_stay_unique_while_redis_dies_comes_back_empty_and_is_switched() {
    let (mut primary, standby) = (RedisServer::start(), RedisServer::start());
    let node = Node::start(options(&primary, &standby));
    let (mut client, mut drawn) = (node.client(), Drawn::default());
    drawn.draw(&mut client, 300);
    // Lists are filled between requests.
    until("the primary has a list", || {
        drawn.draw(&mut client, 50);
        (primary.keys() > 0).then_some(())
    });
    assert_eq!(standby.keys(), 0, "nobody uses the standby");
    primary.kill();
    for _ in 0..20 {
        drawn.draw(&mut client, 200);
    }
    let servers = status(&node)["servers"].clone();
    assert_eq!((&servers[0]["serving"], &servers[1]["serving"]), (&json!(false), &json!(true)), "{servers}");
    primary.restart();
    for _ in 0..20 {
        drawn.draw(&mut client, 200);
    }
    node.gantry(&["serial", "switch", "standby"]).expect_code(0);
    until("the standby has a list", || {
        drawn.draw(&mut client, 50);
        (standby.keys() > 0).then_some(())
    });
    let told = status(&node);
    assert_eq!(told["servers"][1]["chosen"], true, "{told}");
    node.gantry(&["serial", "switch", "primary"]).expect_code(0);
    for _ in 0..20 {
        drawn.draw(&mut client, 200);
    }
    let passage = of_type(&status(&node), "passage");
    let (leased, lost) =
        (passage["leased"].as_i64().expect("a count"), passage["lost"].as_i64().expect("a count"));
    assert!(leased >= drawn.highest(), "{passage}");
    assert!(lost >= 0 && passage["gaps"].is_array(), "{passage}");
    let text = node.gantry(&["serial", "status"]).expect_code(0).text();
    assert!(text.contains("passage") && text.contains("primary: serves at"), "{text}");
}

#[test]
fn raise_lifts_a_restored_database_above_all_that_was_issued() {
    let (primary, standby) = (RedisServer::start(), RedisServer::start());
    let mut node = Node::start(options(&primary, &standby));
    let mut drawn = Drawn::default();
    drawn.draw(&mut node.client(), 10);
    node.stop();
    let database = node.state_folder().join("data.db");
    let backup = node.folder().join("backup.db");
    std::fs::copy(&database, &backup).expect("a stopped node's database can be copied");
    node.run();
    for _ in 0..20 {
        drawn.draw(&mut node.client(), 1_000);
    }
    node.stop();
    for suffix in ["", "-wal", "-shm"] {
        let file = node.state_folder().join(format!("data.db{suffix}"));
        // Only the database itself is always there.
        let _ = std::fs::remove_file(file);
    }
    std::fs::copy(&backup, &database).expect("it can be restored");
    // The nodes' memory is new and Redis remembers: what it holds is drawn, and nothing is leased.
    node.run();
    drawn.draw_until_refused(&mut node.client());
    node.stop();
    let words =
        node.gantry(&["serial", "raise", "--type", "passage", "--above", &drawn.highest().to_string()]);
    let words = words.expect_code(0).text();
    assert!(words.contains("passage: the next lease begins at"), "{words}");
    node.gantry(&["serial", "raise"]).expect_code(0);
    node.run();
    for _ in 0..5 {
        drawn.draw(&mut node.client(), 1_000);
    }
    let gaps = of_type(&status(&node), "passage")["gaps"].to_string();
    assert!(gaps.contains("raise"), "{gaps}");
}

#[test]
fn commands_say_what_is_missing() {
    let mut node = Node::start(NodeOptions::small().on(Database::Sqlite));
    node.stop();
    let away = node.gantry(&["serial", "switch", "standby"]).expect_code(3).stderr;
    assert!(away.contains("not running"), "{away}");
    let unknown = node.gantry(&["serial", "raise", "--type", "nothing"]).expect_code(1).stderr;
    assert!(unknown.contains("nothing"), "{unknown}");
    node.gantry(&["serial", "raise", "--above", "5"]).expect_code(2);
    let text = node.gantry(&["serial", "status"]).expect_code(0).text();
    assert!(text.contains("no Redis is configured") && text.contains("does not run"), "{text}");
    drop(node);
    let node = Node::start(NodeOptions::small().on(Database::Sqlite));
    let none = node.gantry(&["serial", "switch", "standby"]).expect_code(1).stderr;
    assert!(none.contains("standby"), "{none}");
}
